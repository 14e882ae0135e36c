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
    if len > 0 {
        for (group, to) in to.chunks_exact_mut(len).enumerate() {
            Taps::forward(weight, shape, &taps, group).pack(threads, kernels.product.panel, to);
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

impl<'a> Taps<'a> {
    /// Inputs are channels, outputs columns.
    pub fn forward(weight: &'a [f32], shape: &ConvShape, taps: &'a [usize], group: usize) -> Self {
        let (c_in, c_out, n_taps) = (shape.c_in / shape.groups, shape.c_out / shape.groups, shape.window.taps());
        Self {
            weight: &weight[group * c_out * c_in * n_taps..],
            taps,
            channels: c_in,
            channel_stride: n_taps,
            n: c_out,
            col_stride: c_in * n_taps,
        }
    }

    /// Outputs are channels, inputs columns: for the gradient of the input.
    pub fn backward(weight: &'a [f32], shape: &ConvShape, taps: &'a [usize], group: usize) -> Self {
        let forward = Self::forward(weight, shape, taps, group);
        Self {
            channels: forward.n,
            channel_stride: forward.col_stride,
            n: forward.channels,
            col_stride: forward.channel_stride,
            ..forward
        }
    }

    /// Packs into panels of `width` columns; `to` is as long as `packed::packed_len` says.
    pub fn pack(&self, threads: &Threads, width: usize, to: &mut [f32]) {
        self.pack_rows(threads, width, self.channels, CHANNELS, to, |from, channel, to| {
            let from = &from[channel * self.channel_stride..];
            to.iter_mut().zip(from.iter().step_by(self.col_stride)).for_each(|(to, from)| *to = *from);
        });
    }

    /// Packs into panels of `rows` rows a tap, `part` of them a task. `fill` is told the weights from the tap and the first column on, the row
    /// within the tap, and what is to be written.
    pub fn pack_rows(
        &self,
        threads: &Threads,
        width: usize,
        rows: usize,
        part: usize,
        to: &mut [f32],
        fill: impl Fn(&[f32], usize, &mut [f32]) + Sync,
    ) {
        let k = self.taps.len() * rows;
        assert_eq!(to.len(), packed::packed_len(width, k, self.n), "checked before");
        let to = Shareable(to.as_mut_ptr());
        let parts = rows.div_ceil(part);
        threads.run(self.n.div_ceil(width) * parts, |task| {
            let panel = packed::panel(task / parts, width, k, self.n);
            let first = task % parts * part;
            for row in first..rows.min(first + part) {
                for (place, &tap) in self.taps.iter().enumerate() {
                    let at = panel.offset + (place * rows + row) * panel.width;
                    // SAFETY: a row of this panel, of channels that are this task's.
                    let to = unsafe { std::slice::from_raw_parts_mut(to.at(at), panel.width) };
                    let (to, rest) = to.split_at_mut(panel.n_cols);
                    rest.fill(0.0);
                    fill(&self.weight[tap + panel.col * self.col_stride..], row, to);
                }
            }
        });
    }
}
