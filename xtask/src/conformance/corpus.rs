//! Where the cases come from: the wheel onnx 1.22.0 on PyPI, the last with all node cases.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::SUITES;
use super::case::Case;

const WHEEL: &str = "onnx==1.22.0";

/// The folder with the cases; fetched once into the target folder.
pub(super) fn fetch() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/conformance");
    let data = folder.join("onnx/backend/test/data");
    if data.join("node").is_dir() {
        return Ok(data);
    }
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let path = folder.to_string_lossy().into_owned();
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"])
        .args(["--dest", &path, WHEEL]))?;
    let wheel = std::fs::read_dir(&folder)
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or("pip downloaded no wheel")?;
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&folder))?;
    Ok(data)
}

fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}")) }
}

/// All cases, sorted by name.
pub(super) fn cases(data: &Path) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    for (suite, _) in SUITES {
        let entries = std::fs::read_dir(data.join(suite)).map_err(|error| format!("{suite}: {error}"))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if suite == "light" {
                if path.extension().is_some_and(|extension| extension == "onnx") {
                    cases.push(Case { suite, model: path, folder: None });
                }
            } else {
                cases.push(Case { suite, model: path.join("model.onnx"), folder: Some(path) });
            }
        }
    }
    cases.sort_by_key(Case::name);
    Ok(cases)
}
