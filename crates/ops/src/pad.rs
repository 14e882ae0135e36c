//! `Pad`: positions added around each axis, or cut off where a pad is negative.
//!
//! <https://onnx.ai/onnx/operators/onnx__Pad.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{DType, Tensor, checked_len, strides};

use crate::IntList;
use crate::axes::axis;
use crate::expression::Expr;
use crate::gradient::{Gradients, list, of_output, optional_x, x};
use crate::int_list::KnownList;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Pad",
    domain: "",
    since: 1,
    read: |node| {
        let mode = match node.string_or("mode", "constant")?.as_str() {
            "constant" => PadMode::Constant,
            "reflect" => PadMode::Reflect,
            "edge" => PadMode::Edge,
            "wrap" => PadMode::Wrap,
            other => return Err(OpError::attribute("mode", format!("`{other}` is no way to pad"))),
        };
        let name = if node.opset() < 2 { "paddings" } else { "pads" };
        let pads = IntList::read(node, name, 11, 1)?;
        Ok(Arc::new(Pad { mode, pads, value: node.float_or("value", 0.0)? }))
    },
    samples: || {
        let x = || Tensor::new([2, 3], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let case = |pads: &[i64]| Sample::new(x().into_iter().chain([Tensor::vector(pads.to_vec())]));
        vec![
            case(&[0, 1, 1, 2]),
            case(&[1, 2, 0, 2]).with("mode", "reflect"),
            case(&[1, -1, 0, 4]).with("mode", "edge"),
            case(&[0, 4, 3, 4]).with("mode", "wrap"),
            Sample::new(x().into_iter().chain([
                Tensor::vector(vec![2i64, 1]),
                Tensor::scalar(9f32),
                Tensor::vector(vec![-1i64]),
            ])),
        ]
    },
};

/// `Pad`.
#[derive(Debug, Clone)]
pub struct Pad {
    /// What the new positions hold.
    pub mode: PadMode,
    /// All begins, then all ends.
    pub pads: IntList,
    /// What is filled in where no input 2 gives it.
    pub value: f32,
}

/// What padding holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PadMode {
    /// One value.
    Constant,
    /// The values mirrored at the border, which itself is not repeated.
    Reflect,
    /// The value at the border.
    Edge,
    /// The values from the other end.
    Wrap,
}

impl PadMode {
    /// The position on an axis of `length` that `position`, perhaps outside, takes its value from.
    fn source(self, position: i64, length: usize) -> Option<usize> {
        let n = length as i64;
        if (0..n).contains(&position) {
            return Some(position as usize);
        }
        match self {
            Self::Edge if n > 0 => Some(position.clamp(0, n - 1) as usize),
            Self::Wrap if n > 0 => Some(position.rem_euclid(n) as usize),
            Self::Reflect if n == 1 => Some(0),
            Self::Reflect if n > 1 => {
                let period = 2 * (n - 1);
                let inside = position.rem_euclid(period);
                Some(inside.min(period - inside) as usize)
            }
            _ => None,
        }
    }
}

/// Begin and end of each axis.
fn per_axis<T: Clone>(pads: &[T], axes: Option<&[i64]>, rank: usize, zero: T) -> Result<Vec<[T; 2]>, OpError> {
    let count = axes.map_or(rank, <[i64]>::len);
    if pads.len() != 2 * count {
        return Err(OpError::value(format!("{} pads for {count} axes", pads.len())));
    }
    let mut all = vec![[zero.clone(), zero]; rank];
    for i in 0..count {
        let axis = axis(axes.map_or(i as i64, |axes| axes[i]), rank)?;
        all[axis] = [pads[i].clone(), pads[count + i].clone()];
    }
    Ok(all)
}

fn padded_length(length: usize, [begin, end]: [i64; 2]) -> Result<usize, OpError> {
    usize::try_from(length as i128 + i128::from(begin) + i128::from(end))
        .map_err(|_| OpError::value(format!("pads {begin} and {end} of an axis of length {length}")))
}

impl Op for Pad {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let x = inputs.get(0);
        let unknown = Ok(vec![Fact::maybe(x.dtype, None)]);
        let Some(shape) = &x.shape else { return unknown };
        let pads: Option<Vec<Dim>> = match &self.pads {
            IntList::Attribute(list) => list.as_ref().map(|list| list.iter().copied().map(Dim::Known).collect()),
            IntList::Input(index) => inputs.get(*index).as_dims(),
        };
        let axes = match IntList::Input(3).known(inputs) {
            KnownList::LeftOut => None,
            KnownList::Known(axes) => Some(axes),
            KnownList::Unknown => return unknown,
        };
        let Some(pads) = pads else { return unknown };
        let pads = per_axis(&pads, axes.as_deref(), shape.len(), Dim::Known(0))?;
        let padded: Vec<Dim> = shape.iter().zip(pads).map(|(dim, [begin, end])| dim.add(&begin.add(&end))).collect();
        if let Some(negative) = padded.iter().find(|dim| matches!(dim, Dim::Known(n) if *n < 0)) {
            return Err(OpError::value(format!("the pads leave an axis of length {negative}")));
        }
        Ok(vec![Fact::maybe(x.dtype, Some(padded))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let axes = IntList::Input(3).get(inputs)?;
        let pads = per_axis(&self.pads.required(inputs)?, axes.as_deref(), x.rank(), 0)?;
        let shape = x.shape().iter().zip(&pads).map(|(&n, &p)| padded_length(n, p)).collect::<Result<Vec<_>, _>>()?;
        checked_len(x.dtype(), &shape)?;
        let steps = strides(x.shape());
        let mut indices: Vec<Option<usize>> = vec![Some(0)];
        for axis in 0..x.rank() {
            let source = |i: usize| self.mode.source((i as i64).saturating_sub(pads[axis][0]), x.shape()[axis]);
            let offsets: Vec<Option<usize>> =
                (0..shape[axis]).map(|i| source(i).map(|position| position * steps[axis])).collect();
            let expand = |base: &Option<usize>| {
                let base = *base;
                offsets.iter().map(move |offset| Some(base? + (*offset)?))
            };
            indices = indices.iter().flat_map(expand).collect();
        }
        if self.mode != PadMode::Constant && indices.iter().any(Option::is_none) {
            return Err(OpError::shape(0, x.shape(), "an empty axis has nothing to pad with"));
        }
        let fill = self.fill(inputs, x.dtype())?;
        Ok(vec![x.pick_or(&fill, shape, indices)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let mode = match self.mode {
            PadMode::Constant => return self.constant_vjp(vjp),
            PadMode::Reflect => "reflect",
            PadMode::Edge => "edge",
            PadMode::Wrap => "wrap",
        };
        of_output(vjp, |vjp, dy| {
            let x = x(vjp, 0)?;
            // Where each element came from: positions, padded alike.
            let size = x.clone().apply("Size");
            let positions = Expr::range(size.clone()).reshape_like(&x);
            let padded = self.node(vjp, positions, |pads| pads)?.with("mode", mode);
            Ok(vec![Some(Expr::microsoft("GatherGrad", [size.unsqueeze([0]), padded, dy]).reshape_like(&x))])
        })
    }
}

impl Pad {
    /// Padding undone by cutting off, and cutting off by padding.
    fn constant_vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            let to_x = self.node(vjp, dy.clone(), |pads| -pads)?;
            let to_value = optional_x(vjp, 2).map(|value| (dy.total() - to_x.clone().total()).reshape_like(&value));
            Ok(vec![Some(to_x), None, to_value])
        })
    }

    /// `x` padded with zeros by this node's pads, or what becomes of them.
    fn node(&self, vjp: &Vjp<'_>, x: Expr, change: impl FnOnce(Expr) -> Expr) -> Result<Expr, NoGradient> {
        // Opsets before 11 have the pads as an attribute.
        if vjp.patch.opset() < 11 {
            return Err(NoGradient);
        }
        let pads = list(vjp, &self.pads).ok_or(NoGradient)?;
        Ok(match optional_x(vjp, 3) {
            Some(axes) => Expr::optional("", "Pad", vec![Some(x), Some(change(pads)), None, Some(axes)]),
            None => Expr::of("Pad", [x, change(pads)]),
        })
    }

    fn fill(&self, inputs: &Inputs<'_>, dtype: DType) -> Result<Tensor, OpError> {
        match inputs.optional(2).filter(|value| !value.is_empty()) {
            Some(value) => Ok(value.clone()),
            None if self.value == 0.0 => Ok(Tensor::zeros(dtype, [])?),
            None => crate::convert::convert(&Tensor::scalar(self.value), dtype, crate::convert::Conversion::default()),
        }
    }
}
