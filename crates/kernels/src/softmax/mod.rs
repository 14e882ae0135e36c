//! Softmax while training: its logarithm, the gradients of both, and the cross-entropy of the probabilities with its gradient.
//!
//! The softmax itself is [`crate::rows::softmax`].

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
mod loss;
mod scalar;
#[cfg(test)]
mod tests;

pub use loss::{Labels, Targets, cross_entropy, cross_entropy_gradient, cross_entropy_gradient_in_place};

use crate::error::ShapeError;
use crate::rows::{by_rows, rows_of};
use crate::threads::{Shareable, Threads};
use lanes::Shares;
use std::sync::OnceLock;

type Gradient = unsafe fn(*const f32, *const f32, *mut f32, usize, usize);

/// A variant of all loops.
pub struct Kernel {
    /// `softmax_f32_{lanes}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    log_softmax: unsafe fn(*const f32, *mut f32, usize, usize),
    gradient: Gradient,
    log_gradient: Gradient,
    shared: unsafe fn(*const f32, &Shares, usize) -> [f32; 2],
    loss_gradient: unsafe fn(*const f32, &Shares, [f32; 2], *mut f32, usize),
}

/// All variants, fastest first. Dispatch and tests walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "softmax_f32_16_avx512",
        is_supported: crate::isa::has_avx512,
        log_softmax: avx512::log_softmax,
        gradient: avx512::gradient,
        log_gradient: avx512::log_gradient,
        shared: avx512::shared,
        loss_gradient: avx512::loss_gradient,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "softmax_f32_8_avx2",
        is_supported: crate::isa::has_avx2,
        log_softmax: avx2::log_softmax,
        gradient: avx2::gradient,
        log_gradient: avx2::log_gradient,
        shared: avx2::shared,
        loss_gradient: avx2::loss_gradient,
    },
    Kernel {
        name: "softmax_f32_1_scalar",
        is_supported: || true,
        log_softmax: scalar::log_softmax,
        gradient: scalar::gradient,
        log_gradient: scalar::log_gradient,
        shared: scalar::shared,
        loss_gradient: scalar::loss_gradient,
    },
];

/// The function whose gradient [`Kernel::gradient_at`] makes.
#[derive(Clone, Copy)]
enum Of {
    Softmax,
    LogSoftmax,
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

    /// [`log_softmax`] with this variant.
    ///
    /// # Errors
    /// As [`log_softmax`].
    pub fn log_softmax(&self, threads: &Threads, x: &[f32], n: usize, out: &mut [f32]) -> Result<(), ShapeError> {
        self.assert_supported();
        ShapeError::expect("out", out.len(), x.len())?;
        let rows = rows_of(x.len(), n)?;
        let to = Shareable(out.as_mut_ptr());
        by_rows(threads, rows, n, |row, count| {
            // SAFETY: rows are disjoint; lengths checked; this CPU can run the variant.
            unsafe { (self.log_softmax)(x[row * n..].as_ptr(), to.at(row * n), count, n) }
        });
        Ok(())
    }

    /// The gradient of a softmax or its logarithm with this variant.
    ///
    /// # Safety
    /// `y.len()` elements at `dy` and `dx`, which may be the same.
    unsafe fn gradient_at(
        &self,
        threads: &Threads,
        of: Of,
        dy: *const f32,
        y: &[f32],
        n: usize,
        dx: *mut f32,
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        let rows = rows_of(y.len(), n)?;
        let run = match of {
            Of::Softmax => self.gradient,
            Of::LogSoftmax => self.log_gradient,
        };
        let (from, to) = (Shareable(dy.cast_mut()), Shareable(dx));
        by_rows(threads, rows, n, |row, count| {
            // SAFETY: rows are disjoint; lengths checked; this CPU can run the variant.
            unsafe { run(from.at(row * n), y[row * n..].as_ptr(), to.at(row * n), count, n) }
        });
        Ok(())
    }
}

/// `out = x - ln Σ e^x` of every row of `n` elements.
///
/// # Errors
/// [`ShapeError`] if `n` does not divide the length, or a length differs.
pub fn log_softmax(threads: &Threads, x: &[f32], n: usize, out: &mut [f32]) -> Result<(), ShapeError> {
    Kernel::best().log_softmax(threads, x, n, out)
}

/// The gradient of a softmax of rows of `n` by its output `y`: `dx = y · (dy - Σ dy · y)`.
///
/// # Errors
/// As [`log_softmax`].
pub fn gradient(threads: &Threads, dy: &[f32], y: &[f32], n: usize, dx: &mut [f32]) -> Result<(), ShapeError> {
    ShapeError::expect("dy", dy.len(), y.len())?;
    ShapeError::expect("dx", dx.len(), y.len())?;
    // SAFETY: equal lengths.
    unsafe { Kernel::best().gradient_at(threads, Of::Softmax, dy.as_ptr(), y, n, dx.as_mut_ptr()) }
}

/// [`gradient`] in place of `dy`.
///
/// # Errors
/// As [`log_softmax`].
pub fn gradient_in_place(threads: &Threads, dy: &mut [f32], y: &[f32], n: usize) -> Result<(), ShapeError> {
    ShapeError::expect("dy", dy.len(), y.len())?;
    let at = dy.as_mut_ptr();
    // SAFETY: equal lengths, and the kernels read an element before they write it for the last time.
    unsafe { Kernel::best().gradient_at(threads, Of::Softmax, at, y, n, at) }
}

/// The gradient of a [`log_softmax`] of rows of `n` by its output `y`: `dx = dy - e^y · Σ dy`.
///
/// # Errors
/// As [`log_softmax`].
pub fn log_gradient(threads: &Threads, dy: &[f32], y: &[f32], n: usize, dx: &mut [f32]) -> Result<(), ShapeError> {
    ShapeError::expect("dy", dy.len(), y.len())?;
    ShapeError::expect("dx", dx.len(), y.len())?;
    // SAFETY: equal lengths.
    unsafe { Kernel::best().gradient_at(threads, Of::LogSoftmax, dy.as_ptr(), y, n, dx.as_mut_ptr()) }
}
