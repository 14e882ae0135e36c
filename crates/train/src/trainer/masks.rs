//! What methods ask of a training: masks, the state of the optimizer, gradients, the network's tensors.

use lissom_tensor::Tensor;

use super::{Passes, Trainer};
use crate::runner::owned;
use crate::{Named, Role, Runner, Step, TrainError};

impl Trainer {
    /// The mask of a parameter, if the training keeps masks: 1 where it may be anything, 0 where it stays zero.
    pub fn mask(&self, parameter: &str) -> Option<&Tensor> {
        let is_own = |role: &Role| matches!(role, Role::Mask(of) if of == parameter);
        self.roles.iter().find(|(_, role)| is_own(role)).and_then(|(name, _)| self.front.get(name))
    }

    /// Brings everything the optimizer keeps to zero, where it begins.
    ///
    /// # Errors
    /// [`TrainError::Tensor`].
    pub fn clear_states(&mut self) -> Result<(), TrainError> {
        for (name, role) in &self.roles {
            if let (Role::State(_), Some(state)) = (role, self.front.get_mut(name)) {
                state.as_mut_slice::<f32>()?.fill(0.0);
            }
        }
        Ok(())
    }

    /// Brings what the optimizer keeps of a parameter to zero at the positions that are true.
    ///
    /// # Errors
    /// [`TrainError::Tensor`].
    pub fn clear_states_at(&mut self, parameter: &str, positions: &[bool]) -> Result<(), TrainError> {
        for (name, role) in &self.roles {
            let is_own = matches!(role, Role::State(of) if of == parameter);
            if let (true, Some(state)) = (is_own, self.front.get_mut(name)) {
                let values = state.as_mut_slice::<f32>()?.iter_mut().zip(positions);
                values.filter(|(_, clear)| **clear).for_each(|(value, _)| *value = 0.0);
            }
        }
        Ok(())
    }

    /// Parameters and running statistics, by name.
    pub fn network(&self) -> Named {
        let is_network = |role: &Role| matches!(role, Role::Parameter | Role::Statistic);
        let names = self.roles.iter().filter(|(_, role)| is_network(role)).map(|(name, _)| name);
        names.filter_map(|name| Some((name.clone(), self.front.get(name)?.clone()))).collect()
    }

    /// The gradients of all parameters on a batch, by parameter name; nothing changes. Masked weights have one too: that of a weight that
    /// is zero.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn gradient(&mut self, batch: &[(&str, &Tensor)]) -> Result<Named, TrainError> {
        self.gradient_at(&Named::new(), batch)
    }

    /// The gradients where the parameters in `weights` have these values, the others their own.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn gradient_at(&mut self, weights: &Named, batch: &[(&str, &Tensor)]) -> Result<Named, TrainError> {
        if let (Passes::One(_), None) = (&self.passes, &self.gradient) {
            let session = self.options.session();
            self.gradient = Some(Runner::new(Step::gradient(&self.forward, &self.options.step)?, &session)?);
        }
        let mut given = owned(batch);
        self.add_random(&mut given)?;
        let runner = match (&self.passes, &self.gradient) {
            (Passes::Twice(twice), _) => &twice.gradient,
            (_, Some(runner)) => runner,
            (Passes::One(runner), None) => runner,
        };
        let mut gradients = Named::new();
        for parameter in &self.forward.parameters {
            gradients.insert(parameter.name.clone(), Tensor::zeros(parameter.dtype, parameter.shape.clone())?);
        }
        let names = &runner.step.outputs.tensors;
        let output = |name: &str| names.iter().find(|(own, _)| own == name).map(|(_, output)| output.as_str());
        let mut outputs: Vec<(&str, &mut Tensor)> =
            gradients.iter_mut().filter_map(|(name, tensor)| Some((output(name)?, tensor))).collect();
        let seen = runner.step.backward.iter().filter_map(|(name, input)| {
            let weight = weights.get(name).or_else(|| self.front.get(name))?;
            Some((input.clone(), weight.clone()))
        });
        given.extend(seen);
        runner.run(&[weights, &given, &self.front], &mut outputs)?;
        Ok(gradients)
    }
}
