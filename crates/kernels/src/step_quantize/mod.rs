//! What quantization leaves of real numbers, `s · clamp(rne(v / s), min, max)`, and its gradients: training that knows of quantization.
//!
//! Of the gradient of the output, `v` gets what lies strictly inside of the range, and the step `s` gets `Σ dy · (rne(t) − t)` inside, with
//! `t = v / s`, and `Σ dy · code` outside. Sums are made in f32 over a few thousand elements, those in f64, in an order that depends on
//! the shape only.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
mod scalar;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use crate::channels::Channels;
use crate::error::ShapeError;
use crate::threads::{Shareable, Threads};
use lanes::{Backward, Forward};

/// Where the codes lie.
#[derive(Debug, Clone, Copy)]
pub struct Grid<'a> {
    /// Distances of neighbouring codes: one for all, or one a channel.
    pub steps: &'a [f32],
    /// Elements of a channel that lie side by side: `v` is `[.., steps.len(), inner]`. Not looked at if there is one step.
    pub inner: usize,
    /// Smallest and largest code.
    pub codes: [f32; 2],
}

impl Grid<'_> {
    fn check(&self, len: usize) -> Result<(), ShapeError> {
        let channels = self.steps.len();
        ShapeError::require(channels > 0 || len == 0, "the number of steps", channels, "at least 1")?;
        if channels > 1 {
            let period = ShapeError::product("v", &[channels, self.inner])?;
            let fits = period > 0 && len.is_multiple_of(period);
            ShapeError::require(fits || len == 0, "the length of `v`", len, "a multiple of the channels")?;
        }
        Ok(())
    }

    /// Each element of a row has a step of its own.
    fn is_rows(&self) -> bool {
        self.steps.len() > 1 && self.inner == 1
    }

    /// Elements of one step that one task takes.
    fn run(&self) -> usize {
        if self.steps.len() == 1 { TASK } else { self.inner.max(1) }
    }

    fn step(&self, run: usize) -> usize {
        run % self.steps.len().max(1)
    }
}

/// A variant of both loops.
pub struct Kernel {
    /// `step_quantize_f32_{lanes}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    forward: unsafe fn(Forward),
    /// Adds to a sum for each step of its elements: one if they share it.
    backward: unsafe fn(Backward),
}

/// All variants, fastest first. Dispatch and tests walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "step_quantize_f32_16_avx512",
        is_supported: crate::isa::has_avx512,
        forward: avx512::forward,
        backward: avx512::backward,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "step_quantize_f32_8_avx2",
        is_supported: crate::isa::has_avx2,
        forward: avx2::forward,
        backward: avx2::backward,
    },
    Kernel {
        name: "step_quantize_f32_1_scalar",
        is_supported: || true,
        forward: scalar::forward,
        backward: scalar::backward,
    },
];

/// Elements of a task.
const TASK: usize = 8192;

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        static BEST: OnceLock<&Kernel> = OnceLock::new();
        BEST.get_or_init(|| crate::isa::best(KERNELS, |kernel| kernel.is_supported))
    }

    fn assert_supported(&self) {
        assert!((self.is_supported)(), "{} needs another CPU", self.name);
    }

    /// [`quantize`] with this variant.
    ///
    /// # Errors
    /// As [`quantize`].
    pub fn quantize(&self, threads: &Threads, v: &[f32], grid: &Grid<'_>, out: &mut [f32]) -> Result<(), ShapeError> {
        self.assert_supported();
        ShapeError::expect("out", out.len(), v.len())?;
        grid.check(v.len())?;
        if grid.is_rows() {
            let channels = Channels::new("the length of `v`", v.len(), grid.steps.len())?;
            let steps = channels.widen(grid.steps);
            let to = Shareable(out.as_mut_ptr());
            channels.map(threads, |block| {
                for row in 0..block.rows {
                    let start = block.start + row * block.stride;
                    // SAFETY: the blocks are disjoint and lie in `v` and `out`; this CPU can run the variant.
                    unsafe {
                        let (v, steps) = (v.as_ptr().add(start), steps.as_ptr().add(block.col));
                        (self.forward)(Forward {
                            v,
                            steps,
                            is_row: true,
                            codes: grid.codes,
                            out: to.at(start),
                            n: block.width,
                        });
                    }
                }
            });
            return Ok(());
        }
        let run = grid.run();
        threads.run_chunks(out, run, |index, out| {
            // SAFETY: the part of `v` is as long as that of `out`; there is a step; this CPU can run the variant.
            unsafe {
                let (v, steps) = (v.as_ptr().add(index * run), grid.steps.as_ptr().add(grid.step(index)));
                (self.forward)(Forward {
                    v,
                    steps,
                    is_row: false,
                    codes: grid.codes,
                    out: out.as_mut_ptr(),
                    n: out.len(),
                });
            }
        });
        Ok(())
    }

    /// [`gradient`] with this variant.
    ///
    /// # Errors
    /// As [`gradient`].
    pub fn gradient(
        &self,
        threads: &Threads,
        [dy, v]: [&[f32]; 2],
        grid: &Grid<'_>,
        scale: f32,
        dv: &mut [f32],
        dsteps: &mut [f32],
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        ShapeError::expect("dy", dy.len(), v.len())?;
        ShapeError::expect("dv", dv.len(), v.len())?;
        ShapeError::expect("dsteps", dsteps.len(), grid.steps.len())?;
        grid.check(v.len())?;
        let to = Shareable(dv.as_mut_ptr());
        let n_steps = grid.steps.len();
        let mut totals = vec![0.0f64; n_steps];
        if grid.is_rows() {
            let channels = Channels::new("the length of `v`", v.len(), n_steps)?;
            let steps = channels.widen(grid.steps);
            totals = channels.sums(threads, |block, [sums]| {
                for row in 0..block.rows {
                    let start = block.start + row * block.stride;
                    // SAFETY: the blocks are disjoint and lie in all matrices, and are no wider than `sums`; this CPU can run the variant.
                    unsafe {
                        (self.backward)(Backward {
                            dy: dy.as_ptr().add(start),
                            v: v.as_ptr().add(start),
                            steps: steps.as_ptr().add(block.col),
                            is_row: true,
                            codes: grid.codes,
                            dv: to.at(start),
                            sums: sums.as_mut_ptr(),
                            n: block.width,
                        });
                    }
                }
            });
        } else {
            let (run, len) = (grid.run(), v.len());
            // A long run of one channel is summed in parts.
            let parts = run.div_ceil(TASK);
            let mut sums = vec![0.0f64; len.div_ceil(run)];
            threads.run_chunks(&mut sums, 1, |index, sum| {
                for part in 0..parts {
                    let start = index * run + part * TASK;
                    let end = len.min((index + 1) * run).min(start + TASK);
                    let mut own = 0.0f32;
                    // SAFETY: the runs are disjoint parts of all three; there is a step; this CPU can run the variant.
                    unsafe {
                        (self.backward)(Backward {
                            dy: dy.as_ptr().add(start),
                            v: v.as_ptr().add(start),
                            steps: grid.steps.as_ptr().add(grid.step(index)),
                            is_row: false,
                            codes: grid.codes,
                            dv: to.at(start),
                            sums: &raw mut own,
                            n: end - start,
                        });
                    }
                    sum[0] += f64::from(own);
                }
            });
            sums.iter().enumerate().for_each(|(index, sum)| totals[grid.step(index)] += sum);
        }
        for (to, total) in dsteps.iter_mut().zip(totals) {
            *to = (total * f64::from(scale)) as f32;
        }
        Ok(())
    }
}

/// `out[i] = s · clamp(rne(v[i] / s), min, max)`, with the step `s` of its channel.
///
/// # Errors
/// [`ShapeError`] if a length does not fit.
pub fn quantize(threads: &Threads, v: &[f32], grid: &Grid<'_>, out: &mut [f32]) -> Result<(), ShapeError> {
    Kernel::best().quantize(threads, v, grid, out)
}

/// Gradients of [`quantize`] from that of its output: of `v`, and of each step, `scale` times the sum.
///
/// # Errors
/// [`ShapeError`] if a length does not fit.
pub fn gradient(
    threads: &Threads,
    of: [&[f32]; 2],
    grid: &Grid<'_>,
    scale: f32,
    dv: &mut [f32],
    dsteps: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().gradient(threads, of, grid, scale, dv, dsteps)
}
