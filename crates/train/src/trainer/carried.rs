//! What is carried from step to step: seen, changed, saved and loaded.

use std::collections::BTreeMap;
use std::path::Path;

use lissom_graph::Model;
use lissom_tensor::{Tensor, TensorError, Weight};

use super::Trainer;
use crate::{Checkpoint, Parameter, Role, TrainError};

impl Trainer {
    /// What is carried from step to step: a parameter, statistic, state, average or mask by its name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.front.get(name)
    }

    /// Gives a carried tensor another value, of the same type and shape.
    ///
    /// # Errors
    /// [`TrainError::UnknownValue`], [`TrainError::Tensor`].
    pub fn set_tensor(&mut self, name: &str, tensor: Tensor) -> Result<(), TrainError> {
        let Some(own) = self.front.get_mut(name) else {
            return Err(TrainError::unknown_value(name, self.roles.keys().map(String::as_str)));
        };
        if own.dtype() != tensor.dtype() {
            return Err(TensorError::TypeMismatch { expected: own.dtype(), actual: tensor.dtype() }.into());
        }
        if own.shape() != tensor.shape() {
            let (shape, expected, actual) = (own.shape().to_vec(), own.len(), tensor.len());
            return Err(TensorError::LengthMismatch { shape, expected, actual }.into());
        }
        *own = tensor;
        Ok(())
    }

    /// Gives a parameter a mask, of ones and zeros: it is zero where the mask is, from now on. The training was made with
    /// [`StepOptions::masks`](crate::StepOptions::masks).
    ///
    /// # Errors
    /// As [`set_tensor`](Self::set_tensor).
    pub fn set_mask(&mut self, parameter: &str, mask: Tensor) -> Result<(), TrainError> {
        let is_mask = |role: &Role| matches!(role, Role::Mask(name) if name == parameter);
        let is_masked = |name: &str, role: &Role| match role {
            Role::Parameter => name == parameter,
            Role::Average(of) => of == parameter,
            _ => false,
        };
        let names = self.roles.iter().filter(|(name, role)| is_masked(name, role));
        let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
        let own = self.roles.iter().find(|(_, role)| is_mask(role)).map(|(name, _)| name.clone());
        let own = own.ok_or_else(|| {
            let masked = |role: &'_ Role| if let Role::Mask(name) = role { Some(name.clone()) } else { None };
            let known: Vec<String> = self.roles.values().filter_map(masked).collect();
            TrainError::unknown_value(parameter, known.iter().map(String::as_str))
        })?;
        let zeros = mask.as_slice::<f32>()?.to_vec();
        self.set_tensor(&own, mask)?;
        for name in names {
            if let Some(tensor) = self.front.get_mut(&name) {
                tensor.as_mut_slice::<f32>()?.iter_mut().zip(&zeros).for_each(|(weight, mask)| *weight *= mask);
            }
        }
        Ok(())
    }

    /// The network as it is now.
    pub fn model(&self) -> Model {
        self.model_of(|parameter| self.front.get(&parameter.name))
    }

    /// The network with the moving average of its parameters, if one is kept; running statistics are those of the last step.
    pub fn averaged_model(&self) -> Option<Model> {
        self.options.average?;
        let average = |wanted: &str| {
            let role = |role: &Role| matches!(role, Role::Average(name) if name == wanted);
            self.roles.iter().find(|(_, own)| role(own)).and_then(|(name, _)| self.front.get(name))
        };
        Some(self.model_of(|parameter| average(&parameter.name)))
    }

    /// Exchanges the parameters and their moving averages, if those are kept. A second time takes it back.
    pub fn swap_average(&mut self) {
        for (name, role) in &self.roles {
            let Role::Average(of) = role else { continue };
            if let Some(average) = self.front.remove(name) {
                let now = self.front.insert(of.clone(), average);
                self.front.extend(now.map(|now| (name.clone(), now)));
            }
        }
    }

    fn model_of<'a>(&'a self, tensor: impl Fn(&Parameter) -> Option<&'a Tensor>) -> Model {
        let mut model = self.original.clone();
        for parameter in &self.forward.parameters {
            if let Some(tensor) = tensor(parameter) {
                model.graph.set_constant(parameter.value, Weight::Dense(tensor.clone()));
            }
        }
        for statistic in &self.forward.statistics {
            if let Some(tensor) = self.front.get(self.forward.name(statistic.value)) {
                model.graph.set_constant(statistic.value, Weight::Dense(tensor.clone()));
            }
        }
        model
    }

    /// Everything a later process needs to go on.
    pub fn state(&self) -> Checkpoint {
        let mut metadata = BTreeMap::new();
        metadata.insert("step".into(), self.done.to_string());
        metadata.insert("seed".into(), self.options.seed.to_string());
        metadata.insert("total_steps".into(), self.options.total_steps.to_string());
        Checkpoint { metadata, tensors: self.front.clone() }
    }

    /// Writes the [`state`](Self::state), whole or not at all.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`].
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        Ok(self.state().save(path)?)
    }

    /// Goes on where a checkpoint was written, as [`restore`](Self::restore).
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`], and those of [`restore`](Self::restore).
    pub fn load(&mut self, path: &Path) -> Result<(), TrainError> {
        self.restore(Checkpoint::load(path)?)
    }

    /// Goes on from a [`state`](Self::state): the steps that follow are those of a training that was never interrupted.
    ///
    /// # Errors
    /// [`TrainError::OtherTraining`] if it is that of a training of another network, seed, length or optimizer;
    /// nothing is changed then.
    pub fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), TrainError> {
        let number = |key: &str| -> Result<u64, TrainError> {
            let text = checkpoint.metadata.get(key);
            let other = || TrainError::OtherTraining { reason: format!("it has no `{key}`") };
            text.and_then(|text| text.parse().ok()).ok_or_else(other)
        };
        for (key, own) in [("seed", self.options.seed), ("total_steps", self.options.total_steps)] {
            let there = number(key)?;
            if there != own {
                return Err(TrainError::OtherTraining { reason: format!("its {key} is {there}, not {own}") });
            }
        }
        let done = number("step")?;
        let kind = |tensor: &Tensor| (tensor.dtype(), tensor.shape().to_vec());
        let differs = |(name, own): &(&String, &Tensor)| checkpoint.tensors.get(*name).map(kind) != Some(kind(own));
        if let Some((name, _)) = self.front.iter().find(differs) {
            return Err(TrainError::OtherTraining { reason: format!("its `{name}` is missing or of another shape") });
        }
        if let Some(name) = checkpoint.tensors.keys().find(|name| !self.front.contains_key(*name)) {
            return Err(TrainError::OtherTraining { reason: format!("it holds `{name}`, which this one has not") });
        }
        (self.front, self.done) = (checkpoint.tensors, done);
        Ok(())
    }
}
