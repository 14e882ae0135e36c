//! The peak, multiplied by a factor at each milestone.

use lissom_recipe::{Settings, SettingsError};
use serde::Deserialize;

use super::{Schedule, ScheduleSpec, Warmup, is_share};

pub(super) const SPEC: ScheduleSpec = ScheduleSpec {
    name: "step",
    summary: "down by a factor at each milestone, a share of all steps",
    source: "He et al., CVPR 2016, arXiv:1512.03385",
    example: "milestones = [0.5, 0.75]\nfactor = 0.1",
    parse: |settings: &Settings| -> Result<Box<dyn Schedule>, SettingsError> {
        let schedule: Step = settings.parse()?;
        is_share(settings, "factor", schedule.factor)?;
        schedule.milestones.iter().try_for_each(|&milestone| is_share(settings, "milestones", milestone))?;
        Ok(Box::new(schedule))
    },
};

/// Settings of `step`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(default)]
    warmup_steps: u64,
    /// Shares of the steps after the warm-up.
    milestones: Vec<f64>,
    #[serde(default = "factor")]
    factor: f64,
}

fn factor() -> f64 {
    0.1
}

impl Schedule for Step {
    fn share(&self, step: u64, total: u64) -> f64 {
        let down =
            |done: f64| self.factor.powi(self.milestones.iter().filter(|&&milestone| done >= milestone).count() as i32);
        Warmup { steps: self.warmup_steps }.share(step, total, down)
    }
}
