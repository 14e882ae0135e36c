//! `Split`: one axis cut into several tensors.
//!
//! <https://onnx.ai/onnx/operators/onnx__Split.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{Strided, Tensor, strides};

use crate::IntList;
use crate::axes::axis;
use crate::expression::Expr;
use crate::gradient::{Gradients, dy, emit, y};
use crate::int_list::KnownList;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Split",
    domain: "",
    since: 1,
    read: |node| {
        let list_is_input = node.opset() >= 13 || (node.opset() < 2 && node.n_inputs() > 1);
        let lengths = if list_is_input { IntList::Input(1) } else { IntList::Attribute(node.ints("split")?) };
        let n_named = node.n_outputs();
        let n_outputs = match node.int("num_outputs")? {
            Some(n) if n != n_named as i64 => {
                return Err(OpError::attribute("num_outputs", format!("is {n}, the node has {n_named} outputs")));
            }
            Some(_) => n_named,
            None => n_named,
        };
        // Before opset 18 equal parts must divide the axis; `num_outputs` then allowed a smaller last one.
        let uneven = node.opset() >= 18;
        Ok(Arc::new(Split { axis: node.int_or("axis", 0)?, lengths, n_outputs, uneven }))
    },
    samples: || {
        let x = || Tensor::new([2, 5], (0..10).collect::<Vec<i32>>());
        let lengths = Tensor::vector(vec![2i64, 0, 3]);
        vec![
            Sample::new(x().into_iter().chain([lengths])).with("axis", -1i64).outputs(3),
            Sample::new([crate::sample_data::ramp(&[2, 5])]).with("axis", 1i64).with("num_outputs", 2i64).outputs(2),
            Sample::new(x()).with("axis", 0i64).with("num_outputs", 2i64).outputs(2),
            Sample::new(x()).with("axis", 1i64).with("num_outputs", 3i64).outputs(3),
        ]
    },
};

/// `Split`.
#[derive(Debug, Clone)]
pub struct Split {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// Length of each part; equal ones if left out.
    pub lengths: IntList,
    /// Number of parts.
    pub n_outputs: usize,
    /// Equal parts may leave a smaller last one.
    pub(crate) uneven: bool,
}

impl Split {
    fn equal_parts(&self, length: usize) -> Result<Vec<usize>, OpError> {
        let n = self.n_outputs;
        if n == 0 || (!self.uneven && !length.is_multiple_of(n)) {
            return Err(OpError::value(format!("an axis of length {length} does not split into {n} equal parts")));
        }
        let part = length.div_ceil(n);
        Ok((0..n).map(|i| part.min(length.saturating_sub(i * part))).collect())
    }

    fn given_parts(lengths: &[i64], length: usize) -> Result<Vec<usize>, OpError> {
        let parts: Option<Vec<usize>> = lengths.iter().map(|&n| usize::try_from(n).ok()).collect();
        let total = parts.as_ref().and_then(|parts| parts.iter().try_fold(0usize, |sum, &n| sum.checked_add(n)));
        match parts {
            Some(parts) if total == Some(length) => Ok(parts),
            _ => Err(OpError::value(format!("parts {lengths:?} of an axis of length {length}"))),
        }
    }
}

impl Op for Split {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.get(0);
        let unknown = vec![Fact::maybe(x.dtype, None); self.n_outputs];
        let Some(shape) = &x.shape else { return Ok(unknown) };
        let axis = axis(self.axis, shape.len())?;
        let parts: Vec<Dim> = match (self.lengths.known(inputs), shape[axis].known()) {
            (KnownList::Known(lengths), Some(length)) => {
                Self::given_parts(&lengths, length)?.into_iter().map(Dim::from).collect()
            }
            (KnownList::Known(lengths), None) => lengths.into_iter().map(Dim::Known).collect(),
            (KnownList::LeftOut, Some(length)) => self.equal_parts(length)?.into_iter().map(Dim::from).collect(),
            _ => return Ok(unknown),
        };
        let part = |part: Dim| {
            let mut shape = shape.clone();
            shape[axis] = part;
            Fact::maybe(x.dtype, Some(shape))
        };
        Ok(parts.into_iter().map(part).collect())
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let axis = axis(self.axis, x.rank())?;
        let length = x.shape()[axis];
        let parts = match self.lengths.get(inputs)? {
            Some(lengths) => Self::given_parts(&lengths, length)?,
            None => self.equal_parts(length)?,
        };
        let walk: Vec<isize> = strides(x.shape()).into_iter().map(|step| step as isize).collect();
        let mut first = 0isize;
        let mut outputs = Vec::with_capacity(parts.len());
        for part in parts {
            let mut shape = x.shape().to_vec();
            shape[axis] = part;
            outputs.push(x.pick(shape.clone(), Strided::new(shape, walk.clone(), first))?);
            first += part as isize * walk[axis];
        }
        Ok(outputs)
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        if vjp.output_gradients.iter().all(Option::is_none) {
            return Ok(vec![None; vjp.inputs.len()]);
        }
        let zeros = |vjp: &Vjp<'_>, index| Ok(Expr::from(0.0).expand_like(&y(vjp, index)?));
        let parts = (0..self.n_outputs).map(|index| dy(vjp, index).map_or_else(|| zeros(vjp, index), Ok));
        let joined = Expr::concat(parts.collect::<Result<_, NoGradient>>()?, self.axis);
        emit(vjp, [Some(joined)])
    }
}
