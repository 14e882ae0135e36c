//! The learning rate over time, as a share of its peak; one file each. All begin with a warm-up, if asked for one.

mod constant;
mod cosine;
mod linear;
mod refined;
mod step;

use std::fmt;

use lissom_recipe::{Settings, SettingsError};

pub use refined::{RateNorm, refine};

/// All schedules, alphabetically.
pub static SCHEDULES: &[ScheduleSpec] = &[constant::SPEC, cosine::SPEC, linear::SPEC, refined::SPEC, step::SPEC];

/// A schedule as it stands in [`SCHEDULES`].
#[derive(Clone, Copy)]
pub struct ScheduleSpec {
    /// The word in recipes.
    pub name: &'static str,
    /// One line on what it does.
    pub summary: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// Typical settings, as TOML.
    pub example: &'static str,
    /// Reads and checks the settings.
    pub parse: fn(&Settings) -> Result<Box<dyn Schedule>, SettingsError>,
}

impl fmt::Debug for ScheduleSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScheduleSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A learning rate over time.
pub trait Schedule: fmt::Debug + Send + Sync {
    /// The share (0..1) of the peak for a step, counted from 0, of `total` steps.
    fn share(&self, step: u64, total: u64) -> f64;
}

/// Steps in which the rate rises linearly to its peak.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Warmup {
    steps: u64,
}

impl Warmup {
    /// The share while warming up; afterwards that of `rest`, given how far the steps after the warm-up are, 0..1.
    fn share(self, step: u64, total: u64, rest: impl FnOnce(f64) -> f64) -> f64 {
        if step < self.steps {
            return (step + 1) as f64 / self.steps as f64;
        }
        let left = total.saturating_sub(self.steps).max(1);
        rest(((step - self.steps) as f64 / left as f64).min(1.0))
    }
}

fn is_share(settings: &Settings, key: &str, value: f64) -> Result<(), SettingsError> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(settings.error_at(key, "must be between 0 and 1")) }
}

#[cfg(test)]
mod tests;
