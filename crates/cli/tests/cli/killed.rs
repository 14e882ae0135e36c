//! Jobs that are killed or interrupted go on where they were and end in the same bytes.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lissom::{answer, assert_nothing_half_written, fashion, killed, lissom, names, start};

const RECIPE: &str = "\
[[step]]
method = \"magnitude\"
sparsity = 0.5

[[step]]
method = \"fold_batch_norm\"

[[step]]
method = \"magnitude\"
sparsity = 0.6
allocate = \"lamp\"

[[step]]
method = \"quantize\"
scheme = \"W8A32\"
";

/// A job of a few units on the demo network.
fn words(out: &str) -> Vec<&str> {
    let fashion = fashion();
    let words = ["compress", &fashion.model, "--recipe", "r.toml", "--eval-data", &fashion.test, "--out", out];
    [&words[..], &["--eval-samples", "150", "--bench-seconds", "0", "--quiet"]].concat()
}

fn model(folder: &Path, out: &str) -> Vec<u8> {
    fs::read(folder.join(out).join("model.onnx")).unwrap()
}

/// A folder with the recipe, the undisturbed run in `whole`, and how long that took.
fn prepared() -> (tempfile::TempDir, Vec<u8>, Duration) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("r.toml"), RECIPE).unwrap();
    let started = Instant::now();
    lissom(folder.path(), &words("whole")).expect(0);
    let expected = model(folder.path(), "whole");
    (folder, expected, started.elapsed())
}

#[test]
fn killed_jobs_end_in_the_same_bytes() {
    let (folder, expected, whole) = prepared();
    let mut n_resumed = 0;
    let out = killed(
        folder.path(),
        12,
        whole,
        |out| start(folder.path(), &words(out)),
        |run| {
            if run.join("model.onnx").exists() {
                let out = run.file_name().unwrap().to_string_lossy();
                assert!(model(folder.path(), &out) == expected, "a model that is there is whole");
            }
            n_resumed += u32::from(run.join("units").exists());
        },
    );
    lissom(folder.path(), &words(&out)).expect(0);
    assert!(model(folder.path(), &out) == expected, "the same bytes as undisturbed");
    assert!(n_resumed > 0, "no kill came late enough to leave work");
    assert!(!names(&folder.path().join(&out)).iter().any(|name| name.ends_with(".lissom-tmp")), "orphans are swept");
}

#[test]
fn the_number_of_threads_does_not_change_the_bytes() {
    let (folder, expected, _) = prepared();
    for threads in ["1", "2", "3"] {
        let out = format!("threads-{threads}");
        lissom(folder.path(), &[&words(&out)[..], &["--threads", threads]].concat()).expect(0);
        assert!(model(folder.path(), &out) == expected, "{threads} threads");
    }
}

/// Signals a job once its first unit is stored; returns its exit code and messages, or `None` if it was too fast.
fn signalled(folder: &Path, out: &str, signal: &str) -> Option<(i32, String)> {
    let child = start(folder, &words(out));
    let units = folder.join(out).join("units");
    let started = Instant::now();
    while fs::read_dir(&units).map_or(0, Iterator::count) == 0 && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    answer(Command::new("kill").args([signal, &child.id().to_string()]));
    let output = child.wait_with_output().unwrap();
    let is_finished = folder.join(out).join("manifest.json").exists();
    let code = output.status.code().expect("the job ends by itself");
    (!is_finished).then(|| (code, String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn interrupted_jobs_name_the_command_that_resumes_them() {
    let (folder, expected, _) = prepared();
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let tries = (0..5).map(|n| format!("run{signal}-{n}"));
        let stopped = tries.into_iter().find_map(|out| Some((signalled(folder.path(), &out, signal)?, out)));
        let ((found, messages), out) = stopped.expect("one of five signals comes before the end");
        assert_eq!(found, code, "{messages}");
        assert!(messages.contains(&format!("lissom resume {out}")), "{messages}");
        assert_nothing_half_written(&folder.path().join(&out));
        let resumed = lissom(folder.path(), &["resume", &out]).expect(0);
        assert!(resumed.err.contains("resuming: "), "{}", resumed.err);
        assert!(model(folder.path(), &out) == expected, "the same bytes as undisturbed");
    }
}

#[test]
fn a_second_process_is_told_to_try_again() {
    let (folder, _, _) = prepared();
    let mut first = start(folder.path(), &words("shared"));
    let lock = folder.path().join("shared/lock");
    while fs::metadata(&lock).map_or(0, |file| file.len()) == 0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    let second = lissom(folder.path(), &words("shared"));
    let was_running = first.try_wait().unwrap().is_none();
    first.kill().unwrap();
    first.wait().unwrap();
    if was_running {
        second.refuses(75, &["`shared` is in use by process", "hint: "]);
    } else {
        println!("SKIPPED: the first job ended before the second began");
    }
}
