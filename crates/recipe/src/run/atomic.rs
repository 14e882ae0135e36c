//! Files that appear whole or not at all: a temporary file beside the target, fsync, rename, fsync of the folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ExitCode;

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The disk, or the space this process may use, is full.
    #[error("no space to write `{}`", path.display())]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The disk has too little room, found before writing.
    #[error("no space to write `{}`: {needed_bytes} bytes are needed, {available_bytes} are free", path.display())]
    TooLittleSpace {
        /// The file.
        path: PathBuf,
        /// What it takes, with a reserve.
        needed_bytes: u64,
        /// What is there.
        available_bytes: u64,
    },
    /// The file system is mounted read-only.
    #[error("cannot {action} `{}`: the file system is read-only", path.display())]
    ReadOnly {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The target is a folder or a device, which a rename must not replace.
    #[error("cannot write `{}`: it is not a regular file", path.display())]
    NotAFile {
        /// The target.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl FileError {
    /// Sorts the system's error by its kind. `action` is a verb: `write`.
    pub fn of(action: &'static str, path: &Path, source: io::Error) -> FileError {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let path = path.to_path_buf();
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => FileError::NoSpace { path, source },
            ReadOnlyFilesystem => FileError::ReadOnly { action, path, source },
            _ => FileError::Io { action, path, source },
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            FileError::NoSpace { .. } | FileError::TooLittleSpace { .. } => {
                "make room or choose another folder; the same command then goes on from here"
            }
            FileError::ReadOnly { .. } => "choose a folder that can be written",
            FileError::NotAFile { .. } => "choose the name of a new or ordinary file",
            FileError::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => "choose a folder you may write to",
                io::ErrorKind::NotADirectory => "a part of the path is a file, not a folder",
                io::ErrorKind::AlreadyExists => "a file of this name is in the way; choose another name",
                io::ErrorKind::NotFound => "check the path",
                _ => return None,
            },
        };
        Some(hint.to_string())
    }

    /// Always [`ExitCode::Io`].
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::Io
    }
}

/// Left free beside what is written, so that the log and the manifest still fit.
const RESERVE_BYTES: u64 = 1 << 20;

/// Checks that `n_bytes` and a small reserve fit on the disk of `path`.
///
/// # Errors
/// [`FileError::TooLittleSpace`]. A disk that does not say how full it is passes.
pub fn require_space(path: &Path, n_bytes: u64) -> Result<(), FileError> {
    let parent = folder_of(path);
    let Ok(available_bytes) = fs4::available_space(parent) else {
        return Ok(());
    };
    let needed_bytes = n_bytes.saturating_add(RESERVE_BYTES);
    if available_bytes >= needed_bytes {
        return Ok(());
    }
    Err(FileError::TooLittleSpace { path: path.to_path_buf(), needed_bytes, available_bytes })
}

/// Writes `bytes` to `path` so that at any moment the file is the old one or the new one, whole.
///
/// # Errors
/// If there is no space or the folder cannot be written; the old file is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    require_space(path, bytes.len() as u64)?;
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|error| FileError::of("write", path, error))?;
    file.commit()
}

/// A file being written under a temporary name; [`AtomicFile::commit`] gives it its own.
/// Dropped before that, it leaves nothing.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    /// None once committed.
    writer: Option<BufWriter<File>>,
}

const TEMPORARY_SUFFIX: &str = ".lissom-tmp";
static N_CREATED: AtomicU64 = AtomicU64::new(0);

impl AtomicFile {
    /// Begins a file that will be at `path`.
    ///
    /// # Errors
    /// If the folder cannot be written, or `path` is a folder or a device.
    pub fn create(path: &Path) -> Result<AtomicFile, FileError> {
        let name = path.file_name().unwrap_or_default();
        let kind = fs::symlink_metadata(path).map(|metadata| metadata.file_type());
        if name.is_empty() || kind.is_ok_and(|kind| !kind.is_file() && !kind.is_symlink()) {
            return Err(FileError::NotAFile { path: path.to_path_buf() });
        }
        let number = N_CREATED.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let temporary = format!(".{}.{process}-{number}{TEMPORARY_SUFFIX}", name.to_string_lossy());
        let temporary = folder_of(path).join(temporary);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)
            .map_err(|error| FileError::of("write", path, error))?;
        let writer = Some(BufWriter::with_capacity(1 << 16, file));
        Ok(AtomicFile { path: path.to_path_buf(), temporary, writer })
    }

    /// Gives the file its name, once its bytes are on the disk.
    ///
    /// # Errors
    /// If they cannot be brought there; nothing is left then.
    pub fn commit(mut self) -> Result<(), FileError> {
        let result = self.try_commit();
        result.map_err(|error| FileError::of("write", &self.path, error))
    }

    fn try_commit(&mut self) -> io::Result<()> {
        if let Some(writer) = self.writer.take() {
            let file = writer.into_inner().map_err(|error| error.into_error());
            let renamed = file.and_then(|file| {
                file.sync_all()?;
                drop(file);
                fs::rename(&self.temporary, &self.path)
            });
            if let Err(error) = renamed {
                // Best effort: what stays behind is swept when the folder is next opened.
                let _ = fs::remove_file(&self.temporary);
                return Err(error);
            }
            sync_folder(folder_of(&self.path))?;
        }
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open_writer()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open_writer()?.flush()
    }
}

impl AtomicFile {
    fn open_writer(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.writer.as_mut().ok_or_else(|| io::Error::other("the file is already committed"))
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            // Not flushed: the bytes are not wanted.
            drop(writer.into_parts());
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// The folder a file is in; `.` for a bare name.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes a rename durable. Systems that cannot open or sync a folder have no need of it.
fn sync_folder(folder: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    let Ok(opened) = File::open(folder) else {
        return Ok(());
    };
    match opened.sync_all() {
        Err(error) if !matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported) => Err(error),
        _ => Ok(()),
    }
}

/// How deep below a run folder outputs may lie.
const SWEEP_DEPTH: usize = 4;

/// Removes the temporary files that killed processes left in `dir` and the folders in it; returns how many.
/// Only for a folder that no other process writes to.
///
/// # Errors
/// If a folder cannot be listed or a file not removed.
pub fn sweep_orphans(dir: &Path) -> Result<usize, FileError> {
    sweep(dir, SWEEP_DEPTH)
}

fn sweep(dir: &Path, depth: usize) -> Result<usize, FileError> {
    let mut n_removed = 0;
    for entry in fs::read_dir(dir).map_err(|error| FileError::of("list", dir, error))? {
        let entry = entry.map_err(|error| FileError::of("list", dir, error))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(|error| FileError::of("read", &path, error))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if kind.is_file() && is_temporary(&name) {
            fs::remove_file(&path).map_err(|error| FileError::of("remove", &path, error))?;
            n_removed += 1;
        } else if kind.is_dir() && depth > 0 {
            n_removed += sweep(&path, depth - 1)?;
        }
    }
    Ok(n_removed)
}

/// Whether a file of this name is one that [`AtomicFile`] left.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX)
}
