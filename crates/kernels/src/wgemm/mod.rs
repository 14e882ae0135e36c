//! Products of few rows in f32 with a constant matrix of 8- or 4-bit codes, which are decoded in registers.
//!
//! With few rows a product takes as long as reading the matrix; codes are a quarter or an eighth of it. Sums are f32, those
//! of a group times its scale, in the order of `k`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
mod packed;
mod scalar;
#[cfg(test)]
mod tests;

pub use packed::{Bits, Codes, PackedW};

use crate::activation::Epilogue;
use crate::error::ShapeError;
use crate::gemm::{check_epilogue, driver::part};
use crate::threads::{Shareable, Threads};
use lanes::Panel;

/// Vectors of a panel.
const VECTORS: usize = 4;
/// The most rows of a tile, and columns of a panel, of any variant.
const MAX_TILE: [usize; 2] = [4, 64];
/// Multiply-adds worth a task of their own.
const TASK_WORK: usize = 1 << 16;

/// A variant of the loops.
pub struct Kernel {
    /// `wgemm_f32_{rows}x{columns}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    /// Rows of a tile, at most.
    rows: usize,
    /// Lanes of a vector.
    lanes: usize,
    run: unsafe fn(&Panel),
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
        name: "wgemm_f32_4x64_avx512",
        is_supported: crate::isa::has_avx512,
        rows: 4,
        lanes: 16,
        run: avx512::panel,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "wgemm_f32_2x32_avx2", is_supported: crate::isa::has_avx2, rows: 2, lanes: 8, run: avx2::panel },
    Kernel { name: "wgemm_f32_2x4_scalar", is_supported: || true, rows: 2, lanes: 1, run: scalar::panel },
];

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        crate::isa::best(KERNELS, |kernel| kernel.is_supported)
    }

    /// Columns of a panel.
    fn panel(&self) -> usize {
        self.lanes * VECTORS
    }
}

/// `out = activation(a · w + bias + residual)`; `a` is `[m, w.k()]`, `out` and the residual `[m, w.n()]`, the bias
/// `[w.n()]`.
///
/// Meant for `m` of at most 8: with more rows the codes are decoded again every few rows.
///
/// # Errors
/// [`ShapeError`] if a slice has another length.
pub fn wgemm(
    threads: &Threads,
    a: &[f32],
    m: usize,
    w: &PackedW,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let (k, n) = (w.k, w.n);
    ShapeError::expect("a", a.len(), ShapeError::product("a", &[m, k])?)?;
    let size = ShapeError::product("out", &[m, n])?;
    ShapeError::expect("out", out.len(), size)?;
    check_epilogue(epilogue, n, size)?;
    if size == 0 {
        return Ok(());
    }
    let group_sums = if w.zero_points.is_empty() { Vec::new() } else { group_sums(a, m, w) };
    let (panel, n_panels) = (w.kernel.panel(), n.div_ceil(w.kernel.panel()));
    let wanted = (m.saturating_mul(k).saturating_mul(n) / TASK_WORK).clamp(1, 4 * threads.count());
    let n_tasks = wanted.min(n_panels);
    let to = Shareable(out.as_mut_ptr());
    threads.run(n_tasks, |task| {
        for index in part(task, n_tasks, n_panels) {
            for row in (0..m).step_by(w.kernel.rows) {
                let rows = w.kernel.rows.min(m - row);
                let mut sums = [0.0; MAX_TILE[0] * MAX_TILE[1]];
                w.run(index, a, row, rows, &group_sums, &mut sums);
                for (own, sums) in (row..row + rows).zip(sums.chunks_exact(panel)) {
                    let (col, at) = (index * panel, own * n + index * panel);
                    let n_cols = panel.min(n - col);
                    // SAFETY: inside `out`; panels and rows are disjoint.
                    let out = unsafe { std::slice::from_raw_parts_mut(to.at(at), n_cols) };
                    end(epilogue, sums, col, at, out);
                }
            }
        }
    });
    Ok(())
}

/// Sums of `a`, `[m, groups]`, for the zero points.
fn group_sums(a: &[f32], m: usize, w: &PackedW) -> Vec<f32> {
    let mut sums = Vec::with_capacity(m * w.n_groups());
    for row in a.chunks_exact(w.k.max(1)) {
        for group in row.chunks(w.group) {
            let (blocks, rest) = group.as_chunks::<16>();
            let lanes = blocks.iter().fold([0.0f32; 16], |mut sums, block| {
                sums.iter_mut().zip(block).for_each(|(sum, x)| *sum += x);
                sums
            });
            sums.push(lanes.iter().chain(rest).sum());
        }
    }
    sums
}

/// Bias, residual and activation of one row of a panel, which begins at column `col` and element `at`.
fn end(epilogue: &Epilogue<'_>, sums: &[f32], col: usize, at: usize, out: &mut [f32]) {
    out.copy_from_slice(&sums[..out.len()]);
    if let Some(bias) = epilogue.bias {
        out.iter_mut().zip(&bias[col..]).for_each(|(out, bias)| *out += bias);
    }
    if let Some(residual) = epilogue.residual {
        out.iter_mut().zip(&residual[at..]).for_each(|(out, residual)| *out += residual);
    }
    let (min, max) = epilogue.activation.clamp();
    for out in out.iter_mut() {
        // Comparisons that keep a NaN.
        *out = if min > *out { min } else { *out };
        *out = if max < *out { max } else { *out };
    }
    epilogue.activation.apply(out);
}
