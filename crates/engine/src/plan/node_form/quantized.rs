//! Nodes on 8-bit codes.

use lissom_tensor::DType;

use super::super::step::{Elem, Grid};
use super::super::work::Op;
use super::NodeForm;

impl NodeForm<'_, '_> {
    /// The grid of 8-bit codes of `dtype` whose scale and zero point, for the whole tensor, are inputs from `first` on.
    fn grid(&self, dtype: Option<DType>, first: usize) -> Option<Grid> {
        let elem = Elem::of_codes(dtype)?;
        let scale = self.network.scalar(self.input(first)?)?;
        let zero_point = match self.input(first + 1) {
            Some(_) => self.input_ints(first + 1)?,
            None => vec![0],
        };
        let [zero_point] = zero_point[..] else { return None };
        let is_fit = scale.is_finite() && scale > 0.0 && !self.is_set("block_size");
        is_fit.then_some(Grid { scale, zero_point: zero_point as i32, elem })
    }

    pub(super) fn quantize(&self) -> Option<Op> {
        let grid = self.grid(self.network.dtype(self.node.output()?), 1)?;
        self.network.is_f32(self.input(0)?).then_some(Op::Quantize { grid })
    }

    pub(super) fn dequantize(&self) -> Option<Op> {
        let grid = self.grid(self.network.dtype(self.input(0)?), 1)?;
        self.network.is_f32(self.node.output()?).then_some(Op::Dequantize { grid })
    }

    /// The grids of what goes in and out; codes of the weight, its scale and zero point are inputs 3 to 5.
    fn qlinear_grids(&self) -> Option<[Grid; 2]> {
        let network = self.network;
        let all_constant = (3..6).all(|index| self.input(index).is_some_and(|id| network.is_constant(id)));
        let from = self.grid(network.dtype(self.input(0)?), 1)?;
        let to = self.grid(network.dtype(self.node.output()?), 6)?;
        Elem::of_codes(network.dtype(self.input(3)?))?;
        (all_constant && network.is_f32(self.input(4)?)).then_some([from, to])
    }

    pub(super) fn qlinear_conv(&self) -> Option<Op> {
        let [from, to] = self.qlinear_grids()?;
        let kernel = self.network.shape(self.input(3)?)?.get(2..)?.to_vec();
        let groups = usize::try_from(self.int("group", 1)?).ok()?;
        let is_fit = matches!(kernel.len(), 1 | 2) && self.input(8).is_none_or(|id| self.network.is_constant(id));
        Some(Op::QConv { window: self.window(kernel).filter(|_| is_fit)?, groups, from, to })
    }

    pub(super) fn conv_integer(&self) -> Option<Op> {
        let weight = self.input(1).filter(|&id| self.network.is_constant(id))?;
        let kernel = self.network.shape(weight)?.get(2..)?.to_vec();
        let groups = usize::try_from(self.int("group", 1)?).ok()?;
        let is_fit = matches!(kernel.len(), 1 | 2) && self.output_shape()?.iter().all(|&n| n > 0);
        Some(Op::ConvInteger { window: self.window(kernel).filter(|_| is_fit)?, groups })
    }

    pub(super) fn qlinear_matmul(&self) -> Option<Op> {
        let [from, to] = self.qlinear_grids()?;
        (self.network.shape(self.input(3)?)?.len() == 2).then_some(Op::QLinear { from, to })
    }
}
