//! One step of an optimizer in one pass: reads weights, gradients and states, writes new weights and states.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
mod scalar;
#[cfg(test)]
mod tests;

use crate::error::ShapeError;
use crate::threads::{Shareable, Threads};
use lanes::{AdamwStep, SgdStep};
use std::sync::OnceLock;

/// Stochastic gradient descent: `g += weight_decay · w; v = momentum · v + g; w -= learning_rate · (nesterov ? g + momentum · v : v)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Step size.
    pub learning_rate: f32,
    /// Share of the velocity that stays; looked at only where there is a velocity.
    pub momentum: f32,
    /// L2 penalty.
    pub weight_decay: f32,
    /// Looks ahead by the momentum.
    pub is_nesterov: bool,
    /// Factor of the gradients before all else: 1, or less to clip their norm.
    pub gradient_scale: f32,
}

/// AdamW (Loshchilov and Hutter 2019): `m = β1 m + (1 - β1) g; v = β2 v + (1 - β2) g²; w -= learning_rate · weight_decay · w;
/// w -= learning_rate · (m / (1 - β1^t)) / (√(v / (1 - β2^t)) + ε)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adamw {
    /// Step size.
    pub learning_rate: f32,
    /// Share of the first moment that stays.
    pub beta1: f32,
    /// Share of the second moment that stays.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Factor of the gradients before all else: 1, or less to clip their norm.
    pub gradient_scale: f32,
    /// `t`, the number of this step, from 1 on.
    pub step: u64,
}

impl Adamw {
    /// What the moments are divided by, since they began at 0.
    fn corrections(&self) -> [f64; 2] {
        [self.beta1, self.beta2].map(|beta| 1.0 - f64::from(beta).powf(self.step.max(1) as f64))
    }
}

/// A variant of all updates.
pub struct Kernel {
    /// `optimizer_f32_{lanes}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    sgd: unsafe fn(&Sgd, SgdStep),
    adamw: unsafe fn(&Adamw, AdamwStep),
}

/// All variants, fastest first. Dispatch and tests walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "optimizer_f32_16_avx512",
        is_supported: crate::isa::has_avx512,
        sgd: avx512::sgd,
        adamw: avx512::adamw,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "optimizer_f32_8_avx2", is_supported: crate::isa::has_avx2, sgd: avx2::sgd, adamw: avx2::adamw },
    Kernel { name: "optimizer_f32_1_scalar", is_supported: || true, sgd: scalar::sgd, adamw: scalar::adamw },
];

/// Elements of a task.
const TASK: usize = 8192;

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

    /// [`sgd`] with this variant.
    ///
    /// # Errors
    /// As [`sgd`].
    pub fn sgd(
        &self,
        threads: &Threads,
        by: &Sgd,
        [w, g]: [&[f32]; 2],
        new_w: &mut [f32],
        velocity: Option<(&[f32], &mut [f32])>,
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        let n = w.len();
        ShapeError::expect("g", g.len(), n)?;
        ShapeError::expect("new_w", new_w.len(), n)?;
        let velocity = velocity.map(|(old, new)| (old, new.len(), Shareable(new.as_mut_ptr())));
        if let Some((old, new, _)) = &velocity {
            ShapeError::expect("velocity", old.len(), n)?;
            ShapeError::expect("new_velocity", *new, n)?;
        }
        threads.run_chunks(new_w, TASK, |index, new_w| {
            let start = index * TASK;
            // SAFETY: the parts are disjoint and all as long as that of `new_w`; this CPU can run the variant.
            unsafe {
                let (old, new) = match &velocity {
                    Some((old, _, new)) => (old.as_ptr().add(start), new.at(start)),
                    None => (std::ptr::null(), std::ptr::null_mut()),
                };
                let step = SgdStep {
                    w: w.as_ptr().add(start),
                    g: g.as_ptr().add(start),
                    velocity: old,
                    mask: std::ptr::null(),
                    new_velocity: new,
                    new_w: new_w.as_mut_ptr(),
                    n: new_w.len(),
                };
                (self.sgd)(by, step);
            }
        });
        Ok(())
    }

    /// [`sgd_weight`] or, with `None`, [`sgd_velocity`] with this variant.
    ///
    /// # Errors
    /// As these.
    fn sgd_part(
        &self,
        threads: &Threads,
        by: &Sgd,
        [w, g, velocity]: [&[f32]; 3],
        weight: Option<Option<&[f32]>>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        let n = w.len();
        ShapeError::expect("g", g.len(), n)?;
        ShapeError::expect("velocity", velocity.len(), n)?;
        ShapeError::expect("out", out.len(), n)?;
        let mask = weight.flatten();
        ShapeError::expect("mask", mask.map_or(n, <[f32]>::len), n)?;
        threads.run_chunks(out, TASK, |index, out| {
            let start = index * TASK;
            let (to, none) = (out.as_mut_ptr(), std::ptr::null_mut());
            let (new_w, new_velocity) = if weight.is_some() { (to, none) } else { (none, to) };
            let step = SgdStep {
                w: w[start..].as_ptr(),
                g: g[start..].as_ptr(),
                velocity: velocity[start..].as_ptr(),
                mask: mask.map_or(std::ptr::null(), |mask| mask[start..].as_ptr()),
                new_velocity,
                new_w,
                n: out.len(),
            };
            // SAFETY: the parts are disjoint and all as long as that of `out`; this CPU can run the variant.
            unsafe { (self.sgd)(by, step) };
        });
        Ok(())
    }

    /// [`adamw`] with this variant.
    ///
    /// # Errors
    /// As [`adamw`].
    pub fn adamw(
        &self,
        threads: &Threads,
        by: &Adamw,
        [w, g]: [&[f32]; 2],
        moments: [&[f32]; 2],
        new_w: &mut [f32],
        new_moments: [&mut [f32]; 2],
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        let n = w.len();
        ShapeError::expect("g", g.len(), n)?;
        ShapeError::expect("new_w", new_w.len(), n)?;
        for moment in moments {
            ShapeError::expect("a moment", moment.len(), n)?;
        }
        for moment in &new_moments {
            ShapeError::expect("a new moment", moment.len(), n)?;
        }
        let to = new_moments.map(|moment| Shareable(moment.as_mut_ptr()));
        threads.run_chunks(new_w, TASK, |index, new_w| {
            let start = index * TASK;
            // SAFETY: the parts are disjoint and all as long as that of `new_w`; this CPU can run the variant.
            unsafe {
                let step = AdamwStep {
                    w: w.as_ptr().add(start),
                    g: g.as_ptr().add(start),
                    moments: [moments[0].as_ptr().add(start), moments[1].as_ptr().add(start)],
                    new_moments: [to[0].at(start), to[1].at(start)],
                    new_w: new_w.as_mut_ptr(),
                    n: new_w.len(),
                };
                (self.adamw)(by, step);
            }
        });
        Ok(())
    }
}

/// One step of [`Sgd`] from `[w, g]` to `new_w`; the velocity, old and new, if there is momentum.
///
/// # Errors
/// [`ShapeError`] if a length differs.
pub fn sgd(
    threads: &Threads,
    by: &Sgd,
    w_and_g: [&[f32]; 2],
    new_w: &mut [f32],
    velocity: Option<(&[f32], &mut [f32])>,
) -> Result<(), ShapeError> {
    Kernel::best().sgd(threads, by, w_and_g, new_w, velocity)
}

/// The new weights alone of a step of [`Sgd`] with momentum, from `[w, g, velocity]`, times a mask if there is one.
///
/// # Errors
/// [`ShapeError`] if a length differs.
pub fn sgd_weight(
    threads: &Threads,
    by: &Sgd,
    old: [&[f32]; 3],
    mask: Option<&[f32]>,
    new_w: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().sgd_part(threads, by, old, Some(mask), new_w)
}

/// The new velocity alone, to the bit as [`sgd`] gives it: with [`sgd_weight`] both results may be written anywhere.
///
/// # Errors
/// [`ShapeError`] if a length differs.
pub fn sgd_velocity(threads: &Threads, by: &Sgd, old: [&[f32]; 3], new_velocity: &mut [f32]) -> Result<(), ShapeError> {
    Kernel::best().sgd_part(threads, by, old, None, new_velocity)
}

/// One step of [`Adamw`] from `[w, g]` and the moments, `[m, v]`, to `new_w` and `new_moments`.
///
/// # Errors
/// [`ShapeError`] if a length differs.
pub fn adamw(
    threads: &Threads,
    by: &Adamw,
    w_and_g: [&[f32]; 2],
    moments: [&[f32]; 2],
    new_w: &mut [f32],
    new_moments: [&mut [f32]; 2],
) -> Result<(), ShapeError> {
    Kernel::best().adamw(threads, by, w_and_g, moments, new_w, new_moments)
}
