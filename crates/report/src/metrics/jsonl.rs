//! Metrics as JSON, one object a line: `{"step":12,"loss":0.53}`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::MetricsError;

/// The key every line begins with.
const STEP: &str = "step";

/// A log of metrics, open for appending.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsLine {
    /// The step the numbers belong to.
    pub step: u64,
    /// Names and numbers in the order written; NaN for what was NaN or infinite.
    pub values: Vec<(String, f64)>,
}

impl MetricsLog {
    /// Opens the log at `path` to continue after `last_step`: whole lines up to that step stay, everything from the first other line on
    /// is cut off. `None` starts anew.
    ///
    /// # Errors
    /// [`MetricsError::Io`].
    pub fn open(path: &Path, last_step: Option<u64>) -> Result<Self, MetricsError> {
        let kept = match last_step {
            Some(last) => kept_bytes(&bytes_of(path)?, last),
            None => 0,
        };
        let failed = || MetricsError::of("write", path);
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(failed())?;
        file.set_len(kept as u64).and_then(|()| file.sync_all()).map_err(failed())?;
        Ok(Self { path: path.into(), file })
    }

    /// Appends one line. NaN and infinity become `null`.
    ///
    /// # Errors
    /// [`MetricsError::ReservedName`] for a metric called `step`, [`MetricsError::Io`].
    pub fn append(&mut self, step: u64, values: &[(&str, f64)]) -> Result<(), MetricsError> {
        let mut line = Map::new();
        line.insert(STEP.into(), step.into());
        for &(name, value) in values {
            if name == STEP {
                return Err(MetricsError::ReservedName { name: name.into() });
            }
            line.insert(name.into(), value.into());
        }
        // One write a line: a killed process leaves whole lines, and at most one torn end.
        let text = format!("{}\n", Value::Object(line));
        self.file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.flush())
            .map_err(MetricsError::of("write", &self.path))
    }

    /// Waits until everything is on the disk, so that a checkpoint written next is never ahead of the log.
    ///
    /// # Errors
    /// [`MetricsError::Io`].
    pub fn sync(&self) -> Result<(), MetricsError> {
        self.file.sync_all().map_err(MetricsError::of("write", &self.path))
    }
}

/// Every whole line of a log; an absent file has none, and a torn end, left by a killed process, is skipped.
///
/// # Errors
/// [`MetricsError::Io`]; [`MetricsError::Damaged`] for a whole line that is none of a log.
pub fn read_metrics(path: &Path) -> Result<Vec<MetricsLine>, MetricsError> {
    let bytes = bytes_of(path)?;
    whole_lines(&bytes)
        .map(|(offset, line)| {
            let reason = "no object with a `step`".to_string();
            parse(line).ok_or_else(|| MetricsError::Damaged { path: path.into(), offset, reason })
        })
        .collect()
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, MetricsError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(MetricsError::of("read", path)),
    }
}

/// Lines that end, and where each begins.
fn whole_lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut next = 0;
    bytes.split_inclusive(|&byte| byte == b'\n').filter_map(move |line| {
        let offset = next;
        next += line.len();
        line.strip_suffix(b"\n").map(|line| (offset, line))
    })
}

fn parse(line: &[u8]) -> Option<MetricsLine> {
    let mut object: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let step = object.shift_remove(STEP)?.as_u64()?;
    let values = object.into_iter().map(|(name, value)| (name, value.as_f64().unwrap_or(f64::NAN))).collect();
    Some(MetricsLine { step, values })
}

/// How many bytes hold the lines up to `last_step`.
fn kept_bytes(bytes: &[u8], last_step: u64) -> usize {
    let is_kept = |line: &[u8]| parse(line).is_some_and(|line| line.step <= last_step);
    whole_lines(bytes)
        .take_while(|(_, line)| is_kept(line))
        .map(|(offset, line)| offset + line.len() + 1)
        .last()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_come_back_in_order_with_nan_for_what_is_no_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        assert_eq!(read_metrics(&path).unwrap(), []);
        let mut log = MetricsLog::open(&path, None).unwrap();
        log.append(0, &[("loss", 2.5), ("accuracy", 0.1)]).unwrap();
        log.append(1, &[("loss", f64::NAN)]).unwrap();
        log.sync().unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"step\":0,\"loss\":2.5,\"accuracy\":0.1}\n{\"step\":1,\"loss\":null}\n"
        );
        let lines = read_metrics(&path).unwrap();
        assert_eq!(lines[0].values, [("loss".to_string(), 2.5), ("accuracy".to_string(), 0.1)]);
        assert!(lines[1].step == 1 && lines[1].values[0].1.is_nan());
        assert!(matches!(log.append(2, &[("step", 1.0)]), Err(MetricsError::ReservedName { .. })));
        drop(MetricsLog::open(&path, None).unwrap());
        assert_eq!(read_metrics(&path).unwrap(), []);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, "{\"step\":0}\n[1]\n").unwrap();
        assert!(matches!(read_metrics(&path), Err(MetricsError::Damaged { offset: 11, .. })));
        drop(MetricsLog::open(&path, Some(9)).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"step\":0}\n");
        assert!(MetricsLog::open(folder.path(), None).is_err());
    }

    proptest! {
        /// Killed after any byte and continued after any step, the log ends as if nothing had happened.
        #[test]
        fn a_killed_log_is_continued(steps in 1u64..12, killed_at in 0.0f64..=1.0, checkpoint in 0u64..12) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("metrics.jsonl");
            let values = |step: u64| [("loss", 1.0 / (step + 1) as f64)];
            let mut log = MetricsLog::open(&path, None).unwrap();
            (0..steps).for_each(|step| log.append(step, &values(step)).unwrap());
            drop(log);
            let whole = fs::read(&path).unwrap();
            // What a checkpoint vouches for is on the disk.
            let checkpoint = checkpoint.min(steps - 1);
            let safe = kept_bytes(&whole, checkpoint);
            let killed_at = safe + ((whole.len() - safe) as f64 * killed_at) as usize;
            fs::write(&path, &whole[..killed_at]).unwrap();
            let read = read_metrics(&path).unwrap();
            prop_assert!(read.len() as u64 > checkpoint);
            let mut log = MetricsLog::open(&path, Some(checkpoint)).unwrap();
            (checkpoint + 1..steps).for_each(|step| log.append(step, &values(step)).unwrap());
            prop_assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }
}
