//! The log of a run: one JSON object a line, only ever appended to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::FileError;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts from 0 over the whole life of the folder.
    pub number: u64,
    /// What happened: `opened`, `unit`, `finished`.
    pub event: String,
    /// What does not depend on when or where it happened.
    pub data: serde_json::Value,
    /// When it happened.
    pub time: EventTime,
}

/// When something happened.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EventTime {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// Milliseconds since this process opened the run.
    pub elapsed_ms: u64,
}

/// Every whole line of a log. A torn last line, left by a killed process, is skipped.
///
/// # Errors
/// If the file is there but cannot be read; an absent log is empty.
pub fn read_events(path: &Path) -> Result<Vec<Event>, FileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(FileError::of("read", path, error)),
    };
    let lines = bytes.split(|&byte| byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// The log, open for appending.
#[derive(Debug)]
pub(super) struct EventLog {
    path: PathBuf,
    file: File,
    next: u64,
    opened: Instant,
}

impl EventLog {
    /// Opens the log and cuts off a torn last line.
    pub fn open(path: &Path) -> Result<EventLog, FileError> {
        let failed = |error| FileError::of("write", path, error);
        let next = read_events(path)?.last().map_or(0, |event| event.number + 1);
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
        let bytes = fs::read(path).map_err(failed)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(failed)?;
        }
        Ok(EventLog { path: path.to_path_buf(), file, next, opened: Instant::now() })
    }

    pub fn append(&mut self, event: &str, data: serde_json::Value) -> Result<(), FileError> {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time =
            EventTime { unix_ms: since_1970.as_millis() as u64, elapsed_ms: self.opened.elapsed().as_millis() as u64 };
        let event = Event { number: self.next, event: event.to_string(), data, time };
        let failed = |error| FileError::of("write", &self.path, error);
        let mut line = serde_json::to_vec(&event).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(failed)?;
        self.next += 1;
        Ok(())
    }
}
