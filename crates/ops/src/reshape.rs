//! `Reshape`: the same elements under another shape. 0 keeps a length, −1 is what is left.
//!
//! <https://onnx.ai/onnx/operators/onnx__Reshape.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::IntList;
use crate::gradient::{Gradients, of_reshape};
use crate::lengths::{lengths, lengths_fact, quotient};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Reshape",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        let shape = IntList::read(node, "shape", 5, 1)?;
        Ok(Arc::new(Reshape { shape, allow_zero: node.flag_or("allowzero", false)? }))
    },
    samples: || {
        let x = |shape: &[usize]| Tensor::new(shape, (0..24).map(|i| i as f32).collect::<Vec<_>>());
        let case = |shape: &[usize], to: Vec<i64>| Sample::new(x(shape).into_iter().chain([Tensor::vector(to)]));
        vec![
            case(&[2, 3, 4], vec![4, 6]),
            case(&[2, 3, 4], vec![0, -1]),
            case(&[24], vec![2, 1, -1, 3]),
            Sample::new([Tensor::vector(Vec::<f32>::new()), Tensor::vector(vec![3i64, 0])]).with("allowzero", 1i64),
        ]
    },
};

/// `Reshape`.
#[derive(Debug, Clone)]
pub struct Reshape {
    /// The shape asked for.
    pub shape: IntList,
    /// 0 is a length of zero instead of "as before".
    pub allow_zero: bool,
}

impl Reshape {
    fn resolve(&self, from: &[usize], asked: &[i64]) -> Result<Vec<usize>, OpError> {
        let mut shape = Vec::with_capacity(asked.len());
        let mut rest = None;
        for (axis, &length) in asked.iter().enumerate() {
            shape.push(match length {
                0 if !self.allow_zero => *from.get(axis).ok_or_else(|| {
                    OpError::shape(0, from, format!("0 at axis {axis} of {asked:?} keeps an axis that is not there"))
                })?,
                -1 if rest.replace(axis).is_some() => return Err(two_rests(asked)),
                -1 => 1,
                _ => usize::try_from(length)
                    .map_err(|_| OpError::value(format!("length {length} in the shape {asked:?}")))?,
            });
        }
        if let Some(axis) = rest {
            let product = |shape: &[usize]| shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
            let left = match (product(from), product(&shape)) {
                (Some(0), Some(0)) => Some(0),
                (Some(len), Some(known)) if known > 0 && len % known == 0 => Some(len / known),
                _ => None,
            };
            shape[axis] =
                left.ok_or_else(|| OpError::shape(0, from, format!("cannot be cut into the shape {asked:?}")))?;
        }
        Ok(shape)
    }

    fn resolve_dims(&self, from: Option<&[Dim]>, asked: &[Dim]) -> Result<Option<Vec<Dim>>, OpError> {
        let mut shape = Vec::with_capacity(asked.len());
        let mut rest = None;
        for (axis, dim) in asked.iter().enumerate() {
            match dim {
                Dim::Known(0) if !self.allow_zero => {
                    let Some(from) = from else { return Ok(None) };
                    let kept = from.get(axis);
                    shape.push(kept.cloned().ok_or_else(|| OpError::value(format!("0 at axis {axis} of the shape")))?);
                }
                Dim::Known(-1) => {
                    if rest.replace(axis).is_some() {
                        return Err(OpError::value("-1 comes twice in the shape"));
                    }
                    shape.push(Dim::Known(1));
                }
                Dim::Known(length) if *length < 0 => return Err(OpError::value(format!("length {length}"))),
                other => shape.push(other.clone()),
            }
        }
        if let Some(axis) = rest {
            let Some(from) = from else { return Ok(None) };
            // A zero leaves open what the rest is; a run says.
            let Some(left) = quotient(from, &shape) else { return Ok(None) };
            shape[axis] = left;
        }
        Ok(Some(shape))
    }
}

fn two_rests(asked: &[i64]) -> OpError {
    OpError::value(format!("-1 comes twice in the shape {asked:?}"))
}

impl Op for Reshape {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.get(0);
        let asked = match &self.shape {
            IntList::Attribute(list) => list.as_ref().map(|list| list.iter().copied().map(Dim::Known).collect()),
            IntList::Input(index) => inputs.get(*index).as_dims(),
        };
        let Some(asked) = asked else { return Ok(vec![Fact::maybe(x.dtype, None)]) };
        if let (Some(from), Some(to)) = (x.known_shape(), numbers(&asked)) {
            let shape = self.resolve(&from, &to)?;
            let fact = Fact { shape: Some(shape.iter().map(|&n| n.into()).collect()), ..Fact::maybe(x.dtype, None) };
            return Ok(vec![match lengths(x) {
                Some((dtype, _, dims)) if shape.len() <= 1 => lengths_fact(dtype, shape.len(), dims),
                _ => fact,
            }]);
        }
        Ok(vec![Fact::maybe(x.dtype, self.resolve_dims(x.shape.as_deref(), &asked)?)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let shape = self.resolve(x.shape(), &self.shape.required(inputs)?)?;
        Ok(vec![x.reshape(shape)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_reshape(vjp)
    }
}

fn numbers(dims: &[Dim]) -> Option<Vec<i64>> {
    dims.iter().map(|dim| if let Dim::Known(n) = dim { Some(*n) } else { None }).collect()
}
