//! The input gradient: convolutions of the gradient of the output by the weight, flipped and transposed.
//!
//! With a stride, pixels of the input that differ by a multiple of it see the same taps. Each such phase of the image is a
//! convolution of stride 1 of its own, by the taps that reach it, whose results are written where the phase has its pixels.

use super::Kernel;
use super::depthwise::Row;
use crate::activation::Epilogue;
use crate::conv::changing::{Kernels, Taps, pack_depthwise};
use crate::conv::direct::Direct;
use crate::conv::windows::Windows;
use crate::conv::{Call, ConvShape, Images, Window};
use crate::error::ShapeError;
use crate::gemm::driver::{Lines, MatrixRows, Product};
use crate::gemm::{self, check_epilogue, packed, pointer};
use crate::threads::{Shareable, Threads};

/// Elements of the packed weight of an input gradient, for [`pack_input_gradient_into`].
///
/// # Errors
/// [`ShapeError`] if the groups do not divide the channels or a size is 0.
pub fn input_gradient_packed_len(shape: &ConvShape) -> Result<usize, ShapeError> {
    packed_len_for(Kernels::best(), shape)
}

/// Packs `weight`, `[c_out, c_in / groups, kh, kw]` as ONNX has it, into `to`, [`input_gradient_packed_len`] long. What `to`
/// held does not matter.
///
/// # Errors
/// [`ShapeError`] as [`input_gradient_packed_len`], or if a slice has another length.
pub fn pack_input_gradient_into(
    threads: &Threads,
    shape: &ConvShape,
    weight: &[f32],
    to: &mut [f32],
) -> Result<(), ShapeError> {
    pack_for(Kernels::best(), threads, shape, weight, to)
}

/// The gradient of a loss by the input of a convolution, which is also the transposed convolution.
///
/// | value | shape |
/// |---|---|
/// | `d_out` | `[n, h', w', c_out]`, the gradient by what the convolution of `images` wrote |
/// | `packed` | the weight, by [`pack_input_gradient_into`] for the same shape |
/// | `epilogue.bias` | `[c_in]` |
/// | `epilogue.residual`, `d_input` | `[n, h, w, c_in]`; a residual is a gradient that is added |
///
/// # Errors
/// [`ShapeError`] if a slice has another length or the window does not fit.
pub fn conv_input_gradient(
    threads: &Threads,
    d_out: &[f32],
    images: Images,
    shape: &ConvShape,
    packed: &[f32],
    epilogue: &Epilogue<'_>,
    d_input: &mut [f32],
) -> Result<(), ShapeError> {
    let kernels = (Kernels::best(), Kernel::best());
    input_gradient_for(kernels, threads, d_out, images, shape, packed, epilogue, d_input)
}

pub(super) fn packed_len_for(kernels: Kernels, shape: &ConvShape) -> Result<usize, ShapeError> {
    shape.check()?;
    if shape.is_depthwise() {
        return Ok((shape.window.taps() + 1) * shape.c_out);
    }
    let lens = phases(shape).map(|phase| phase.group_len(kernels.product, shape) * shape.groups);
    Ok(lens.sum())
}

pub(super) fn pack_for(
    kernels: Kernels,
    threads: &Threads,
    shape: &ConvShape,
    weight: &[f32],
    to: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("packed", to.len(), packed_len_for(kernels, shape)?)?;
    ShapeError::expect("weight", weight.len(), shape.weight_len())?;
    let n_taps = shape.window.taps();
    if shape.is_depthwise() {
        let is_flipped = flipped(shape).is_some();
        let taps: Vec<usize> = (0..n_taps).map(|tap| if is_flipped { n_taps - 1 - tap } else { tap }).collect();
        pack_depthwise(weight, &taps, to);
        return Ok(());
    }
    let mut rest = to;
    for phase in phases(shape) {
        let (len, taps) = (phase.group_len(kernels.product, shape), phase.taps(shape));
        for group in 0..shape.groups {
            let (to, after) = rest.split_at_mut(len);
            rest = after;
            if len > 0 {
                Taps::backward(weight, shape, &taps, group).pack(threads, kernels.product.panel, to);
            }
        }
    }
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "the arguments of `conv_input_gradient` and the kernels")]
pub(super) fn input_gradient_for(
    (kernels, kernel): (Kernels, &'static Kernel),
    threads: &Threads,
    d_out: &[f32],
    images: Images,
    shape: &ConvShape,
    packed: &[f32],
    epilogue: &Epilogue<'_>,
    d_input: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("packed", packed.len(), packed_len_for(kernels, shape)?)?;
    let [out_h, out_w] = shape.window.output_size(images.h, images.w)?;
    ShapeError::expect("d_out", d_out.len(), ShapeError::product("d_out", &[images.n, out_h, out_w, shape.c_out])?)?;
    let size = ShapeError::product("d_input", &[images.n, images.h, images.w, shape.c_in])?;
    ShapeError::expect("d_input", d_input.len(), size)?;
    check_epilogue(epilogue, shape.c_in, size)?;
    if size == 0 {
        return Ok(());
    }
    let out_images = Images { n: images.n, h: out_h, w: out_w };
    if let Some(window) = flipped(shape).filter(|_| shape.is_depthwise()) {
        let flipped = ConvShape { window, ..*shape };
        Call::new(threads, d_out, out_images, &flipped, epilogue, d_input)?.run_depthwise(kernels.depthwise, packed);
        return Ok(());
    }
    if shape.is_depthwise() {
        run_depthwise(kernel, threads, d_out, images, out_images, shape, packed, epilogue, d_input);
        return Ok(());
    }
    run(&Gradient { kernel: kernels.product, threads, d_out, out_images, images, shape, epilogue }, packed, d_input);
    Ok(())
}

/// All phases, one after the other.
pub(super) fn run(call: &Gradient<'_>, packed: &[f32], d_input: &mut [f32]) {
    let mut rest = packed;
    for phase in phases(call.shape) {
        let len = phase.group_len(call.kernel, call.shape);
        for group in 0..call.shape.groups {
            let (b, after) = rest.split_at(len);
            rest = after;
            call.run_phase(&phase, group, b, d_input);
        }
    }
}

/// The window of the gradient where it is one convolution: a stride of 1 and pads that do not exceed the window.
fn flipped(shape: &ConvShape) -> Option<Window> {
    let window = shape.window;
    let mut pads = [0; 4];
    for (index, pad) in pads.iter_mut().enumerate() {
        *pad = ((window.kernel[index % 2] - 1) * window.dilation[index % 2]).checked_sub(window.pads[index])?;
    }
    (window.stride == [1, 1]).then_some(Window { pads, ..window })
}

/// The pixels `first, first + stride, ..` of one axis, and the taps that reach them.
#[derive(Debug, Clone, Copy)]
struct Axis {
    first: usize,
    /// The last tap, the step to the one before, and how many there are.
    last_tap: usize,
    tap_step: usize,
    n_taps: usize,
    /// Outputs from the one of a tap to that of the tap before.
    dilation: usize,
    /// The output that the first pixel has under the last tap, which may lie outside.
    origin: i64,
}

impl Axis {
    fn new(window: &Window, axis: usize, first: usize) -> Self {
        let (stride, dilation, kernel) = (window.stride[axis], window.dilation[axis], window.kernel[axis]);
        let at = (first + window.pads[axis]) as i64;
        let reaches = |tap: &usize| (at - (tap * dilation) as i64) % stride as i64 == 0;
        let n_taps = (0..kernel).filter(reaches).count();
        let last_tap = (0..kernel).rev().find(reaches).unwrap_or(0);
        let common = gcd(stride, dilation);
        Self {
            first,
            last_tap,
            tap_step: stride / common,
            n_taps,
            dilation: dilation / common,
            origin: (at - (last_tap * dilation) as i64) / stride as i64,
        }
    }

    /// Pixels of an axis of `size`.
    fn count(&self, stride: usize, size: usize) -> usize {
        size.saturating_sub(self.first).div_ceil(stride)
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// One phase of the image: `[down, right]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Phase([Axis; 2]);

pub(super) fn phases(shape: &ConvShape) -> impl Iterator<Item = Phase> {
    let window = shape.window;
    (0..window.stride[0]).flat_map(move |y| {
        (0..window.stride[1]).map(move |x| Phase([Axis::new(&window, 0, y), Axis::new(&window, 1, x)]))
    })
}

impl Phase {
    /// Its taps, from the last to the first, as places in the window.
    pub fn taps(&self, shape: &ConvShape) -> Vec<usize> {
        let [down, right] = self.0;
        let tap = |axis: Axis, index: usize| axis.last_tap - index * axis.tap_step;
        let row = |y: usize| (0..right.n_taps).map(move |x| tap(down, y) * shape.window.kernel[1] + tap(right, x));
        (0..down.n_taps).flat_map(row).collect()
    }

    fn n_taps(&self) -> usize {
        self.0[0].n_taps * self.0[1].n_taps
    }

    /// Elements of the packed weight of one group.
    pub fn group_len(&self, kernel: &gemm::Kernel, shape: &ConvShape) -> usize {
        let k = self.n_taps() * (shape.c_out / shape.groups);
        packed::packed_len(kernel.panel, k, shape.c_in / shape.groups)
    }
}

/// The arguments of an input gradient, checked.
pub(super) struct Gradient<'a> {
    pub kernel: &'static gemm::Kernel,
    pub threads: &'a Threads,
    pub d_out: &'a [f32],
    pub out_images: Images,
    pub images: Images,
    pub shape: &'a ConvShape,
    pub epilogue: &'a Epilogue<'a>,
}

impl Gradient<'_> {
    fn run_phase(&self, phase: &Phase, group: usize, b: &[f32], d_input: &mut [f32]) {
        let Self { shape, images, out_images, .. } = *self;
        let [down, right] = phase.0;
        let [stride_y, stride_x] = shape.window.stride;
        let (h, w) = (down.count(stride_y, images.h), right.count(stride_x, images.w));
        let (c, n) = (shape.c_out / shape.groups, shape.c_in / shape.groups);
        let (m, k) = (images.n * h * w, phase.n_taps() * c);
        if m == 0 || n == 0 {
            return;
        }
        // The same place in what is written and what is added to it.
        let at = (down.first * images.w + right.first) * shape.c_in + group * n;
        let line = images.w * shape.c_in;
        let lines = Lines { rows: w, stride: stride_y * line, an_image: h, image_stride: images.h * line };
        let to = Shareable(self.kernel.element(d_input.as_mut_ptr(), at));
        let residual = pointer(self.epilogue.residual).cast_mut();
        let residual = self.kernel.element(residual, if residual.is_null() { 0 } else { at });
        let product = Product {
            kernel: self.kernel,
            m,
            k,
            n,
            rows: &(),
            b,
            c: to,
            c_stride: stride_x * shape.c_in,
            lines: (shape.window.stride != [1, 1]).then_some(lines),
            bias: pointer(self.epilogue.bias.map(|bias| &bias[group * n..])),
            residual: residual.cast_const(),
            activation: self.epilogue.activation,
        };
        let is_point =
            phase.n_taps() == 1 && [down.origin, right.origin] == [0, 0] && [h, w] == [out_images.h, out_images.w];
        // SAFETY, all: lengths were checked, phases and groups are apart, and the weight is packed for this kernel.
        if k == 0 {
            let rows = &MatrixRows { a: &[], m, k, row_stride: 1, col_stride: 1 };
            // SAFETY: above; no column is read.
            unsafe { product.with_rows(rows).run(self.threads) };
        } else if is_point {
            let rows = &MatrixRows { a: &self.d_out[group * c..], m, k, row_stride: shape.c_out, col_stride: 1 };
            // SAFETY: above.
            unsafe { product.with_rows(rows).run(self.threads) };
        } else {
            let window = Window {
                kernel: [down.n_taps, right.n_taps],
                stride: [1, 1],
                dilation: [down.dilation, right.dilation],
                pads: [0; 4],
            };
            let pads = [-down.origin, -right.origin];
            let direct = Direct {
                kernel: self.kernel,
                threads: self.threads,
                input: self.d_out,
                images: out_images,
                channels: shape.c_out,
                window,
                pads,
                out_size: [h, w],
                n,
                b,
                epilogue: self.epilogue,
            };
            if shape.groups == 1 && shape.window.stride == [1, 1] && direct.fits() {
                // SAFETY: above; there is one phase, the image.
                unsafe { direct.run(Shareable(d_input.as_mut_ptr())) };
                return;
            }
            let channels = group * c..(group + 1) * c;
            let rows = Windows::new(self.d_out, out_images, window, [h, w], shape.c_out, channels);
            let rows = &rows.with_pads(pads);
            // SAFETY: above.
            unsafe { product.with_rows(rows).run(self.threads) };
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "the checked arguments of `input_gradient_for`")]
fn run_depthwise(
    kernel: &'static Kernel,
    threads: &Threads,
    d_out: &[f32],
    images: Images,
    out_images: Images,
    shape: &ConvShape,
    packed: &[f32],
    epilogue: &Epilogue<'_>,
    d_input: &mut [f32],
) {
    let row_len = images.w * shape.c_in;
    let out_len = out_images.h * out_images.w * shape.c_out;
    let residual = epilogue.residual;
    threads.run_chunks(d_input, row_len, |index, to| {
        let (image, y) = (index / images.h, index % images.h);
        let row = Row {
            window: shape.window,
            d_out: &d_out[image * out_len..][..out_len],
            out_size: [out_images.h, out_images.w],
            weight: packed,
            channels: shape.c_in,
            y,
            bias: epilogue.bias,
            residual: residual.map(|residual| &residual[index * row_len..][..row_len]),
            clamp: epilogue.activation.clamp(),
        };
        // SAFETY: the lengths were checked; this CPU can run the kernel.
        unsafe { (kernel.depthwise_input)(&row, to) };
        epilogue.activation.apply(to);
    });
}
