//! How far a training is, in words, beside the watch.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use lissom_train::{Moment, Watch, WatchError};

use crate::Progress;

/// Share of the old value in the moving averages people are shown.
const SMOOTHING: f64 = 0.95;

/// Tells progress what happens, and passes on to the watch what is due.
pub(super) struct Told<'a> {
    /// Steps from one line of metrics to the next.
    metrics_every: u64,
    progress: &'a dyn Progress,
    watch: &'a dyn Watch,
    shown: Mutex<Shown>,
}

struct Shown {
    loss: Option<f64>,
    accuracy: Option<f64>,
    validation: Option<f64>,
    began: Instant,
    began_at: u64,
}

impl<'a> Told<'a> {
    pub(super) fn new(metrics_every: u64, progress: &'a dyn Progress, watch: &'a dyn Watch) -> Self {
        let shown = Shown { loss: None, accuracy: None, validation: None, began: Instant::now(), began_at: 0 };
        Self { metrics_every, progress, watch, shown: Mutex::new(shown) }
    }

    fn report(&self, at: &Moment, what: &str) {
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        self.progress.report(count(at.step), count(at.epochs.saturating_mul(at.steps_an_epoch)), what);
    }
}

impl Watch for Told<'_> {
    fn begin(&self, at: &Moment) -> Result<(), WatchError> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        (shown.began, shown.began_at) = (Instant::now(), at.step);
        self.report(at, "training");
        self.watch.begin(at)
    }

    fn step(&self, at: &Moment, metrics: &[(String, f64)]) -> Result<(), WatchError> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, value) in metrics {
            let mixed = |old: Option<f64>| Some(old.map_or(*value, |old| SMOOTHING * old + (1.0 - SMOOTHING) * value));
            match name.as_str() {
                "loss/training" => shown.loss = mixed(shown.loss),
                "accuracy/training" => shown.accuracy = mixed(shown.accuracy),
                "accuracy/validation" => shown.validation = Some(*value),
                _ => {}
            }
        }
        if at.step > shown.began_at {
            let mut what = format!("epoch {} of {}", (at.epoch + 1).min(at.epochs), at.epochs);
            what += &shown.loss.map(|loss| format!(", loss {loss:.3}")).unwrap_or_default();
            let percent =
                |name: &str, share: Option<f64>| share.map(|share| format!(", {name} {:.1} %", 100.0 * share));
            what += &percent("accuracy", shown.accuracy).unwrap_or_default();
            what += &percent("validation", shown.validation).unwrap_or_default();
            let rate = (at.step - shown.began_at) as f64 / shown.began.elapsed().as_secs_f64().max(1e-9);
            self.report(at, &format!("{what}, {rate:.1} steps/s"));
        }
        let is_due = at.step.is_multiple_of(self.metrics_every) || at.begins_epoch();
        if is_due { self.watch.step(at, metrics) } else { Ok(()) }
    }

    fn keep(&self, at: &Moment) -> Result<(), WatchError> {
        self.watch.keep(at)
    }
}
