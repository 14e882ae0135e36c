//! One process at a time owns a run folder.
//!
//! The lock is the operating system's on the open file `lock`, so it ends with the process, however
//! that ends. The file also names the process, for people, and for file systems without locks.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{FileError, LOCK, RunError};

/// The process that owns a run folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its number.
    pub pid: u32,
    /// When it began, in the system's own ticks, where the system tells: tells it from a later
    /// process of the same number.
    pub start_ticks: Option<u64>,
}

impl Owner {
    /// This process.
    fn this_process() -> Owner {
        let pid = std::process::id();
        Owner { pid, start_ticks: start_ticks(pid) }
    }

    /// Whether the process may still be there. Where that cannot be found out, it may.
    fn may_be_alive(&self) -> bool {
        let can_tell = start_ticks(std::process::id()).is_some();
        !can_tell || start_ticks(self.pid) == self.start_ticks
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)
    }
}

/// Field 22 of `/proc/PID/stat`, counted after the command's closing bracket.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

/// Held while the folder is owned.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of `dir`; a lock whose process is dead is taken over.
    pub fn acquire(dir: &Path) -> Result<Lock, RunError> {
        let path = dir.join(LOCK);
        let failed = |error: io::Error| FileError::of("lock", &path, error);
        // Not truncated at opening: until the lock is held it is the owner's file.
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed)?;
        let locked = || RunError::Locked { dir: dir.to_path_buf(), owner: read_owner(&path) };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked()),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                let this = Owner::this_process();
                let other = read_owner(&path).filter(|owner| *owner != this);
                if other.is_some_and(|owner| owner.may_be_alive()) {
                    return Err(locked());
                }
            }
            Err(TryLockError::Error(error)) => return Err(failed(error).into()),
        }
        write_owner(&mut file).map_err(failed)?;
        Ok(Lock { file })
    }
}

impl Drop for Lock {
    /// The file stays: removing it would let two processes hold locks on two files of one name.
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

fn write_owner(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    let line = serde_json::to_string(&Owner::this_process())?;
    writeln!(file, "{line}")
}

fn read_owner(path: &Path) -> Option<Owner> {
    let mut text = String::new();
    File::open(path).ok()?.take(1000).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
