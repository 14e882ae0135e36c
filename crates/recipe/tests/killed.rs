//! What a run folder promises to the next process when one is killed, signalled, or out of space.
//!
//! Each test starts this same test binary again as a worker: the ignored tests below are those workers.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use lissom_recipe::run::{FileError, Input, Manifest, OpenOptions, Outcome, UnitKey};
use lissom_recipe::{Digest, ExitCode, Run, RunError, RunRequest, interrupt};

const DIR: &str = "LISSOM_TEST_RUN_DIR";
const N_UNITS: u32 = 24;
const UNIT_BYTES: usize = 300_000;

fn request() -> RunRequest {
    RunRequest::new(vec!["worker".into()], "1", 1).input("model", Input::new("m", Digest::of(b"m")))
}

fn key(number: u32) -> UnitKey {
    UnitKey::new(&format!("layer {number}"), &Digest::of(&number.to_le_bytes()), "{}", "1")
}

/// Bytes that differ from unit to unit and take a moment.
fn compute(number: u32) -> Vec<u8> {
    let mut state = u64::from(number) + 1;
    let mut step = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..UNIT_BYTES).map(|_| step()).collect()
}

/// The job: all units in order, then one output made of them, written in pieces, then the manifest.
fn work(run: &mut Run) -> Result<(), RunError> {
    if run.finished().is_some() {
        return Ok(());
    }
    let mut output = run.create("model.bin")?;
    for number in 0..N_UNITS {
        let bytes = run.unit(&key(number), || Ok::<_, RunError>(compute(number)))?;
        for piece in bytes.chunks(10_000) {
            output.write_all(piece).map_err(|error| FileError::of("write", Path::new("model.bin"), error))?;
        }
    }
    output.commit()?;
    run.finish(Outcome::Done, &["model.bin"])?;
    Ok(())
}

fn worker_dir() -> PathBuf {
    std::env::var_os(DIR).expect("started only by the tests of this file").into()
}

/// Ends the process as the command line would.
fn end(result: Result<(), RunError>) -> ! {
    let code = match result {
        Ok(()) => ExitCode::Done,
        Err(error) => {
            eprintln!("{error}\nhint: {}", error.hint().unwrap_or_default());
            error.exit_code()
        }
    };
    std::process::exit(code.code().into())
}

#[test]
#[ignore = "a process that other tests start"]
fn worker() {
    end(Run::open_or_create(&worker_dir(), &request()).and_then(|mut run| work(&mut run)))
}

/// Signals itself within unit 3, as often as told.
#[test]
#[ignore = "a process that other tests start"]
fn signalled_worker() {
    let signals = std::env::var("LISSOM_TEST_SIGNALS").unwrap_or_default();
    let result = || {
        let interrupt = interrupt::install().unwrap();
        let options = OpenOptions { interrupt, ..OpenOptions::default() };
        let run = Run::open(&worker_dir(), &request(), options)?;
        for number in 0..N_UNITS {
            run.unit(&key(number), || {
                if number == 3 {
                    for signal in signals.split_whitespace() {
                        signal_hook::low_level::raise(signal.parse().unwrap()).unwrap();
                    }
                }
                Ok::<_, RunError>(compute(number))
            })?;
        }
        Ok(())
    };
    end(result())
}

/// This binary, to run one of the workers above.
fn worker_command(worker: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([worker, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(DIR, dir).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Everything that is in a run folder, the log apart, must be whole.
fn assert_nothing_torn(dir: &Path) {
    if !dir.join("request.json").exists() {
        return;
    }
    if let Some(manifest) = Manifest::read(dir).unwrap() {
        assert!(manifest.first_damaged(dir).is_none(), "the manifest is written last");
    }
    let run = Run::open_or_create(dir, &request()).expect("the next process can go on");
    for number in 0..N_UNITS {
        let path = dir.join("units").join(key(number).digest().to_string());
        assert_eq!(path.exists(), run.stored_unit(&key(number)).is_some(), "unit {number} is torn");
    }
    let n_units = fs::read_dir(dir.join("units")).map_or(0, Iterator::count);
    assert!(n_units <= N_UNITS as usize, "orphans are swept");
    let output = dir.join("model.bin");
    if output.exists() {
        assert_eq!(fs::metadata(output).unwrap().len(), u64::from(N_UNITS) * UNIT_BYTES as u64);
    }
}

/// Runs to the end and returns the output and the manifest.
fn finish(dir: &Path) -> (Vec<u8>, Vec<u8>) {
    assert!(worker_command("worker", dir).status().unwrap().success());
    (fs::read(dir.join("model.bin")).unwrap(), fs::read(dir.join("manifest.json")).unwrap())
}

#[test]
fn thirty_kills_at_random_moments_tear_nothing_and_change_nothing() {
    const N_KILLS: u32 = 30;
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let expected = finish(&folder.path().join("undisturbed"));
    let whole_us = started.elapsed().as_micros() as u64;

    let mut random = u64::from(std::process::id());
    let mut attempt = 0;
    let mut n_killed = 0;
    let mut n_resumed = 0;
    let mut dir = folder.path().join("killed-0");
    println!("seed {random}, an undisturbed run takes {whole_us} µs");
    let mut longest_us = whole_us / 2;
    while n_killed < N_KILLS || n_resumed < N_KILLS / 3 {
        let mut child = worker_command("worker", &dir).spawn().unwrap();
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        std::thread::sleep(Duration::from_micros((random >> 33) % longest_us));
        // On a busy machine later kills come later, so that some work is always done in between.
        longest_us += whole_us / 100;
        let was_running = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_nothing_torn(&dir);
        n_killed += u32::from(was_running && !status.success());
        if dir.join("manifest.json").exists() {
            assert_eq!(finish(&dir), expected);
            attempt += 1;
            dir = folder.path().join(format!("killed-{attempt}"));
        } else {
            n_resumed += u32::from(dir.join("units").exists());
        }
    }
    assert_eq!(finish(&dir), expected);
    println!("{n_killed} kills, {n_resumed} of them with units to resume from, {} runs", attempt + 1);
}

fn exit_of(status: ExitStatus) -> ExitCode {
    let code = status.code().expect("ended by itself");
    *ExitCode::ALL.iter().find(|known| i32::from(known.code()) == code).expect("a documented code")
}

#[test]
#[cfg(unix)]
fn one_signal_finishes_the_unit_and_a_second_does_not() {
    const INT: &str = "2";
    const TERM: &str = "15";
    for (signals, code, unit_is_kept) in [
        (INT.to_string(), ExitCode::Interrupted, true),
        (TERM.to_string(), ExitCode::Terminated, true),
        (format!("{INT} {INT}"), ExitCode::Interrupted, false),
        (format!("{INT} {TERM}"), ExitCode::Terminated, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let status =
            worker_command("signalled_worker", folder.path()).env("LISSOM_TEST_SIGNALS", &signals).status().unwrap();
        assert_eq!(exit_of(status), code, "{signals}");
        let run = Run::open_or_create(folder.path(), &request()).unwrap();
        assert!(run.stored_unit(&key(2)).is_some());
        assert_eq!(run.stored_unit(&key(3)).is_some(), unit_is_kept, "{signals}");
        assert!(run.stored_unit(&key(4)).is_none());
    }
}

#[test]
fn a_second_process_is_told_to_try_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::open_or_create(folder.path(), &request()).unwrap();
    let status = worker_command("worker", folder.path()).status().unwrap();
    assert_eq!(exit_of(status), ExitCode::TryAgain);
    drop(run);
    finish(folder.path());
}

/// Runs the worker under a shell that first limits it, and returns its exit code and messages.
#[cfg(unix)]
fn limited(shell: &mut Command, script: &str, dir: &Path) -> (Option<i32>, String) {
    let worker = worker_command("worker", dir);
    shell.arg(script).arg("sh").arg(worker.get_program()).args(worker.get_args()).env(DIR, dir);
    let output = shell.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A limit on the size of files stands in for a full disk: writing fails in the middle.
#[test]
#[cfg(unix)]
fn a_file_that_does_not_fit_leaves_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    // 1,000 blocks of 512 (or 1,024) bytes: every unit fits, the output does not.
    let script = "trap '' XFSZ; ulimit -f 1000; exec \"$@\"";
    let (code, messages) = limited(Command::new("sh").arg("-c"), script, &dir);
    assert_eq!(code, Some(i32::from(ExitCode::Io.code())), "{messages}");
    assert!(messages.contains("no space to write"), "{messages}");
    assert!(!dir.join("model.bin").exists() && !dir.join("manifest.json").exists());
    assert_nothing_torn(&dir);
    finish(&dir);
}

/// A real full disk: 4 MB of memory mounted in a namespace of its own.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_nothing_half_written_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let disk = folder.path().join("disk");
    fs::create_dir_all(&disk).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=4m none '{disk}' || exit 99; \"$@\"; code=$?; \
         cp -r '{disk}/run' '{kept}' || exit 98; exit $code",
        disk = disk.display(),
        kept = kept.display(),
    );
    let mut shell = Command::new("unshare");
    shell.args(["--map-root-user", "--mount", "sh", "-c"]);
    let can_unshare = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).output();
    if !can_unshare.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: this machine does not allow `unshare --map-root-user --mount`");
        return;
    }
    let (code, messages) = limited(&mut shell, &script, &disk.join("run"));
    if code == Some(99) {
        println!("SKIPPED: this machine does not allow mounting a tmpfs: {messages}");
        return;
    }
    assert_eq!(code, Some(i32::from(ExitCode::Io.code())), "{messages}");
    assert!(messages.contains("no space to write"), "{messages}");
    assert!(messages.contains("make room"), "{messages}");
    assert!(!kept.join("model.bin").exists() && !kept.join("manifest.json").exists());
    assert_nothing_torn(&kept);
    assert!(fs::read_dir(kept.join("units")).unwrap().count() > 0, "what was done is kept");
    finish(&kept);
}
