//! Convolutions whose weights are mostly zeros just now, as under a mask: the form is chosen on every run, by counting.
//!
//! So the same weights take the same way after a resumption, and nobody has to say when a mask changes.

use lissom_graph::ValueId;
use lissom_kernels::conv::{ConvShape, Images};
use lissom_kernels::elementwise::{self, Binary, Operand};
use lissom_kernels::{ShapeError, Threads, masked_conv};

use crate::plan::lower::Builder;
use crate::plan::work::Op;

/// Whether the loops that skip zeros are the faster ones for what is in `weight`, or in a mask.
pub(super) fn is_masked(shape: &ConvShape, images: Images, weight: &[f32]) -> bool {
    masked_conv::is_faster(shape, images, 0) && masked_conv::is_faster(shape, images, masked_conv::nonzeros(weight))
}

/// The product by a mask that follows the gradient of a weight, if nobody else reads that: the work, the mask, and what is left.
pub(super) fn mask(builder: &Builder<'_, '_>, gradient: ValueId) -> Option<(usize, ValueId, ValueId)> {
    let network = builder.network;
    let next = network.only_consumer(gradient).filter(|&next| !builder.is_done[next])?;
    let Op::Binary(Binary::Mul) = network.works[next].op else { return None };
    let (mask, kept) = (builder.other(next, gradient)?, builder.output(next)?);
    let is_alike = network.shape(mask)? == network.shape(gradient)? && network.is_f32(mask) && builder.is_ready(mask);
    (is_alike && network.shape(kept) == network.shape(gradient)).then_some((next, mask, kept))
}

/// `gradient *= mask`.
pub(super) fn apply(threads: &Threads, mask: &[f32], gradient: &mut [f32]) -> Result<(), ShapeError> {
    elementwise::binary_in_place(threads, Binary::Mul, gradient, Operand::Same(mask))
}
