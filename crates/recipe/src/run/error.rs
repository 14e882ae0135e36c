//! Why a run could not be opened, continued or finished.

use std::path::PathBuf;

use super::{FileError, Owner};
use crate::{ExitCode, Interrupted};

/// Why a run could not be opened, continued or finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process owns the folder.
    #[error("`{}` is in use by {}", dir.display(), owner.as_ref().map_or("another process".into(), Owner::to_string))]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// The process, if the lock file names it.
        owner: Option<Owner>,
    },
    /// The folder holds a run of another request.
    #[error("`{}` holds a run of another request: {}", dir.display(), list(differences))]
    Different {
        /// The folder.
        dir: PathBuf,
        /// What differs.
        differences: Vec<Difference>,
    },
    /// The folder holds files that are no run's.
    #[error("`{}` is not empty and not a run folder: it holds `{found}`", dir.display())]
    NotARun {
        /// The folder.
        dir: PathBuf,
        /// One of the files.
        found: String,
    },
    /// A file of the run was changed by someone else.
    #[error("`{}` was not written by this program: {reason}", path.display())]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        reason: String,
    },
    /// An output name that leaves the folder or is one of the run's own files.
    #[error("`{name}` cannot be the name of an output")]
    BadOutputName {
        /// The name.
        name: String,
    },
    /// A signal asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// One thing in which two requests differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `model`, `recipe`, `data`, `seed`, `version`, or an option's name.
    pub what: String,
    /// In the folder.
    pub was: String,
    /// As asked now.
    pub now: String,
}

fn list(differences: &[Difference]) -> String {
    let item = |d: &Difference| format!("the {} was {} and is now {}", d.what, d.was, d.now);
    differences.iter().map(item).collect::<Vec<_>>().join("; ")
}

impl RunError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            RunError::File(error) => return error.hint(),
            RunError::Locked { .. } => "wait for it to end, or stop it; then the same command goes on",
            RunError::Different { .. } => "choose another folder, or `--force` to start over in this one",
            RunError::NotARun { .. } => "choose a new or empty folder",
            RunError::BadRecord { .. } => "choose another folder, or `--force` to start over in this one",
            RunError::Interrupted(_) => "run the same command again to go on",
            RunError::BadOutputName { .. } => return None,
        };
        Some(hint.to_string())
    }

    /// The code the process should end with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            RunError::File(_) => ExitCode::Io,
            RunError::Locked { .. } => ExitCode::TryAgain,
            RunError::Different { .. } | RunError::NotARun { .. } => ExitCode::Usage,
            RunError::BadRecord { .. } => ExitCode::BadInput,
            RunError::BadOutputName { .. } => ExitCode::Bug,
            RunError::Interrupted(interrupted) => interrupted.exit_code,
        }
    }
}
