//! A step under construction.

use std::collections::BTreeMap;

use lissom_graph::{Fact, Graph, Model, OpError, Patch, ValueId, infer};
use lissom_tensor::{DType, Tensor};

use super::{Carried, Role, Step, StepOptions, StepOutputs};
use crate::gradient::node_names;
use crate::{
    Differentiation, Forward, Gradients, Group, Missing, Nodes, Optimizer, Parameter, Recompute, Slot, TrainError,
    differentiate, floats, recompute,
};

/// A step under construction.
pub(super) struct Draft {
    pub(super) graph: Graph,
    is_forward: bool,
    /// The parameters' values, in order.
    pub(super) weights: Vec<ValueId>,
    carried: Vec<(ValueId, Option<ValueId>, Role, Tensor)>,
    scalars: Vec<ValueId>,
    noise: Vec<(ValueId, Vec<usize>)>,
    gradients: Vec<(String, ValueId)>,
    /// The parameters' names, the weights, and what the backward pass sees of them.
    backward: Vec<(String, ValueId, ValueId)>,
    norm: Option<ValueId>,
    norm_l1: Option<ValueId>,
    pub(super) tensors: Vec<(String, ValueId)>,
}

/// Inputs of an update.
pub(super) struct UpdateInputs {
    scalars: Vec<ValueId>,
    states: Vec<Vec<ValueId>>,
    averages: Vec<ValueId>,
    /// For each parameter, where it has one.
    masks: Vec<Option<ValueId>>,
    average_kept: Option<ValueId>,
    noise_deviation: Option<ValueId>,
    noise: Vec<ValueId>,
}

impl UpdateInputs {
    /// Gradients of what masks keep, 0 elsewhere, unless all are asked for.
    pub(super) fn masked(
        &self,
        nodes: &mut Nodes<'_>,
        mut gradients: Gradients,
        options: &StepOptions,
    ) -> Result<Gradients, OpError> {
        for (gradient, mask) in gradients.of.iter_mut().zip(&self.masks).filter(|_| !options.dense_gradients) {
            if let (Some(gradient), Some(mask)) = (gradient, mask) {
                *gradient = nodes.mul(*gradient, *mask)?;
            }
        }
        Ok(gradients)
    }
}

impl Draft {
    pub(super) fn empty(graph: Graph, weights: Vec<ValueId>, is_forward: bool) -> Self {
        let (carried, scalars, noise) = (Vec::new(), Vec::new(), Vec::new());
        let (gradients, tensors, backward) = (Vec::new(), Vec::new(), Vec::new());
        let (norm, norm_l1) = (None, None);
        Self { graph, is_forward, weights, carried, scalars, noise, gradients, backward, norm, norm_l1, tensors }
    }

    pub(super) fn of(forward: &Forward) -> Self {
        let weights = forward.parameters.iter().map(|parameter| parameter.value).collect();
        Self::empty(forward.graph.clone(), weights, true)
    }

    /// A graph of parameters and their gradients alone.
    pub(super) fn of_gradients(forward: &Forward) -> (Self, Vec<ValueId>) {
        let mut graph = Graph::new("update");
        let fact = |parameter: &Parameter| Fact::known(parameter.dtype, &parameter.shape);
        let weights = forward.parameters.iter().map(|p| graph.add_input(&p.name, fact(p))).collect();
        let gradient = |p: &Parameter| graph.add_input(&format!("{}.gradient", p.name), fact(p));
        let gradients: Vec<ValueId> = forward.parameters.iter().map(gradient).collect();
        let names = forward.parameters.iter().map(|parameter| parameter.name.clone());
        let mut draft = Self::empty(graph, weights, false);
        draft.gradients = names.zip(gradients.iter().copied()).collect();
        (draft, gradients)
    }

    pub(super) fn scalar(&mut self, dtype: DType, name: &str) -> ValueId {
        let value = self.graph.add_input(name, Fact::known(dtype, &[]));
        self.scalars.push(value);
        value
    }

    pub(super) fn add_update_inputs(
        &mut self,
        forward: &Forward,
        optimizer: &dyn Optimizer,
        options: &StepOptions,
    ) -> Result<UpdateInputs, TrainError> {
        let dtype = forward.dtype;
        let scalars = optimizer.scalars().iter().map(|name| self.scalar(dtype, name)).collect();
        let noise_deviation = options.noise.then(|| self.scalar(dtype, "noise_deviation"));
        let average_kept = options.average.then(|| self.scalar(dtype, "average_kept"));
        let (mut states, mut averages, mut masks, mut noise) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for parameter in &forward.parameters {
            let fact = Fact::known(dtype, &parameter.shape);
            let named = |what: &str| format!("{}.{what}", parameter.name);
            states
                .push(optimizer.states().iter().map(|what| self.graph.add_input(&named(what), fact.clone())).collect());
            if options.average {
                averages.push(self.graph.add_input(&named("average"), fact.clone()));
            }
            let is_masked = options.masks && parameter.group == Group::Weight;
            masks.push(is_masked.then(|| self.graph.add_input(&named("mask"), fact.clone())));
            if options.noise {
                let value = self.graph.add_input(&named("noise"), fact);
                self.noise.push((value, parameter.shape.clone()));
                noise.push(value);
            }
        }
        Ok(UpdateInputs { scalars, states, averages, masks, average_kept, noise_deviation, noise })
    }

    pub(super) fn add_backward_inputs(&mut self, forward: &Forward, options: &StepOptions) {
        for parameter in forward.parameters.iter().filter(|parameter| options.backward.contains(&parameter.name)) {
            let fact = Fact::known(parameter.dtype, &parameter.shape);
            let input = self.graph.add_input(&format!("{}.backward", parameter.name), fact);
            self.backward.push((parameter.name.clone(), parameter.value, input));
        }
    }

    pub(super) fn gradients(
        &self,
        forward: &Forward,
        options: &StepOptions,
        patch: &mut Patch,
    ) -> Result<Gradients, TrainError> {
        let backward: BTreeMap<ValueId, ValueId> = self.backward.iter().map(|(_, own, seen)| (*own, *seen)).collect();
        let request = Differentiation {
            graph: &forward.graph,
            operators: &forward.operators,
            loss: forward.loss,
            wanted: &self.weights,
            missing: options.missing,
            backward: &backward,
        };
        let gradients = differentiate(&request, patch)?;
        let unreached = forward.parameters.iter().zip(&gradients.of).filter(|(_, gradient)| gradient.is_none());
        let names: Vec<String> = unreached.map(|(parameter, _)| parameter.name.clone()).collect();
        if names.len() == gradients.of.len() || (!names.is_empty() && options.missing == Missing::Refuse) {
            return Err(TrainError::Unreached { names });
        }
        Ok(gradients)
    }

    /// The gradients, brought down together to a norm if asked for.
    pub(super) fn clipped(
        &mut self,
        nodes: &mut Nodes<'_>,
        gradients: Gradients,
        options: &StepOptions,
    ) -> Result<Vec<Option<ValueId>>, OpError> {
        let there: Vec<ValueId> = gradients.of.iter().flatten().copied().collect();
        let mut gradients = gradients.of;
        if options.norms {
            let sums: Result<Vec<_>, _> =
                there.iter().map(|&gradient| nodes.reduce("ReduceL1", gradient, &[], false)).collect();
            self.norm_l1 = nodes.total(&sums?)?;
        }
        if options.norms || options.clip_norm.is_some() {
            let norm = nodes.global_norm(&there)?;
            self.norm = Some(norm);
            if let Some(limit) = options.clip_norm {
                let divisor = nodes.shifted(norm, 1e-6)?;
                let (limit, one) = (nodes.number(limit)?, nodes.number(1.0)?);
                let factor = nodes.div(limit, divisor)?;
                let factor = nodes.node("Min", &[one, factor], lissom_graph::Attributes::new())?;
                for gradient in gradients.iter_mut().flatten() {
                    *gradient = nodes.mul(*gradient, factor)?;
                }
            }
        }
        Ok(gradients)
    }

    pub(super) fn fixed_parameter(&mut self, forward: &Forward, parameter: &Parameter) {
        let index = forward.parameters.iter().position(|other| other == parameter).unwrap_or_default();
        let initial = forward.initial[index].clone();
        self.carried.push((self.weights[index], None, Role::Parameter, initial));
    }

    pub(super) fn update(
        &mut self,
        nodes: &mut Nodes<'_>,
        forward: &Forward,
        gradients: &[Option<ValueId>],
        inputs: &UpdateInputs,
        (optimizer, options): (&dyn Optimizer, &StepOptions),
    ) -> Result<(), TrainError> {
        let mut there: Vec<ValueId> = gradients.iter().flatten().copied().collect();
        if let Some(deviation) = inputs.noise_deviation {
            let noises = inputs.noise.iter().zip(gradients).filter(|(_, gradient)| gradient.is_some());
            for (gradient, (&noise, _)) in there.iter_mut().zip(noises) {
                let noise = nodes.mul(noise, deviation)?;
                *gradient = nodes.add(*gradient, noise)?;
            }
        }
        let mut prepared = optimizer.prepare(nodes, there)?.into_iter();
        let fresh = match inputs.average_kept {
            Some(kept) => {
                let one = nodes.number(1.0)?;
                Some((kept, nodes.sub(one, kept)?))
            }
            None => None,
        };
        for (index, parameter) in forward.parameters.iter().enumerate() {
            let (weight, states) = (self.weights[index], &inputs.states[index][..]);
            let zeros = Tensor::zeros(parameter.dtype, parameter.shape.clone())?;
            let state_role = || Role::State(parameter.name.clone());
            if let Some(mask) = inputs.masks[index] {
                let ones = floats(parameter.dtype, &parameter.shape, &vec![1.0; zeros.len()])?;
                self.carried.push((mask, None, Role::Mask(parameter.name.clone()), ones));
            }
            let Some(gradient) = gradients[index].and_then(|_| prepared.next()) else {
                self.fixed_parameter(forward, parameter);
                self.carried.extend(states.iter().map(|&state| (state, None, state_role(), zeros.clone())));
                let average = inputs.averages.get(index);
                let role = || Role::Average(parameter.name.clone());
                self.carried.extend(average.map(|&value| (value, None, role(), forward.initial[index].clone())));
                continue;
            };
            let slot = Slot { parameter, weight, gradient, states };
            let mut updated = optimizer.update(nodes, &slot, &inputs.scalars)?;
            if let Some(mask) = inputs.masks[index] {
                updated.weight = nodes.mul(updated.weight, mask)?;
            }
            let initial = &forward.initial[index];
            self.carried.push((weight, Some(updated.weight), Role::Parameter, initial.clone()));
            for (&state, &new) in states.iter().zip(&updated.states) {
                self.carried.push((state, Some(new), state_role(), zeros.clone()));
            }
            if let (Some((kept, fresh)), true) = (fresh, options.average) {
                let average = inputs.averages[index];
                let old = nodes.mul(average, kept)?;
                let new = nodes.mul(updated.weight, fresh)?;
                let new = nodes.add(old, new)?;
                self.carried.push((average, Some(new), Role::Average(parameter.name.clone()), initial.clone()));
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self, forward: &Forward, patch: Patch, which: &Recompute) -> Result<Step, TrainError> {
        let mut outputs = Vec::new();
        if self.is_forward {
            outputs.extend(forward.graph.outputs());
            for statistic in &forward.statistics {
                let (value, updated) = (statistic.value, statistic.updated);
                self.carried.push((value, Some(updated), Role::Statistic, statistic.initial.clone()));
            }
        }
        outputs.extend(self.norm.iter().chain(&self.norm_l1));
        outputs.extend(self.tensors.iter().map(|(_, value)| *value));
        for output in self.carried.iter().filter_map(|(_, output, ..)| *output) {
            if !outputs.contains(&output) {
                outputs.push(output);
            }
        }
        let forward_nodes = node_names(&self.graph);
        self.graph.set_outputs(outputs);
        self.graph.apply(patch)?;
        infer(&mut self.graph)?;
        recompute(&mut self.graph, &forward_nodes, which).map_err(crate::GradientError::from)?;
        infer(&mut self.graph)?;
        self.into_step(forward)
    }

    pub(super) fn into_step(self, forward: &Forward) -> Result<Step, TrainError> {
        let graph = self.graph;
        let name = |value: ValueId| graph.value(value).name.clone();
        let carried = self.carried.into_iter().map(|(input, output, role, initial)| {
            let (input, output) = (name(input), output.map(name));
            Carried { input, output, role, initial }
        });
        let fact = |&value: &ValueId| (name(value), graph.value(value).fact.clone());
        let outputs = StepOutputs {
            loss: self.is_forward.then(|| name(forward.loss)),
            terms: forward
                .terms
                .iter()
                .filter(|_| self.is_forward)
                .map(|(loss, value)| (loss.clone(), name(*value)))
                .collect(),
            correct: forward.correct.filter(|_| self.is_forward).map(name),
            gradient_norm: self.norm.map(name),
            gradient_norm_l1: self.norm_l1.map(name),
            tensors: self.tensors.iter().map(|(parameter, value)| (parameter.clone(), name(*value))).collect(),
        };
        Ok(Step {
            carried: carried.collect(),
            data: forward.data.iter().filter(|_| self.is_forward).map(fact).collect(),
            gradients: self.gradients.iter().map(|(parameter, value)| (parameter.clone(), name(*value))).collect(),
            backward: self.backward.iter().map(|(parameter, _, input)| (parameter.clone(), name(*input))).collect(),
            dropped: forward.random.iter().filter(|_| self.is_forward).map(|d| (name(d.value), *d)).collect(),
            noise: self.noise.iter().map(|(value, shape)| (name(*value), shape.clone())).collect(),
            scalars: self.scalars.iter().copied().map(name).collect(),
            outputs,
            model: Model::new(graph.clone(), forward.operators, forward.opset),
        })
    }
}
