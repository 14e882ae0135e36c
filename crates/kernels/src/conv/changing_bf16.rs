//! Convolutions in bf16 whose weights change, as in training. Images are pairs ([`crate::bgemm::round_into`], rows are pixels),
//! weights are rounded while they are packed into memory of the caller, sums are f32. Not for depthwise convolutions.

use super::changing::Taps;
use super::{Call, ConvShape, Images};
use crate::activation::Epilogue;
use crate::bgemm::{self, pair};
use crate::error::ShapeError;
use crate::gemm::tile::K_BLOCK;
use crate::gemm::{self, packed};
use crate::threads::Threads;

/// What the results of a convolution and the residual that is added to them are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// f32.
    F32,
    /// Pairs of bf16: half as many bytes.
    Pairs,
}

/// The pairs of rows of channels that a task packs.
const PAIRS: usize = 32;

/// Whether the results of a convolution from `c_in` channels into `c_out` can be pairs; those of its gradient with both exchanged.
pub fn ends_in_pairs(shape: &ConvShape, c_in: usize, c_out: usize) -> bool {
    // All of K is summed at once, and what lies outside of an image is read from as many zeros as a block has.
    shape.groups == 1 && c_out.is_multiple_of(2) && c_in.div_ceil(2) <= K_BLOCK
}

/// Elements of the packed weight of a convolution, for [`pack_pairs_into`].
///
/// # Errors
/// [`ShapeError`] if the groups do not divide the channels, a size is 0, or each channel is its own.
pub fn packed_pairs_len(shape: &ConvShape) -> Result<usize, ShapeError> {
    packed_len_for(bgemm::Kernel::best(), shape)
}

/// Rounds and packs `weight`, `[c_out, c_in / groups, kh, kw]` as ONNX has it, into `to`, [`packed_pairs_len`] long. What `to` held
/// does not matter.
///
/// # Errors
/// [`ShapeError`] as [`packed_pairs_len`], or if a slice has another length.
pub fn pack_pairs_into(threads: &Threads, shape: &ConvShape, weight: &[f32], to: &mut [f32]) -> Result<(), ShapeError> {
    pack_for(bgemm::Kernel::best(), threads, shape, weight, to)
}

/// `out = activation(conv(input) + bias + residual)`.
///
/// | value | shape |
/// |---|---|
/// | `input` | pairs of `[n, h, w, c_in]`, each group by itself |
/// | `packed` | the weight, by [`pack_pairs_into`] for the same shape |
/// | `epilogue.bias` | `[c_out]`, f32 |
/// | `epilogue.residual`, `out` | `[n, h', w', c_out]`, f32 or pairs as `end` says |
///
/// # Errors
/// [`ShapeError`] if a slice has another length, the window does not fit, or the results are to be pairs and [`ends_in_pairs`] is
/// false or the activation is a curve.
#[allow(clippy::too_many_arguments, reason = "those of `conv_packed`, and what the results are")]
pub fn conv_pairs(
    threads: &Threads,
    input: &[f32],
    images: Images,
    shape: &ConvShape,
    packed: &[f32],
    epilogue: &Epilogue<'_>,
    end: End,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    conv_for(bgemm::Kernel::best(), threads, input, images, shape, packed, epilogue, end, out)
}

impl End {
    /// f32 words of `pixels` of `channels`.
    pub(crate) fn words(self, pixels: usize, channels: usize) -> Result<usize, ShapeError> {
        let words = if self == Self::Pairs { channels.div_ceil(2) } else { channels };
        ShapeError::product("out", &[pixels, words])
    }

    /// The loops of `kernel` that end so.
    pub(crate) fn product(self, kernel: &'static bgemm::Kernel) -> &'static gemm::Kernel {
        if self == Self::Pairs { &kernel.rounded } else { &kernel.product }
    }

    /// Errs unless a convolution can end so.
    pub(crate) fn check(
        self,
        shape: &ConvShape,
        [c_in, c_out]: [usize; 2],
        epilogue: &Epilogue<'_>,
    ) -> Result<(), ShapeError> {
        if self == Self::F32 {
            return Ok(());
        }
        let fits = ends_in_pairs(shape, c_in, c_out);
        ShapeError::require(fits, "the channels", c_out, "even, of one group of no more than 512")?;
        ShapeError::require(!epilogue.activation.is_curve(), "the curve of an activation", 1, "none, a ReLU or a clip")
    }
}

/// Errs for depthwise convolutions, which have no pairs.
pub(crate) fn check(shape: &ConvShape) -> Result<(), ShapeError> {
    shape.check()?;
    ShapeError::require(!shape.is_depthwise(), "the groups", shape.groups, "fewer than the channels")
}

pub(crate) fn packed_len_for(kernel: &bgemm::Kernel, shape: &ConvShape) -> Result<usize, ShapeError> {
    check(shape)?;
    Ok(group_len(kernel, shape) * shape.groups)
}

/// Elements of one group.
fn group_len(kernel: &bgemm::Kernel, shape: &ConvShape) -> usize {
    packed::packed_len(kernel.product.panel, in_pairs(shape).group_k(), shape.c_out / shape.groups)
}

/// The convolution with pairs of channels for channels.
fn in_pairs(shape: &ConvShape) -> ConvShape {
    ConvShape { c_in: (shape.c_in / shape.groups).div_ceil(2) * shape.groups, ..*shape }
}

pub(crate) fn pack_for(
    kernel: &bgemm::Kernel,
    threads: &Threads,
    shape: &ConvShape,
    weight: &[f32],
    to: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("packed", to.len(), packed_len_for(kernel, shape)?)?;
    ShapeError::expect("weight", weight.len(), shape.weight_len())?;
    let taps: Vec<usize> = (0..shape.window.taps()).collect();
    for (group, to) in to.chunks_exact_mut(group_len(kernel, shape).max(1)).enumerate() {
        Taps::forward(weight, shape, &taps, group).pack_pairs(threads, kernel.product.panel, to);
    }
    Ok(())
}

impl Taps<'_> {
    /// As `pack`, two channels to an element; an odd one has a partner of 0.
    pub fn pack_pairs(&self, threads: &Threads, width: usize, to: &mut [f32]) {
        self.pack_rows(threads, width, self.channels.div_ceil(2), PAIRS, to, |from, index, to| {
            let from = &from[2 * index * self.channel_stride..];
            let has_second = 2 * index + 1 < self.channels;
            for (col, to) in to.iter_mut().enumerate() {
                let at = col * self.col_stride;
                *to = pair(from[at], if has_second { from[at + self.channel_stride] } else { 0.0 });
            }
        });
    }
}

#[allow(clippy::too_many_arguments, reason = "the arguments of `conv_pairs` and a kernel")]
pub(crate) fn conv_for(
    kernel: &'static bgemm::Kernel,
    threads: &Threads,
    input: &[f32],
    images: Images,
    shape: &ConvShape,
    packed: &[f32],
    epilogue: &Epilogue<'_>,
    end: End,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("packed", packed.len(), packed_len_for(kernel, shape)?)?;
    end.check(shape, [shape.c_in, shape.c_out], epilogue)?;
    let Images { n, h, w } = images;
    let out_size = shape.window.output_size(h, w)?;
    let pairs = in_pairs(shape);
    ShapeError::expect("input", input.len(), ShapeError::product("input", &[n, h, w, pairs.c_in])?)?;
    let pixels = ShapeError::product("out", &[n, out_size[0], out_size[1]])?;
    ShapeError::product("out", &[pixels, shape.c_out])?;
    let words = end.words(pixels, shape.c_out)?;
    ShapeError::expect("out", out.len(), words)?;
    gemm::check_epilogue(epilogue, shape.c_out, words)?;
    let mut call = Call { threads, input, images, out_size, shape: &pairs, epilogue, out };
    let len = group_len(kernel, shape);
    for group in 0..shape.groups {
        call.run_group(end.product(kernel), &packed[group * len..][..len], group);
    }
    Ok(())
}
