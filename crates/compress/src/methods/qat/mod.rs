//! Quantization-aware training: the network learns with its weights and activations rounded, so that few bits cost little.
//!
//! Forward, every weight (a step a channel) and every activation that an integer operator sees (a step a tensor) is `s · clamp(rne(v / s))`;
//! backward the rounding counts as the identity inside of the range. With `learned` the steps are trained, as learned step size
//! quantization says (Esser et al.): they begin at `2 · mean|v| / √(largest code)`, activations by the first batch, and their gradients are
//! scaled by `1 / √(n · largest code)`; n is the number of weights that share a step, or of elements of one sample. Steps never decay
//! and stay at 1e-8 or more. Without `learned` they are those of least squared error and stay; steps of 8 bits begin there in any case.
//!
//! What is after a ReLU has unsigned codes; codes of weights are symmetric. The first convolution and the last layer have `ends` bits, additions
//! and pools 8. Batch norms go on learning, their statistics are the mean over the last steps of the running ones, and they move into the steps at
//! the end (`batch_norm = "keep"`), or they move into the weights before (`"fold"`). The network as it was is the teacher of a share
//! of the loss, at temperature 1.
//!
//! The result has integer weights and pairs of `QuantizeLinear` and `DequantizeLinear`, as that of `quantize`.

mod export;
mod place;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use lissom_engine::{Session, SessionOptions};
use lissom_graph::{Model, ValueId};
use lissom_passes::upgrade_opset;
use lissom_recipe::{LayerFilter, Settings, SettingsError};
use lissom_tensor::{Tensor, Weight};
use lissom_train::{Due, Group, Kept, Moment, Technique, TrainError, Trainer, TrainerOptions};
use serde::Deserialize;

use self::place::{Bits, Places};
use crate::parts::histogram::Histogram;
use crate::parts::quantizer::{Codes, Sharing, WeightGrid};
use crate::parts::range::{Calibrate, RangeRule};
use crate::parts::teacher::{self, Teacher};
use crate::{Changes, Job, Method, MethodError, MethodSpec, training};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "qat",
    summary: "train with weights and activations rounded to few bits, at steps that are learned too",
    source: "Esser et al., ICLR 2020, arXiv:1902.08153; Jacob et al., CVPR 2018, arXiv:1712.05877",
    example: "weight_bits = 4\nactivation_bits = 4",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let method: Qat = settings.parse()?;
        for (key, bits) in [("weight_bits", method.weight_bits), ("ends", method.ends)] {
            if !(2..=8).contains(&bits) {
                return Err(settings.error_at(key, "integers have 2 to 8 bits"));
            }
        }
        if !(2..=8).contains(&method.activation_bits) && method.activation_bits != 32 {
            return Err(settings.error_at("activation_bits", "integers have 2 to 8 bits; 32 stands for float"));
        }
        if !(0.0..=1.0).contains(&method.teacher_share) {
            return Err(settings.error_at("teacher_share", "must be between 0 and 1"));
        }
        Ok(Box::new(method))
    },
};

/// Settings of `qat`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Qat {
    weight_bits: u8,
    /// 32 leaves activations as they are.
    activation_bits: u8,
    /// Bits of the first convolution and the last layer, if these are more.
    ends: u8,
    /// Whether steps are trained.
    learned: bool,
    batch_norm: Norms,
    /// Share of the loss that follows the network as it was.
    teacher_share: f64,
    layers: LayerFilter,
}

impl Default for Qat {
    fn default() -> Self {
        let (batch_norm, layers) = (Norms::Keep, LayerFilter::default());
        Self { weight_bits: 8, activation_bits: 8, ends: 8, learned: true, batch_norm, teacher_share: 0.5, layers }
    }
}

/// What becomes of batch norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Norms {
    /// They learn, and move into the steps at the end.
    Keep,
    /// They move into the weights before.
    Fold,
}

impl Method for Qat {
    fn is_encoding(&self) -> bool {
        true
    }

    fn technique(&self) -> Option<Box<dyn Technique>> {
        Some(Box::new(QatTechnique { settings: self.clone(), ..QatTechnique::default() }))
    }

    fn apply(&self, model: &mut Model, job: &Job<'_>) -> Result<Changes, MethodError> {
        // The step's `layers` say which layers are quantized; all of the network learns.
        let layers = LayerFilter::all();
        let mut technique = QatTechnique { settings: self.clone(), ..QatTechnique::default() };
        training::run(SPEC.name, &mut technique, model, &Job { layers: &layers, ..*job })
    }
}

/// Smallest step.
const LEAST: f32 = 1e-8;

/// Most steps, and largest share of all, over which statistics are averaged at the end.
const AVERAGED: (u64, u64) = (100, 10);

#[derive(Debug, Default)]
struct QatTechnique {
    settings: Qat,
    threads: usize,
    teacher: Option<Teacher>,
    /// The network before the quantizers went in, and where these are.
    plain: Option<Model>,
    places: Places,
    /// Names of running statistics.
    statistics: Vec<String>,
    /// Sums of running statistics, and of how many steps.
    sums: BTreeMap<String, Vec<f64>>,
    summed: u64,
}

fn refused(reason: impl ToString) -> TrainError {
    TrainError::Technique { method: SPEC.name, reason: reason.to_string() }
}

/// 2 · mean|v| / √(largest code).
fn first_step(values: &[f32], largest: i32) -> f32 {
    let sum: f64 = values.iter().map(|v| f64::from(v.abs())).sum();
    (2.0 * sum / values.len().max(1) as f64 / f64::from(largest).sqrt()) as f32
}

impl QatTechnique {
    fn plain(&self) -> Result<&Model, TrainError> {
        self.plain.as_ref().ok_or_else(|| refused("it was not prepared"))
    }

    /// The network with its quantizers and the statistics that are written.
    fn rounded(&self, trainer: &Trainer) -> Result<Model, TrainError> {
        let mut trained = trainer.model();
        for (name, sums) in &self.sums {
            let Some(value) = trained.graph.find_value(name) else { continue };
            let mean: Vec<f32> = sums.iter().map(|sum| (sum / self.summed.max(1) as f64) as f32).collect();
            trained.graph.set_constant(value, Weight::Dense(Tensor::vector(mean)));
        }
        Ok(trained)
    }

    /// Whether steps begin as published: with 8 bits that leaves most codes unused, a few epochs do not mend it, and biases are multiples of
    /// the product of two steps.
    fn begins_by_mean(&self, codes: Codes) -> bool {
        self.settings.learned && codes.max < 127
    }

    /// The first steps of weights.
    fn weight_steps(&self, trainer: &mut Trainer) -> Result<(), TrainError> {
        for layer in &self.places.layers {
            let plain = self.plain()?;
            let name = &plain.graph.value(layer.weight).name;
            let Some(weight) = trainer.tensor(name) else { continue };
            let (shape, values) = (weight.shape().to_vec(), weight.to_f32_vec()?);
            let channels = shape[layer.axis];
            let grid = WeightGrid { codes: layer.codes, sharing: Sharing::Channel(layer.axis), clips: true };
            let steps = if self.begins_by_mean(layer.codes) {
                let stride = lissom_tensor::strides(&shape)[layer.axis];
                let all = first_step(&values, layer.codes.max);
                let mut own = vec![Vec::new(); channels];
                values.iter().enumerate().for_each(|(i, &value)| own[i / stride % channels].push(value));
                // A channel of zeros gets what the layer would.
                let step = |own: &Vec<f32>| Some(first_step(own, layer.codes.max)).filter(|&step| step > LEAST);
                own.iter().map(|own| step(own).unwrap_or(all.max(LEAST))).collect()
            } else {
                grid.quantize(&shape, &values, &[])?.scale.to_f32_vec()?
            };
            trainer.set_tensor(&layer.steps, Tensor::vector(steps))?;
        }
        Ok(())
    }

    /// The first steps of activations, by a batch.
    fn activation_steps(&self, trainer: &mut Trainer, batch: &[(&str, &Tensor)]) -> Result<(), TrainError> {
        let plain = self.plain()?;
        let mut seen: BTreeMap<&str, (Vec<f32>, _)> = BTreeMap::new();
        let quantized: Vec<_> = self.places.quantized().collect();
        let observe: Vec<ValueId> = quantized.iter().map(|quantized| quantized.value).collect();
        let options = SessionOptions { threads: self.threads, observe, ..SessionOptions::default() };
        let session = Session::new(plain, &options)?;
        let inputs = session.inputs();
        let own = batch.iter().filter(|(name, _)| inputs.iter().any(|input| input.name == *name));
        let made = session.run(&own.copied().collect::<Vec<_>>())?;
        for (quantized, tensor) in quantized.iter().zip(&made[plain.graph.outputs().len()..]) {
            let group = seen.entry(&quantized.step).or_insert_with(|| (Vec::new(), quantized.codes));
            group.0.extend_from_slice(tensor.as_slice::<f32>()?);
        }
        for (step, (values, codes)) in seen {
            let own = if self.begins_by_mean(codes) {
                first_step(&values, codes.max)
            } else {
                let mut histogram = Histogram::default();
                histogram.add(&values).map_err(|_| refused("an activation is not finite"))?;
                let is_symmetric = codes.min < 0;
                let rule = RangeRule { calibrate: Calibrate::Mse, percentile: 100.0, power: 2.0, is_symmetric, codes };
                rule.quantizer(rule.range(&histogram)).scale
            };
            trainer.set_tensor(step, Tensor::scalar(own.max(LEAST)))?;
        }
        Ok(())
    }
}

impl Technique for QatTechnique {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        let settings = &self.settings;
        self.threads = options.threads;
        teacher::follow(options, settings.teacher_share, 1.0)?;
        self.teacher = if teacher::is_followed(options) { Some(Teacher::new(model, options.threads)?) } else { None };
        let needed = match settings.weight_bits.min(settings.ends) {
            0..=2 => 25,
            3..=4 => 21,
            _ => 13,
        };
        upgrade_opset(model, needed).map_err(refused)?;
        let mut folded = model.clone();
        lissom_passes::run("fold_batch_norm", &mut folded).map_err(refused)?;
        if settings.batch_norm == Norms::Fold {
            *model = folded.clone();
        }
        let bits = Bits {
            weights: settings.weight_bits,
            activations: settings.activation_bits,
            ends: settings.ends.max(settings.weight_bits),
        };
        self.places = Places::of(&folded, &settings.layers, bits)?;
        self.places.adopt_weights(&model.graph);
        let norms = model.graph.nodes().iter().filter(|node| node.op_type == "BatchNormalization");
        let values = norms.flat_map(|node| node.inputs.iter().skip(3).flatten());
        self.statistics = values.map(|&value| model.graph.value(value).name.clone()).collect();
        self.plain = Some(model.clone());
        *model = self.places.insert(model, settings.learned)?;
        Ok(())
    }

    fn begin(&mut self, trainer: &mut Trainer, batch: &[(&str, &Tensor)]) -> Result<(), TrainError> {
        self.weight_steps(trainer)?;
        self.activation_steps(trainer, batch)
    }

    fn targets(&mut self, _: &Moment, batch: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, TrainError> {
        self.teacher.as_ref().map_or(Ok(Vec::new()), |teacher| teacher.targets(batch))
    }

    fn before_step(&mut self, _: &mut Trainer, _: &Moment, _: &[(&str, &Tensor)]) -> Result<Due, TrainError> {
        Ok(Due::Train)
    }

    fn after_step(&mut self, trainer: &mut Trainer, at: &Moment) -> Result<(), TrainError> {
        let steps = trainer.parameters().iter().filter(|parameter| parameter.group == Group::Step);
        let names: Vec<String> = steps.map(|parameter| parameter.name.clone()).collect();
        for name in names {
            let Some(tensor) = trainer.tensor(&name) else { continue };
            let values = tensor.as_slice::<f32>()?;
            if values.iter().any(|&step| step < LEAST) {
                let values: Vec<f32> = values.iter().map(|step| step.max(LEAST)).collect();
                let raised = Tensor::new(tensor.shape(), values)?;
                trainer.set_tensor(&name, raised)?;
            }
        }
        let total = at.epochs * at.steps_an_epoch;
        let averaged = AVERAGED.0.min(total / AVERAGED.1);
        if at.step + averaged > total {
            for name in &self.statistics {
                let Some(now) = trainer.tensor(name) else { continue };
                let now = now.to_f64_vec()?;
                let sums = self.sums.entry(name.clone()).or_insert_with(|| vec![0.0; now.len()]);
                sums.iter_mut().zip(now).for_each(|(sum, now)| *sum += now);
            }
            self.summed += 1;
        }
        Ok(())
    }

    fn finish(&mut self, trainer: &Trainer) -> Result<Model, TrainError> {
        export::export(self.plain()?, &self.rounded(trainer)?, &self.places, true)
    }

    fn metrics(&self, trainer: &Trainer) -> Vec<(String, f64)> {
        let least = self.places.layers.iter().filter_map(|layer| {
            let weight = trainer.tensor(&self.plain.as_ref()?.graph.value(layer.weight).name)?;
            let steps = trainer.tensor(&layer.steps)?.to_f32_vec().ok()?;
            let stride = lissom_tensor::strides(weight.shape())[layer.axis];
            let values = weight.as_slice::<f32>().ok()?;
            let is_zero = |(i, &value): (usize, &f32)| 2.0 * value.abs() <= steps[i / stride % steps.len()];
            let zeros = values.iter().enumerate().filter(|&(i, value)| is_zero((i, value))).count();
            Some(1.0 - zeros as f64 / values.len().max(1) as f64)
        });
        vec![("least_nonzero_codes".to_owned(), least.fold(1.0, f64::min))]
    }

    fn save(&self) -> Kept {
        let mut kept = Kept::default();
        kept.values.insert("summed".into(), self.summed.to_string());
        kept.tensors.extend(self.sums.iter().map(|(name, sums)| (name.clone(), Tensor::vector(sums.clone()))));
        kept
    }

    fn load(&mut self, kept: &Kept) -> Result<(), TrainError> {
        self.summed = kept.values.get("summed").and_then(|summed| summed.parse().ok()).unwrap_or(0);
        for (name, sums) in &kept.tensors {
            self.sums.insert(name.clone(), sums.to_f64_vec()?);
        }
        Ok(())
    }
}
