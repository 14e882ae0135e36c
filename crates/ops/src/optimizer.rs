//! What the optimizers of `ai.onnx.preview.training` share: a learning rate, a step count, and lists of tensors.

use lissom_graph::{Fact, Facts, Inputs, OpError};
use lissom_tensor::Tensor;

use crate::numeric::{expect_shape, floats, from_f64};

/// The tensors that one step changes, with what belongs to each.
pub(crate) struct Optimized<'a> {
    /// Learning rate.
    pub rate: f64,
    /// Steps so far.
    pub count: f64,
    /// For each optimized tensor: itself, its gradient, and its states, each as given.
    pub groups: Vec<Vec<&'a Tensor>>,
}

impl<'a> Optimized<'a> {
    /// Reads inputs that hold `per_tensor` lists one after the other.
    ///
    /// # Errors
    /// [`OpError::BadValue`] if the lists have no common length; [`OpError::BadShape`].
    pub fn read(inputs: &Inputs<'a>, per_tensor: usize) -> Result<Self, OpError> {
        let (rate, count) = (inputs.required(0)?.to_f64()?, inputs.required(1)?.to_f64()?);
        let tensors = inputs.all()?.split_off(2);
        if tensors.len() % per_tensor != 0 {
            return Err(OpError::value(format!("{} tensors are no {per_tensor} lists", tensors.len())));
        }
        let n = tensors.len() / per_tensor;
        let groups: Vec<Vec<&Tensor>> =
            (0..n).map(|i| (0..per_tensor).map(|list| tensors[list * n + i]).collect()).collect();
        for (i, group) in groups.iter().enumerate() {
            for (list, tensor) in group.iter().enumerate() {
                expect_shape(2 + list * n + i, tensor, group[0].shape())?;
            }
        }
        Ok(Self { rate, count, groups })
    }

    /// Runs `step` for each element of each tensor: it changes the tensor's value and states in place; the second number
    /// is the gradient. Gives the new tensors, then the new states, list by list.
    ///
    /// # Errors
    /// [`OpError::UnsupportedType`].
    pub fn run(&self, step: impl Fn(&mut [f64])) -> Result<Vec<Tensor>, OpError> {
        let mut lists: Vec<Vec<Tensor>> = Vec::new();
        for group in &self.groups {
            let mut values = group.iter().map(|tensor| floats(2, tensor)).collect::<Result<Vec<_>, _>>()?;
            let mut row = vec![0.0; group.len()];
            for i in 0..values[0].len() {
                row.iter_mut().zip(&values).for_each(|(x, values)| *x = values[i]);
                step(&mut row);
                row.iter().zip(&mut values).for_each(|(x, values)| values[i] = *x);
            }
            let kept = values.into_iter().zip(group).enumerate().filter(|(list, _)| *list != 1);
            for (position, (_, (values, tensor))) in kept.enumerate() {
                if lists.len() <= position {
                    lists.push(Vec::new());
                }
                lists[position].push(from_f64(tensor.dtype(), tensor.shape().to_vec(), values)?);
            }
        }
        Ok(lists.into_iter().flatten().collect())
    }
}

/// Facts of the outputs: those of the optimized tensors, then of the states.
pub(crate) fn infer_optimized(inputs: &Facts<'_>, per_tensor: usize) -> Vec<Fact> {
    let n = inputs.len().saturating_sub(2) / per_tensor;
    let lists = (0..per_tensor).filter(|&list| list != 1);
    lists
        .flat_map(|list| (0..n).map(move |i| 2 + list * n + i))
        .map(|index| inputs.get(index).clone())
        .map(untold)
        .collect()
}

/// The same without the value.
fn untold(fact: Fact) -> Fact {
    Fact { value: None, ..fact }
}
