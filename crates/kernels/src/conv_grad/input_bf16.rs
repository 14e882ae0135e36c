//! The input gradient in bf16, as `conv::conv_pairs`: pairs of output channels for channels.

use super::input::{self, Gradient, phases};
use crate::activation::Epilogue;
use crate::bgemm;
use crate::conv::changing::Taps;
use crate::conv::changing_bf16::check;
use crate::conv::{ConvShape, End, Images};
use crate::error::ShapeError;
use crate::gemm::check_epilogue;
use crate::threads::Threads;

/// Elements of the packed weight of an input gradient, for [`pack_input_gradient_pairs_into`].
///
/// # Errors
/// [`ShapeError`] if the groups do not divide the channels, a size is 0, or each channel is its own.
pub fn input_gradient_packed_pairs_len(shape: &ConvShape) -> Result<usize, ShapeError> {
    packed_len_for(bgemm::Kernel::best(), shape)
}

/// Rounds and packs `weight`, `[c_out, c_in / groups, kh, kw]` as ONNX has it, into `to`, [`input_gradient_packed_pairs_len`]
/// long. What `to` held does not matter.
///
/// # Errors
/// [`ShapeError`] as [`input_gradient_packed_pairs_len`], or if a slice has another length.
pub fn pack_input_gradient_pairs_into(
    threads: &Threads,
    shape: &ConvShape,
    weight: &[f32],
    to: &mut [f32],
) -> Result<(), ShapeError> {
    pack_for(bgemm::Kernel::best(), threads, shape, weight, to)
}

/// The gradient of a loss by the input of a convolution.
///
/// | value | shape |
/// |---|---|
/// | `d_out` | pairs of `[n, h', w', c_out]`, each group by itself: the gradient by what the convolution of `images` wrote |
/// | `packed` | the weight, by [`pack_input_gradient_pairs_into`] for the same shape |
/// | `epilogue.bias` | `[c_in]`, f32 |
/// | `epilogue.residual`, `d_input` | `[n, h, w, c_in]`, f32 or pairs as `end` says |
///
/// # Errors
/// [`ShapeError`] if a slice has another length, the window does not fit, or the results are to be pairs and
/// `conv::ends_in_pairs` is false or the activation is a curve.
#[allow(clippy::too_many_arguments, reason = "those of `conv_input_gradient`, and what the results are")]
pub fn conv_input_gradient_pairs(
    threads: &Threads,
    d_out: &[f32],
    images: Images,
    shape: &ConvShape,
    packed: &[f32],
    epilogue: &Epilogue<'_>,
    end: End,
    d_input: &mut [f32],
) -> Result<(), ShapeError> {
    input_gradient_for(bgemm::Kernel::best(), threads, d_out, images, shape, packed, epilogue, end, d_input)
}

/// The convolution with pairs of output channels for these.
fn out_pairs(shape: &ConvShape) -> ConvShape {
    ConvShape { c_out: (shape.c_out / shape.groups).div_ceil(2) * shape.groups, ..*shape }
}

pub(super) fn packed_len_for(kernel: &bgemm::Kernel, shape: &ConvShape) -> Result<usize, ShapeError> {
    check(shape)?;
    let pairs = out_pairs(shape);
    Ok(phases(shape).map(|phase| phase.group_len(&kernel.product, &pairs) * shape.groups).sum())
}

pub(super) fn pack_for(
    kernel: &bgemm::Kernel,
    threads: &Threads,
    shape: &ConvShape,
    weight: &[f32],
    to: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("packed", to.len(), packed_len_for(kernel, shape)?)?;
    ShapeError::expect("weight", weight.len(), shape.weight_len())?;
    let pairs = out_pairs(shape);
    let mut rest = to;
    for phase in phases(shape) {
        let (len, taps) = (phase.group_len(&kernel.product, &pairs), phase.taps(shape));
        for group in 0..shape.groups {
            let (to, after) = rest.split_at_mut(len);
            rest = after;
            Taps::backward(weight, shape, &taps, group).pack_pairs(threads, kernel.product.panel, to);
        }
    }
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "the arguments of `conv_input_gradient_pairs` and a kernel")]
pub(super) fn input_gradient_for(
    kernel: &'static bgemm::Kernel,
    threads: &Threads,
    d_out: &[f32],
    images: Images,
    shape: &ConvShape,
    packed: &[f32],
    epilogue: &Epilogue<'_>,
    end: End,
    d_input: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("packed", packed.len(), packed_len_for(kernel, shape)?)?;
    end.check(shape, [shape.c_out, shape.c_in], epilogue)?;
    let [h, w] = shape.window.output_size(images.h, images.w)?;
    let pairs = out_pairs(shape);
    ShapeError::expect("d_out", d_out.len(), ShapeError::product("d_out", &[images.n, h, w, pairs.c_out])?)?;
    let pixels = ShapeError::product("d_input", &[images.n, images.h, images.w])?;
    ShapeError::product("d_input", &[pixels, shape.c_in])?;
    let words = end.words(pixels, shape.c_in)?;
    ShapeError::expect("d_input", d_input.len(), words)?;
    check_epilogue(epilogue, shape.c_in, words)?;
    if words == 0 {
        return Ok(());
    }
    let out_images = Images { n: images.n, h, w };
    let call = Gradient { kernel: end.product(kernel), threads, d_out, out_images, images, shape: &pairs, epilogue };
    input::run(&call, packed, d_input);
    Ok(())
}
