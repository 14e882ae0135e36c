//! Python for the peers, and the names of machine and version.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{root, run};

/// A Python with these packages of `benches/peers`, made where it is not there yet.
pub(crate) fn set_up_python(venv: &Path, requirements: &str) -> Result<PathBuf, String> {
    let python = venv.join("bin/python");
    let finished = venv.join("finished");
    if !finished.exists() {
        println!("setting up Python with the peers in `{}`: some minutes, once", venv.display());
        let hint = |error| format!("{error}\n  hint: sudo apt-get install -y python3-venv");
        run(Command::new("python3").args(["-m", "venv"]).arg(venv)).map_err(hint)?;
        let requirements = root().join("benches/peers").join(requirements);
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(requirements))?;
        std::fs::write(&finished, "").map_err(|error| format!("`{}`: {error}", finished.display()))?;
    }
    Ok(python)
}

/// Name of the CPU, with what of its instruction sets decides which kernels run.
pub(crate) fn cpu() -> String {
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
pub(crate) fn lissom_version() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(root()).output();
    let commit = output.ok().filter(|output| output.status.success());
    let commit = commit.map_or_else(String::new, |output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!("{} {commit}", env!("CARGO_PKG_VERSION")).trim_end().to_owned()
}

/// Today, in UTC.
pub(crate) fn date() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
