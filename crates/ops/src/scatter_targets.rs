//! Flat positions that index tensors point at, and putting values there.

use std::sync::Arc;

use lissom_graph::{Inputs, NoGradient, NodeReader, OpError, Vjp};
use lissom_tensor::{Strided, Tensor, strides};

use crate::expression::Expr;
use crate::gather::position;
use crate::gradient::{Gradients, of_output, x};
use crate::numeric::{from_f64, from_i64};

/// Flat positions in a tensor of `shape` that each element of `indices` points at: its own position, with `axis`
/// replaced by the index.
///
/// # Errors
/// [`OpError::BadShape`] if the ranks differ or another axis of the indices is longer; [`OpError::BadValue`] for an
/// index outside.
pub(crate) fn element_targets(shape: &[usize], indices: &Tensor, axis: usize) -> Result<Vec<usize>, OpError> {
    let own = indices.shape();
    if own.len() != shape.len() || (0..shape.len()).any(|i| i != axis && own[i] > shape[i]) {
        return Err(OpError::shape(1, own, format!("does not index a tensor of shape {shape:?} along axis {axis}")));
    }
    let steps = strides(shape);
    let walk = steps.iter().enumerate().map(|(i, &step)| if i == axis { 0 } else { step as isize }).collect();
    let bases = Strided::new(own.to_vec(), walk, 0);
    let values = indices.to_i64_vec()?;
    bases.zip(values).map(|(base, index)| Ok(base + position(index, shape[axis])? * steps[axis])).collect()
}

/// Where index vectors, the last axis of `indices`, point at in a tensor of `shape`: the flat position of each slice,
/// and the length of one. With `batch_dims` the first axes of both are the same.
///
/// # Errors
/// As [`element_targets`].
pub(crate) fn slice_targets(
    shape: &[usize],
    indices: &Tensor,
    batch_dims: usize,
) -> Result<(Vec<usize>, usize), OpError> {
    let bad = |reason: &str| OpError::shape(1, indices.shape(), format!("{reason}; the data has shape {shape:?}"));
    let Some((&depth, outer)) = indices.shape().split_last() else { return Err(bad("indices have an axis at least")) };
    if outer.len() < batch_dims || shape.len() < batch_dims || outer[..batch_dims] != shape[..batch_dims] {
        return Err(bad("the batch axes differ"));
    }
    if depth > shape.len() - batch_dims {
        return Err(bad("there are more indices than axes"));
    }
    let steps = strides(shape);
    let slice_len: usize = shape[batch_dims + depth..].iter().product();
    let batch_len: usize = shape[batch_dims..].iter().product();
    let per_batch: usize = outer[batch_dims..].iter().product();
    let values = indices.to_i64_vec()?;
    let count: usize = outer.iter().product();
    let mut targets = Vec::with_capacity(count);
    for i in 0..count {
        let mut target = i.checked_div(per_batch).unwrap_or(0) * batch_len;
        for (j, &index) in values[i * depth..(i + 1) * depth].iter().enumerate() {
            let axis = batch_dims + j;
            target += position(index, shape[axis])? * steps[axis];
        }
        targets.push(target);
    }
    Ok((targets, slice_len))
}

/// What becomes of the old value where a new one is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // ONNX's names
pub enum ScatterReduction {
    None,
    Add,
    Mul,
    Min,
    Max,
}

impl ScatterReduction {
    pub(crate) fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        Ok(match node.string_or("reduction", "none")?.as_str() {
            "none" => Self::None,
            "add" => Self::Add,
            "mul" => Self::Mul,
            "min" => Self::Min,
            "max" => Self::Max,
            other => return Err(OpError::attribute("reduction", format!("`{other}` is not known"))),
        })
    }

    fn join_floats(self, old: f64, new: f64) -> f64 {
        match self {
            Self::None => new,
            Self::Add => old + new,
            Self::Mul => old * new,
            Self::Min if old.is_nan() || old <= new => old,
            Self::Max if old.is_nan() || old >= new => old,
            Self::Min | Self::Max => new,
        }
    }

    fn join_ints(self, old: i64, new: i64) -> i64 {
        match self {
            Self::None => new,
            Self::Add => old.wrapping_add(new),
            Self::Mul => old.wrapping_mul(new),
            Self::Min => old.min(new),
            Self::Max => old.max(new),
        }
    }

    /// `data` with `updates` put at flat positions, one after the other.
    ///
    /// # Errors
    /// [`OpError::TypeMismatch`] if the types differ, [`OpError::BadShape`] if the numbers do.
    pub(crate) fn scatter(
        self,
        data: &Tensor,
        updates: &Tensor,
        targets: impl ExactSizeIterator<Item = usize>,
    ) -> Result<Tensor, OpError> {
        if data.dtype() != updates.dtype() {
            return Err(OpError::TypeMismatch { index: 2, expected: data.dtype(), actual: updates.dtype() });
        }
        if targets.len() != updates.len() {
            return Err(OpError::shape(2, updates.shape(), format!("{} elements are indexed", targets.len())));
        }
        let shape = data.shape().to_vec();
        if self == Self::None {
            let mut order: Vec<usize> = (0..data.len()).collect();
            targets.enumerate().for_each(|(update, target)| order[target] = data.len() + update);
            return Ok(Tensor::concat_flat(&[data, updates])?.pick(shape, order)?);
        }
        if data.dtype().is_float() {
            let (mut values, new) = (data.to_f64_vec()?, updates.to_f64_vec()?);
            targets.zip(new).for_each(|(target, new)| values[target] = self.join_floats(values[target], new));
            return from_f64(data.dtype(), shape, values);
        }
        let (mut values, new) = (data.to_i64_vec()?, updates.to_i64_vec()?);
        targets.zip(new).for_each(|(target, new)| values[target] = self.join_ints(values[target], new));
        from_i64(data.dtype(), shape, values)
    }
}

/// `ScatterElements`, and `Scatter` before it.
#[derive(Debug, Clone, Copy)]
pub struct ScatterElements {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// What becomes of old values.
    pub reduction: ScatterReduction,
}

impl ScatterElements {
    pub(crate) fn read(node: &NodeReader<'_>) -> Result<Arc<dyn lissom_graph::Op>, OpError> {
        Ok(Arc::new(Self { axis: node.int_or("axis", 0)?, reduction: ScatterReduction::read(node)? }))
    }
}

impl lissom_graph::Op for ScatterElements {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn infer(&self, inputs: &lissom_graph::Facts<'_>) -> Result<Vec<lissom_graph::Fact>, OpError> {
        Ok(vec![crate::elementwise::infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (data, indices, updates) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        if indices.shape() != updates.shape() {
            return Err(OpError::shape(2, updates.shape(), format!("the indices have shape {:?}", indices.shape())));
        }
        let targets = element_targets(data.shape(), indices, crate::axes::axis(self.axis, data.rank())?)?;
        Ok(vec![self.reduction.scatter(data, updates, targets.into_iter())?])
    }

    /// Where two updates meet and the last wins, both get the gradient.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            let (indices, updates) = (x(vjp, 1)?, x(vjp, 2)?);
            let to_updates = Expr::of("GatherElements", [dy.clone(), indices.clone()]).with("axis", self.axis);
            let to_data = match self.reduction {
                ScatterReduction::Add => dy,
                ScatterReduction::None => {
                    let zeros = Expr::from(0.0).expand_like(&updates);
                    Expr::of("ScatterElements", [dy, indices, zeros]).with("axis", self.axis)
                }
                ScatterReduction::Mul | ScatterReduction::Min | ScatterReduction::Max => return Err(NoGradient),
            };
            Ok(vec![Some(to_data), None, Some(to_updates)])
        })
    }
}

pub(crate) fn samples() -> Vec<lissom_graph::Sample> {
    use lissom_graph::Sample;
    let data = || Tensor::zeros(lissom_tensor::DType::F32, [3, 3]);
    let indices = || Tensor::new([2, 3], vec![1i64, 0, 2, 0, -1, 1]);
    let updates = || Tensor::new([2, 3], vec![1f32, 1.1, 1.2, 2.0, 2.1, 2.2]);
    let case = || Sample::new(data().into_iter().chain(indices()).chain(updates()));
    vec![case(), case().with("axis", 1i64)]
}
