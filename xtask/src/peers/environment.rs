//! What measuring needs: Python with the peers in it, and the networks.

use std::path::PathBuf;
use std::process::Command;

use super::measure::Case;
use super::options::Options;
use crate::command::{root, run};
use crate::timing::set_up_python;

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
            None => set_up_python(&options.cache.join("venv"), "requirements.txt")?,
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
