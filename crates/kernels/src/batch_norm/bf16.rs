//! Batch norm on pairs of bf16 in the bits of f32 words, an even number of channels: half the bytes to read and write.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512bf16;
mod scalar;

use super::{Affine, Element, Kernel, Mask, Norm, Saved};
use crate::activation::Activation;
use crate::bgemm::widen;
use crate::error::ShapeError;
use crate::threads::Threads;

/// The bits of a bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Half(u16);

impl Element for Half {
    const HAS_CURVES: bool = false;

    fn number(self) -> f32 {
        widen(self.0)
    }

    fn kernels() -> &'static [Kernel<Self>] {
        BF16_KERNELS
    }

    fn apply(_: Activation, _: &mut [Self]) {}
}

/// All variants on bf16, fastest first. Dispatch and tests walk this list.
pub static BF16_KERNELS: &[Kernel<Half>] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "batch_norm_bf16_16_avx512bf16",
        is_supported: crate::isa::has_avx512bf16,
        statistics: avx512bf16::statistics,
        normalize: avx512bf16::normalize,
        sums: avx512bf16::sums,
        gradient: avx512bf16::gradient,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "batch_norm_bf16_8_avx2",
        is_supported: crate::isa::has_avx2,
        statistics: avx2::statistics,
        normalize: avx2::normalize,
        sums: avx2::sums,
        gradient: avx2::gradient,
    },
    Kernel {
        name: "batch_norm_bf16_1_scalar",
        is_supported: || true,
        statistics: scalar::statistics,
        normalize: scalar::normalize,
        sums: scalar::sums,
        gradient: scalar::gradient,
    },
];

/// Both numbers of each word.
pub(super) fn halves(words: &[f32]) -> &[Half] {
    // SAFETY: twice as many elements of half the size and alignment; any bits are a number.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len() * 2) }
}

/// As [`halves`].
pub(super) fn halves_mut(words: &mut [f32]) -> &mut [Half] {
    // SAFETY: as there, and any bits are a word.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * 2) }
}

fn check(c: usize) -> Result<(), ShapeError> {
    ShapeError::require(c.is_multiple_of(2), "the number of channels", c, "even")
}

/// The mask with the numbers of its words.
fn of_halves(mask: Mask<'_>) -> Mask<'_, Half> {
    match mask {
        Mask::All => Mask::All,
        Mask::Output(y, activation) => Mask::Output(halves(y), activation),
        Mask::Recomputed(affine, activation) => Mask::Recomputed(affine, activation),
    }
}

/// [`super::statistics`] of pairs.
///
/// # Errors
/// [`ShapeError`] if a length does not fit, there is no row, or the channels are odd.
pub fn statistics_pairs(
    threads: &Threads,
    x: &[f32],
    mean: &mut [f32],
    variance: &mut [f32],
) -> Result<(), ShapeError> {
    check(mean.len())?;
    Kernel::best().statistics(threads, halves(x), mean, variance)
}

/// [`super::normalize`] of pairs, into pairs.
///
/// # Errors
/// [`ShapeError`] if a length does not fit, the channels are odd, or the activation is a curve.
pub fn normalize_pairs(
    threads: &Threads,
    x: &[f32],
    affine: Affine<'_>,
    residual: Option<&[f32]>,
    activation: Activation,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    check(affine.scale.len())?;
    Kernel::best().normalize(threads, halves(x), affine, residual.map(halves), activation, halves_mut(out))
}

/// [`super::gradient_sums`] of pairs; the output of a mask is pairs too. If `masked` is there, it gets the gradients that the mask
/// lets through, with zeros between them, as pairs.
///
/// # Errors
/// [`ShapeError`] if a length does not fit, the channels are odd, or the mask is of a curve.
#[allow(clippy::too_many_arguments, reason = "those of `gradient_sums_masking`")]
pub fn gradient_sums_pairs(
    threads: &Threads,
    dy: &[f32],
    x: &[f32],
    saved: Saved<'_>,
    mask: Mask<'_>,
    masked: Option<&mut [f32]>,
    dscale: &mut [f32],
    dbias: &mut [f32],
) -> Result<(), ShapeError> {
    check(saved.mean.len())?;
    let masked = match masked {
        None => std::ptr::null_mut(),
        Some(masked) => {
            ShapeError::expect("masked", masked.len(), dy.len())?;
            halves_mut(masked).as_mut_ptr()
        }
    };
    let dy = halves(dy);
    let at = (dy.as_ptr(), dy.len());
    // SAFETY: equal lengths.
    unsafe { Kernel::best().sums_at(threads, at, halves(x), saved, of_halves(mask), masked, dscale, dbias) }
}

/// [`super::gradient`] of pairs, into pairs; the output of a mask is pairs too.
///
/// # Errors
/// As [`gradient_sums_pairs`].
pub fn gradient_pairs(
    threads: &Threads,
    dy: &[f32],
    x: &[f32],
    norm: &Norm<'_>,
    mask: Mask<'_>,
    dx: &mut [f32],
) -> Result<(), ShapeError> {
    check(norm.scale.len())?;
    ShapeError::expect("dx", dx.len(), dy.len())?;
    let (dy, dx) = (halves(dy), halves_mut(dx).as_mut_ptr());
    // SAFETY: equal lengths.
    unsafe { Kernel::best().gradient_at(threads, (dy.as_ptr(), dy.len()), halves(x), norm, of_halves(mask), dx) }
}
