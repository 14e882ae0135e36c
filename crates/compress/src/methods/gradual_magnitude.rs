//! Gradual magnitude pruning: while the network trains, more and more of its smallest weights become zero.
//!
//! s = s_f + (s_i − s_f) (1 − progress)³ between two epochs, every so many steps; the mask is made anew from `|w|` each time, and
//! weights that went stay away, being zero. What counts are the weights of linear layers, the first and the classifier included;
//! biases, norms and embeddings are never pruned.

use lissom_graph::Model;
use lissom_recipe::{LayerFilter, Settings, SettingsError, Sparsity};
use lissom_tensor::Tensor;
use lissom_train::{Due, Moment, Technique, TrainError, Trainer, TrainerOptions};
use serde::Deserialize;

use super::trained::Trained;
use crate::parts::allocate::Allocate;
use crate::parts::masks::{Rule, Targets};
use crate::parts::select::Ties;
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "gradual_magnitude",
    summary: "while training, bring more and more of the smallest weights to zero, fast at first",
    source: "Zhu & Gupta 2017, arXiv:1710.01878",
    example: "sparsity = 0.9\nbegin = 1.0\nend = 40.0",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let technique: GradualMagnitude = settings.parse()?;
        Rule::new(&technique.sparsity, technique.allocate, technique.ties).check(settings)?;
        if !(0.0..=technique.sparsity.fraction()).contains(&technique.initial) {
            return Err(settings.error_at("initial", "must be at least 0 and at most the sparsity"));
        }
        if technique.sparsity.pattern().fixed_fraction().is_some() {
            return Err(settings.error_at("sparsity", "this pattern leaves nothing to be gradual about"));
        }
        if !(technique.begin >= 0.0 && technique.end.is_none_or(|end| end >= technique.begin && end.is_finite())) {
            return Err(settings.error_at("end", "must not lie before `begin`, nor that before 0"));
        }
        if technique.every == 0 {
            return Err(settings.error_at("every", "must be at least 1"));
        }
        if !(technique.power > 0.0 && technique.power.is_finite()) {
            return Err(settings.error_at("power", "must be more than 0"));
        }
        Ok(Box::new(Trained { name: SPEC.name, technique }))
    },
};

/// Settings of `gradual_magnitude`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct GradualMagnitude {
    /// What is reached.
    sparsity: Sparsity,
    /// What it begins with, 0..1.
    #[serde(default)]
    initial: f64,
    /// Epoch of the first pruning.
    #[serde(default)]
    begin: f64,
    /// Epoch in which the sparsity is reached; half of the training unless said, so that there is time to recover.
    end: Option<f64>,
    /// Steps from one pruning to the next.
    #[serde(default = "every")]
    every: u64,
    /// 3 is the published schedule, 1 a linear one.
    #[serde(default = "power")]
    power: f64,
    #[serde(default)]
    allocate: Allocate,
    #[serde(default)]
    ties: Ties,
    #[serde(default)]
    layers: LayerFilter,
    #[serde(skip)]
    targets: Targets,
}

fn every() -> u64 {
    100
}

fn power() -> f64 {
    3.0
}

impl GradualMagnitude {
    /// The sparsity that is due at a moment; none between two prunings.
    fn due(&self, at: &Moment) -> Option<f64> {
        let step = |epoch: f64| (epoch * at.steps_an_epoch as f64).round() as u64;
        let last = at.epochs.saturating_mul(at.steps_an_epoch).saturating_sub(1);
        let begin = step(self.begin).min(last);
        let end = step(self.end.unwrap_or(at.epochs as f64 / 2.0)).clamp(begin, last);
        let is_due =
            (begin..=end).contains(&at.step) && ((at.step - begin).is_multiple_of(self.every) || at.step == end);
        let progress = if end > begin { (at.step.saturating_sub(begin)) as f64 / (end - begin) as f64 } else { 1.0 };
        is_due.then(|| gradual(self.initial, self.sparsity.fraction(), progress, self.power))
    }
}

/// The sparsity on the way from `initial` to `last`, progress 0..1.
fn gradual(initial: f64, last: f64, progress: f64, power: f64) -> f64 {
    last + (initial - last) * (1.0 - progress.clamp(0.0, 1.0)).powf(power)
}

impl Technique for GradualMagnitude {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        self.targets = Targets::to_mask(SPEC.name, model, &self.layers, options)?;
        Ok(())
    }

    fn before_step(&mut self, trainer: &mut Trainer, at: &Moment, _: &[(&str, &Tensor)]) -> Result<Due, TrainError> {
        if let Some(sparsity) = self.due(at) {
            self.targets.prune(trainer, &Rule::new(&self.sparsity, self.allocate, self.ties), sparsity)?;
        }
        Ok(Due::Train)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_the_published_one() {
        let golden = [0.0, 0.2439, 0.4392, 0.5913, 0.7056, 0.7875, 0.8424, 0.8757, 0.8928, 0.8991, 0.9];
        for (i, expected) in golden.into_iter().enumerate() {
            assert!((gradual(0.0, 0.9, i as f64 / 10.0, 3.0) - expected).abs() < 1e-12, "{i}");
        }
    }

    #[test]
    fn prunings_are_due_every_so_many_steps_and_at_the_end() {
        let settings = Settings::from_toml("test", "sparsity = 0.9\nbegin = 1\nend = 3\nevery = 8").unwrap();
        let technique: GradualMagnitude = settings.parse().unwrap();
        let at = |step| Moment { epoch: step / 10, step, steps_an_epoch: 10, epochs: 5 };
        let due: Vec<u64> = (0..50).filter(|&step| technique.due(&at(step)).is_some()).collect();
        assert_eq!(due, [10, 18, 26, 30]);
        assert_eq!((technique.due(&at(10)), technique.due(&at(30))), (Some(0.0), Some(0.9)));
    }
}
