//! GraSP: before the first step, the weights whose going harms the flow of gradients least become zero, and stay it.
//!
//! S = −θ ⊙ (H g), how much the squared norm of the gradient changes; the largest S go. H g is taken by central differences of the
//! gradient along g, a thousandth of the weights' norm to either side, on the first batch (published: by differentiating twice, on ten
//! samples a class). Scores of the network are divided by a temperature meanwhile: the weights of the last layer are. Unlike in the
//! published code the last layer keeps its weights for this, rather than being drawn anew.

use lissom_graph::Model;
use lissom_recipe::{LayerFilter, Settings, SettingsError, Sparsity};
use lissom_tensor::Tensor;
use lissom_train::{Named, Technique, TrainError, Trainer, TrainerOptions};
use serde::Deserialize;

use super::snip::prune;
use super::trained::Trained;
use crate::parts::allocate::Allocate;
use crate::parts::masks::Targets;
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "grasp",
    summary: "prune before training so that gradients keep flowing, then train what is left",
    source: "Wang et al., ICLR 2020, arXiv:2002.07376",
    example: "sparsity = 0.9",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let technique: Grasp = settings.parse()?;
        if !(technique.temperature > 0.0 && technique.temperature.is_finite()) {
            return Err(settings.error_at("temperature", "must be more than 0"));
        }
        Ok(Box::new(Trained { name: SPEC.name, technique }))
    },
};

/// Settings of `grasp`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grasp {
    sparsity: Sparsity,
    /// What the network's scores are divided by while weights are judged.
    #[serde(default = "temperature")]
    temperature: f64,
    #[serde(default)]
    allocate: Allocate,
    #[serde(default)]
    layers: LayerFilter,
    #[serde(skip)]
    targets: Targets,
    /// Weight and bias of the last layer.
    #[serde(skip)]
    last: Vec<String>,
}

fn temperature() -> f64 {
    200.0
}

impl Technique for Grasp {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        self.targets = Targets::of(SPEC.name, model, &self.layers)?;
        let last = model.graph.layers().into_iter().last();
        let values = last.into_iter().flat_map(|layer| [Some(layer.weight), layer.bias]).flatten();
        self.last = values.map(|value| model.graph.value(value).name.clone()).collect();
        options.step.masks = true;
        Ok(())
    }

    fn begin(&mut self, trainer: &mut Trainer, batch: &[(&str, &Tensor)]) -> Result<(), TrainError> {
        let scores = self.scores(trainer, batch)?;
        let worth: Vec<Vec<f32>> = scores.into_iter().map(|scores| scores.into_iter().map(|s| -s).collect()).collect();
        prune(&self.targets, trainer, (&self.sparsity, self.allocate), &worth)
    }
}

impl Grasp {
    /// S, for each target.
    fn scores(&self, trainer: &mut Trainer, batch: &[(&str, &Tensor)]) -> Result<Vec<Vec<f32>>, TrainError> {
        let squares =
            |slices: &[&[f32]]| -> f64 { slices.iter().flat_map(|s| s.iter()).map(|&x| f64::from(x).powi(2)).sum() };
        let gradients = self.gradients(trainer, batch, None)?;
        let direction = self.targets.slices(|name| gradients.get(name))?;
        let length = squares(&direction).sqrt();
        let weights: Vec<Vec<f32>> = self.targets.weights(trainer)?.into_iter().map(<[f32]>::to_vec).collect();
        let own: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
        if length == 0.0 {
            return Ok(weights.iter().map(|weights| vec![0.0; weights.len()]).collect());
        }
        let step = 1e-3 * squares(&own).sqrt();
        let [ahead, behind] =
            [step, -step].map(|step| self.gradients(trainer, batch, Some((&direction, step / length))));
        let (ahead, behind) = (ahead?, behind?);
        let (ahead, behind) = (self.targets.slices(|n| ahead.get(n))?, self.targets.slices(|n| behind.get(n))?);
        let factor = length / (2.0 * step);
        let score =
            |((&w, &a), &b): ((&f32, &f32), &f32)| (-f64::from(w) * (f64::from(a) - f64::from(b)) * factor) as f32;
        Ok((0..own.len()).map(|i| own[i].iter().zip(ahead[i]).zip(behind[i]).map(score).collect()).collect())
    }

    /// The gradient of the loss at this temperature, a step along a direction away.
    fn gradients(
        &self,
        trainer: &mut Trainer,
        batch: &[(&str, &Tensor)],
        away: Option<(&[&[f32]], f64)>,
    ) -> Result<Named, TrainError> {
        let mut weights = Named::new();
        for (i, target) in self.targets.all.iter().enumerate() {
            if let (Some((direction, step)), Some(weight)) = (away, trainer.tensor(&target.name)) {
                let mut weight = weight.clone();
                let pairs = weight.as_mut_slice::<f32>()?.iter_mut().zip(direction[i]);
                pairs.for_each(|(w, d)| *w = (f64::from(*w) + step * f64::from(*d)) as f32);
                weights.insert(target.name.clone(), weight);
            }
        }
        let cool = (1.0 / self.temperature) as f32;
        for name in &self.last {
            if let Some(weight) = weights.get(name).or_else(|| trainer.tensor(name)) {
                let mut weight = weight.clone();
                weight.as_mut_slice::<f32>()?.iter_mut().for_each(|w| *w *= cool);
                weights.insert(name.clone(), weight);
            }
        }
        let mut gradients = trainer.gradient_at(&weights, batch)?;
        for name in &self.last {
            if let Some(gradient) = gradients.get_mut(name) {
                gradient.as_mut_slice::<f32>()?.iter_mut().for_each(|g| *g *= cool);
            }
        }
        Ok(gradients)
    }
}

#[cfg(test)]
mod tests {
    use super::super::training_tests::{quadratic_batch, quadratic_trainer};
    use super::*;

    #[test]
    fn scores_of_a_quadratic_are_those_of_its_matrix() {
        let settings = Settings::from_toml("test", "sparsity = 0.5\ntemperature = 1.0").unwrap();
        let mut technique: Grasp = settings.parse().unwrap();
        let mut trainer = quadratic_trainer(&mut technique);
        let x = quadratic_batch();
        let scores = technique.scores(&mut trainer, &[("x", &x)]).unwrap().concat();
        // −θ ⊙ (A A θ)
        let expected = [-4.27, -0.2236];
        assert!(scores.iter().zip(expected).all(|(s, e)| (s - e).abs() < 5e-3), "{scores:?}");
        technique.begin(&mut trainer, &[("x", &x)]).unwrap();
        assert_eq!(trainer.tensor("theta").unwrap().to_f32_vec().unwrap(), [1.0, 0.0]);
    }
}
