//! What a step that trains leaves in the run folder: checkpoint, metrics, event files; and the curves they make.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use lissom_recipe::Run;
use lissom_recipe::run::FileError;
use lissom_report::metrics::{EventWriter, MetricsLine, MetricsLog, read_metrics};
use lissom_report::{Curve, Series, Unit};
use lissom_train::{Moment, Watch, WatchError};

use crate::JobError;

/// Metrics of a training, one JSON object a line.
const METRICS: &str = "metrics.jsonl";
/// Folder of event files.
const TENSORBOARD: &str = "tensorboard";
/// What a training goes on from.
const CHECKPOINT: &str = "checkpoint.safetensors";

/// The folder of one step's training.
#[derive(Debug)]
pub(super) struct StepFolder {
    dir: PathBuf,
    logs: Mutex<Option<Logs>>,
}

#[derive(Debug)]
struct Logs {
    metrics: MetricsLog,
    events: EventWriter,
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

impl StepFolder {
    /// The folder of the step at `index`, made if it is not there.
    pub(super) fn create(run: &Run, index: usize, method: &str) -> Result<Self, JobError> {
        let dir = dir_of(run, index, method);
        fs::create_dir_all(&dir).map_err(|error| FileError::of("create", &dir, error))?;
        Ok(Self { dir, logs: Mutex::new(None) })
    }

    pub(super) fn checkpoint(&self) -> PathBuf {
        self.dir.join(CHECKPOINT)
    }
}

/// The folder of the step at `index`, in the run folder.
pub(super) fn folder_name(index: usize, method: &str) -> String {
    format!("training/{}-{method}", index + 1)
}

fn dir_of(run: &Run, index: usize, method: &str) -> PathBuf {
    run.dir().join(folder_name(index, method))
}

impl Watch for StepFolder {
    fn begin(&self, at: &Moment) -> Result<(), WatchError> {
        let last = (at.step > 0).then_some(at.step);
        let metrics = MetricsLog::open(&self.dir.join(METRICS), last)?;
        let events = self.dir.join(TENSORBOARD);
        if last.is_none() && events.exists() {
            fs::remove_dir_all(&events)?;
        }
        let first = last.map(|step| i64::try_from(step).unwrap_or(i64::MAX).saturating_add(1));
        let events = EventWriter::create(&events, now(), first)?;
        *self.logs.lock().unwrap_or_else(PoisonError::into_inner) = Some(Logs { metrics, events });
        Ok(())
    }

    fn step(&self, at: &Moment, metrics: &[(String, f64)]) -> Result<(), WatchError> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(logs) = logs.as_mut().filter(|_| !metrics.is_empty()) else { return Ok(()) };
        let values: Vec<(&str, f64)> = metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        logs.metrics.append(at.step, &values)?;
        let values: Vec<(&str, f32)> = values.into_iter().map(|(name, value)| (name, value as f32)).collect();
        logs.events.scalars(i64::try_from(at.step).unwrap_or(i64::MAX), now(), &values)?;
        Ok(())
    }

    fn keep(&self, _at: &Moment) -> Result<(), WatchError> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(logs.as_ref().map_or(Ok(()), |logs| logs.metrics.sync())?)
    }
}

/// The curves of a run's trainings; where several steps train, each has its own.
pub(super) fn curves(run: &Run, steps: &[(usize, String)]) -> Result<Vec<Curve>, JobError> {
    let mut all = Vec::new();
    for (index, method) in steps {
        let path = dir_of(run, *index, method).join(METRICS);
        let lines = read_metrics(&path).map_err(|error| JobError::Stored { reason: error.to_string() })?;
        let step = if steps.len() > 1 { format!("step {} ({method}): ", index + 1) } else { String::new() };
        all.extend(curves_of(&lines, &step));
    }
    Ok(all)
}

/// One curve for what stands before `/` in the names, one line for what stands after.
fn curves_of(lines: &[MetricsLine], prefix: &str) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for line in lines {
        for (name, value) in &line.values {
            let (what, whose) = name.split_once('/').unwrap_or((name, "training"));
            let label = format!("{prefix}{}", title(what));
            let at = curves.iter().position(|curve| curve.label == label).unwrap_or_else(|| {
                curves.push(Curve { label, unit: unit(what), series: Vec::new() });
                curves.len() - 1
            });
            let series = &mut curves[at].series;
            let at = series.iter().position(|series| series.name == whose).unwrap_or_else(|| {
                series.push(Series::new(whose, []));
                series.len() - 1
            });
            series[at].steps.push(line.step);
            series[at].values.push(*value);
        }
    }
    let rank = |curve: &Curve| ["Loss", "Accuracy", "Sparsity"].iter().position(|first| curve.label.ends_with(first));
    curves.sort_by_key(|curve| rank(curve).unwrap_or(usize::MAX));
    curves
}

/// `learning_rate` -> `Learning rate`.
fn title(name: &str) -> String {
    let text = name.replace('_', " ");
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn unit(what: &str) -> Unit {
    if matches!(what, "accuracy" | "sparsity") { Unit::Share } else { Unit::Number }
}

/// Outputs of the trainings, for the manifest: the names in the run folder of what is the same in every run.
pub(super) fn outputs(run: &Run, steps: &[(usize, String)]) -> Vec<String> {
    let name = |path: &Path| path.strip_prefix(run.dir()).ok().and_then(Path::to_str).map(str::to_owned);
    let metrics = steps.iter().map(|(index, method)| dir_of(run, *index, method).join(METRICS));
    metrics.filter(|path| path.exists()).filter_map(|path| name(&path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_become_curves_by_what_they_are() {
        let line = |step, values: &[(&str, f64)]| MetricsLine {
            step,
            values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        };
        let lines = [
            line(0, &[("sparsity", 0.0)]),
            line(1, &[("learning_rate", 0.1), ("loss/training", 2.0)]),
            line(2, &[("loss/training", 1.0), ("loss/validation", 1.5)]),
        ];
        let curves = curves_of(&lines, "");
        let labels: Vec<&str> = curves.iter().map(|curve| curve.label.as_str()).collect();
        assert_eq!(labels, ["Loss", "Sparsity", "Learning rate"]);
        assert_eq!(curves[0].series[1], Series::new("validation", [(2, 1.5)]));
        assert_eq!(curves[1].unit, Unit::Share);
    }
}
