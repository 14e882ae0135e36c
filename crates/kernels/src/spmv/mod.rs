//! Linear layers in f32 for few rows of input, whose constant weights are mostly zeros; lanes are outputs.
//!
//! Two vectors of inputs are a table in registers from which a permutation picks, for each output of a group, the input
//! of its next non-zero. Of blocks of 1x4, four inputs are a quarter of a vector, and four outputs share one. For many rows of
//! input `spmm` is faster.
//!
//! Where a lane has nothing to add it adds 0 times some input of the window, so a NaN or infinity of the input may
//! reach outputs that have no weight for it, as it does in a dense product.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
mod packed;
mod scalar;
#[cfg(test)]
mod tests;

pub use packed::PackedSpmv;

use crate::activation::Epilogue;
use crate::error::ShapeError;
use crate::gemm::check_epilogue;
use crate::gemm::driver::part;
use crate::threads::{Shareable, Threads};
use lanes::{AHEAD, Rounds};
use std::cell::RefCell;
use std::ops::Range;

/// A variant of the loops.
pub struct Kernel {
    /// `spmv_f32_{lanes}x{window}_{isa}`, or of blocks `spmv_f32_1x4_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    /// Adjacent inputs that share a position: 1 for any pattern, 4 for blocks of 1x4.
    pub depth: usize,
    /// Outputs of a group.
    lanes: usize,
    /// Inputs to pick from, and zeros that may be read after the last.
    window: usize,
    run: unsafe fn(&Rounds<'_>, usize),
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All variants, fastest first. Dispatch, tests and benches walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "spmv_f32_16x32_avx512",
        is_supported: crate::isa::has_avx512,
        depth: 1,
        lanes: 16,
        window: 32,
        run: avx512::run,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "spmv_f32_1x4_avx512",
        is_supported: crate::isa::has_avx512,
        depth: DEPTH,
        lanes: 4,
        window: DEPTH,
        run: avx512::run_quads,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "spmv_f32_8x16_avx2",
        is_supported: crate::isa::has_avx2,
        depth: 1,
        lanes: 8,
        window: 16,
        run: avx2::run,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "spmv_f32_1x4_avx2",
        is_supported: crate::isa::has_avx2,
        depth: DEPTH,
        lanes: 2,
        window: DEPTH,
        run: avx2::run_quads,
    },
    Kernel { name: "spmv_f32_1x256_scalar", is_supported: || true, depth: 1, lanes: 1, window: 256, run: scalar::run },
    Kernel {
        name: "spmv_f32_1x4_scalar",
        is_supported: || true,
        depth: DEPTH,
        lanes: 1,
        window: DEPTH,
        run: scalar::run_quads,
    },
];

impl Kernel {
    /// The first supported variant for single weights (`depth` 1) or blocks of 1x4 ([`DEPTH`]).
    fn best(depth: usize) -> &'static Self {
        let fits = |kernel: &&Self| kernel.depth == depth && (kernel.is_supported)();
        KERNELS.iter().find(fits).unwrap_or(&KERNELS[KERNELS.len() - 2])
    }
}

/// Inputs of a block of 1x4.
const DEPTH: usize = 4;

/// Vectors that share a walk over the weights.
const VECTORS: usize = 4;
/// Weights times vectors worth a task of their own, about a microsecond.
const TASK_WORK: usize = 1 << 15;
/// Inputs and sums begin at a multiple of this, in floats: a cache line.
const ALIGNMENT: usize = 16;

thread_local! {
    static MEMORY: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `out = activation(x · weight + bias + residual)`.
///
/// | value | shape |
/// |---|---|
/// | `x` | `[m, packed.k()]` |
/// | `epilogue.bias` | `[packed.n()]` |
/// | `epilogue.residual`, `out` | `[m, packed.n()]` |
///
/// # Errors
/// [`ShapeError`] if a slice has another length.
pub fn spmv(
    threads: &Threads,
    x: &[f32],
    m: usize,
    packed: &PackedSpmv,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("x", x.len(), ShapeError::product("x", &[m, packed.k])?)?;
    let size = ShapeError::product("out", &[m, packed.n])?;
    ShapeError::expect("out", out.len(), size)?;
    check_epilogue(epilogue, packed.n, size)?;
    if size == 0 {
        return Ok(());
    }
    let work = packed.weights.len() * m;
    let most = if threads.count() == 1 { 1 } else { 2 * threads.count() };
    let parts = (work / TASK_WORK).clamp(1, most).min(packed.groups.len());
    let out = Shareable(out.as_mut_ptr());
    threads.run(parts, |task| {
        // Equal shares of the rounds; a group is where its first round is.
        let share = part(task, parts, packed.rounds);
        let first = packed.groups.partition_point(|group| group.start < share.start);
        let end = packed.groups.partition_point(|group| group.start < share.end);
        for start in (0..m).step_by(VECTORS) {
            let call = Call { x, vectors: start..m.min(start + VECTORS), packed, epilogue, out: &out };
            // SAFETY: lengths are checked above; parts have different groups, hence different outputs.
            unsafe {
                call.run(if task == 0 { 0 } else { first }..if task + 1 == parts { packed.groups.len() } else { end })
            };
        }
    });
    Ok(())
}

/// Some rows of `x`.
struct Call<'a> {
    x: &'a [f32],
    vectors: Range<usize>,
    packed: &'a PackedSpmv,
    epilogue: &'a Epilogue<'a>,
    out: &'a Shareable<f32>,
}

impl Call<'_> {
    /// # Safety
    /// `out` and the slices are as large as the shapes say; nobody else works on the outputs of `groups`.
    unsafe fn run(&self, groups: Range<usize>) {
        let (packed, n_vectors) = (self.packed, self.vectors.len());
        let (k, lanes) = (packed.k, packed.kernel.lanes);
        let x_stride = (k + packed.kernel.window).next_multiple_of(ALIGNMENT);
        let group_len = n_vectors * lanes;
        MEMORY.with_borrow_mut(|memory| {
            let len = n_vectors * x_stride + groups.len() * group_len + ALIGNMENT;
            if memory.len() < len {
                memory.resize(len, 0.0);
            }
            let offset = memory.as_ptr().align_offset(ALIGNMENT * size_of::<f32>());
            let memory = &mut memory[if offset < ALIGNMENT { offset } else { 0 }..];
            let (x, sums) = memory.split_at_mut(n_vectors * x_stride);
            for (to, index) in x.chunks_exact_mut(x_stride).zip(self.vectors.clone()) {
                to[..k].copy_from_slice(&self.x[index * k..(index + 1) * k]);
                to[k..].fill(0.0);
            }
            let sums = &mut sums[..groups.len() * group_len];
            for (sums, group) in sums.chunks_exact_mut(group_len).zip(&packed.groups[groups.clone()]) {
                // SAFETY: the rounds of this group were made for this kernel, and `x` has a window of room.
                unsafe {
                    let rounds = Rounds {
                        starts: packed.starts.get(group.start..group.end + AHEAD).unwrap_or_default(),
                        quads: packed.quads.get(group.start * lanes..group.end * lanes).unwrap_or_default(),
                        weights: packed.weights.as_ptr().add(group.start * lanes * packed.kernel.depth),
                        picks: packed.picks.as_ptr().wrapping_add(group.start * lanes),
                        x: x.as_ptr(),
                        x_stride,
                        sums: sums.as_mut_ptr(),
                    };
                    (packed.kernel.run)(&rounds, n_vectors);
                }
            }
            // SAFETY: the caller's.
            unsafe { self.finish(sums, groups) };
        });
    }

    /// # Safety
    /// As [`Self::run`].
    unsafe fn finish(&self, sums: &mut [f32], groups: Range<usize>) {
        let (n, lanes) = (self.packed.n, self.packed.kernel.lanes);
        let (min, max) = self.epilogue.activation.clamp();
        let rows = &self.packed.rows[groups.start * lanes..groups.end * lanes];
        let group_len = self.vectors.len() * lanes;
        for (i, vector) in self.vectors.clone().enumerate() {
            for (group, rows) in rows.chunks_exact(lanes).enumerate() {
                let sums = &mut sums[group * group_len + i * lanes..][..lanes];
                for (sum, &row) in sums.iter_mut().zip(rows).filter(|(_, row)| (**row as usize) < n) {
                    let row = row as usize;
                    let bias = self.epilogue.bias.map_or(0.0, |bias| bias[row]);
                    let residual = self.epilogue.residual.map_or(0.0, |residual| residual[vector * n + row]);
                    let x = *sum + bias + residual;
                    // Comparisons, so that NaN stays.
                    let x = if x < min { min } else { x };
                    *sum = if x > max { max } else { x };
                }
            }
        }
        self.epilogue.activation.apply(sums);
        for (i, vector) in self.vectors.clone().enumerate() {
            for (group, rows) in rows.chunks_exact(lanes).enumerate() {
                let sums = &sums[group * group_len + i * lanes..][..lanes];
                for (&sum, &row) in sums.iter().zip(rows).filter(|(_, row)| (**row as usize) < n) {
                    // SAFETY: `row < n`, `vector < m`; these outputs are ours.
                    unsafe { self.out.at(vector * n + row as usize).write(sum) };
                }
            }
        }
    }
}
