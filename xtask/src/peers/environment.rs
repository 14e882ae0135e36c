//! What measuring needs: Python with the peers in it, the networks, and the names of machine and version.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::measure::Case;
use super::options::Options;
use crate::command::{root, run};

/// Python, the scripts and the folder of networks.
pub(super) struct Environment {
    python: PathBuf,
    folder: PathBuf,
}

impl Environment {
    /// Finds Python, or sets one up with the pinned packages, which takes minutes, once.
    pub(super) fn prepare(options: &Options) -> Result<Self, String> {
        let cannot = |error: std::io::Error| format!("cannot create `{}`: {error}", options.cache.display());
        std::fs::create_dir_all(&options.cache).map_err(cannot)?;
        let python = match &options.python {
            Some(python) => python.clone(),
            None => set_up_python(&options.cache.join("venv"))?,
        };
        Ok(Self { python, folder: options.cache.clone() })
    }

    /// Makes the files that a case needs and that are not there yet.
    pub(super) fn make(&self, case: &Case) -> Result<(), String> {
        let files = case.files();
        let missing: Vec<&String> = files.iter().filter(|file| !self.folder.join(file).exists()).collect();
        if missing.is_empty() { Ok(()) } else { run(self.script("networks.py").arg(&self.folder).args(missing)) }
    }

    /// Where a file of the cache lies.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Python with a script of `benches/peers`.
    pub(super) fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(root().join("benches/peers").join(name));
        command
    }
}

fn set_up_python(venv: &Path) -> Result<PathBuf, String> {
    let python = venv.join("bin/python");
    let finished = venv.join("finished");
    if !finished.exists() {
        println!("setting up Python with the peers in `{}`: some minutes, once", venv.display());
        let hint = |error| format!("{error}\n  hint: sudo apt-get install -y python3-venv");
        run(Command::new("python3").args(["-m", "venv"]).arg(venv)).map_err(hint)?;
        let requirements = root().join("benches/peers/requirements.txt");
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(requirements))?;
        std::fs::write(&finished, "").map_err(|error| format!("`{}`: {error}", finished.display()))?;
    }
    Ok(python)
}

/// Name of the CPU, with what of its instruction sets decides which kernels run.
pub(super) fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key));
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    };
    let flags: Vec<&str> = value("flags").split(' ').collect();
    let sets = ["avx2", "avx512f", "avx512_vnni", "avx512vbmi", "avx512_bf16", "amx_int8"];
    let sets: Vec<&str> = sets.into_iter().filter(|set| flags.contains(set)).collect();
    format!("{}, family {} model {} ({})", value("model name"), value("cpu family"), value("model"), sets.join(" "))
}

/// Version and commit.
pub(super) fn lissom_version() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(root()).output();
    let commit = output.ok().filter(|output| output.status.success());
    let commit = commit.map_or_else(String::new, |output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!("{} {commit}", env!("CARGO_PKG_VERSION")).trim_end().to_owned()
}

/// Today, in UTC.
pub(super) fn date() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
