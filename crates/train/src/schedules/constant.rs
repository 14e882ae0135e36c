//! Always the peak, after the warm-up.

use lissom_recipe::{Settings, SettingsError};
use serde::Deserialize;

use super::{Schedule, ScheduleSpec, Warmup};

pub(super) const SPEC: ScheduleSpec = ScheduleSpec {
    name: "constant",
    summary: "the same rate throughout",
    source: "folklore",
    example: "warmup_steps = 100",
    parse: |settings: &Settings| -> Result<Box<dyn Schedule>, SettingsError> {
        Ok(Box::new(settings.parse::<Constant>()?))
    },
};

/// Settings of `constant`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Constant {
    #[serde(default)]
    warmup_steps: u64,
}

impl Schedule for Constant {
    fn share(&self, step: u64, total: u64) -> f64 {
        Warmup { steps: self.warmup_steps }.share(step, total, |_| 1.0)
    }
}
