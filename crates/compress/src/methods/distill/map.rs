//! The maps that lead from a student's channels to a teacher's while both are compared.

use lissom_graph::Dim;
use lissom_tensor::Tensor;
use lissom_train::{Stream, TrainError};

/// A linear map of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Map {
    /// A convolution of one position: from, to, and the number of axes of positions.
    Convolution(usize, usize, usize),
    /// A product: from, to.
    Product(usize, usize),
}

impl Map {
    /// From one shape to another: `Some(None)` if they are equal, `None` if more than the channels differs.
    pub(super) fn between(from: &[Dim], to: &[Dim]) -> Option<Option<Self>> {
        if from.len() != to.len() || from.len() < 2 {
            return None;
        }
        // Batches are of any length, and named differently.
        let differs = |axis: usize| match (from[axis].known(), to[axis].known()) {
            (Some(a), Some(b)) => a != b,
            (None, None) => from[axis] != to[axis] && axis > 0,
            _ => axis > 0,
        };
        let axes: Vec<usize> = (0..from.len()).filter(|&axis| differs(axis)).collect();
        let [axis] = axes[..] else { return axes.is_empty().then_some(None) };
        let (from_length, to_length) = (from[axis].known()?, to[axis].known()?);
        match axis {
            1 if from.len() > 2 => Some(Some(Self::Convolution(from_length, to_length, from.len() - 2))),
            _ if axis > 0 && axis + 1 == from.len() => Some(Some(Self::Product(from_length, to_length))),
            _ => None,
        }
    }

    pub(super) fn op_type(self) -> &'static str {
        match self {
            Self::Convolution(..) => "Conv",
            Self::Product(..) => "MatMul",
        }
    }

    /// Normal numbers that keep the size of values.
    pub(super) fn initial(self, seed: u64) -> Result<Tensor, TrainError> {
        /// Draws numbers that dropout and noise, which count from 1, do not.
        const STREAM: u64 = 0x6469_7374;
        let (from, shape) = match self {
            Self::Convolution(from, to, axes) => (from, [vec![to, from], vec![1; axes]].concat()),
            Self::Product(from, to) => (from, vec![from, to]),
        };
        let stream = Stream::new(seed, 0, STREAM);
        let deviation = 1.0 / (from.max(1) as f64).sqrt();
        let len: usize = shape.iter().product();
        let values: Vec<f32> = (0..len as u64).map(|i| (deviation * stream.normal(i)) as f32).collect();
        Ok(Tensor::new(shape, values)?)
    }
}
