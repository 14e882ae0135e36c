//! What a run folder promises, one process at a time.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use lissom_recipe::run::{
    AtomicFile, Existing, FileError, Manifest, OpenOptions, Outcome, RunState, UnitKey, next_run_dir, read_events,
    require_space, run_dir_for, sweep_orphans, write_atomic,
};
use lissom_recipe::{Digest, ExitCode, Interrupt, Run, RunError, RunRequest, run::Input};
use std::io::Write;

fn request() -> RunRequest {
    RunRequest::new(vec!["lissom".into(), "compress".into(), "m.onnx".into()], "0.1.0", 7)
        .input("model", Input::new("m.onnx", Digest::of(b"model")))
        .input("recipe", Input::new("int8", Digest::of(b"recipe")))
        .option("max-drop", 0.5)
}

fn key(number: u32) -> UnitKey {
    UnitKey::new(&format!("layer {number}"), &Digest::of(&number.to_le_bytes()), "{}", "0.1.0")
}

fn unit_path(dir: &Path, key: &UnitKey) -> PathBuf {
    dir.join("units").join(key.digest().to_string())
}

/// A unit that counts how often it is computed.
fn unit(run: &Run, key: &UnitKey, n_computed: &Cell<u32>) -> Result<Vec<u8>, RunError> {
    run.unit(key, || {
        n_computed.set(n_computed.get() + 1);
        Ok(b"result".repeat(1000))
    })
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn units_are_computed_once_and_kept_across_processes() {
    let folder = tempfile::tempdir().unwrap();
    let n_computed = Cell::new(0);
    let run = Run::open_or_create(folder.path(), &request()).unwrap();
    assert_eq!(*run.state(), RunState::Fresh);
    let first = unit(&run, &key(1), &n_computed).unwrap();
    assert_eq!(unit(&run, &key(1), &n_computed).unwrap(), first);
    drop(run);
    let run = Run::open_or_create(folder.path(), &request()).unwrap();
    assert_eq!(*run.state(), RunState::Resumed { n_units: 1 });
    assert_eq!(unit(&run, &key(1), &n_computed).unwrap(), first);
    assert_eq!(n_computed.get(), 1);
    unit(&run, &key(2), &n_computed).unwrap();
    assert_eq!(n_computed.get(), 2);
    run.discard_units().unwrap();
    assert!(run.stored_unit(&key(1)).is_none());
}

#[test]
fn a_unit_key_depends_on_all_its_parts() {
    let of =
        |label, input: &[u8], settings, version| *UnitKey::new(label, &Digest::of(input), settings, version).digest();
    let base = of("conv1", b"x", "{}", "1");
    for other in [
        of("conv2", b"x", "{}", "1"),
        of("conv1", b"y", "{}", "1"),
        of("conv1", b"x", "{a}", "1"),
        of("conv1", b"x", "{}", "2"),
    ] {
        assert_ne!(base, other);
    }
    assert_eq!(base, of("conv1", b"x", "{}", "1"));
}

#[test]
fn a_torn_or_changed_unit_is_computed_again() {
    let folder = tempfile::tempdir().unwrap();
    let n_computed = Cell::new(0);
    let run = Run::open_or_create(folder.path(), &request()).unwrap();
    let good = unit(&run, &key(1), &n_computed).unwrap();
    let path = unit_path(folder.path(), &key(1));
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[100] ^= 1;
    let longer = [whole.as_slice(), b"x"].concat();
    let damaged: Vec<&[u8]> =
        vec![b"", &whole[..3], &whole[..20], &whole[..45], &whole[..whole.len() - 1], &changed, &longer];
    for (number, bytes) in damaged.into_iter().enumerate() {
        fs::write(&path, bytes).unwrap();
        assert!(run.stored_unit(&key(1)).is_none());
        assert_eq!(unit(&run, &key(1), &n_computed).unwrap(), good);
        assert_eq!(n_computed.get(), number as u32 + 2);
    }
}

#[test]
fn the_error_of_a_unit_comes_back_and_nothing_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::open_or_create(folder.path(), &request()).unwrap();
    let failed = run.unit(&key(1), || Err(RunError::BadOutputName { name: "mine".into() }));
    assert!(matches!(failed, Err(RunError::BadOutputName { .. })));
    assert!(!folder.path().join("units").exists());
}

#[test]
fn a_finished_run_answers_the_same_request_and_only_that() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Run::open_or_create(folder.path(), &request()).unwrap();
    run.write("model.onnx", b"bytes").unwrap();
    run.write("figures/a.svg", b"<svg/>").unwrap();
    let manifest = run.finish(Outcome::BudgetMissed, &["model.onnx", "figures/a.svg", "model.onnx"]).unwrap();
    assert_eq!(manifest.outputs.len(), 2);
    assert_eq!(manifest.outputs[1].blake3, Digest::of(b"bytes"));
    assert_eq!(manifest.outcome.exit_code(), ExitCode::BudgetMissed);
    drop(run);

    // Another place of the same model, another number of threads: the same request.
    let mut again = request();
    again.command.push("--threads=3".into());
    again.inputs.get_mut("model").unwrap().name = "/elsewhere/m.onnx".into();
    let run = Run::open_or_create(folder.path(), &again).unwrap();
    assert_eq!(run.finished(), Some(&manifest));
    drop(run);

    let mut other = request().option("max-drop", 1.0);
    other.seed = 8;
    other.inputs.get_mut("model").unwrap().digest = Digest::of(b"other");
    other = other.input("data", Input::new("d.npz", Digest::of(b"data")));
    let error = Run::open_or_create(folder.path(), &other).unwrap_err();
    let RunError::Different { differences, .. } = &error else { panic!("{error}") };
    let what: Vec<&str> = differences.iter().map(|difference| difference.what.as_str()).collect();
    assert_eq!(what, ["data", "model", "option `max-drop`", "seed"]);
    assert_eq!(error.exit_code(), ExitCode::Usage);
    let message = error.to_string().replace(&folder.path().display().to_string(), "runs/m-01");
    insta::assert_snapshot!(message);
}

#[test]
fn force_starts_over_and_removes_only_what_the_run_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Run::open_or_create(folder.path(), &request()).unwrap();
    unit(&run, &key(1), &Cell::new(0)).unwrap();
    run.write("model.onnx", b"bytes").unwrap();
    run.finish(Outcome::Done, &["model.onnx"]).unwrap();
    drop(run);
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let mut other = request();
    other.seed = 8;
    let options = OpenOptions { existing: Existing::StartOver, ..OpenOptions::default() };
    let run = Run::open(folder.path(), &other, options).unwrap();
    assert_eq!(*run.state(), RunState::Fresh);
    assert_eq!(run.request().seed, 8);
    assert_eq!(names(folder.path()), ["events.jsonl", "lock", "notes.txt", "request.json"]);
}

#[test]
fn a_changed_output_makes_the_run_unfinished() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Run::open_or_create(folder.path(), &request()).unwrap();
    run.write("model.onnx", b"bytes").unwrap();
    run.finish(Outcome::Done, &["model.onnx"]).unwrap();
    drop(run);
    for damage in [Some(b"byteS".as_slice()), None] {
        match damage {
            Some(bytes) => fs::write(folder.path().join("model.onnx"), bytes).unwrap(),
            None => fs::remove_file(folder.path().join("model.onnx")).unwrap(),
        }
        let mut run = Run::open_or_create(folder.path(), &request()).unwrap();
        assert!(run.finished().is_none());
        assert!(!folder.path().join("manifest.json").exists());
        run.write("model.onnx", b"bytes").unwrap();
        run.finish(Outcome::Done, &["model.onnx"]).unwrap();
    }
    fs::write(folder.path().join("manifest.json"), "{").unwrap();
    assert!(Run::open_or_create(folder.path(), &request()).unwrap().finished().is_none());
}

#[test]
fn equal_runs_have_equal_manifests() {
    let bytes_of = || {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::open_or_create(folder.path(), &request()).unwrap();
        run.write("model.onnx", b"bytes").unwrap();
        run.finish(Outcome::Done, &["model.onnx"]).unwrap();
        fs::read(folder.path().join("manifest.json")).unwrap()
    };
    assert_eq!(bytes_of(), bytes_of());
}

#[test]
fn a_missing_output_cannot_be_committed() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Run::open_or_create(folder.path(), &request()).unwrap();
    let error = run.finish(Outcome::Done, &["model.onnx"]).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Io);
    assert!(Manifest::read(folder.path()).unwrap().is_none());
}

#[test]
fn outputs_stay_inside_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::open_or_create(folder.path(), &request()).unwrap();
    for name in ["", "..", "../x", "/etc/x", "a/../../x", "lock", "units/x", "manifest.json", "./x"] {
        let error = run.write(name, b"x").unwrap_err();
        assert!(matches!(error, RunError::BadOutputName { .. }), "{name}");
    }
}

#[test]
fn a_folder_in_use_says_by_whom_and_is_free_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::open_or_create(folder.path(), &request()).unwrap();
    let error = Run::open_or_create(folder.path(), &request()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::TryAgain);
    assert!(error.to_string().ends_with(&format!("is in use by process {}", std::process::id())), "{error}");
    drop(run);
    Run::open_or_create(folder.path(), &request()).unwrap();
}

#[test]
fn the_lock_of_a_dead_process_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("lock"), r#"{"pid":999999,"start_ticks":12}"#).unwrap();
    let run = Run::open_or_create(folder.path(), &request()).unwrap();
    let owner = fs::read_to_string(folder.path().join("lock")).unwrap();
    assert!(owner.contains(&std::process::id().to_string()), "{owner}");
    drop(run);
}

#[test]
fn a_folder_of_other_files_is_refused_and_untouched() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
    let error = Run::open_or_create(folder.path(), &request()).unwrap_err();
    assert!(matches!(&error, RunError::NotARun { found, .. } if found == "thesis.txt"), "{error}");
    assert_eq!(names(folder.path()), ["thesis.txt"]);
}

#[test]
fn a_request_file_changed_by_hand_is_named() {
    let folder = tempfile::tempdir().unwrap();
    drop(Run::open_or_create(folder.path(), &request()).unwrap());
    fs::write(folder.path().join("request.json"), "{\"seed\": 3}").unwrap();
    let error = Run::open_or_create(folder.path(), &request()).unwrap_err();
    assert!(matches!(error, RunError::BadRecord { .. }), "{error}");
    assert_eq!(error.exit_code(), ExitCode::BadInput);
}

#[test]
fn the_log_goes_on_after_a_torn_line() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("events.jsonl");
    let run = Run::open_or_create(folder.path(), &request()).unwrap();
    run.event("step", serde_json::json!({ "method": "magnitude" })).unwrap();
    drop(run);
    let whole = fs::read(&log).unwrap();
    for cut in [1, 5, 40] {
        let mut torn = whole.clone();
        torn.extend_from_slice(&whole[..cut]);
        fs::write(&log, &torn).unwrap();
        assert_eq!(read_events(&log).unwrap().len(), 2, "torn line is skipped");
        drop(Run::open_or_create(folder.path(), &request()).unwrap());
        let events = read_events(&log).unwrap();
        let numbers: Vec<u64> = events.iter().map(|event| event.number).collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(events[1].event, "step");
        assert_eq!(events[1].data["method"], "magnitude");
        assert_eq!(events[2].data["state"], "resumed");
    }
    // A last line that lacks only its line break may be whole or not; it is dropped.
    fs::write(&log, &whole[..whole.len() - 1]).unwrap();
    drop(Run::open_or_create(folder.path(), &request()).unwrap());
    assert_eq!(read_events(&log).unwrap().len(), 2);
    assert!(read_events(&folder.path().join("absent")).unwrap().is_empty());
}

#[test]
fn an_interrupt_stops_before_the_next_unit_but_stored_ones_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let interrupt = Interrupt::new();
    let options = OpenOptions { interrupt: interrupt.clone(), ..OpenOptions::default() };
    let run = Run::open(folder.path(), &request(), options).unwrap();
    let n_computed = Cell::new(0);
    let first = run.unit(&key(1), || {
        interrupt.raise(ExitCode::Terminated);
        Ok::<_, RunError>(b"first".to_vec())
    });
    assert_eq!(first.unwrap(), b"first", "the unit under way is finished");
    let error = unit(&run, &key(2), &n_computed).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Terminated);
    assert_eq!(unit(&run, &key(1), &n_computed).unwrap(), b"first");
    assert_eq!(n_computed.get(), 0);
}

#[test]
fn orphans_are_swept_at_open() {
    let folder = tempfile::tempdir().unwrap();
    drop(Run::open_or_create(folder.path(), &request()).unwrap());
    fs::create_dir_all(folder.path().join("units")).unwrap();
    fs::create_dir_all(folder.path().join("figures")).unwrap();
    for name in [".model.onnx.12-0.lissom-tmp", "units/.abc.12-1.lissom-tmp", "figures/.a.svg.12-2.lissom-tmp"] {
        fs::write(folder.path().join(name), "torn").unwrap();
    }
    drop(Run::open_or_create(folder.path(), &request()).unwrap());
    assert_eq!(sweep_orphans(folder.path()).unwrap(), 0);
    assert_eq!(names(folder.path()), ["events.jsonl", "figures", "lock", "request.json", "units"]);
    assert!(names(&folder.path().join("units")).is_empty());
}

#[test]
fn a_file_appears_at_commit_and_an_abandoned_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bin");
    write_atomic(&path, b"old").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(&vec![1; 200_000]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    drop(file);
    assert_eq!(names(folder.path()), ["a.bin"]);
    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(b"new").unwrap();
    file.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["a.bin"]);
}

#[test]
fn what_is_no_file_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let error = write_atomic(folder.path(), b"x").unwrap_err();
    assert!(matches!(error, FileError::NotAFile { .. }), "{error}");
    #[cfg(unix)]
    assert!(matches!(write_atomic(Path::new("/dev/null"), b"x"), Err(FileError::NotAFile { .. })));
    assert!(matches!(write_atomic(Path::new(""), b"x"), Err(FileError::NotAFile { .. })));
}

/// Root ignores permissions, so the folder that cannot be written is one below a file.
#[test]
fn a_folder_that_cannot_be_written_is_an_io_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = Run::open_or_create(&file.join("run"), &request()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Io);
    assert!(error.to_string().contains("file/run"), "{error}");
    assert_eq!(error.hint().as_deref(), Some("a part of the path is a file, not a folder"));
    let error = write_atomic(&file.join("a.bin"), b"x").unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Io);
    assert!(error.to_string().contains("a.bin"), "{error}");
    let error = Run::open_or_create(&file, &request()).unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Io);
}

#[test]
fn more_than_the_disk_holds_is_refused_before_writing() {
    let folder = tempfile::tempdir().unwrap();
    let error = require_space(&folder.path().join("huge.onnx"), 1 << 60).unwrap_err();
    assert!(matches!(error, FileError::TooLittleSpace { needed_bytes, .. } if needed_bytes > 1 << 60), "{error}");
    assert!(error.hint().unwrap().contains("make room"));
    require_space(&folder.path().join("small.onnx"), 1).unwrap();
}

#[test]
fn run_folders_are_numbered_and_the_same_request_finds_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("runs");
    let first = run_dir_for(&root, "resnet20", &request()).unwrap();
    assert_eq!(first, root.join("resnet20-01"));
    drop(Run::open_or_create(&first, &request()).unwrap());
    assert_eq!(run_dir_for(&root, "resnet20", &request()).unwrap(), first);
    let mut other = request();
    other.seed = 8;
    assert_eq!(run_dir_for(&root, "resnet20", &other).unwrap(), root.join("resnet20-02"));
    fs::create_dir(root.join("resnet20-99")).unwrap();
    fs::create_dir(root.join("resnet20-x")).unwrap();
    assert_eq!(next_run_dir(&root, "resnet20").unwrap(), root.join("resnet20-100"));
    assert_eq!(next_run_dir(&root, "../a b").unwrap(), root.join("-a-b-01"));
    assert_eq!(next_run_dir(&root, "").unwrap(), root.join("run-01"));
}

#[test]
fn threads_share_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::open_or_create(folder.path(), &request()).unwrap();
    let results: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let work = |number: u32| run.unit(&key(number % 3), || Ok::<_, RunError>(vec![(number % 3) as u8; 5000]));
        let threads: Vec<_> = (0..12).map(|number| scope.spawn(move || work(number).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (number, bytes) in results.iter().enumerate() {
        assert_eq!(*bytes, vec![(number % 3) as u8; 5000]);
    }
    let events = read_events(&folder.path().join("events.jsonl")).unwrap();
    assert_eq!(events.len(), 13);
    assert!(events.iter().enumerate().all(|(at, event)| event.number == at as u64));
}

/// The words of every way a run can fail, for review.
#[test]
fn every_message_says_what_to_do() {
    let path = || PathBuf::from("runs/m-01/model.onnx");
    let dir = || PathBuf::from("runs/m-01");
    let io = |kind: std::io::ErrorKind| std::io::Error::from(kind);
    let file = |kind| RunError::File(FileError::of("write", &path(), io(kind)));
    let too_little = FileError::TooLittleSpace { path: path(), needed_bytes: 5_000_000, available_bytes: 4096 };
    let interrupt = Interrupt::new();
    interrupt.raise(ExitCode::Interrupted);
    let owner = serde_json::from_str(r#"{"pid":4711,"start_ticks":12}"#).unwrap();
    let errors = [
        file(std::io::ErrorKind::StorageFull),
        RunError::File(too_little),
        file(std::io::ErrorKind::ReadOnlyFilesystem),
        file(std::io::ErrorKind::PermissionDenied),
        file(std::io::ErrorKind::NotADirectory),
        file(std::io::ErrorKind::NotFound),
        file(std::io::ErrorKind::Interrupted),
        RunError::File(FileError::NotAFile { path: path() }),
        RunError::Locked { dir: dir(), owner: Some(owner) },
        RunError::Locked { dir: dir(), owner: None },
        RunError::NotARun { dir: dir(), found: "thesis.txt".into() },
        RunError::BadRecord { path: dir().join("request.json"), reason: "expected value at line 1".into() },
        RunError::BadOutputName { name: "../x".into() },
        RunError::Interrupted(interrupt.check().unwrap_err()),
    ];
    let shown = errors.iter().map(|error| {
        let hint = error.hint().unwrap_or_else(|| "none".into());
        format!("{error}\nhint: {hint}\nexit: {}\n", error.exit_code())
    });
    insta::assert_snapshot!(shown.collect::<Vec<_>>().join("\n"));
}
