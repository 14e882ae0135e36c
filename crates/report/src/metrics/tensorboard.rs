//! Event files of TensorBoard.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use prost::Message;

use super::event::{Event, HistogramProto, START, SessionLog, Summary, Value};
use super::{MetricsError, record};

/// The only version TensorBoard knows to hold sessions and steps.
const FILE_VERSION: &str = "brain.Event:2";
/// Buckets of a histogram.
const BUCKETS: usize = 64;

/// Writes one event file. Times are seconds since 1970 and the caller's, so that nothing here looks at a clock.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

/// One number of an event file.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// What it is: `loss/train`.
    pub tag: String,
    /// The step it belongs to.
    pub step: i64,
    /// Seconds since 1970.
    pub seconds: f64,
    /// The number.
    pub value: f32,
}

impl EventWriter {
    /// Creates the next event file in `folder`, `events.out.tfevents.SECONDS.lissom.N`, and the folder.
    ///
    /// `first_step` of a training that goes on makes TensorBoard drop that step and later ones of the older files.
    ///
    /// # Errors
    /// [`MetricsError::Io`].
    pub fn create(folder: &Path, seconds: f64, first_step: Option<i64>) -> Result<Self, MetricsError> {
        fs::create_dir_all(folder).map_err(MetricsError::of("create", folder))?;
        // Names sort by time, then by number: that is the order TensorBoard reads files in.
        let name = |number: u32| folder.join(format!("events.out.tfevents.{:010}.lissom.{number:03}", seconds as u64));
        let mut number = 0;
        let (path, file) = loop {
            let path = name(number);
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => break (path, file),
                Err(error) if error.kind() == ErrorKind::AlreadyExists && number < 999 => number += 1,
                Err(error) => return Err(MetricsError::of("create", &path)(error)),
            }
        };
        let mut writer = Self { path, file };
        writer.event(Event { wall_time: seconds, file_version: Some(FILE_VERSION.into()), ..Event::default() })?;
        if let Some(step) = first_step {
            let session_log = Some(SessionLog { status: START });
            writer.event(Event { wall_time: seconds, step, session_log, ..Event::default() })?;
        }
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends numbers of one step. Tags group by what stands before `/`.
    ///
    /// # Errors
    /// [`MetricsError::Io`].
    pub fn scalars(&mut self, step: i64, seconds: f64, values: &[(&str, f32)]) -> Result<(), MetricsError> {
        let value = |&(tag, value): &(&str, f32)| Value { tag: tag.into(), simple_value: Some(value), histo: None };
        self.summary(step, seconds, values.iter().map(value).collect())
    }

    /// Appends how `values` are spread, in 64 equal bins; NaN and infinity are left out.
    ///
    /// # Errors
    /// [`MetricsError::Io`].
    pub fn histogram(&mut self, step: i64, seconds: f64, tag: &str, values: &[f32]) -> Result<(), MetricsError> {
        let value = Value { tag: tag.into(), simple_value: None, histo: Some(histogram(values)) };
        self.summary(step, seconds, vec![value])
    }

    fn summary(&mut self, step: i64, seconds: f64, value: Vec<Value>) -> Result<(), MetricsError> {
        self.event(Event { wall_time: seconds, step, summary: Some(Summary { value }), ..Event::default() })
    }

    fn event(&mut self, event: Event) -> Result<(), MetricsError> {
        let mut bytes = Vec::new();
        record::append(&mut bytes, &event.encode_to_vec());
        self.file.write_all(&bytes).and_then(|()| self.file.flush()).map_err(MetricsError::of("write", &self.path))
    }
}

fn histogram(values: &[f32]) -> HistogramProto {
    let finite = || values.iter().filter(|value| value.is_finite()).map(|&value| f64::from(value));
    let (min, max) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if min > max {
        return HistogramProto::default();
    }
    let width = (max - min) / BUCKETS as f64;
    let mut bucket = vec![0.0; BUCKETS];
    for value in finite() {
        // All in the first if all are one value.
        let at = if width > 0.0 { ((value - min) / width) as usize } else { 0 };
        bucket[at.min(BUCKETS - 1)] += 1.0;
    }
    HistogramProto {
        min,
        max,
        num: finite().count() as f64,
        sum: finite().sum(),
        sum_squares: finite().map(|value| value * value).sum(),
        bucket_limit: (1..=BUCKETS).map(|at| if at == BUCKETS { max } else { min + width * at as f64 }).collect(),
        bucket,
    }
}

/// The numbers of an event file in the order written. An end torn by a killed process is skipped; what else TensorBoard's
/// files may hold is left out.
///
/// # Errors
/// [`MetricsError::Io`], [`MetricsError::Damaged`].
pub fn read_scalars(path: &Path) -> Result<Vec<Scalar>, MetricsError> {
    let bytes = fs::read(path).map_err(MetricsError::of("read", path))?;
    let (mut scalars, mut offset) = (Vec::new(), 0);
    loop {
        let damaged = |reason: String| MetricsError::Damaged { path: path.into(), offset, reason };
        let Some((data, len)) = record::first(&bytes[offset..]).map_err(|reason| damaged(reason.into()))? else {
            return Ok(scalars);
        };
        let event = Event::decode(data).map_err(|error| damaged(error.to_string()))?;
        for value in event.summary.into_iter().flat_map(|summary| summary.value) {
            if let Some(number) = value.simple_value {
                scalars.push(Scalar { tag: value.tag, step: event.step, seconds: event.wall_time, value: number });
            }
        }
        offset += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_a_torn_end_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(&folder.path().join("tensorboard"), 1000.5, None).unwrap();
        writer.scalars(0, 1001.0, &[("loss/train", 2.5), ("lr", 0.0)]).unwrap();
        writer.histogram(0, 1001.0, "weights", &[1.0, f32::NAN, 2.0]).unwrap();
        writer.scalars(7, 1002.0, &[("loss/train", f32::NAN)]).unwrap();
        let read = read_scalars(writer.path()).unwrap();
        assert_eq!(read.len(), 3);
        assert_eq!(read[1], Scalar { tag: "lr".into(), step: 0, seconds: 1001.0, value: 0.0 });
        assert!(read[2].value.is_nan() && read[2].step == 7);
        let mut bytes = fs::read(writer.path()).unwrap();
        fs::write(writer.path(), &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(read_scalars(writer.path()).unwrap().len(), 2);
        bytes[20] ^= 1;
        fs::write(writer.path(), &bytes).unwrap();
        assert!(matches!(read_scalars(writer.path()), Err(MetricsError::Damaged { offset: 0, .. })));
    }

    #[test]
    fn a_training_that_goes_on_writes_a_later_file() {
        let folder = tempfile::tempdir().unwrap();
        let first = EventWriter::create(folder.path(), 5.0, None).unwrap();
        let second = EventWriter::create(folder.path(), 5.9, Some(12)).unwrap();
        assert!(first.path() < second.path());
        assert_eq!(second.path().file_name().unwrap(), "events.out.tfevents.0000000005.lissom.001");
        let bytes = fs::read(second.path()).unwrap();
        let (version, len) = record::first(&bytes).unwrap().unwrap();
        assert_eq!(Event::decode(version).unwrap().file_version.unwrap(), FILE_VERSION);
        let (start, _) = record::first(&bytes[len..]).unwrap().unwrap();
        let start = Event::decode(start).unwrap();
        assert_eq!((start.step, start.session_log.unwrap().status), (12, START));
    }

    #[test]
    fn histograms_count_what_is_finite() {
        let values: Vec<f32> = (0..=64).map(|at| at as f32).chain([f32::INFINITY]).collect();
        let spread = histogram(&values);
        assert_eq!((spread.min, spread.max, spread.num, spread.sum), (0.0, 64.0, 65.0, 2080.0));
        assert_eq!((spread.bucket[0], spread.bucket[63], spread.bucket_limit[63]), (1.0, 2.0, 64.0));
        assert_eq!(spread.bucket.iter().sum::<f64>(), 65.0);
        let constant = histogram(&[3.0; 4]);
        assert_eq!((constant.bucket[0], constant.min, constant.max), (4.0, 3.0, 3.0));
        assert_eq!(histogram(&[f32::NAN]), HistogramProto::default());
    }
}
