//! Trainings that are killed or interrupted go on where they were and end in the same bytes.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lissom::{answer, killed, lissom, names, start};
use crate::train::{SCRATCH, labelled, words};

/// A training with noise, an average and mixing: everything that has a state; and one that makes a network beside its result.
fn recipe() -> String {
    let both =
        "[[step]]\nmethod = \"fine_tune\"\n[[step]]\nmethod = \"acdc\"\nsparsity = 0.75\n[step.train]\nepochs = 8\n";
    SCRATCH.replace(
        "epochs = 12",
        "epochs = 25\naugment = [{ name = \"mixup\", alpha = 0.2 }]\nema = 0.99\ngradient_noise = 0.001\nclip_norm = 2.0",
    ) + both
}

/// What must be the same in every run: the networks, and the metrics.
fn results(folder: &Path, out: &str) -> [Vec<u8>; 3] {
    let names = ["model.onnx", "training/1-fine_tune/metrics.jsonl", "training/2-acdc/dense.onnx"];
    names.map(|name| fs::read(folder.join(out).join(name)).unwrap())
}

/// A folder with the recipe, the undisturbed run in `whole`, and how long that took.
fn prepared() -> (tempfile::TempDir, [Vec<u8>; 3], Duration) {
    let folder = labelled();
    fs::write(folder.path().join("r.toml"), recipe()).unwrap();
    let started = Instant::now();
    lissom(folder.path(), &words("whole")).expect(0);
    let expected = results(folder.path(), "whole");
    (folder, expected, started.elapsed())
}

#[test]
fn killed_trainings_end_in_the_same_bytes() {
    let (folder, expected, whole) = prepared();
    let mut n_kept = 0;
    let out = killed(
        folder.path(),
        10,
        whole,
        |out| start(folder.path(), &words(out)),
        |run| {
            n_kept += u32::from(run.join("training/1-fine_tune/checkpoint.safetensors").exists());
        },
    );
    lissom(folder.path(), &words(&out)).expect(0);
    assert!(results(folder.path(), &out) == expected, "the same bytes as undisturbed");
    assert!(n_kept > 0, "no kill came late enough to leave a checkpoint");
    let left = names(&folder.path().join(&out));
    assert!(!left.iter().any(|name| name.ends_with(".lissom-tmp")), "orphans are swept: {left:?}");
}

#[test]
fn the_number_of_threads_does_not_change_what_is_learnt() {
    let (folder, expected, _) = prepared();
    for threads in ["1", "2"] {
        let out = format!("threads-{threads}");
        lissom(folder.path(), &[&words(&out)[..], &["--threads", threads]].concat()).expect(0);
        assert!(results(folder.path(), &out) == expected, "{threads} threads");
    }
}

#[test]
fn an_interrupted_training_keeps_its_last_step_and_resumes() {
    let (folder, expected, _) = prepared();
    let child = start(folder.path(), &words("stopped"));
    let checkpoint = folder.path().join("stopped/training/1-fine_tune/checkpoint.safetensors");
    let started = Instant::now();
    while !checkpoint.exists() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    answer(Command::new("kill").args(["-INT", &child.id().to_string()]));
    let output = child.wait_with_output().unwrap();
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(130) {
        assert!(messages.contains("lissom resume stopped"), "{messages}");
        lissom(folder.path(), &["resume", "stopped"]).expect(0);
    } else {
        println!("SKIPPED: the training was over before the signal came");
    }
    assert!(results(folder.path(), "stopped") == expected, "the same bytes as undisturbed");
}
