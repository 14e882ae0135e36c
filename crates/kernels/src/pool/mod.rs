//! Max and average pooling of NHWC images, and their gradients. Global average pooling is `rows::reduce`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod gradient;
mod lanes;
mod scalar;
#[cfg(test)]
mod tests;

pub use gradient::{Forward, average_gradient, global_average_gradient, max_gradient};

use crate::conv::{Images, Window};
use crate::error::ShapeError;
use crate::quantize::{Bytes, BytesMut};
use crate::threads::{Shareable, Threads};

/// What a window becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pool {
    /// The largest pixel; NaN if any is. Padding never wins; a window of padding alone is -∞ (the smallest byte).
    Max,
    /// The mean of the pixels inside the image.
    Average,
    /// The sum divided by the taps inside image and padding (ONNX `count_include_pad = 1`).
    AverageWithPads,
}

/// A pooling layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Window, stride, dilation and pads.
    pub window: Window,
    /// Channels of input and output.
    pub channels: usize,
    /// Max or average.
    pub op: Pool,
    /// Round the output size up (ONNX `ceil_mode = 1`).
    pub is_ceil: bool,
}

impl PoolShape {
    /// Height and width of the output.
    ///
    /// # Errors
    /// As [`Window::output_size`].
    pub fn output_size(&self, h: usize, w: usize) -> Result<[usize; 2], ShapeError> {
        if self.is_ceil { self.window.output_size_ceil(h, w) } else { self.window.output_size(h, w) }
    }

    /// What an average at output `at` divides by; 1 for an empty window.
    fn divisor(&self, at: [usize; 2], size: [usize; 2]) -> f32 {
        let window = &self.window;
        let mut taps = 1;
        for axis in 0..2 {
            taps *= if self.op == Pool::AverageWithPads {
                // Up to the padded edge: a window rounded up hangs over it.
                let padded = size[axis] + window.pads[axis] + window.pads[axis + 2];
                let room = padded.saturating_sub(at[axis] * window.stride[axis]);
                room.div_ceil(window.dilation[axis]).min(window.kernel[axis])
            } else {
                window.inside(axis, at[axis], size[axis]).len()
            };
        }
        taps.max(1) as f32
    }
}

/// A variant of the pooling loop.
pub struct Kernel {
    /// `pool_f32_{lanes}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    run: unsafe fn(&lanes::Row<'_>),
    gradient: unsafe fn(&lanes::Gradient),
}

/// All variants, fastest first. Dispatch and tests walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "pool_f32_16_avx512",
        is_supported: crate::isa::has_avx512,
        run: avx512::row,
        gradient: avx512::gradient,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "pool_f32_8_avx2", is_supported: crate::isa::has_avx2, run: avx2::row, gradient: avx2::gradient },
    Kernel { name: "pool_f32_1_scalar", is_supported: || true, run: scalar::row, gradient: scalar::gradient },
];

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        crate::isa::best(KERNELS, |kernel| kernel.is_supported)
    }

    /// [`pool`] with this variant.
    ///
    /// # Errors
    /// As [`pool`].
    pub fn pool(
        &self,
        threads: &Threads,
        input: &[f32],
        images: Images,
        shape: &PoolShape,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        assert!((self.is_supported)(), "{} needs another CPU", self.name);
        let [out_h, out_w] = check(input.len(), images, shape, out.len())?;
        let Images { h, w, .. } = images;
        let row_len = out_w * shape.channels;
        let to = Shareable(out.as_mut_ptr());
        by_bands(threads, images.n * out_h, row_len * shape.window.taps(), |index| {
            let (image, y) = (index / out_h, index % out_h);
            let image = &input[image * h * w * shape.channels..];
            // SAFETY: rows are disjoint; lengths checked; this CPU can run the variant.
            unsafe { (self.run)(&lanes::Row { shape: *shape, h, w, out_w, image, y, out: to.at(index * row_len) }) }
        });
        Ok(())
    }
}

fn check(input: usize, images: Images, shape: &PoolShape, out: usize) -> Result<[usize; 2], ShapeError> {
    let Images { n, h, w } = images;
    let [out_h, out_w] = shape.output_size(h, w)?;
    ShapeError::expect("input", input, ShapeError::product("input", &[n, h, w, shape.channels])?)?;
    ShapeError::expect("out", out, ShapeError::product("out", &[n, out_h, out_w, shape.channels])?)?;
    Ok([out_h, out_w])
}

fn by_bands(threads: &Threads, rows: usize, work: usize, task: impl Fn(usize) + Sync) {
    let band = (1usize << 14).div_ceil(work.max(1));
    threads.run(rows.div_ceil(band), |part| (part * band..rows.min((part + 1) * band)).for_each(&task));
}

/// Pools `input`, `[n, h, w, channels]`, into `out`, `[n, h', w', channels]`.
///
/// # Errors
/// [`ShapeError`] if a length differs or the window does not fit.
pub fn pool(
    threads: &Threads,
    input: &[f32],
    images: Images,
    shape: &PoolShape,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().pool(threads, input, images, shape, out)
}

/// [`Pool::Max`] of bytes (u8 or i8), whatever `shape.op` says; quantized values order as the numbers they stand for.
///
/// # Errors
/// As [`pool`].
pub fn max_pool_bytes(
    threads: &Threads,
    input: Bytes<'_>,
    images: Images,
    shape: &PoolShape,
    out: &mut BytesMut<'_>,
) -> Result<(), ShapeError> {
    match (input, out) {
        (Bytes::U8(input), BytesMut::U8(out)) => max_pool(threads, u8::MIN, input, images, shape, out),
        (Bytes::I8(input), BytesMut::I8(out)) => max_pool(threads, i8::MIN, input, images, shape, out),
        _ => ShapeError::require(false, "the number of element types", 2, "one for input and output"),
    }
}

fn max_pool<T: Copy + Ord + Send + Sync>(
    threads: &Threads,
    smallest: T,
    input: &[T],
    images: Images,
    shape: &PoolShape,
    out: &mut [T],
) -> Result<(), ShapeError> {
    let [out_h, out_w] = check(input.len(), images, shape, out.len())?;
    let (window, channels) = (shape.window, shape.channels);
    let Images { h, w, .. } = images;
    let row_len = (out_w * channels).max(1);
    threads.run_chunks(out, row_len, |index, out| {
        let (image, y) = (index / out_h, index % out_h);
        for (x, out) in out.chunks_exact_mut(channels).enumerate() {
            out.fill(smallest);
            for tap_y in window.inside(0, y, h) {
                let row = y * window.stride[0] + tap_y * window.dilation[0] - window.pads[0];
                for tap_x in window.inside(1, x, w) {
                    let col = x * window.stride[1] + tap_x * window.dilation[1] - window.pads[1];
                    let pixel = &input[((image * h + row) * w + col) * channels..][..channels];
                    for (out, &value) in out.iter_mut().zip(pixel) {
                        *out = value.max(*out);
                    }
                }
            }
        }
    });
    Ok(())
}
