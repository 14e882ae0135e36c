//! Steps whose gradient is taken elsewhere than at the weights: sharpness-aware minimization and detours.

use std::collections::BTreeMap;

use lissom_tensor::{DType, Tensor};

use super::carried_outputs;
use crate::report::Report;
use crate::runner::borrowed;
use crate::{Detour, Named, Parameter, Role, Runner, Step, TrainError};

/// The parts of such a step, and the room they work in.
#[derive(Debug)]
pub(super) struct Twice {
    pub(super) gradient: Runner,
    /// Not there if the only gradient is taken at weights that a detour changes.
    pub(super) moved: Option<Runner>,
    pub(super) update: Runner,
    /// Gradients at the weights, by the update's input names.
    first: Named,
    /// Gradients at the changed weights, by the update's input names.
    second: Named,
    /// The changed weights, by parameter name.
    weights: Named,
    /// Weights as the backward pass sees them, by parameter name, and by input name while it runs.
    backward: Named,
}

/// What a step is given and what it writes.
pub(super) struct Pass<'a> {
    pub(super) detour: Option<&'a mut dyn Detour>,
    pub(super) step: u64,
    pub(super) given: &'a Named,
    pub(super) front: &'a Named,
    pub(super) back: &'a mut Named,
    pub(super) report: &'a mut Report,
}

impl Twice {
    pub(super) fn new(
        [gradient, update]: [Runner; 2],
        moved: Option<Runner>,
        parameters: &[Parameter],
    ) -> Result<Self, TrainError> {
        let (mut first, mut weights) = (Named::new(), Named::new());
        for ((_, input), parameter) in update.step.gradients.iter().zip(parameters) {
            let zeros = || Tensor::zeros(parameter.dtype, parameter.shape.clone());
            first.insert(input.clone(), zeros()?);
            weights.insert(parameter.name.clone(), zeros()?);
        }
        let mut backward = Named::new();
        for (name, _) in &gradient.step.backward {
            let shape = parameters.iter().find(|parameter| parameter.name == *name).map(|own| own.shape.clone());
            backward.insert(name.clone(), Tensor::zeros(DType::F32, shape.unwrap_or_default())?);
        }
        Ok(Self { gradient, moved, update, second: first.clone(), first, weights, backward })
    }

    pub(super) fn runners(&self) -> impl Iterator<Item = &Runner> {
        [&self.gradient, &self.update].into_iter().chain(&self.moved)
    }

    pub(super) fn step(&mut self, pass: Pass<'_>) -> Result<(), TrainError> {
        let Pass { mut detour, step, given, front, back, report } = pass;
        let Self { gradient, moved, update, first, second, weights, backward } = self;
        if let (Some(detour), false) = (&mut detour, backward.is_empty()) {
            detour.backward(front, backward)?;
        }
        let mut seen = renamed(&gradient.step, backward, |name, input| (name, input));
        match moved {
            Some(moved) => {
                let mut outputs = counted(gradient, back, report);
                outputs.extend(tensor_outputs(&gradient.step, &update.step, first));
                gradient.run(&[given, &seen, front], &mut outputs)?;
                let mut buffers = borrowed(weights);
                let outputs = moved.step.outputs.tensors.iter();
                let mut outputs: Vec<(&str, &mut Tensor)> = outputs
                    .filter_map(|(name, output)| Some((output.as_str(), buffers.remove(name.as_str())?)))
                    .collect();
                moved.run(&[first, front], &mut outputs)?;
            }
            None => {
                for (name, weight) in weights.iter_mut() {
                    let now = front.get(name).ok_or_else(|| TrainError::MissingInput { name: name.clone() })?;
                    weight.as_mut_slice::<f32>()?.copy_from_slice(now.as_slice()?);
                }
            }
        }
        if let Some(detour) = &mut detour {
            detour.weights(step, weights)?;
        }
        let mut outputs = if moved.is_none() { counted(gradient, back, report) } else { Vec::new() };
        outputs.extend(tensor_outputs(&gradient.step, &update.step, second));
        gradient.run(&[given, weights, &seen, front], &mut outputs)?;
        *backward = renamed(&gradient.step, &mut seen, |name, input| (input, name));
        if let Some(detour) = detour {
            let first = moved.is_some().then(|| by_parameter(&update.step, first));
            let mut gradients = by_parameter(&update.step, second);
            let made = detour.gradients(front, first.as_ref(), &mut gradients);
            by_input(&update.step, gradients, second);
            first.into_iter().for_each(|gradients| by_input(&update.step, gradients, &mut self.first));
            made?;
        }
        let mut outputs = carried_outputs(&update.step, back, |_| true);
        outputs.extend(report.norms(&update.step));
        update.run(&[given, &self.second, front], &mut outputs)
    }
}

/// The weights that the backward pass sees, under their other name.
fn renamed<'a>(
    gradient: &'a Step,
    weights: &mut Named,
    from_to: impl Fn(&'a String, &'a String) -> (&'a String, &'a String),
) -> Named {
    let pairs = gradient.backward.iter().map(|(name, input)| from_to(name, input));
    pairs.filter_map(|(from, to)| Some((to.clone(), weights.remove(from)?))).collect()
}

/// The outputs of the pass that is counted: running statistics, the loss.
fn counted<'a>(gradient: &'a Runner, back: &'a mut Named, report: &'a mut Report) -> Vec<(&'a str, &'a mut Tensor)> {
    let mut outputs = carried_outputs(&gradient.step, back, |carried| carried.role == Role::Statistic);
    outputs.extend(report.outputs(&gradient.step));
    outputs
}

/// The gradients a step gives, into the buffers of the update's inputs.
fn tensor_outputs<'a>(gradient: &'a Step, update: &Step, buffers: &'a mut Named) -> Vec<(&'a str, &'a mut Tensor)> {
    let mut buffers = borrowed(buffers);
    let inputs: BTreeMap<&str, &str> =
        update.gradients.iter().map(|(name, input)| (name.as_str(), input.as_str())).collect();
    let mut buffer = |name: &str| buffers.remove(*inputs.get(name)?);
    gradient.outputs.tensors.iter().filter_map(|(name, output)| Some((output.as_str(), buffer(name)?))).collect()
}

/// Takes gradients out of the buffers, by parameter name.
fn by_parameter(update: &Step, buffers: &mut Named) -> Named {
    update.gradients.iter().filter_map(|(name, input)| Some((name.clone(), buffers.remove(input)?))).collect()
}

/// Puts them back.
fn by_input(update: &Step, mut gradients: Named, buffers: &mut Named) {
    for (name, input) in &update.gradients {
        buffers.extend(gradients.remove(name).map(|gradient| (input.clone(), gradient)));
    }
}
