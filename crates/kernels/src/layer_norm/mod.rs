//! Layer norm and RMS norm while training: forward with what the gradient needs, and the gradient.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
mod scalar;
#[cfg(test)]
mod tests;

use crate::error::ShapeError;
use crate::gemm::pointer;
use crate::rows::{by_rows, rows_of};
use crate::threads::{Shareable, Threads};
use lanes::{Backward, Forward};
use std::sync::OnceLock;

/// A layer norm: `(x - mean) / √(variance + ε) · scale + bias` of every row; without centring (RMS norm) the mean is taken for 0.
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm<'a> {
    /// Gamma, one a column; 1 if absent.
    pub scale: Option<&'a [f32]>,
    /// Beta, one a column; 0 if absent. The gradient does not need it.
    pub bias: Option<&'a [f32]>,
    /// Added to the variance.
    pub epsilon: f32,
    /// False for an RMS norm.
    pub is_centered: bool,
}

/// What the forward pass saved, one number a row each.
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a> {
    /// Means; 0 for an RMS norm.
    pub mean: &'a [f32],
    /// `1 / √(variance + ε)`.
    pub inv_std: &'a [f32],
}

/// A variant of both loops.
pub struct Kernel {
    /// `layer_norm_f32_{lanes}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    normalize: unsafe fn(&Forward),
    gradient: unsafe fn(&Backward),
}

/// All variants, fastest first. Dispatch and tests walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "layer_norm_f32_16_avx512",
        is_supported: crate::isa::has_avx512,
        normalize: avx512::normalize,
        gradient: avx512::gradient,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "layer_norm_f32_8_avx2",
        is_supported: crate::isa::has_avx2,
        normalize: avx2::normalize,
        gradient: avx2::gradient,
    },
    Kernel {
        name: "layer_norm_f32_1_scalar",
        is_supported: || true,
        normalize: scalar::normalize,
        gradient: scalar::gradient,
    },
];

/// Elements of a task of the gradient, and the fewest rows: each task has sums of its own.
const TASK: usize = 1 << 15;
const ROWS: usize = 32;

impl LayerNorm<'_> {
    fn check(&self, n: usize) -> Result<(), ShapeError> {
        for (what, values) in [("scale", self.scale), ("bias", self.bias)] {
            ShapeError::expect(what, values.map_or(n, <[f32]>::len), n)?;
        }
        Ok(())
    }
}

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        static BEST: OnceLock<&Kernel> = OnceLock::new();
        BEST.get_or_init(|| {
            KERNELS.iter().find(|kernel| (kernel.is_supported)()).unwrap_or(&KERNELS[KERNELS.len() - 1])
        })
    }

    fn assert_supported(&self) {
        assert!((self.is_supported)(), "{} needs another CPU", self.name);
    }

    /// [`normalize`] with this variant.
    ///
    /// # Errors
    /// As [`normalize`].
    #[allow(clippy::too_many_arguments, reason = "those of `normalize`")]
    pub fn normalize(
        &self,
        threads: &Threads,
        x: &[f32],
        n: usize,
        norm: &LayerNorm<'_>,
        mean: &mut [f32],
        inv_std: &mut [f32],
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        let rows = rows_of(x.len(), n)?;
        norm.check(n)?;
        ShapeError::expect("out", out.len(), x.len())?;
        ShapeError::expect("mean", mean.len(), rows)?;
        ShapeError::expect("inv_std", inv_std.len(), rows)?;
        let [mean, inv_std, out] = [mean, inv_std, out].map(|values| Shareable(values.as_mut_ptr()));
        by_rows(threads, rows, n, |row, count| {
            // SAFETY: rows are disjoint; lengths checked; this CPU can run the variant.
            unsafe {
                (self.normalize)(&Forward {
                    x: x[row * n..].as_ptr(),
                    scale: pointer(norm.scale),
                    bias: pointer(norm.bias),
                    epsilon: norm.epsilon,
                    is_centered: norm.is_centered,
                    mean: mean.at(row),
                    inv_std: inv_std.at(row),
                    out: out.at(row * n),
                    rows: count,
                    n,
                });
            }
        });
        Ok(())
    }

    /// [`gradient`] or [`gradient_in_place`] with this variant.
    ///
    /// # Safety
    /// `x.len()` elements at `dy` and `dx`, which may be the same.
    #[allow(clippy::too_many_arguments, reason = "those of `gradient`")]
    unsafe fn gradient_at(
        &self,
        threads: &Threads,
        dy: *const f32,
        x: &[f32],
        n: usize,
        norm: &LayerNorm<'_>,
        saved: Saved<'_>,
        dx: *mut f32,
        [dscale, dbias]: [Option<&mut [f32]>; 2],
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        let rows = rows_of(x.len(), n)?;
        norm.check(n)?;
        ShapeError::expect("mean", saved.mean.len(), rows)?;
        ShapeError::expect("inv_std", saved.inv_std.len(), rows)?;
        ShapeError::expect("dscale", dscale.as_ref().map_or(n, |sums| sums.len()), n)?;
        ShapeError::expect("dbias", dbias.as_ref().map_or(n, |sums| sums.len()), n)?;
        let band = (TASK / n.max(1)).max(ROWS);
        let parts = rows.div_ceil(band);
        let mut sums = vec![0.0f32; parts * 2 * n];
        let (from, to, parts_at) = (Shareable(dy.cast_mut()), Shareable(dx), Shareable(sums.as_mut_ptr()));
        threads.run(parts, |part| {
            let row = part * band;
            // SAFETY: rows and parts are disjoint; lengths checked; this CPU can run the variant.
            unsafe {
                (self.gradient)(&Backward {
                    dy: from.at(row * n),
                    x: x[row * n..].as_ptr(),
                    scale: pointer(norm.scale),
                    mean: saved.mean[row..].as_ptr(),
                    inv_std: saved.inv_std[row..].as_ptr(),
                    is_centered: norm.is_centered,
                    dx: to.at(row * n),
                    dscale: parts_at.at(part * 2 * n),
                    dbias: parts_at.at((part * 2 + 1) * n),
                    rows: band.min(rows - row),
                    n,
                });
            }
        });
        for (which, out) in [dscale, dbias].into_iter().enumerate() {
            let Some(out) = out else { continue };
            let mut total = vec![0.0f64; n];
            for part in sums.chunks_exact((2 * n).max(1)) {
                for (total, &sum) in total.iter_mut().zip(&part[which * n..]) {
                    *total += f64::from(sum);
                }
            }
            for (out, total) in out.iter_mut().zip(total) {
                *out = total as f32;
            }
        }
        Ok(())
    }
}

/// `out = (x - mean) · inv_std · scale + bias` of every row of `n` elements, and the means and deviations, one a row.
///
/// # Errors
/// [`ShapeError`] if `n` does not divide the length, or a length differs.
pub fn normalize(
    threads: &Threads,
    x: &[f32],
    n: usize,
    norm: &LayerNorm<'_>,
    mean: &mut [f32],
    inv_std: &mut [f32],
    out: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().normalize(threads, x, n, norm, mean, inv_std, out)
}

/// Gradients of the input, `dx`, and, where they are wanted, of gamma and beta, which are sums over the rows.
///
/// # Errors
/// [`ShapeError`] if `n` does not divide the length, or a length differs.
#[allow(clippy::too_many_arguments, reason = "a gradient has what the function had, and what it gave")]
pub fn gradient(
    threads: &Threads,
    dy: &[f32],
    x: &[f32],
    n: usize,
    norm: &LayerNorm<'_>,
    saved: Saved<'_>,
    dx: &mut [f32],
    sums: [Option<&mut [f32]>; 2],
) -> Result<(), ShapeError> {
    ShapeError::expect("dy", dy.len(), x.len())?;
    ShapeError::expect("dx", dx.len(), x.len())?;
    // SAFETY: equal lengths.
    unsafe { Kernel::best().gradient_at(threads, dy.as_ptr(), x, n, norm, saved, dx.as_mut_ptr(), sums) }
}

/// [`gradient`] in place of `dy`.
///
/// # Errors
/// As [`gradient`].
pub fn gradient_in_place(
    threads: &Threads,
    dy: &mut [f32],
    x: &[f32],
    n: usize,
    norm: &LayerNorm<'_>,
    saved: Saved<'_>,
    sums: [Option<&mut [f32]>; 2],
) -> Result<(), ShapeError> {
    ShapeError::expect("dy", dy.len(), x.len())?;
    let at = dy.as_mut_ptr();
    // SAFETY: equal lengths, and the kernels read an element before they write it for the last time.
    unsafe { Kernel::best().gradient_at(threads, at, x, n, norm, saved, at, sums) }
}
