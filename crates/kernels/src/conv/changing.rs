//! Convolutions whose weights change, as in training: the packed form lies in memory of the caller.

use super::{Call, ConvShape, Depthwise, Images};
use crate::activation::Epilogue;
use crate::error::ShapeError;
use crate::gemm::{self, packed};
use crate::threads::{Shareable, Threads};

/// Channels packed by one task.
const CHANNELS: usize = 64;

/// The variants that run a convolution.
#[derive(Clone, Copy)]
pub(crate) struct Kernels {
    pub product: &'static gemm::Kernel,
    pub depthwise: &'static Depthwise,
}

impl Kernels {
    pub fn best() -> Self {
        Self { product: gemm::Kernel::best(), depthwise: Depthwise::best() }
    }
}

/// Elements of the packed weight of a convolution, for [`pack_into`].
///
/// # Errors
/// [`ShapeError`] if the groups do not divide the channels or a size is 0.
pub fn packed_len(shape: &ConvShape) -> Result<usize, ShapeError> {
    packed_len_for(Kernels::best(), shape)
}

/// Packs `weight`, `[c_out, c_in / groups, kh, kw]` as ONNX has it, into `to`, [`packed_len`] long, for the fastest kernel of
/// this CPU. What `to` held does not matter.
///
/// # Errors
/// [`ShapeError`] as [`packed_len`], or if a slice has another length.
pub fn pack_into(threads: &Threads, shape: &ConvShape, weight: &[f32], to: &mut [f32]) -> Result<(), ShapeError> {
    pack_for(Kernels::best(), threads, shape, weight, to)
}

/// [`super::conv`] with a weight that [`pack_into`] packed for the same shape.
///
/// # Errors
/// [`ShapeError`] if a slice has another length or the window does not fit.
pub fn conv_packed(
    threads: &Threads,
    input: &[f32],
    images: Images,
    shape: &ConvShape,
    packed: &[f32],
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    conv_for(Kernels::best(), threads, input, images, shape, packed, epilogue, out)
}

pub(crate) fn packed_len_for(kernels: Kernels, shape: &ConvShape) -> Result<usize, ShapeError> {
    shape.check()?;
    if shape.is_depthwise() {
        return Ok((shape.window.taps() + 1) * shape.c_out);
    }
    Ok(group_len(kernels.product, shape) * shape.groups)
}

/// Elements of one group.
fn group_len(kernel: &gemm::Kernel, shape: &ConvShape) -> usize {
    packed::packed_len(kernel.panel, shape.group_k(), shape.c_out / shape.groups)
}

pub(crate) fn pack_for(
    kernels: Kernels,
    threads: &Threads,
    shape: &ConvShape,
    weight: &[f32],
    to: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("packed", to.len(), packed_len_for(kernels, shape)?)?;
    ShapeError::expect("weight", weight.len(), shape.weight_len())?;
    let taps: Vec<usize> = (0..shape.window.taps()).collect();
    if shape.is_depthwise() {
        pack_depthwise(weight, &taps, to);
        return Ok(());
    }
    let len = group_len(kernels.product, shape);
    let (c_in, c_out) = (shape.c_in / shape.groups, shape.c_out / shape.groups);
    if len > 0 {
        for (group, to) in to.chunks_exact_mut(len).enumerate() {
            Taps {
                weight: &weight[group * c_out * c_in * taps.len()..],
                taps: &taps,
                channels: c_in,
                channel_stride: taps.len(),
                n: c_out,
                col_stride: c_in * taps.len(),
            }
            .pack(threads, kernels.product.panel, to);
        }
    }
    Ok(())
}

/// `[channels, taps]` to `[taps, channels]`, then a row of zeros.
pub(crate) fn pack_depthwise(weight: &[f32], taps: &[usize], to: &mut [f32]) {
    let channels = to.len() / (taps.len() + 1);
    let n_taps = weight.len() / channels.max(1);
    if channels == 0 {
        return;
    }
    for (index, to) in to.chunks_exact_mut(channels).enumerate() {
        match taps.get(index) {
            Some(&tap) => to.iter_mut().zip(weight[tap..].iter().step_by(n_taps)).for_each(|(to, from)| *to = *from),
            None => to.fill(0.0),
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "the arguments of `conv_packed` and the kernels")]
pub(crate) fn conv_for(
    kernels: Kernels,
    threads: &Threads,
    input: &[f32],
    images: Images,
    shape: &ConvShape,
    packed: &[f32],
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("packed", packed.len(), packed_len_for(kernels, shape)?)?;
    let mut call = Call::new(threads, input, images, shape, epilogue, out)?;
    if shape.is_depthwise() {
        call.run_depthwise(kernels.depthwise, packed);
        return Ok(());
    }
    let len = group_len(kernels.product, shape);
    for group in 0..shape.groups {
        call.run_group(kernels.product, &packed[group * len..][..len], group);
    }
    Ok(())
}

/// The weight of one group seen as the matrix `[taps · channels, n]`: element `[tap, channel, col]` is
/// `weight[taps[tap] + channel · channel_stride + col · col_stride]`.
pub(crate) struct Taps<'a> {
    pub weight: &'a [f32],
    /// Which taps there are, in the order of the rows.
    pub taps: &'a [usize],
    pub channels: usize,
    pub channel_stride: usize,
    pub n: usize,
    pub col_stride: usize,
}

impl Taps<'_> {
    /// Packs into panels of `width` columns; `to` is as long as `packed::packed_len` says.
    pub fn pack(&self, threads: &Threads, width: usize, to: &mut [f32]) {
        let k = self.taps.len() * self.channels;
        assert_eq!(to.len(), packed::packed_len(width, k, self.n), "checked before");
        let to = Shareable(to.as_mut_ptr());
        let parts = self.channels.div_ceil(CHANNELS);
        threads.run(self.n.div_ceil(width) * parts, |task| {
            let panel = packed::panel(task / parts, width, k, self.n);
            let first = task % parts * CHANNELS;
            for channel in first..self.channels.min(first + CHANNELS) {
                for (index, &tap) in self.taps.iter().enumerate() {
                    let row = index * self.channels + channel;
                    // SAFETY: a row of this panel, of channels that are this task's.
                    let to =
                        unsafe { std::slice::from_raw_parts_mut(to.at(panel.offset + row * panel.width), panel.width) };
                    let from = &self.weight[tap + channel * self.channel_stride + panel.col * self.col_stride..];
                    let (to, rest) = to.split_at_mut(panel.n_cols);
                    to.iter_mut().zip(from.iter().step_by(self.col_stride)).for_each(|(to, from)| *to = *from);
                    rest.fill(0.0);
                }
            }
        });
    }
}
