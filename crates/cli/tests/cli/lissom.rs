//! Runs the binary under test and reads what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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
