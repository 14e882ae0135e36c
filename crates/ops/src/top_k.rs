//! `TopK`: the k largest (or smallest) elements of each lane along an axis, and where they are.
//!
//! <https://onnx.ai/onnx/operators/onnx__TopK.html>

use std::any::Any;
use std::cmp::Reverse;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::IntList;
use crate::axes::{axis, split_at};
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, x, y};
use crate::int_list::KnownList;
use crate::ordering::keys;

pub(crate) const OP: OpSpec = OpSpec {
    name: "TopK",
    domain: "",
    since: 1,
    read: |node| {
        let k = if node.opset() < 10 { IntList::Attribute(node.int("k")?.map(|k| vec![k])) } else { IntList::Input(1) };
        Ok(Arc::new(TopK {
            k,
            axis: node.int_or("axis", -1)?,
            largest: node.flag_or("largest", true)?,
            sorted: node.flag_or("sorted", true)?,
        }))
    },
    samples: || {
        let x = || Tensor::new([2, 4], vec![1f32, 5.0, 3.0, 5.0, f32::NEG_INFINITY, 0.0, -2.0, 7.0]);
        let case = |k: i64| Sample::new(x().into_iter().chain([Tensor::vector(vec![k])])).outputs(2);
        let ramp = Sample::new([crate::sample_data::ramp(&[2, 4]), Tensor::vector(vec![2i64])]);
        vec![ramp, case(3), case(2).with("axis", 0i64), case(2).with("largest", 0i64), case(0)]
    },
};

/// `TopK`. Of equal elements the first comes first.
#[derive(Debug, Clone)]
pub struct TopK {
    /// How many.
    pub k: IntList,
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// The largest, not the smallest.
    pub largest: bool,
    /// False leaves the order open; they are sorted all the same.
    pub sorted: bool,
}

impl Op for TopK {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let (KnownList::Known(k), Some(shape)) = (self.k.known(inputs), inputs.shape(0)) else {
            return Ok(vec![Fact::maybe(inputs.dtype(0), None), Fact::maybe(Some(DType::I64), None)]);
        };
        let axis = axis(self.axis, shape.len())?;
        let mut shape = shape.to_vec();
        shape[axis] = Dim::Known(single(&k)? as i64);
        Ok(vec![Fact::maybe(inputs.dtype(0), Some(shape.clone())), Fact::new(DType::I64, shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let axis = axis(self.axis, x.rank())?;
        let k = single(&self.k.required(inputs)?)?;
        let (outer, length, inner) = split_at(x.shape(), axis);
        if k > length {
            return Err(OpError::shape(0, x.shape(), format!("the top {k} of {length} elements")));
        }
        let mut shape = x.shape().to_vec();
        shape[axis] = k;
        let keys = keys(0, x)?;
        let mut positions = vec![0i64; checked_len(DType::I64, &shape)?];
        let mut order: Vec<usize> = Vec::with_capacity(length);
        for o in 0..outer {
            for i in 0..inner {
                let key = |position: &usize| keys[(o * length + position) * inner + i];
                order.clear();
                order.extend(0..length);
                // Sorting is stable: equal elements stay in their order.
                if self.largest {
                    order.sort_by_key(|position| Reverse(key(position)));
                } else {
                    order.sort_by_key(key);
                }
                for (rank, &position) in order[..k].iter().enumerate() {
                    positions[(o * k + rank) * inner + i] = position as i64;
                }
            }
        }
        let flat = |(at, &position): (usize, &i64)| {
            let (o, i) = (at / (k * inner), at % inner);
            (o * length + position as usize) * inner + i
        };
        let values = x.pick(shape.clone(), positions.iter().enumerate().map(flat))?;
        Ok(vec![values, Tensor::new(shape, positions)?])
    }

    fn saved_outputs(&self) -> usize {
        2
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            let gradient = Expr::microsoft("GatherElementsGrad", [dy, x(vjp, 0)?.shape(), y(vjp, 1)?]);
            Ok(vec![Some(gradient.with("axis", self.axis))])
        })
    }
}

fn single(k: &[i64]) -> Result<usize, OpError> {
    match k {
        [k] => usize::try_from(*k).map_err(|_| OpError::value(format!("the top {k} elements"))),
        _ => Err(OpError::value(format!("k is one number, found {k:?}"))),
    }
}
