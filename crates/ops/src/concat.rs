//! `Concat`: tensors joined along one axis.
//!
//! <https://onnx.ai/onnx/operators/onnx__Concat.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Attributes, Dim, Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{Tensor, checked_len};

use crate::axes::{axis, split_at};
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, rank, x};
use crate::lengths::{lengths, lengths_fact};
use crate::sample_data::ramp;

/// Lengths joined before a run.
const MAX_KNOWN_LEN: usize = 1024;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Concat",
    domain: "",
    since: 1,
    read: |node| {
        let axis = match node.int("axis")? {
            Some(axis) => axis,
            None if node.opset() < 4 => 1,
            None => return Err(OpError::attribute("axis", "is missing")),
        };
        Ok(Arc::new(Concat { axis }))
    },
    samples: || {
        let x = |shape: [usize; 2], first: i32| {
            Tensor::new(shape, (0..(shape[0] * shape[1]) as i32).map(|i| i + first).collect::<Vec<_>>())
        };
        vec![
            Sample::new(x([2, 3], 0).into_iter().chain(x([1, 3], 10))).with("axis", 0i64),
            Sample::new([ramp(&[2, 3]), ramp(&[2, 1])]).with("axis", -1i64),
            Sample::new([ramp(&[2, 3])]).with("axis", 0i64),
            Sample::new(x([2, 3], 0).into_iter().chain(x([2, 0], 0)).chain(x([2, 2], 20))).with("axis", -1i64),
            Sample::new([Tensor::vector(vec!["a".to_owned()])]).with("axis", 0i64),
        ]
    },
};

/// `Concat`.
#[derive(Debug, Clone, Copy)]
pub struct Concat {
    /// The axis; negative counts from the end.
    pub axis: i64,
}

/// `parts` joined along `axis`, which they have.
///
/// # Errors
/// [`OpError::BadShape`] if another axis differs, [`OpError::Tensor`] if the types do.
pub(crate) fn concat(parts: &[&Tensor], axis: usize) -> Result<Tensor, OpError> {
    let Some(first) = parts.first() else { return Err(OpError::MissingInput { index: 0 }) };
    let mut shape = first.shape().to_vec();
    let rank = shape.len();
    let joined =
        shape.get_mut(axis).ok_or_else(|| OpError::value(format!("axis {axis} of a tensor of rank {rank}")))?;
    *joined = 0;
    for (index, part) in parts.iter().enumerate() {
        let own = part.shape();
        let fits = own.len() == shape.len() && (0..own.len()).all(|i| i == axis || own[i] == shape[i]);
        if !fits {
            return Err(OpError::shape(index, own, format!("does not join {:?} along axis {axis}", first.shape())));
        }
        shape[axis] =
            shape[axis].checked_add(own[axis]).ok_or_else(|| OpError::value("the joined axis is too long"))?;
    }
    checked_len(first.dtype(), &shape)?;
    let flat = Tensor::concat_flat(parts)?;
    let (outer, _, _) = split_at(&shape, axis);
    if outer == 1 {
        return Ok(flat.reshape(shape)?);
    }
    // Row `o` of the result is row `o` of every part, one after the other.
    let mut first_of_part = 0;
    let mut blocks = Vec::with_capacity(parts.len());
    for part in parts {
        let row_len = part.len().checked_div(outer).unwrap_or(0);
        blocks.push((first_of_part, row_len));
        first_of_part += part.len();
    }
    let order = (0..outer)
        .flat_map(|o| blocks.iter().flat_map(move |&(first, row_len)| first + o * row_len..first + (o + 1) * row_len));
    Ok(flat.pick(shape, order)?)
}

impl Op for Concat {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = (0..inputs.len()).find_map(|index| inputs.dtype(index));
        // A long list is no shape arithmetic, and one joined with itself again and again doubles each time.
        let joined = (0..inputs.len())
            .map(|index| lengths(inputs.get(index)).filter(|(_, rank, dims)| *rank == 1 && dims.len() <= MAX_KNOWN_LEN))
            .collect::<Option<Vec<_>>>();
        if let (Some(parts), Some(dtype)) = (joined, dtype)
            && (1..=MAX_KNOWN_LEN).contains(&parts.len())
            && parts.iter().map(|(_, _, dims)| dims.len()).sum::<usize>() <= MAX_KNOWN_LEN
        {
            let dims = parts.into_iter().flat_map(|(_, _, dims)| dims).collect();
            return Ok(vec![lengths_fact(dtype, 1, dims)]);
        }
        let Some(shapes) = (0..inputs.len()).map(|index| inputs.shape(index)).collect::<Option<Vec<_>>>() else {
            return Ok(vec![Fact::maybe(dtype, None)]);
        };
        let Some((first, rest)) = shapes.split_first() else { return Err(OpError::MissingInput { index: 0 }) };
        let axis = axis(self.axis, first.len())?;
        let mut shape = first.to_vec();
        for (index, other) in rest.iter().enumerate() {
            if other.len() != shape.len() {
                let ranks = format!("input {} has rank {}, input 0 has {}", index + 1, other.len(), shape.len());
                return Err(OpError::value(ranks));
            }
            for (i, (dim, other)) in shape.iter_mut().zip(*other).enumerate() {
                match (&*dim, other) {
                    _ if i == axis => *dim = dim.add(other),
                    (Dim::Known(a), Dim::Known(b)) if a != b => {
                        return Err(OpError::value(format!("axis {i} has length {a} and {b} and is not joined")));
                    }
                    (Dim::Symbol(_), Dim::Known(_)) => *dim = other.clone(),
                    _ => {}
                }
            }
        }
        Ok(vec![Fact::maybe(dtype, Some(shape))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let parts = inputs.all()?;
        let rank = inputs.required(0)?.rank();
        Ok(vec![concat(&parts, axis(self.axis, rank)?)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let rank = rank(vjp, 0)?;
        let axis = axis(self.axis, rank).map_err(|_| NoGradient)?;
        let lengths = (0..vjp.inputs.len()).map(|index| Some(vjp.facts.shape(index)?.get(axis)?.known()? as i64));
        let lengths: Option<Vec<i64>> = lengths.collect();
        of_output(vjp, |vjp, dy| {
            let n_parts = vjp.inputs.len();
            let parts = match lengths {
                _ if n_parts == 1 => vec![dy],
                Some(lengths) => dy.split(axis as i64, lengths),
                // The lengths became an input in opset 13.
                None if vjp.patch.opset() < 13 => return Err(NoGradient),
                None => {
                    let length = |index| Ok(Expr::of("Gather", [x(vjp, index)?.shape(), Expr::ints([axis as i64])]));
                    let lengths = Expr::concat((0..n_parts).map(length).collect::<Result<_, NoGradient>>()?, 0);
                    let attributes = Attributes::new().with("axis", axis as i64);
                    Expr::outputs("Split", vec![Some(dy), Some(lengths)], attributes, n_parts)
                }
            };
            Ok(parts.into_iter().map(Some).collect())
        })
    }
}
