//! Folders that cannot be written, and folders that hold something else.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::lissom::{Answer, answer, assert_nothing_half_written, command, fashion, lissom, names};
use crate::models::{N_IN, numbers, save_data, tiny};

const RECIPE: &str = "[[step]]\nmethod = \"magnitude\"\nsparsity = 0.5\n";

fn words(out: &str) -> [&str; 10] {
    ["compress", "tiny.onnx", "--recipe", "r.toml", "--eval-data", "test.npz", "--bench-seconds", "0", "--out", out]
}

#[test]
fn a_folder_below_a_file_is_refused() {
    let folder = tiny();
    fs::write(folder.path().join("r.toml"), RECIPE).unwrap();
    let before = names(folder.path());
    lissom(folder.path(), &words("test.npz/run")).refuses(74, &["test.npz/run", "is a file, not a folder"]);
    lissom(folder.path(), &words("test.npz")).refuses(74, &["`test.npz`", "hint: "]);
    let run = ["run", "tiny.onnx", "--input", "train.npz", "--output"];
    lissom(folder.path(), &[&run[..], &["test.npz/y.npz"]].concat()).refuses(74, &["test.npz/y.npz"]);
    lissom(folder.path(), &[&run[..], &["absent/y.npz"]].concat()).refuses(74, &["absent/y.npz", "hint: "]);
    lissom(folder.path(), &[&run[..], &["."]].concat()).refuses(74, &["not a regular file", "hint: "]);
    lissom(folder.path(), &["demo", "--out", "test.npz"]).refuses(74, &["test.npz", "hint: "]);
    assert_eq!(names(folder.path()), before);
}

#[test]
fn a_folder_that_holds_other_things_is_left_alone() {
    let folder = tiny();
    fs::write(folder.path().join("r.toml"), RECIPE).unwrap();
    fs::create_dir(folder.path().join("photos")).unwrap();
    fs::write(folder.path().join("photos/cat.jpg"), "cat").unwrap();
    lissom(folder.path(), &words("photos")).refuses(2, &["`photos`", "cat.jpg", "hint: choose a new or empty folder"]);
    assert_eq!(names(&folder.path().join("photos")), ["cat.jpg"]);
}

#[test]
fn another_job_in_the_same_folder_is_refused_unless_forced() {
    let folder = tiny();
    fs::write(folder.path().join("r.toml"), RECIPE).unwrap();
    lissom(folder.path(), &words("run")).expect(0);
    let half = fs::read(folder.path().join("run/model.onnx")).unwrap();
    fs::write(folder.path().join("r.toml"), RECIPE.replace("0.5", "0.75")).unwrap();
    lissom(folder.path(), &words("run")).refuses(2, &["another request", "recipe", "--force"]);
    assert_eq!(fs::read(folder.path().join("run/model.onnx")).unwrap(), half);
    lissom(folder.path(), &[&words("run")[..], &["--force"]].concat()).expect(0);
    assert_ne!(fs::read(folder.path().join("run/model.onnx")).unwrap(), half);
}

/// Runs the binary in a mount namespace of its own, in which `disk` is a small tmpfs. `None` where that is not allowed.
fn on_small_disk(folder: &Path, options: &str, words: &[&str]) -> Option<Answer> {
    let disk = folder.join("disk");
    let kept = folder.join("kept");
    fs::create_dir_all(&disk).unwrap();
    let script = format!(
        "mount -t tmpfs -o {options} none '{disk}' || exit 99; \"$@\"; code=$?; cp -a '{disk}' '{kept}'; exit $code",
        disk = disk.display(),
        kept = kept.display(),
    );
    let lissom = command(folder, words);
    let mut shell = Command::new("unshare");
    shell.current_dir(folder).args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"]);
    shell.arg(lissom.get_program()).args(lissom.get_args());
    let allowed = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).output();
    let result = allowed.is_ok_and(|output| output.status.success()).then(|| answer(&mut shell));
    let result = result.filter(|answer| answer.code != Some(99));
    if result.is_none() {
        println!("SKIPPED: this machine does not allow `unshare --map-root-user --mount` with a tmpfs");
    }
    result
}

#[test]
fn a_read_only_disk_is_named() {
    let folder = tiny();
    fs::write(folder.path().join("r.toml"), RECIPE).unwrap();
    let Some(answer) = on_small_disk(folder.path(), "ro,size=4m", &words("disk/run")) else { return };
    answer.refuses(74, &["disk/run", "read-only", "choose a folder that can be written"]);
    assert!(names(&folder.path().join("kept")).is_empty());
}

#[test]
fn a_full_disk_leaves_nothing_half_written_and_the_run_goes_on_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("r.toml"), RECIPE).unwrap();
    let fashion = fashion();
    let words = ["compress", &fashion.model, "--recipe", "r.toml", "--eval-data", &fashion.test, "--eval-samples"];
    let words = [&words[..], &["50", "--bench-seconds", "0", "--out", "disk/run"]].concat();
    let Some(answer) = on_small_disk(folder.path(), "size=1700k", &words) else { return };
    answer.refuses(74, &["no space to write", "make room"]);
    let kept = folder.path().join("kept");
    assert_nothing_half_written(&kept);
    assert!(!kept.join("run/model.onnx").exists());
    assert!(kept.join("run/units").read_dir().unwrap().count() > 0, "what was done is kept");
    // The same run with room.
    fs::remove_dir(folder.path().join("disk")).unwrap();
    fs::rename(&kept, folder.path().join("disk")).unwrap();
    lissom(folder.path(), &words).expect(0);
    assert!(folder.path().join("disk/run/model.onnx").is_file());
}

#[test]
fn results_do_not_replace_anything_when_they_cannot_be_computed() {
    let folder = tiny();
    fs::write(folder.path().join("y.npz"), "precious").unwrap();
    save_data(&folder.path().join("bad.npz"), numbers(9, 1), 9, None);
    lissom(folder.path(), &["run", "tiny.onnx", "--input", "bad.npz", "--output", "y.npz"]).expect(65);
    assert_eq!(fs::read(folder.path().join("y.npz")).unwrap(), b"precious");
    save_data(&folder.path().join("good.npz"), numbers(N_IN, 1), N_IN, None);
    lissom(folder.path(), &["run", "tiny.onnx", "--input", "good.npz", "--output", "y.npz"]).expect(0);
    assert_ne!(fs::read(folder.path().join("y.npz")).unwrap(), b"precious");
}
