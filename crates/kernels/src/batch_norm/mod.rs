//! Batch norm while training, forward and backward, with the ReLU and the shortcut that follow it: matrices `[rows, c]`,
//! channels adjacent, as NHWC images are.
//!
//! Forward, two passes: [`statistics`], then (after [`coefficients`]) [`normalize`], which adds a shortcut and clamps.
//! Backward, two passes: [`gradient_sums`], then [`gradient`]. Where nothing was added before the activation, a
//! [`Mask::Recomputed`] spares reading the output. Where something was, [`gradient_sums_in_place`] leaves the gradient of
//! the shortcut in place of that of the output, and [`gradient`] goes on from there with [`Mask::All`].
//!
//! [`statistics_pairs`] and its kin read and write pairs of bf16, half as many bytes; what belongs to a channel stays f32.
//!
//! Sums are made in f32 over a few hundred rows, those in f64, in an order that depends on the shape only.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bf16;
mod lanes;
mod operands;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_bf16;

pub use bf16::{BF16_KERNELS, Half, gradient_pairs, gradient_sums_pairs, normalize_pairs, statistics_pairs};
pub use operands::{Affine, Mask, Norm, Saved};

use crate::activation::Activation;
use crate::channels::{Block, Channels};
use crate::error::ShapeError;
use crate::gemm::pointer;
use crate::threads::{Shareable, Threads};
use lanes::Rows;

type Statistics<E> = unsafe fn(Rows, *const E, *const f32, [*mut f32; 2]);

/// What matrices are made of: f32, or bf16.
pub trait Element: Copy + Send + Sync + std::fmt::Debug + 'static {
    /// Whether an activation may be a curve.
    const HAS_CURVES: bool;

    /// The number.
    fn number(self) -> f32;

    /// All variants of the loops, fastest first.
    fn kernels() -> &'static [Kernel<Self>];

    /// What the bounds of an activation do not express, in place.
    fn apply(activation: Activation, x: &mut [Self]);
}

impl Element for f32 {
    const HAS_CURVES: bool = true;

    fn number(self) -> f32 {
        self
    }

    fn kernels() -> &'static [Kernel<Self>] {
        KERNELS
    }

    fn apply(activation: Activation, x: &mut [Self]) {
        activation.apply(x);
    }
}

/// A variant of all loops of batch norm.
pub struct Kernel<E: 'static = f32> {
    /// `batch_norm_{f32|bf16}_{lanes}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    statistics: Statistics<E>,
    normalize: unsafe fn(Rows, lanes::Normalize<E>),
    sums: unsafe fn(Rows, lanes::Sums<E>),
    gradient: unsafe fn(Rows, lanes::Gradient<E>),
}

/// All variants, fastest first. Dispatch and tests walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "batch_norm_f32_16_avx512",
        is_supported: crate::isa::has_avx512,
        statistics: avx512::statistics,
        normalize: avx512::normalize,
        sums: avx512::sums,
        gradient: avx512::gradient,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "batch_norm_f32_8_avx2",
        is_supported: crate::isa::has_avx2,
        statistics: avx2::statistics,
        normalize: avx2::normalize,
        sums: avx2::sums,
        gradient: avx2::gradient,
    },
    Kernel {
        name: "batch_norm_f32_1_scalar",
        is_supported: || true,
        statistics: scalar::statistics,
        normalize: scalar::normalize,
        sums: scalar::sums,
        gradient: scalar::gradient,
    },
];

/// Rows that decide where the values are counted from, so that the squares do not cancel.
const SAMPLES: usize = 15;

impl From<Block> for Rows {
    fn from(block: Block) -> Self {
        Self { rows: block.rows, stride: block.stride, width: block.width }
    }
}

impl<E: Element> Kernel<E> {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        crate::isa::best(E::kernels(), |kernel| kernel.is_supported)
    }

    fn assert_supported(&self) {
        assert!((self.is_supported)(), "{} needs another CPU", self.name);
    }

    /// [`statistics`] with this variant.
    ///
    /// # Errors
    /// As [`statistics`].
    pub fn statistics(
        &self,
        threads: &Threads,
        x: &[E],
        mean: &mut [f32],
        variance: &mut [f32],
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        let c = mean.len();
        let channels = Channels::new("the length of `x`", x.len(), c)?;
        ShapeError::expect("variance", variance.len(), c)?;
        let rows = channels.rows();
        ShapeError::require(rows > 0 || c == 0, "the number of rows", rows, "at least 1")?;
        let shift = typical(x, rows, c);
        let wide = channels.widen(&shift);
        let sums = channels.sums(threads, |block, [sums, squares]| {
            // SAFETY: the block lies in `x`, its columns in the others; this CPU can run the variant.
            unsafe {
                let out = [sums.as_mut_ptr(), squares.as_mut_ptr()];
                (self.statistics)(block.into(), x.as_ptr().add(block.start), wide.as_ptr().add(block.col), out);
            }
        });
        for i in 0..c {
            let distance = sums[i] / rows as f64;
            mean[i] = (f64::from(shift[i]) + distance) as f32;
            let spread = sums[c + i] / rows as f64 - distance * distance;
            // Not `max`, which would hide a NaN.
            variance[i] = if spread < 0.0 { 0.0 } else { spread as f32 };
        }
        Ok(())
    }

    /// [`normalize`] with this variant.
    ///
    /// # Errors
    /// As [`normalize`].
    pub fn normalize(
        &self,
        threads: &Threads,
        x: &[E],
        affine: Affine<'_>,
        residual: Option<&[E]>,
        activation: Activation,
        out: &mut [E],
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        let c = affine.scale.len();
        let channels = Channels::new("the length of `x`", x.len(), c)?;
        affine.check(c)?;
        ShapeError::expect("residual", residual.map_or(x.len(), <[E]>::len), x.len())?;
        ShapeError::expect("out", out.len(), x.len())?;
        let fits = E::HAS_CURVES || !activation.is_curve();
        ShapeError::require(fits, "the curve of an activation", 1, "none, a ReLU or a clip")?;
        let (scale, bias) = (channels.widen(affine.scale), channels.widen(affine.bias));
        let to = Shareable(out.as_mut_ptr());
        channels.map(threads, |block| {
            // SAFETY: the blocks are disjoint and lie in `x`, `residual` and `out`; this CPU can run the variant.
            unsafe {
                let of = lanes::Normalize {
                    x: x.as_ptr().add(block.start),
                    affine: [scale.as_ptr(), bias.as_ptr()],
                    residual: pointer(residual.map(|residual| &residual[block.start..])),
                    clamp: activation.clamp(),
                    out: to.at(block.start),
                };
                (self.normalize)(block.into(), of);
                if activation.is_curve() {
                    let len = block.rows * block.width;
                    E::apply(activation, std::slice::from_raw_parts_mut(to.at(block.start), len));
                }
            }
        });
        Ok(())
    }

    /// [`gradient_sums`], [`gradient_sums_masking`] or [`gradient_sums_in_place`] with this variant.
    ///
    /// # Safety
    /// `len` elements at `dy` and, unless it is null, at `masked`, which may be the same.
    #[allow(clippy::too_many_arguments, reason = "those of `gradient_sums`, one of them in two parts")]
    unsafe fn sums_at(
        &self,
        threads: &Threads,
        (dy, len): (*const E, usize),
        x: &[E],
        saved: Saved<'_>,
        mask: Mask<'_, E>,
        masked: *mut E,
        dscale: &mut [f32],
        dbias: &mut [f32],
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        let c = saved.mean.len();
        let channels = Channels::new("the length of `x`", x.len(), c)?;
        ShapeError::expect("dy", len, x.len())?;
        ShapeError::expect("inv_std", saved.inv_std.len(), c)?;
        ShapeError::expect("dscale", dscale.len(), c)?;
        ShapeError::expect("dbias", dbias.len(), c)?;
        mask.check(len, c)?;
        let mut wide = [Vec::new(), Vec::new()];
        let mask = mask.for_loops(&channels, &mut wide);
        let mean = channels.widen(saved.mean);
        let (from, mask) = (Shareable(dy.cast_mut()), SharedMask(mask));
        let to = (!masked.is_null()).then_some(Shareable(masked));
        let sums = channels.sums(threads, |block, [all, products]| {
            // SAFETY: the blocks are disjoint and lie in all matrices; this CPU can run the variant.
            unsafe {
                let of = lanes::Sums {
                    dy: from.at(block.start),
                    x: x.as_ptr().add(block.start),
                    mean: mean.as_ptr().add(block.col),
                    mask: mask.at(block),
                    masked: to.as_ref().map_or(std::ptr::null_mut(), |to| to.at(block.start)),
                    out: [all.as_mut_ptr(), products.as_mut_ptr()],
                };
                (self.sums)(block.into(), of);
            }
        });
        for i in 0..c {
            dbias[i] = sums[i] as f32;
            dscale[i] = (sums[c + i] * f64::from(saved.inv_std[i])) as f32;
        }
        Ok(())
    }

    /// [`gradient`] or [`gradient_in_place`] with this variant.
    ///
    /// # Safety
    /// `len` elements at `dy` and `dx`, which may be the same.
    unsafe fn gradient_at(
        &self,
        threads: &Threads,
        (dy, len): (*const E, usize),
        x: &[E],
        norm: &Norm<'_>,
        mask: Mask<'_, E>,
        dx: *mut E,
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        let c = norm.scale.len();
        let channels = Channels::new("the length of `x`", x.len(), c)?;
        ShapeError::expect("dy", len, x.len())?;
        let Saved { mean, inv_std } = norm.saved;
        let vectors = [("mean", mean), ("inv_std", inv_std), ("dscale", norm.dscale), ("dbias", norm.dbias)];
        for (what, values) in vectors {
            ShapeError::expect(what, values.len(), c)?;
        }
        mask.check(len, c)?;
        let rows = channels.rows() as f64;
        let (mut of_dy, mut of_x, mut constant) = (vec![0.0; c], vec![0.0; c], vec![0.0; c]);
        for i in 0..c {
            let factor = f64::from(norm.scale[i]) * f64::from(inv_std[i]);
            of_dy[i] = factor as f32;
            of_x[i] = (-factor * f64::from(inv_std[i]) * f64::from(norm.dscale[i]) / rows) as f32;
            constant[i] = (-factor * f64::from(norm.dbias[i]) / rows) as f32;
        }
        let columns = [mean, &of_dy, &of_x, &constant].map(|values| channels.widen(values));
        let mut wide = [Vec::new(), Vec::new()];
        let mask = SharedMask(mask.for_loops(&channels, &mut wide));
        let (from, to) = (Shareable(dy.cast_mut()), Shareable(dx));
        channels.map(threads, |block| {
            let [mean, of_dy, of_x, constant] = &columns;
            // SAFETY: the blocks are disjoint and lie in all matrices; this CPU can run the variant.
            unsafe {
                let of = lanes::Gradient {
                    dy: from.at(block.start),
                    x: x.as_ptr().add(block.start),
                    columns: [mean.as_ptr(), of_dy.as_ptr(), of_x.as_ptr(), constant.as_ptr()],
                    mask: mask.at(block),
                    out: to.at(block.start),
                };
                (self.gradient)(block.into(), of);
            }
        });
        Ok(())
    }
}

/// A mask that all tasks read.
struct SharedMask<E>(lanes::Mask<E>);

// SAFETY: it is only read, and what it points to is borrowed for as long as the tasks run.
unsafe impl<E> Sync for SharedMask<E> {}

impl<E: Copy> SharedMask<E> {
    fn at(&self, block: Block) -> lanes::Mask<E> {
        let affine = self.0.affine.map(|values| values.wrapping_add(block.col));
        lanes::Mask { y: self.0.y.wrapping_add(block.start), affine, ..self.0 }
    }
}

/// The median of the means of three groups of a few rows, evenly spread: near the mean, and no single row moves it far.
fn typical<E: Element>(x: &[E], rows: usize, c: usize) -> Vec<f32> {
    let samples = rows.min(SAMPLES);
    let mut means = vec![0.0; 3 * c];
    for sample in 0..samples {
        let (row, group) = (sample * (rows / samples), sample % 3);
        let size = samples / 3 + usize::from(group < samples % 3);
        for (mean, &x) in means[group * c..][..c].iter_mut().zip(&x[row * c..]) {
            *mean += x.number() / size as f32;
        }
    }
    if samples < 3 {
        means.truncate(c);
        return means;
    }
    let group = |group: usize, i: usize| means[group * c + i];
    (0..c).map(|i| group(0, i).max(group(1, i)).min(group(0, i).min(group(1, i)).max(group(2, i)))).collect()
}

/// Mean and variance (of the population) of every channel of `x`, `[rows, c]`, in one pass.
///
/// # Errors
/// [`ShapeError`] if a length does not fit, or there is no row.
pub fn statistics(threads: &Threads, x: &[f32], mean: &mut [f32], variance: &mut [f32]) -> Result<(), ShapeError> {
    Kernel::best().statistics(threads, x, mean, variance)
}

/// What [`normalize`] and the gradients need: `inv_std = 1 / √(variance + ε)`, and the affine map `scale · inv_std` and
/// `bias - mean · scale · inv_std` in `affine`, all `[c]`.
///
/// # Errors
/// [`ShapeError`] if a length differs.
pub fn coefficients(
    [mean, variance]: [&[f32]; 2],
    epsilon: f32,
    of: Affine<'_>,
    inv_std: &mut [f32],
    affine: [&mut [f32]; 2],
) -> Result<(), ShapeError> {
    let c = mean.len();
    let [scale, bias] = affine;
    of.check(c)?;
    for (what, len) in
        [("variance", variance.len()), ("inv_std", inv_std.len()), ("scale", scale.len()), ("bias", bias.len())]
    {
        ShapeError::expect(what, len, c)?;
    }
    for i in 0..c {
        let inverse = 1.0 / (f64::from(variance[i]) + f64::from(epsilon)).sqrt();
        let factor = f64::from(of.scale[i]) * inverse;
        inv_std[i] = inverse as f32;
        scale[i] = factor as f32;
        bias[i] = (f64::from(of.bias[i]) - f64::from(mean[i]) * factor) as f32;
    }
    Ok(())
}

/// `out = activation(x · scale + bias + residual)`, `x` and `out` `[rows, c]`.
///
/// # Errors
/// [`ShapeError`] if a length does not fit.
pub fn normalize(
    threads: &Threads,
    x: &[f32],
    affine: Affine<'_>,
    residual: Option<&[f32]>,
    activation: Activation,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().normalize(threads, x, affine, residual, activation, out)
}

/// Gradients of gamma and beta: `dscale = Σ dy · (x - mean) · inv_std` and `dbias = Σ dy` over the rows, of the gradients that
/// `mask` lets through.
///
/// # Errors
/// [`ShapeError`] if a length does not fit, or the mask is of a curve.
pub fn gradient_sums(
    threads: &Threads,
    dy: &[f32],
    x: &[f32],
    saved: Saved<'_>,
    mask: Mask<'_>,
    dscale: &mut [f32],
    dbias: &mut [f32],
) -> Result<(), ShapeError> {
    let (at, nowhere) = ((dy.as_ptr(), dy.len()), std::ptr::null_mut());
    // SAFETY: as many elements as `dy` has.
    unsafe { Kernel::best().sums_at(threads, at, x, saved, mask, nowhere, dscale, dbias) }
}

/// [`gradient_sums`] that also writes the gradients that `mask` lets through, with zeros between them: the gradient of a shortcut.
///
/// # Errors
/// As [`gradient_sums`].
#[allow(clippy::too_many_arguments, reason = "those of `gradient_sums` and one more")]
pub fn gradient_sums_masking(
    threads: &Threads,
    dy: &[f32],
    x: &[f32],
    saved: Saved<'_>,
    mask: Mask<'_>,
    masked: &mut [f32],
    dscale: &mut [f32],
    dbias: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("masked", masked.len(), dy.len())?;
    let at = (dy.as_ptr(), dy.len());
    // SAFETY: equal lengths.
    unsafe { Kernel::best().sums_at(threads, at, x, saved, mask, masked.as_mut_ptr(), dscale, dbias) }
}

/// [`gradient_sums_masking`] in place of `dy`.
///
/// # Errors
/// As [`gradient_sums`].
pub fn gradient_sums_in_place(
    threads: &Threads,
    dy: &mut [f32],
    x: &[f32],
    saved: Saved<'_>,
    mask: Mask<'_>,
    dscale: &mut [f32],
    dbias: &mut [f32],
) -> Result<(), ShapeError> {
    let (len, at) = (dy.len(), dy.as_mut_ptr());
    // SAFETY: the kernels read an element before they write it.
    unsafe { Kernel::best().sums_at(threads, (at, len), x, saved, mask, at, dscale, dbias) }
}

/// `dx = scale · inv_std · (dy - dbias / rows - x̂ · dscale / rows)` with `x̂ = (x - mean) · inv_std`, of the gradients that `mask`
/// lets through: the gradient of the input of a batch norm.
///
/// # Errors
/// As [`gradient_sums`].
pub fn gradient(
    threads: &Threads,
    dy: &[f32],
    x: &[f32],
    norm: &Norm<'_>,
    mask: Mask<'_>,
    dx: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("dx", dx.len(), dy.len())?;
    // SAFETY: equal lengths.
    unsafe { Kernel::best().gradient_at(threads, (dy.as_ptr(), dy.len()), x, norm, mask, dx.as_mut_ptr()) }
}

/// [`gradient`] in place of `dy`.
///
/// # Errors
/// As [`gradient`].
pub fn gradient_in_place(
    threads: &Threads,
    dy: &mut [f32],
    x: &[f32],
    norm: &Norm<'_>,
    mask: Mask<'_>,
) -> Result<(), ShapeError> {
    let (len, at) = (dy.len(), dy.as_mut_ptr());
    // SAFETY: the kernels read an element before they write it.
    unsafe { Kernel::best().gradient_at(threads, (at, len), x, norm, mask, at) }
}
