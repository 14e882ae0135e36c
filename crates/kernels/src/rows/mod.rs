//! Softmax, layer norm and reductions along one axis.

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
use crate::threads::{Shareable, Threads};
use std::sync::OnceLock;

/// What [`reduce`] makes of the elements of an axis. NaN gives NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reduction {
    /// Sum.
    Sum,
    /// Arithmetic mean.
    Mean,
    /// Largest.
    Max,
    /// Smallest.
    Min,
}

/// Scale, bias and epsilon of a layer norm.
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm<'a> {
    /// Gamma, one a column; 1 if absent.
    pub scale: Option<&'a [f32]>,
    /// Beta, one a column; 0 if absent.
    pub bias: Option<&'a [f32]>,
    /// Added to the variance.
    pub epsilon: f32,
}

/// Rows added before a softmax: row `r` gets `values[r / rows_a_mask]`, each as long as a row.
#[derive(Debug, Clone, Copy)]
pub struct Mask<'a> {
    /// `[n_masks, n]`.
    pub values: &'a [f32],
    /// Rows that share one mask.
    pub rows_a_mask: usize,
}

type Softmax = unsafe fn(*const f32, *const f32, usize, usize, *mut f32, usize, usize);
type Norm = unsafe fn(*const f32, *const f32, &LayerNorm<'_>, *mut f32, usize, usize);
type ReduceRow = unsafe fn(Reduction, *const f32, usize) -> f32;
type ReduceColumns = unsafe fn(Reduction, *const f32, usize, usize, *mut f32, usize);

/// A variant of all loops over rows.
pub struct Kernel {
    /// `rows_f32_{lanes}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    softmax: Softmax,
    layer_norm: Norm,
    reduce_row: ReduceRow,
    reduce_columns: ReduceColumns,
}

/// All variants, fastest first. Dispatch and tests walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "rows_f32_16_avx512",
        is_supported: crate::isa::has_avx512,
        softmax: avx512::softmax,
        layer_norm: avx512::layer_norm,
        reduce_row: avx512::reduce_row,
        reduce_columns: avx512::reduce_columns,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "rows_f32_8_avx2",
        is_supported: crate::isa::has_avx2,
        softmax: avx2::softmax,
        layer_norm: avx2::layer_norm,
        reduce_row: avx2::reduce_row,
        reduce_columns: avx2::reduce_columns,
    },
    Kernel {
        name: "rows_f32_1_scalar",
        is_supported: || true,
        softmax: scalar::softmax,
        layer_norm: scalar::layer_norm,
        reduce_row: scalar::reduce_row,
        reduce_columns: scalar::reduce_columns,
    },
];

/// Elements worth a task.
const TASK: usize = 8192;

/// Elements of columns reduced by one task: the same at any number of threads.
const COLUMNS: usize = 64;

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        // Remembered: it is asked for once a row.
        static BEST: OnceLock<&Kernel> = OnceLock::new();
        BEST.get_or_init(|| crate::isa::best(KERNELS, |kernel| kernel.is_supported))
    }

    fn assert_supported(&self) {
        assert!((self.is_supported)(), "{} needs another CPU", self.name);
    }

    /// [`softmax`] with this variant.
    ///
    /// # Errors
    /// As [`softmax`].
    pub fn softmax(
        &self,
        threads: &Threads,
        x: &[f32],
        n: usize,
        mask: Option<Mask<'_>>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        ShapeError::expect("out", out.len(), x.len())?;
        // SAFETY: equal lengths.
        unsafe { self.softmax_at(threads, x.as_ptr(), x.len(), n, mask, out.as_mut_ptr()) }
    }

    /// # Safety
    /// `len` elements at `x` and `out`, which may be the same.
    unsafe fn softmax_at(
        &self,
        threads: &Threads,
        x: *const f32,
        len: usize,
        n: usize,
        mask: Option<Mask<'_>>,
        out: *mut f32,
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        let rows = rows_of(len, n)?;
        if let Some(mask) = mask {
            ShapeError::require(mask.rows_a_mask > 0, "the rows of one mask", 0, "at least 1")?;
            ShapeError::expect(
                "mask",
                mask.values.len(),
                ShapeError::product("mask", &[rows.div_ceil(mask.rows_a_mask), n])?,
            )?;
        }
        let (values, rows_a_mask) = mask.map_or((&[][..], 1), |mask| (mask.values, mask.rows_a_mask));
        let is_masked = mask.is_some();
        let (from, to) = (Shareable(x.cast_mut()), Shareable(out));
        by_rows(threads, rows, n, |row, count| {
            let mask = if is_masked { values.as_ptr() } else { std::ptr::null() };
            // SAFETY: rows are disjoint; lengths checked; this CPU can run the variant.
            unsafe { (self.softmax)(from.at(row * n), mask, row, rows_a_mask, to.at(row * n), count, n) }
        });
        Ok(())
    }

    /// [`layer_norm`] with this variant.
    ///
    /// # Errors
    /// As [`layer_norm`].
    pub fn layer_norm(
        &self,
        threads: &Threads,
        x: &[f32],
        n: usize,
        residual: Option<&[f32]>,
        norm: &LayerNorm<'_>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        ShapeError::expect("out", out.len(), x.len())?;
        // SAFETY: equal lengths.
        unsafe { self.layer_norm_at(threads, x.as_ptr(), x.len(), n, residual, norm, out.as_mut_ptr()) }
    }

    /// # Safety
    /// `len` elements at `x` and `out`, which may be the same.
    #[allow(clippy::too_many_arguments, reason = "those of `layer_norm`, one of them in two parts")]
    unsafe fn layer_norm_at(
        &self,
        threads: &Threads,
        x: *const f32,
        len: usize,
        n: usize,
        residual: Option<&[f32]>,
        norm: &LayerNorm<'_>,
        out: *mut f32,
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        let rows = rows_of(len, n)?;
        for (what, values) in [("scale", norm.scale), ("bias", norm.bias)] {
            ShapeError::expect(what, values.map_or(n, <[f32]>::len), n)?;
        }
        ShapeError::expect("residual", residual.map_or(len, <[f32]>::len), len)?;
        let (from, to) = (Shareable(x.cast_mut()), Shareable(out));
        by_rows(threads, rows, n, |row, count| {
            let residual = pointer(residual.map(|residual| &residual[row * n..]));
            // SAFETY: rows are disjoint; lengths checked; this CPU can run the variant.
            unsafe { (self.layer_norm)(from.at(row * n), residual, norm, to.at(row * n), count, n) }
        });
        Ok(())
    }

    /// [`reduce`] with this variant.
    ///
    /// # Errors
    /// As [`reduce`].
    pub fn reduce(
        &self,
        threads: &Threads,
        op: Reduction,
        x: &[f32],
        shape: [usize; 3],
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        let [outer, n, inner] = shape;
        ShapeError::expect("x", x.len(), ShapeError::product("x", &shape)?)?;
        ShapeError::expect("out", out.len(), ShapeError::product("out", &[outer, inner])?)?;
        ShapeError::require(n > 0 || out.is_empty(), "the reduced axis", n, "at least 1 long")?;
        if inner == 1 {
            let chunk = (TASK / n.max(1)).max(1);
            threads.run_chunks(out, chunk, |index, out| {
                for (i, out) in out.iter_mut().enumerate() {
                    // SAFETY: `n > 0` elements of this row; this CPU can run the variant.
                    *out = unsafe { (self.reduce_row)(op, x[(index * chunk + i) * n..].as_ptr(), n) };
                }
            });
            return Ok(());
        }
        let parts = inner.div_ceil(COLUMNS);
        let to = Shareable(out.as_mut_ptr());
        // Small reductions are not worth waking anyone.
        let single = Threads::single();
        let threads = if x.len() < TASK { &single } else { threads };
        threads.run(outer * parts, |task| {
            let (row, col) = (task / parts, task % parts * COLUMNS);
            let width = COLUMNS.min(inner - col);
            let from = x[row * n * inner + col..].as_ptr();
            // SAFETY: columns are disjoint; lengths checked; this CPU can run the variant.
            unsafe { (self.reduce_columns)(op, from, n, inner, to.at(row * inner + col), width) }
        });
        Ok(())
    }
}

pub(crate) fn rows_of(len: usize, n: usize) -> Result<usize, ShapeError> {
    if len == 0 {
        return Ok(0);
    }
    ShapeError::require(n > 0 && len.is_multiple_of(n), "the length of a row", n, "a divisor of the length of `x`")?;
    Ok(len / n)
}

/// Runs `task(first row, count)` over bands of rows.
pub(crate) fn by_rows(threads: &Threads, rows: usize, n: usize, task: impl Fn(usize, usize) + Sync) {
    let band = (TASK / n.max(1)).max(1);
    threads.run(rows.div_ceil(band), |index| task(index * band, band.min(rows - index * band)));
}

/// Softmax of every row of `n` elements of `x`, after adding `mask` if there is one. `x` may hold -∞, not only.
///
/// # Errors
/// [`ShapeError`] if `n` does not divide the length, or a length differs.
pub fn softmax(
    threads: &Threads,
    x: &[f32],
    n: usize,
    mask: Option<Mask<'_>>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().softmax(threads, x, n, mask, out)
}

/// [`softmax`] in place.
///
/// # Errors
/// As [`softmax`].
pub fn softmax_in_place(threads: &Threads, x: &mut [f32], n: usize, mask: Option<Mask<'_>>) -> Result<(), ShapeError> {
    let (len, at) = (x.len(), x.as_mut_ptr());
    // SAFETY: the kernels read an element before they write it.
    unsafe { Kernel::best().softmax_at(threads, at, len, n, mask, at) }
}

/// `out = (x - mean) / √(variance + ε) · scale + bias` over every row of `n` elements of `x + residual`.
///
/// # Errors
/// [`ShapeError`] if `n` does not divide the length, or a length differs.
pub fn layer_norm(
    threads: &Threads,
    x: &[f32],
    n: usize,
    residual: Option<&[f32]>,
    norm: &LayerNorm<'_>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().layer_norm(threads, x, n, residual, norm, out)
}

/// [`layer_norm`] in place.
///
/// # Errors
/// As [`layer_norm`].
pub fn layer_norm_in_place(threads: &Threads, x: &mut [f32], n: usize, norm: &LayerNorm<'_>) -> Result<(), ShapeError> {
    let (len, at) = (x.len(), x.as_mut_ptr());
    // SAFETY: the kernels read an element before they write it.
    unsafe { Kernel::best().layer_norm_at(threads, at, len, n, None, norm, at) }
}

/// Reduces the middle axis of `x`, `[outer, n, inner]`, to `out`, `[outer, inner]`.
///
/// Rows: `inner = 1`. Global average pooling of NHWC: `Mean`, `[images, h · w, channels]`.
///
/// # Errors
/// [`ShapeError`] if a length differs, or `n` is 0 and `out` is not empty.
pub fn reduce(
    threads: &Threads,
    op: Reduction,
    x: &[f32],
    shape: [usize; 3],
    out: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().reduce(threads, op, x, shape, out)
}
