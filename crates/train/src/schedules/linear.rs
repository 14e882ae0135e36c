//! Down to zero in a straight line: peak · (1 − t / T).

use lissom_recipe::{Settings, SettingsError};
use serde::Deserialize;

use super::{Schedule, ScheduleSpec, Warmup, is_share};

pub(super) const SPEC: ScheduleSpec = ScheduleSpec {
    name: "linear",
    summary: "down to zero in a straight line; the best choice where nothing is known",
    source: "Defazio et al. 2023, arXiv:2310.07831",
    example: "warmup_steps = 100",
    parse: |settings: &Settings| -> Result<Box<dyn Schedule>, SettingsError> {
        let schedule: Linear = settings.parse()?;
        is_share(settings, "minimum", schedule.minimum)?;
        Ok(Box::new(schedule))
    },
};

/// Settings of `linear`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Linear {
    #[serde(default)]
    warmup_steps: u64,
    /// Share of the peak it ends at.
    #[serde(default)]
    minimum: f64,
}

impl Schedule for Linear {
    fn share(&self, step: u64, total: u64) -> f64 {
        let down = |done: f64| self.minimum + (1.0 - self.minimum) * (1.0 - done);
        Warmup { steps: self.warmup_steps }.share(step, total, down)
    }
}
