//! `Slice`: a part of each axis, with steps.
//!
//! <https://onnx.ai/onnx/operators/onnx__Slice.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{Strided, Tensor, strides};

use crate::IntList;
use crate::axes::axis;
use crate::expression::Expr;
use crate::gradient::{Gradients, list, of_output, x};
use crate::int_list::KnownList;
use crate::lengths::{is_symbolic, lengths, lengths_fact};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Slice",
    domain: "",
    since: 1,
    read: |node| {
        Ok(Arc::new(Slice {
            starts: IntList::read(node, "starts", 10, 1)?,
            ends: IntList::read(node, "ends", 10, 2)?,
            axes: IntList::read(node, "axes", 10, 3)?,
            steps: if node.opset() >= 10 { IntList::Input(4) } else { IntList::Attribute(None) },
        }))
    },
    samples: || {
        let x = || Tensor::new([3, 4], (0..12).collect::<Vec<i32>>());
        let list = |values: &[i64]| Tensor::vector(values.to_vec());
        vec![
            Sample::new(x().into_iter().chain([list(&[1, 0]), list(&[3, -1])])),
            Sample::new(x().into_iter().chain([list(&[-1]), list(&[i64::MIN]), list(&[1]), list(&[-2])])),
            Sample::new([
                crate::sample_data::ramp(&[3, 5]),
                list(&[4, 0]),
                list(&[0, 2]),
                list(&[1, 0]),
                list(&[-2, 1]),
            ]),
            Sample::new(x().into_iter().chain([list(&[7]), list(&[9]), list(&[0]), list(&[1])])),
        ]
    },
};

/// `Slice`.
#[derive(Debug, Clone)]
pub struct Slice {
    /// First position of each axis; negative counts from the end.
    pub starts: IntList,
    /// One past the last position; negative counts from the end.
    pub ends: IntList,
    /// The axes; the first ones if left out.
    pub axes: IntList,
    /// The steps; 1 if left out.
    pub steps: IntList,
}

/// A slice of one axis as the file asks for it.
#[derive(Debug, Clone, Copy)]
struct Cut {
    axis: usize,
    start: i64,
    end: i64,
    step: i64,
}

impl Cut {
    /// First position and number of positions on an axis of `length`.
    fn resolve(&self, length: usize) -> (usize, usize) {
        let n = length as i128;
        let from_end = |position: i64| if position < 0 { i128::from(position) + n } else { i128::from(position) };
        let step = i128::from(self.step);
        let (start, end) = if step > 0 {
            (from_end(self.start).clamp(0, n), from_end(self.end).clamp(0, n))
        } else {
            (from_end(self.start).clamp(0, (n - 1).max(0)), from_end(self.end).clamp(-1, n - 1))
        };
        let span = if step > 0 { end - start } else { start - end };
        let count = if n == 0 || span <= 0 { 0 } else { (span + step.abs() - 1) / step.abs() };
        (start as usize, count as usize)
    }

    fn resolve_dim(&self, dim: &Dim) -> Dim {
        match dim {
            Dim::Known(_) => dim.known().map_or_else(|| dim.clone(), |length| self.resolve(length).1.into()),
            Dim::Symbol(_) if self.step == 1 && self.start == 0 && self.end >= i64::from(i32::MAX) => dim.clone(),
            Dim::Symbol(_) if self.start == self.end => Dim::Known(0),
            // The same symbol cut the same way has the same length.
            Dim::Symbol(name) => Dim::symbol(format!("slice({name},{},{},{})", self.start, self.end, self.step)),
        }
    }
}

fn cuts(
    rank: usize,
    starts: &[i64],
    ends: &[i64],
    axes: Option<&[i64]>,
    steps: Option<&[i64]>,
) -> Result<Vec<Cut>, OpError> {
    let count = starts.len();
    let lens = [ends.len(), axes.map_or(count, <[i64]>::len), steps.map_or(count, <[i64]>::len)];
    if lens.iter().any(|&len| len != count) {
        let [ends, axes, steps] = lens;
        return Err(OpError::value(format!("{count} starts, {ends} ends, {axes} axes and {steps} steps")));
    }
    let mut seen = vec![false; rank];
    (0..count)
        .map(|i| {
            let axis = axis(axes.map_or(i as i64, |axes| axes[i]), rank)?;
            if std::mem::replace(&mut seen[axis], true) {
                return Err(OpError::value(format!("axis {axis} is given twice")));
            }
            let step = steps.map_or(1, |steps| steps[i]);
            if step == 0 {
                return Err(OpError::value(format!("a step of 0 on axis {axis}")));
            }
            Ok(Cut { axis, start: starts[i], end: ends[i], step })
        })
        .collect()
}

impl Slice {
    fn known_cuts(&self, inputs: &Facts<'_>, rank: usize) -> Result<Option<Vec<Cut>>, OpError> {
        let (KnownList::Known(starts), KnownList::Known(ends)) = (self.starts.known(inputs), self.ends.known(inputs))
        else {
            return Ok(None);
        };
        let optional = |list: &IntList| match list.known(inputs) {
            KnownList::LeftOut => Some(None),
            KnownList::Known(list) => Some(Some(list)),
            KnownList::Unknown => None,
        };
        let (Some(axes), Some(steps)) = (optional(&self.axes), optional(&self.steps)) else { return Ok(None) };
        cuts(rank, &starts, &ends, axes.as_deref(), steps.as_deref()).map(Some)
    }
}

impl Op for Slice {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.get(0);
        let Some(shape) = &x.shape else { return Ok(vec![Fact::maybe(x.dtype, None)]) };
        let Some(cuts) = self.known_cuts(inputs, shape.len())? else { return Ok(vec![Fact::maybe(x.dtype, None)]) };
        if is_symbolic(x)
            && let (Some((dtype, 1, dims)), [cut]) = (lengths(x), &cuts[..])
        {
            let (start, count) = cut.resolve(dims.len());
            let taken = (0..count as i64).map(|i| dims[(start as i64 + i * cut.step) as usize].clone());
            return Ok(vec![lengths_fact(dtype, 1, taken.collect())]);
        }
        let mut shape = shape.clone();
        for cut in &cuts {
            shape[cut.axis] = cut.resolve_dim(&shape[cut.axis]);
        }
        Ok(vec![Fact::maybe(x.dtype, Some(shape))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let (starts, ends) = (self.starts.required(inputs)?, self.ends.required(inputs)?);
        let (axes, steps) = (self.axes.get(inputs)?, self.steps.get(inputs)?);
        let mut shape = x.shape().to_vec();
        let mut walk: Vec<isize> = strides(x.shape()).into_iter().map(|step| step as isize).collect();
        let mut first = 0isize;
        for cut in cuts(x.rank(), &starts, &ends, axes.as_deref(), steps.as_deref())? {
            let (start, count) = cut.resolve(shape[cut.axis]);
            shape[cut.axis] = count;
            first += start as isize * walk[cut.axis];
            // With fewer than two positions the step is never taken and may be of any size.
            let step = if count > 1 { cut.step as isize } else { 0 };
            walk[cut.axis] *= step;
        }
        Ok(vec![x.pick(shape.clone(), Strided::new(shape, walk, first))?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            let mut inputs = vec![Some(dy), Some(x(vjp, 0)?.shape())];
            inputs.extend([&self.starts, &self.ends, &self.axes, &self.steps].map(|given| list(vjp, given)));
            Ok(vec![Some(Expr::optional("com.microsoft", "SliceGrad", inputs))])
        })
    }
}
