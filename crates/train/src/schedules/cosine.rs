//! Half a cosine: minimum + ½ (peak − minimum) (1 + cos(π t / T)).

use std::f64::consts::PI;

use lissom_recipe::{Settings, SettingsError};
use serde::Deserialize;

use super::{Schedule, ScheduleSpec, Warmup, is_share};

pub(super) const SPEC: ScheduleSpec = ScheduleSpec {
    name: "cosine",
    summary: "slowly down at first and at the end, along half a cosine",
    source: "Loshchilov and Hutter, ICLR 2017, arXiv:1608.03983",
    example: "warmup_steps = 100\nminimum = 0.01",
    parse: |settings: &Settings| -> Result<Box<dyn Schedule>, SettingsError> {
        let schedule: Cosine = settings.parse()?;
        is_share(settings, "minimum", schedule.minimum)?;
        Ok(Box::new(schedule))
    },
};

/// Settings of `cosine`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cosine {
    #[serde(default)]
    warmup_steps: u64,
    /// Share of the peak it ends at.
    #[serde(default)]
    minimum: f64,
}

impl Schedule for Cosine {
    fn share(&self, step: u64, total: u64) -> f64 {
        let down = |done: f64| self.minimum + 0.5 * (1.0 - self.minimum) * (1.0 + (PI * done).cos());
        Warmup { steps: self.warmup_steps }.share(step, total, down)
    }
}
