//! Convolutions whose weights are mostly zeros and change, as in training with masks, and their gradients; lanes are images.
//!
//! A tile of output pixels of as many images as a vector has lanes is worked on at a time. What it sees of a block of input
//! channels is transposed into a slab `[channels][pixels][images]` that stays in L1, with zeros around the image, so every tap of
//! every channel is whole vectors at a fixed place. Forward, each weight that is not zero is one broadcast and a multiply-add for
//! each pixel of the tile; the gradient by the input is the same with the window flipped, a stride phase by phase. Of the gradient
//! by the weight only what a mask keeps is computed: each a product of the output's gradient, in registers, by the slab.
//!
//! Zeros are found on every call, and not multiplied: a NaN or infinity reaches only the outputs that have a weight for it.
//! The parts of a weight gradient depend on the shape alone and are added in order, so results are the same bytes at any number of
//! threads.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod driver;
mod geometry;
mod lanes;
mod pattern;
mod scalar;
#[cfg(test)]
mod tests;

use crate::activation::{Activation, Epilogue};
use crate::conv::{ConvShape, Images};
use crate::error::ShapeError;
use crate::gemm::{check_epilogue, pointer};
use crate::threads::{Shareable, Threads};
use driver::{Call, Output};
use geometry::Pass;
use lanes::{End, Grid, Places, Run};
use pattern::Pattern;
use std::ops::Range;
use std::sync::OnceLock;

/// A variant of the loops.
pub struct Kernel {
    /// `masked_conv_f32_{lines}x{columns}x{images}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    /// Lanes of a vector: images.
    lanes: usize,
    /// Pixels of a tile, `[down, right]`.
    tile: [usize; 2],
    products: unsafe fn(&Run<'_>),
    dots: unsafe fn(&Run<'_>),
    gather: unsafe fn(Grid, *const f32, (&Places, &Places), Range<usize>, *mut f32),
    scatter: unsafe fn(Grid, *const f32, (&Places, &Places), *mut f32, &End),
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All variants, fastest first. Dispatch and tests walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "masked_conv_f32_2x8x16_avx512",
        is_supported: crate::isa::has_avx512,
        lanes: 16,
        tile: [2, 8],
        products: avx512::products,
        dots: avx512::dots,
        gather: avx512::gather,
        scatter: avx512::scatter,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "masked_conv_f32_2x4x8_avx2",
        is_supported: crate::isa::has_avx2,
        lanes: 8,
        tile: [2, 4],
        products: avx2::products,
        dots: avx2::dots,
        gather: avx2::gather,
        scatter: avx2::scatter,
    },
    Kernel {
        name: "masked_conv_f32_2x4x1_scalar",
        is_supported: || true,
        lanes: 1,
        tile: [2, 4],
        products: scalar::products,
        dots: scalar::dots,
        gather: scalar::gather,
        scatter: scalar::scatter,
    },
];

/// Weights that are not zero. Counted in one pass, without branches.
pub fn nonzeros(weight: &[f32]) -> usize {
    weight.iter().map(|&weight| usize::from(weight != 0.0)).sum()
}

/// Whether these kernels are faster than the dense ones for a weight with so many that are not zero: a guess from the shape, the same on
/// every machine.
///
/// Two things cost time, in units of the dense product: transposing what is read, a tile with its margin at a time, and written, which
/// matters where there are few channels; and the non-zeros, each of which takes a little longer than in a dense product.
pub fn is_faster(shape: &ConvShape, images: Images, nonzeros: usize) -> bool {
    let (taps, len) = (shape.window.taps(), shape.weight_len());
    if shape.groups != 1 || images.n < LANES / 2 || len == 0 {
        return false;
    }
    let margin = if taps > 1 { 2.5 } else { 1.0 };
    let transposing = 20.0 * (margin * shape.c_in as f64 + shape.c_out as f64) / len as f64;
    let multiplying = 1.3 * nonzeros as f64 / len as f64;
    // Images that do not fill the last vector.
    let filled = images.n as f64 / images.n.next_multiple_of(LANES) as f64;
    transposing + multiplying <= 0.8 * filled
}

/// Lanes of the widest vectors.
const LANES: usize = 16;

/// `out = activation(conv(input) + bias + residual)` for a weight that is mostly zeros.
///
/// | value | shape |
/// |---|---|
/// | `input` | `[n, h, w, c_in]` |
/// | `weight` | `[c_out, c_in, kh, kw]`, as ONNX has it |
/// | `epilogue.bias` | `[c_out]` |
/// | `epilogue.residual`, `out` | `[n, h', w', c_out]` |
///
/// # Errors
/// [`ShapeError`] if there is more than one group, a slice has another length or the window does not fit.
pub fn conv(
    threads: &Threads,
    input: &[f32],
    images: Images,
    shape: &ConvShape,
    weight: &[f32],
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().conv(threads, input, images, shape, weight, epilogue, out)
}

/// The gradient of a loss by the input of a convolution whose weight is mostly zeros.
///
/// | value | shape |
/// |---|---|
/// | `d_out` | `[n, h', w', c_out]`, the gradient by what the convolution of `images` wrote |
/// | `weight` | `[c_out, c_in, kh, kw]`, as ONNX has it |
/// | `epilogue.bias` | `[c_in]` |
/// | `epilogue.residual`, `d_input` | `[n, h, w, c_in]`; a residual is a gradient that is added |
///
/// # Errors
/// As [`conv`].
pub fn input_gradient(
    threads: &Threads,
    d_out: &[f32],
    images: Images,
    shape: &ConvShape,
    weight: &[f32],
    epilogue: &Epilogue<'_>,
    d_input: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().input_gradient(threads, d_out, images, shape, weight, epilogue, d_input)
}

/// The gradient of a loss by the weight of a convolution, times a mask: computed where the mask is not 0.
///
/// | value | shape |
/// |---|---|
/// | `input` | `[n, h, w, c_in]`, what the convolution read |
/// | `d_out` | `[n, h', w', c_out]`, the gradient by what it wrote |
/// | `mask`, `d_weight` | `[c_out, c_in, kh, kw]`, as ONNX has it |
///
/// # Errors
/// As [`conv`].
pub fn weight_gradient(
    threads: &Threads,
    input: &[f32],
    images: Images,
    shape: &ConvShape,
    d_out: &[f32],
    mask: &[f32],
    d_weight: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().weight_gradient(threads, input, images, shape, d_out, mask, d_weight)
}

/// The lengths of both images and of the weight.
fn check(shape: &ConvShape, images: Images, weight: usize) -> Result<[usize; 2], ShapeError> {
    shape.check()?;
    ShapeError::require(shape.groups == 1, "the number of groups", shape.groups, "1")?;
    ShapeError::expect("weight", weight, shape.weight_len())?;
    ShapeError::require(u32::try_from(weight).is_ok(), "the length of `weight`", weight, "below 2^32")?;
    let [h, w] = shape.window.output_size(images.h, images.w)?;
    let input = ShapeError::product("input", &[images.n, images.h, images.w, shape.c_in])?;
    Ok([input, ShapeError::product("out", &[images.n, h, w, shape.c_out])?])
}

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        static BEST: OnceLock<&Kernel> = OnceLock::new();
        BEST.get_or_init(|| crate::isa::best(KERNELS, |kernel| kernel.is_supported))
    }

    /// # Safety
    /// Input and output are as large as the pass says, and the epilogue fits.
    unsafe fn pass(
        &'static self,
        threads: &Threads,
        input: &[f32],
        pass: &Pass,
        weight: &[f32],
        epilogue: &Epilogue<'_>,
        out: &mut [f32],
    ) {
        assert!((self.is_supported)(), "{} needs another CPU", self.name);
        let pattern = &Pattern::new(pass, weight, self.tile, self.lanes);
        let is_clamped = matches!(epilogue.activation, Activation::Relu | Activation::Clip { .. });
        let end = End {
            bias: pointer(epilogue.bias),
            residual: pointer(epilogue.residual),
            clamp: is_clamped.then(|| epilogue.activation.clamp()),
        };
        let to = Output { to: Shareable(out.as_mut_ptr()), end, activation: epilogue.activation };
        // SAFETY: the caller's; this CPU can run the kernel.
        unsafe { Call { kernel: self, threads, pass, pattern, input }.products(&to) };
    }

    #[allow(clippy::too_many_arguments, reason = "those of `conv`")]
    fn conv(
        &'static self,
        threads: &Threads,
        input: &[f32],
        images: Images,
        shape: &ConvShape,
        weight: &[f32],
        epilogue: &Epilogue<'_>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let [input_len, out_len] = check(shape, images, weight.len())?;
        ShapeError::expect("input", input.len(), input_len)?;
        ShapeError::expect("out", out.len(), out_len)?;
        check_epilogue(epilogue, shape.c_out, out_len)?;
        let pass = Pass::forward(shape, images)?;
        // SAFETY: all lengths are checked above.
        unsafe { self.pass(threads, input, &pass, weight, epilogue, out) };
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "those of `input_gradient`")]
    fn input_gradient(
        &'static self,
        threads: &Threads,
        d_out: &[f32],
        images: Images,
        shape: &ConvShape,
        weight: &[f32],
        epilogue: &Epilogue<'_>,
        d_input: &mut [f32],
    ) -> Result<(), ShapeError> {
        let [input_len, out_len] = check(shape, images, weight.len())?;
        ShapeError::expect("d_out", d_out.len(), out_len)?;
        ShapeError::expect("d_input", d_input.len(), input_len)?;
        check_epilogue(epilogue, shape.c_in, input_len)?;
        for pass in Pass::backward(shape, images)? {
            // SAFETY: all lengths are checked above.
            unsafe { self.pass(threads, d_out, &pass, weight, epilogue, d_input) };
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "those of `weight_gradient`")]
    fn weight_gradient(
        &'static self,
        threads: &Threads,
        input: &[f32],
        images: Images,
        shape: &ConvShape,
        d_out: &[f32],
        mask: &[f32],
        d_weight: &mut [f32],
    ) -> Result<(), ShapeError> {
        let [input_len, out_len] = check(shape, images, mask.len())?;
        ShapeError::expect("input", input.len(), input_len)?;
        ShapeError::expect("d_out", d_out.len(), out_len)?;
        ShapeError::expect("d_weight", d_weight.len(), mask.len())?;
        assert!((self.is_supported)(), "{} needs another CPU", self.name);
        let pass = &Pass::forward(shape, images)?;
        let pattern = &Pattern::new(pass, mask, self.tile, self.lanes);
        Call { kernel: self, threads, pass, pattern, input }.dots(d_out, d_weight);
        Ok(())
    }
}
