//! Runs the binary under test and reads what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

/// What a process answered.
#[derive(Debug)]
pub struct Answer {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// The binary, to be run in `folder`.
pub fn command(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lissom"));
    command.current_dir(folder).args(words).env("NO_COLOR", "1");
    command
}

/// Runs the binary in `folder` to its end.
pub fn lissom(folder: &Path, words: &[&str]) -> Answer {
    answer(&mut command(folder, words))
}

/// Starts the binary in `folder`.
#[cfg(unix)]
pub fn start(folder: &Path, words: &[&str]) -> Child {
    command(folder, words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Starts a job in `killed-N` again and again and kills it at random moments of the time it takes undisturbed, `n_kills` times while it ran;
/// jobs that finish first are followed by one in the next folder. `seen` is shown each folder afterwards. Answers the name of the
/// folder that then holds what was begun last.
#[cfg(unix)]
pub fn killed(
    folder: &Path,
    n_kills: u32,
    whole: Duration,
    start: impl Fn(&str) -> Child,
    mut seen: impl FnMut(&Path),
) -> String {
    let mut random = std::process::id();
    println!("seed {random}, an undisturbed job takes {whole:?}");
    let (mut n_killed, mut n_finished) = (0, 0);
    while n_killed < n_kills {
        let out = format!("killed-{n_finished}");
        let mut child = start(&out);
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        std::thread::sleep(whole.mul_f64(f64::from(random >> 8) / f64::from(1 << 24)));
        n_killed += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let run = folder.join(&out);
        seen(&run);
        n_finished += u32::from(run.join("manifest.json").exists());
    }
    println!("{n_killed} kills, {n_finished} runs finished before");
    format!("killed-{n_finished}")
}

/// Runs a command to its end.
pub fn answer(command: &mut Command) -> Answer {
    let output = command.output().expect("the binary can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("everything printed is UTF-8");
    Answer { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

impl Answer {
    /// Asserts the exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Asserts the exit code and that stderr holds every one of `parts`.
    #[track_caller]
    pub fn refuses(self, code: i32, parts: &[&str]) -> Self {
        let answer = self.expect(code);
        for part in parts {
            assert!(answer.err.contains(part), "`{part}` is missing in:\n{}", answer.err);
        }
        assert!(answer.err.starts_with("error: ") || answer.err.contains("\nerror: "), "{}", answer.err);
        assert!(!answer.err.contains("panicked"), "{}", answer.err);
        answer
    }

    /// Stdout as the one JSON document it must be.
    #[track_caller]
    pub fn json(&self) -> Value {
        let document: Value = serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("stdout is not one document: {error}\n{}\n{}", self.out, self.err));
        assert_eq!(document["schema_version"], lissom_job::SCHEMA_VERSION, "{}", self.out);
        document
    }
}

/// All names in a folder and the folders in it, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            }
            names.push(entry.path().strip_prefix(folder).unwrap().display().to_string());
        }
    }
    names.sort();
    names
}

/// Asserts that no file in `folder` is one that was being written.
#[track_caller]
pub fn assert_nothing_half_written(folder: &Path) {
    let names = names(folder);
    assert!(!names.iter().any(|name| name.ends_with(".lissom-tmp")), "{names:?}");
    let finished = names.iter().any(|name| name.ends_with("manifest.json"));
    assert!(!finished, "a run that failed has no manifest: {names:?}");
}

/// The network that `lissom demo` carries, and its data, as `demo` lays them out.
pub struct Fashion {
    /// The network.
    pub model: String,
    /// Test images.
    pub test: String,
    /// Training images.
    pub training: String,
}

/// Laid out once for all tests, in the folder cargo keeps for that.
pub fn fashion() -> &'static Fashion {
    static FASHION: OnceLock<Fashion> = OnceLock::new();
    FASHION.get_or_init(|| {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fashion");
        fs::create_dir_all(&folder).unwrap();
        for (from, to) in [
            ("data.toml", "data.toml"),
            ("t10k-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
            ("t10k-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
            ("calibration-images-idx3-ubyte.gz", "train-images-idx3-ubyte.gz"),
            ("calibration-labels-idx1-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        ] {
            fs::copy(assets.join(from), folder.join(to)).unwrap();
        }
        Fashion {
            model: assets.join("fashion_resnet.onnx").display().to_string(),
            test: format!("{}#test", folder.display()),
            training: format!("{}#train", folder.display()),
        }
    })
}
