//! The last file of a run: what it ended in.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{FileError, MANIFEST, RunError, write_atomic};
use crate::{Digest, ExitCode};

/// What a finished run ended in. Holds no time and no place, so that equal runs have equal manifests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this file's form: 1.
    pub format: u32,
    /// The digest of the request.
    pub request: Digest,
    /// How it ended.
    pub outcome: Outcome,
    /// The files, sorted by name.
    pub outputs: Vec<Output>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All that was asked was done.
    Done,
    /// The job is complete, but a budget was not met.
    BudgetMissed,
}

impl Outcome {
    /// The code the process should end with.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Outcome::Done => ExitCode::Done,
            Outcome::BudgetMissed => ExitCode::BudgetMissed,
        }
    }
}

/// A file that a run wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Its path below the run folder, parts joined by `/`.
    pub name: String,
    /// Its size.
    pub n_bytes: u64,
    /// The hash of its contents.
    pub blake3: Digest,
}

impl Output {
    pub(super) fn of_file(name: &str, path: &Path) -> Result<Output, FileError> {
        let failed = |error| FileError::of("read", path, error);
        let blake3 = Digest::of_file(path).map_err(failed)?;
        let n_bytes = fs::metadata(path).map_err(failed)?.len();
        Ok(Output { name: name.to_string(), n_bytes, blake3 })
    }
}

impl Manifest {
    pub(super) fn new(request: Digest, outcome: Outcome, outputs: Vec<Output>) -> Manifest {
        Manifest { format: 1, request, outcome, outputs }
    }

    /// The manifest of a run folder, if there is one that can be read. It is not verified.
    ///
    /// # Errors
    /// If the file is there but cannot be read.
    pub fn read(dir: &Path) -> Result<Option<Manifest>, FileError> {
        let path = dir.join(MANIFEST);
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok().filter(|found: &Manifest| found.format == 1)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::of("read", &path, error)),
        }
    }

    /// The first output that is missing or has another hash than recorded.
    pub fn first_damaged(&self, dir: &Path) -> Option<&Output> {
        let is_damaged =
            |output: &&Output| Output::of_file(&output.name, &dir.join(&output.name)).ok().as_ref() != Some(*output);
        self.outputs.iter().find(is_damaged)
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), RunError> {
        let path = dir.join(MANIFEST);
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| RunError::BadRecord { path: path.clone(), reason: error.to_string() })?;
        Ok(write_atomic(&path, &bytes)?)
    }
}
