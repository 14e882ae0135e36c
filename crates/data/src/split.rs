//! Parts of a data set that lie in one folder.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The part of a data set to read, where a folder holds several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// To train and calibrate with.
    Train,
    /// To judge with.
    Test,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Test => "test",
        })
    }
}

/// Takes `#train` or `#test` off the end of a path, unless the path exists as it is.
pub(crate) fn split_suffix(path: &Path) -> (PathBuf, Option<Split>) {
    if path.exists() {
        return (path.into(), None);
    }
    let text = path.to_string_lossy();
    for split in [Split::Train, Split::Test] {
        if let Some(folder) = text.strip_suffix(&format!("#{split}")) {
            return (folder.into(), Some(split));
        }
    }
    (path.into(), None)
}
