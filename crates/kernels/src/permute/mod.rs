//! Transposition of axes: f32 in squares of vectors, bytes one by one in square blocks.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
#[cfg(test)]
mod tests;

use crate::error::ShapeError;
use crate::order::smallest_first;
use crate::quantize::{Bytes, BytesMut};
use crate::threads::{Shareable, Threads};
use std::ops::Range;
use std::sync::OnceLock;

/// Side of the square moved at once: its lines of both sides fit in L1.
const BLOCK: usize = 16;
/// Elements worth a task.
const TASK: usize = 16384;

/// Writes columns of `x`, `[rows, cols]`, as rows of `[cols, rows]`.
type Columns<T> = unsafe fn(x: &[T], size: [usize; 2], range: Range<usize>, out: *mut T);

/// A variant of the transposition of f32.
pub struct Kernel {
    /// `permute_f32_{side of a square}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    columns: Columns<f32>,
}

/// All variants, fastest first. Dispatch and tests walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "permute_f32_16_avx512", is_supported: crate::isa::has_avx512, columns: avx512::columns },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "permute_f32_8_avx2", is_supported: crate::isa::has_avx2, columns: avx2::columns },
    Kernel { name: "permute_f32_1_scalar", is_supported: || true, columns: move_columns::<f32> },
];

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        static BEST: OnceLock<&Kernel> = OnceLock::new();
        BEST.get_or_init(|| {
            KERNELS.iter().find(|kernel| (kernel.is_supported)()).unwrap_or(&KERNELS[KERNELS.len() - 1])
        })
    }

    /// [`transpose`] with this variant.
    ///
    /// # Errors
    /// As [`transpose`].
    pub fn transpose(&self, threads: &Threads, x: &[f32], size: [usize; 3], out: &mut [f32]) -> Result<(), ShapeError> {
        assert!((self.is_supported)(), "{} needs another CPU", self.name);
        transpose_by(self.columns, threads, x, size, out)
    }
}

/// `out[b, c, r] = x[b, r, c]` for `x` of shape `[batch, rows, cols]`: NCHW to NHWC with `[n, c, h · w]`, and back with
/// `[n, h · w, c]`.
///
/// # Errors
/// [`ShapeError`] if a length differs.
pub fn transpose(threads: &Threads, x: &[f32], size: [usize; 3], out: &mut [f32]) -> Result<(), ShapeError> {
    Kernel::best().transpose(threads, x, size, out)
}

/// [`transpose`] of bytes, whatever their sign.
///
/// # Errors
/// As [`transpose`].
pub fn transpose_bytes(
    threads: &Threads,
    x: Bytes<'_>,
    size: [usize; 3],
    out: &mut BytesMut<'_>,
) -> Result<(), ShapeError> {
    transpose_by(move_columns, threads, x.raw(), size, out.raw_mut())
}

fn transpose_by<T: Copy + Send + Sync>(
    columns: Columns<T>,
    threads: &Threads,
    x: &[T],
    [batch, rows, cols]: [usize; 3],
    out: &mut [T],
) -> Result<(), ShapeError> {
    let size = ShapeError::product("x", &[batch, rows, cols])?;
    ShapeError::expect("x", x.len(), size)?;
    ShapeError::expect("out", out.len(), size)?;
    if size == 0 {
        return Ok(());
    }
    if rows == 1 || cols == 1 {
        out.copy_from_slice(x);
        return Ok(());
    }
    // A task writes some whole rows of the output of one matrix.
    let band = (TASK / rows).clamp(1, cols).next_multiple_of(BLOCK);
    let bands = cols.div_ceil(band);
    let to = Shareable(out.as_mut_ptr());
    threads.run(batch * bands, |task| {
        let (matrix, first) = (task / bands, task % bands * band);
        let x = &x[matrix * rows * cols..][..rows * cols];
        // SAFETY: the matrix is inside `out`; columns `first .. first + band` of `x` are this task's alone.
        unsafe { columns(x, [rows, cols], first..cols.min(first + band), to.at(matrix * rows * cols)) };
    });
    Ok(())
}

/// # Safety
/// `out` has room for `rows · cols`; nobody else touches rows `range` of it.
unsafe fn move_columns<T: Copy>(x: &[T], [rows, cols]: [usize; 2], range: Range<usize>, out: *mut T) {
    // SAFETY: the caller's.
    unsafe {
        match rows {
            2 => return move_few::<T, 2>(x, cols, range, out),
            3 => return move_few::<T, 3>(x, cols, range, out),
            4 => return move_few::<T, 4>(x, cols, range, out),
            _ => {}
        }
    }
    for row in (0..rows).step_by(BLOCK) {
        let row_end = rows.min(row + BLOCK);
        for col in range.clone().step_by(BLOCK) {
            let col_end = range.end.min(col + BLOCK);
            for c in col..col_end {
                for r in row..row_end {
                    // SAFETY: `r < rows`, `c < cols`; the rest is the caller's.
                    unsafe { out.add(c * rows + r).write(*x.get_unchecked(r * cols + c)) };
                }
            }
        }
    }
}

/// [`move_columns`] for few rows, such as the colours of an image: blocks would be all loop and no body.
///
/// # Safety
/// As [`move_columns`].
unsafe fn move_few<T: Copy, const ROWS: usize>(x: &[T], cols: usize, range: Range<usize>, out: *mut T) {
    let rows: [&[T]; ROWS] = std::array::from_fn(|row| &x[row * cols..][range.clone()]);
    for at in 0..range.len() {
        for (row, x) in rows.iter().enumerate() {
            // SAFETY: rows are as long as the range; the rest is the caller's.
            unsafe { out.add((range.start + at) * ROWS + row).write(*x.get_unchecked(at)) };
        }
    }
}

/// `out` with axis `i` being axis `axes[i]` of `x`, which has `shape` (ONNX `Transpose`).
///
/// # Errors
/// [`ShapeError`] if `axes` is no permutation of the axes or a length differs.
pub fn permute(
    threads: &Threads,
    x: &[f32],
    shape: &[usize],
    axes: &[usize],
    out: &mut [f32],
) -> Result<(), ShapeError> {
    permute_by(Kernel::best().columns, threads, x, shape, axes, out)
}

/// [`permute`] of bytes, whatever their sign.
///
/// # Errors
/// As [`permute`].
pub fn permute_bytes(
    threads: &Threads,
    x: Bytes<'_>,
    shape: &[usize],
    axes: &[usize],
    out: &mut BytesMut<'_>,
) -> Result<(), ShapeError> {
    permute_by(move_columns, threads, x.raw(), shape, axes, out.raw_mut())
}

fn permute_by<T: Copy + Send + Sync>(
    columns: Columns<T>,
    threads: &Threads,
    x: &[T],
    shape: &[usize],
    axes: &[usize],
    out: &mut [T],
) -> Result<(), ShapeError> {
    ShapeError::expect("axes", axes.len(), shape.len())?;
    for axis in 0..shape.len() {
        ShapeError::require(axes.contains(&axis), "an axis left out", axis, "named once")?;
    }
    let size = ShapeError::product("x", shape)?;
    ShapeError::expect("x", x.len(), size)?;
    ShapeError::expect("out", out.len(), size)?;
    if size == 0 {
        return Ok(());
    }
    let (shape, axes) = merged(shape, axes);
    match axes[..] {
        [] | [0] => out.copy_from_slice(x),
        [1, 0] => return transpose_by(columns, threads, x, [1, shape[0], shape[1]], out),
        [0, 2, 1] => return transpose_by(columns, threads, x, [shape[0], shape[1], shape[2]], out),
        _ => move_any(threads, x, &shape, &axes, out),
    }
    Ok(())
}

/// Drops axes of 1 and joins axes that stay side by side.
fn merged(shape: &[usize], axes: &[usize]) -> (Vec<usize>, Vec<usize>) {
    // Runs of input axes in output order.
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    let is_skipped = |from: usize, to: usize| (from..to).all(|axis| shape[axis] == 1);
    for &axis in axes.iter().filter(|&&axis| shape[axis] != 1) {
        match runs.last_mut() {
            Some((_, end, size)) if axis >= *end && is_skipped(*end, axis) => {
                *end = axis + 1;
                *size *= shape[axis];
            }
            _ => runs.push((axis, axis + 1, shape[axis])),
        }
    }
    let order = smallest_first(runs.iter().map(|run| run.0));
    let merged_shape = order.iter().map(|&run| runs[run].2).collect();
    let merged_axes = (0..runs.len()).map(|run| order.iter().position(|&at| at == run).unwrap_or(run)).collect();
    (merged_shape, merged_axes)
}

/// Any permutation: one task a slice of the first output axis, an odometer over the middle ones.
fn move_any<T: Copy + Send + Sync>(threads: &Threads, x: &[T], shape: &[usize], axes: &[usize], out: &mut [T]) {
    let rank = shape.len();
    let mut strides = vec![1; rank];
    for axis in (0..rank - 1).rev() {
        strides[axis] = strides[axis + 1] * shape[axis + 1];
    }
    let sizes: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
    let steps: Vec<usize> = axes.iter().map(|&axis| strides[axis]).collect();
    let (last, step) = (sizes[rank - 1], steps[rank - 1]);
    let band = (TASK / last).max(1) * last;
    threads.run_chunks(out, band, |index, out| {
        let mut at = vec![0; rank - 1];
        let mut row = index * band / last;
        for axis in (0..rank - 1).rev() {
            at[axis] = row % sizes[axis];
            row /= sizes[axis];
        }
        for line in out.chunks_exact_mut(last) {
            let start: usize = at.iter().zip(&steps).map(|(at, step)| at * step).sum();
            if step == 1 {
                line.copy_from_slice(&x[start..start + last]);
            } else {
                for (to, from) in line.iter_mut().zip(x[start..].iter().step_by(step)) {
                    *to = *from;
                }
            }
            for axis in (0..rank - 1).rev() {
                at[axis] += 1;
                if at[axis] < sizes[axis] {
                    break;
                }
                at[axis] = 0;
            }
        }
    });
}
