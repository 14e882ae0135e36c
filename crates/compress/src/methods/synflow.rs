//! SynFlow: before the first step, without data, the weights that carry least of the flow through the network become zero, and stay it.
//!
//! All parameters and statistics are taken without sign, the input is ones, R is the sum of the outputs, and |θ ⊙ ∂R/∂θ| the score; the density
//! falls exponentially in many rounds, each with the masks of the one before, so that no layer is emptied. Norms use their running statistics. Each
//! weight is divided by a number of its own, which changes no ranking and keeps deep networks within f32.

use lissom_engine::SessionOptions;
use lissom_graph::{Dim, Model, ValueId};
use lissom_recipe::{LayerFilter, Settings, SettingsError, Sparsity};
use lissom_tensor::{DType, Tensor, Weight};
use lissom_train::{
    BatchNorm, Forward, ForwardOptions, Loss, Named, Network, Nodes, Objective, Runner, Step, StepOptions, Target,
    Technique, TrainError, Trainer, TrainerOptions,
};
use serde::Deserialize;

use super::trained::Trained;
use crate::parts::allocate::Allocate;
use crate::parts::masks::{Masks, Rule, Targets};
use crate::parts::select::Ties;
use crate::{Method, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "synflow",
    summary: "prune before training without data, keeping the paths through the network, then train what is left",
    source: "Tanaka et al., NeurIPS 2020, arXiv:2006.05467",
    example: "sparsity = 0.9",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let technique: SynFlow = settings.parse()?;
        if technique.rounds == 0 {
            return Err(settings.error_at("rounds", "must be at least 1"));
        }
        Ok(Box::new(Trained { name: SPEC.name, technique }))
    },
};

/// Settings of `synflow`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SynFlow {
    sparsity: Sparsity,
    /// How often weights are scored on the way.
    #[serde(default = "rounds")]
    rounds: u32,
    #[serde(default)]
    allocate: Allocate,
    #[serde(default)]
    layers: LayerFilter,
    #[serde(skip)]
    targets: Targets,
}

fn rounds() -> u32 {
    100
}

impl Technique for SynFlow {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        self.targets = Targets::to_mask(SPEC.name, model, &self.layers, options)?;
        Ok(())
    }

    fn begin(&mut self, trainer: &mut Trainer, _: &[(&str, &Tensor)]) -> Result<(), TrainError> {
        let mut flow = Flow::new(&trainer.model())?;
        let density = 1.0 - self.sparsity.fraction();
        let rule = Rule { pattern: self.sparsity.pattern(), allocate: self.allocate, ties: Ties::Exact };
        let mut masks = Masks::new();
        // What a pattern fixes cannot be approached.
        let rounds = if rule.pattern.fixed_fraction().is_some() { 1 } else { self.rounds };
        for round in 1..=rounds {
            let scores = flow.scores(&self.targets, &masks)?;
            let scores: Vec<&[f32]> = scores.iter().map(Vec::as_slice).collect();
            let sparsity = 1.0 - density.powf(f64::from(round) / f64::from(rounds));
            masks = self.targets.by_score(&rule, sparsity, &scores);
        }
        self.targets.set_masks(trainer, &masks)
    }
}

/// Σ of the scores.
#[derive(Debug)]
struct SumOfOutputs;

impl Loss for SumOfOutputs {
    fn name(&self) -> &'static str {
        "sum_of_outputs"
    }

    fn targets(&self, _: &Network<'_>) -> Result<Vec<Target>, TrainError> {
        Ok(Vec::new())
    }

    fn build(&self, nodes: &mut Nodes<'_>, network: &Network<'_>, _: &[ValueId]) -> Result<ValueId, TrainError> {
        Ok(nodes.reduce("ReduceSum", network.scores, &[], false)?)
    }
}

/// The network without signs, and its gradient.
struct Flow {
    runner: Runner,
    /// What it is fed: ones, and what is carried.
    named: Named,
}

impl Flow {
    fn new(model: &Model) -> Result<Self, TrainError> {
        let mut model = model.clone();
        let constants: Vec<ValueId> = model.graph.constants().map(|(id, _)| id).collect();
        let parameters = lissom_train::parameters(&model.graph);
        let layers: Vec<ValueId> = model.graph.layers().iter().map(|layer| layer.weight).collect();
        let statistics: Vec<ValueId> = model
            .graph
            .nodes()
            .iter()
            .filter(|node| node.op_type == "BatchNormalization")
            .flat_map(|node| node.inputs.iter().skip(3).flatten().copied())
            .collect();
        for id in constants {
            let is_parameter = parameters.iter().any(|parameter| parameter.value == id);
            let Some(tensor) = model.graph.dense_constant(id) else { continue };
            if tensor.dtype() != DType::F32 || !(is_parameter || statistics.contains(&id)) {
                continue;
            }
            let mut tensor = tensor.clone();
            let values = tensor.as_mut_slice::<f32>()?;
            values.iter_mut().for_each(|x| *x = x.abs());
            let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / values.len().max(1) as f64;
            if layers.contains(&id) && mean > 0.0 {
                // About the sum of a row, so that what goes through stays as large as it was.
                let n_rows = tensor.shape().first().copied().unwrap_or(1).max(1);
                let row = mean * (tensor.len() / n_rows).max(1) as f64;
                tensor.as_mut_slice::<f32>()?.iter_mut().for_each(|x| *x = (f64::from(*x) / row) as f32);
            }
            model.graph.set_constant(id, Weight::Dense(tensor));
        }
        let objective = Objective { terms: vec![(1.0, Box::new(SumOfOutputs))] };
        let options = ForwardOptions { batch_norm: BatchNorm::Frozen, dropout: false };
        let is_weight = |parameter: &lissom_train::Parameter| layers.contains(&parameter.value);
        let forward = Forward::new(&model, &objective, is_weight, &options)?;
        let runner = Runner::new(Step::gradient(&forward, &StepOptions::default())?, &SessionOptions::default())?;
        let mut named = Named::new();
        for (name, fact) in &runner.step.data {
            let shape = fact.shape.clone().unwrap_or_default();
            let shape: Vec<usize> = shape.iter().map(|length| Dim::known(length).unwrap_or(1)).collect();
            let n = shape.iter().product();
            if fact.dtype != Some(DType::F32) {
                let reason = format!("its input `{name}` cannot be ones: it is {fact}");
                return Err(TrainError::Technique { method: SPEC.name, reason });
            }
            named.insert(name.clone(), Tensor::new(shape, vec![1f32; n])?);
        }
        for carried in &runner.step.carried {
            named.insert(carried.input.clone(), carried.initial.clone());
        }
        Ok(Self { runner, named })
    }

    /// |θ ⊙ ∂R/∂θ| of the masked network; no masks mask nothing.
    fn scores(&mut self, targets: &Targets, masks: &Masks) -> Result<Vec<Vec<f32>>, TrainError> {
        super::cram::masked(targets, masks, &mut self.named)?;
        let names = &self.runner.step.outputs.tensors;
        let mut gradients = Named::new();
        for (name, _) in names {
            let like = self.named.get(name).ok_or_else(|| TrainError::MissingInput { name: name.clone() })?;
            gradients.insert(name.clone(), Tensor::zeros(DType::F32, like.shape())?);
        }
        let output = |name: &str| names.iter().find(|(own, _)| own == name).map(|(_, output)| output.as_str());
        let mut outputs: Vec<(&str, &mut Tensor)> =
            gradients.iter_mut().filter_map(|(name, tensor)| Some((output(name)?, tensor))).collect();
        self.runner.run(&[&self.named], &mut outputs)?;
        let weights = targets.slices(|name| self.named.get(name))?;
        let slopes = targets.slices(|name| gradients.get(name))?;
        let score = |(w, g): (&[f32], &[f32])| w.iter().zip(g).map(|(w, g)| (w * g).abs()).collect();
        Ok(weights.into_iter().zip(slopes).map(score).collect())
    }
}

#[cfg(test)]
mod tests {
    use lissom_graph::{Attributes, Fact, Graph, Patch, infer};
    use lissom_ops::OPERATORS;

    use super::*;

    #[test]
    fn each_layer_carries_the_whole_flow() {
        let mut graph = Graph::new("linear");
        let x = graph.add_input("x", Fact::new(DType::F32, vec![Dim::symbol("n"), Dim::from(2)]));
        let mut patch = Patch::new(&graph, 20);
        let mut y = x;
        for (name, shape, weights) in
            [("first", [2, 2], vec![1f32, -2.0, 0.5, 3.0]), ("second", [1, 2], vec![2f32, -1.0])]
        {
            let weight = patch.constant(&format!("{name}.weight"), Weight::Dense(Tensor::new(shape, weights).unwrap()));
            let attributes = Attributes::new().with("transB", 1i64);
            y = patch.node(&OPERATORS, "Gemm", name, &[Some(y), Some(weight)], attributes).unwrap();
        }
        graph.set_outputs(vec![y]);
        graph.apply(patch).unwrap();
        infer(&mut graph).unwrap();
        let model = Model::new(graph, OPERATORS, 20);
        let targets = Targets::of("test", &model, &LayerFilter::all()).unwrap();
        let scores = Flow::new(&model).unwrap().scores(&targets, &Masks::new()).unwrap();
        // R = 9.5 there; here every score is divided by the same number.
        let by = scores[0][0] / 2.0;
        let expected = [vec![2.0, 4.0, 0.5, 3.0], vec![6.0, 3.5]];
        for (scores, expected) in scores.iter().zip(expected) {
            assert!(scores.iter().zip(&expected).all(|(s, e)| (s / by - e).abs() < 1e-5), "{scores:?}");
            assert!((scores.iter().sum::<f32>() / by - 9.5).abs() < 1e-5);
        }
    }
}
