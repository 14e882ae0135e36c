//! The axis that `Softmax`, `LogSoftmax` and `Hardmax` work along.

use lissom_graph::{NodeReader, OpError};

use crate::axes::{axis, split_at};

/// The axis of a softmax. Until opset 12 it splits the shape: all axes from it on are normalized together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoftmaxAxis {
    /// May be negative.
    pub axis: i64,
    /// All axes from this one on are normalized together.
    pub flattens: bool,
}

impl SoftmaxAxis {
    pub(crate) fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let flattens = node.opset() < 13;
        Ok(Self { axis: node.int_or("axis", if flattens { 1 } else { -1 })?, flattens })
    }

    /// Runs `f` over each normalized vector: values copied out, changed, and put back.
    ///
    /// # Errors
    /// [`OpError::BadValue`] for an axis outside the rank.
    pub(crate) fn apply(self, shape: &[usize], values: &mut [f64], f: impl Fn(&mut [f64])) -> Result<(), OpError> {
        let scalar = [1];
        let shape = if shape.is_empty() { &scalar } else { shape };
        let position = match (self.flattens, self.axis) {
            // One past the last axis is allowed here: vectors of length 1.
            (true, axis) if axis == shape.len() as i64 => shape.len(),
            _ => axis(self.axis, shape.len())?,
        };
        if values.is_empty() {
            return Ok(());
        }
        let (outer, length, inner) = if self.flattens {
            (shape[..position].iter().product(), shape[position..].iter().product(), 1)
        } else {
            split_at(shape, position)
        };
        let mut vector = vec![0.0; length];
        for block in 0..outer {
            for lane in 0..inner {
                let at = |i: usize| (block * length + i) * inner + lane;
                vector.iter_mut().enumerate().for_each(|(i, value)| *value = values[at(i)]);
                f(&mut vector);
                vector.iter().enumerate().for_each(|(i, value)| values[at(i)] = *value);
            }
        }
        Ok(())
    }
}

/// Softmax of one vector, in place. The largest value is taken off first, so nothing overflows.
pub(crate) fn softmax(vector: &mut [f64]) {
    let max = vector.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    vector.iter_mut().for_each(|x| *x = (*x - max).exp());
    let sum: f64 = vector.iter().sum();
    vector.iter_mut().for_each(|x| *x /= sum);
}

/// Logarithm of [`softmax`].
pub(crate) fn log_softmax(vector: &mut [f64]) {
    let max = vector.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = vector.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
    vector.iter_mut().for_each(|x| *x = *x - max - log_sum);
}

/// 1 at the first largest value, 0 elsewhere.
pub(crate) fn hardmax(vector: &mut [f64]) {
    let mut best = 0;
    for i in 1..vector.len() {
        if vector[i] > vector[best] {
            best = i;
        }
    }
    vector.iter_mut().enumerate().for_each(|(i, x)| *x = if i == best { 1.0 } else { 0.0 });
}
