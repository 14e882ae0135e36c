//! Files that grow while a network is trained: numbers by step.
//!
//! - [`MetricsLog`]: JSON, one object a line, for programs.
//! - [`EventWriter`]: an event file of TensorBoard, for eyes.
//!
//! Both are appended to, each write whole, so that a killed process leaves at most one torn end. A training that goes on from a
//! checkpoint takes back what was written after it: the log cuts those lines off, TensorBoard is told to drop those points.

mod event;
mod jsonl;
mod record;
mod tensorboard;

use std::io;
use std::path::{Path, PathBuf};

pub use jsonl::{MetricsLine, MetricsLog, read_metrics};
pub use tensorboard::{EventWriter, Scalar, read_scalars};

/// Why metrics could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The name of a metric is one that lines use themselves.
    #[error("a metric cannot be called `{name}`")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// The file is damaged, other than by an end that is missing.
    #[error("`{}`, byte {offset}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        offset: usize,
        /// What is wrong.
        reason: String,
    },
}

impl MetricsError {
    fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MetricsError {
        let path = path.to_path_buf();
        move |source| MetricsError::Io { action, path, source }
    }
}
