//! A schedule made from the gradient norms of an earlier run: steps whose gradients were small count more.
//!
//! With weights w_t = ‖g_t‖₂⁻² for SGD and ‖g_t‖₁⁻¹ for Adam and its like, the rate is w_t · Σ_{p>t} w_p / Σ_p w_p, scaled so that its
//! largest value is the peak. Constant norms give a straight line to zero.

use lissom_recipe::{Settings, SettingsError};
use serde::Deserialize;

use super::{Schedule, ScheduleSpec, Warmup};

pub(super) const SPEC: ScheduleSpec = ScheduleSpec {
    name: "refined",
    summary: "fitted to the gradient norms of an earlier run of the same length",
    source: "Defazio et al. 2023, arXiv:2310.07831, Algorithm 1",
    example: "norm = \"l2\"\ngradient_norms = [1.0, 0.9, 0.7, 0.8, 0.6]",
    parse: |settings: &Settings| -> Result<Box<dyn Schedule>, SettingsError> {
        let given: Given = settings.parse()?;
        if given.gradient_norms.is_empty() {
            return Err(settings.error_at("gradient_norms", "must hold at least one norm"));
        }
        if given.gradient_norms.iter().any(|&norm| !(norm > 0.0 && norm.is_finite())) {
            return Err(settings.error_at("gradient_norms", "must all be more than 0"));
        }
        if !(0.0..=1.0).contains(&given.smoothing) {
            return Err(settings.error_at("smoothing", "must be between 0 and 1"));
        }
        let refined = refine(&given.gradient_norms, given.norm, given.smoothing);
        let peak = refined.iter().copied().fold(0.0, f64::max);
        let shares = refined.iter().map(|rate| if peak > 0.0 { rate / peak } else { 1.0 }).collect();
        Ok(Box::new(Refined { warmup_steps: given.warmup_steps, shares }))
    },
};

/// Settings of `refined`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(default)]
    warmup_steps: u64,
    /// One a step of the earlier run, or evenly spaced samples of them.
    gradient_norms: Vec<f64>,
    norm: RateNorm,
    /// Width of the median filter, as a share of the run.
    #[serde(default = "smoothing")]
    smoothing: f64,
}

fn smoothing() -> f64 {
    0.1
}

/// Which norm of the gradient was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateNorm {
    /// ‖g‖₁, for Adam and its like.
    L1,
    /// ‖g‖₂, for SGD.
    L2,
}

#[derive(Debug, Clone)]
struct Refined {
    warmup_steps: u64,
    shares: Vec<f64>,
}

impl Schedule for Refined {
    fn share(&self, step: u64, total: u64) -> f64 {
        let last = self.shares.len() - 1;
        let at = |done: f64| self.shares[((done * self.shares.len() as f64) as usize).min(last)];
        Warmup { steps: self.warmup_steps }.share(step, total, at)
    }
}

/// The refined rate of each step, before it is scaled to the peak. `smoothing` is the width of the median filter as a share of
/// the steps; edge values are repeated.
pub fn refine(gradient_norms: &[f64], norm: RateNorm, smoothing: f64) -> Vec<f64> {
    let reach = (smoothing * gradient_norms.len() as f64 / 2.0) as usize;
    let weights: Vec<f64> = (0..gradient_norms.len())
        .map(|at| {
            let smooth = median_around(gradient_norms, at, reach);
            if norm == RateNorm::L1 { smooth.recip() } else { smooth.powi(-2) }
        })
        .collect();
    let all: f64 = weights.iter().sum();
    let mut after = 0.0;
    let mut rates: Vec<f64> = weights
        .iter()
        .rev()
        .map(|&weight| {
            let rate = weight * after / all;
            after += weight;
            rate
        })
        .collect();
    rates.reverse();
    rates
}

/// The median of the values at most `reach` away.
fn median_around(values: &[f64], at: usize, reach: usize) -> f64 {
    let position = |offset: usize| (at + offset).saturating_sub(reach).min(values.len() - 1);
    let mut window: Vec<f64> = (0..=2 * reach).map(|offset| values[position(offset)]).collect();
    window.sort_by(f64::total_cmp);
    window[reach]
}
