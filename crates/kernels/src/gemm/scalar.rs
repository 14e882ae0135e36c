//! The plain version, for every CPU: panels of 8 columns, which the compiler may turn into what vectors it has.

use super::driver::Tiles;
use super::tile::{Run, Tile};
use crate::conv::windows::Windows;
use std::ops::Range;

const PANEL: usize = 8;

/// # Safety
/// The panel is 4 or 8 wide and the pointers are as `Tile` says.
pub(crate) unsafe fn run(rows: usize, panel: usize, args: &Tile) {
    // SAFETY: the caller's.
    unsafe { run_with(rows, panel, args, |sum, x, b| sum + x * b) }
}

/// [`run`] with another step than adding a product.
///
/// # Safety
/// As [`run`].
pub(crate) unsafe fn run_with(rows: usize, panel: usize, args: &Tile, add: impl Fn(f32, f32, f32) -> f32) {
    for row in 0..rows {
        let mut sums = [0.0f32; PANEL];
        // SAFETY: rows of A, whole panels of B and `n_cols` of C are there, as `Tile` says.
        unsafe {
            let runs = std::slice::from_raw_parts(args.runs, args.n_runs);
            let b = std::slice::from_raw_parts(args.b, args.n_runs * args.run_len * panel);
            let a = runs.iter().flat_map(|run| std::slice::from_raw_parts(run[row], args.run_len));
            let c = std::slice::from_raw_parts_mut(args.c.add(row * args.c_stride), args.n_cols);
            if args.accumulate {
                sums[..c.len()].copy_from_slice(c);
            }
            for (x, b) in a.zip(b.chunks_exact(panel)) {
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = add(*sum, *x, *b);
                }
            }
            for (col, (c, mut sum)) in c.iter_mut().zip(sums).enumerate() {
                if let Some(finish) = &args.finish {
                    if !finish.bias.is_null() {
                        sum += *finish.bias.add(col);
                    }
                    if !finish.residual.is_null() {
                        sum += *finish.residual.add(row * args.c_stride + col);
                    }
                    sum = if finish.min > sum { finish.min } else { sum };
                    sum = if finish.max < sum { finish.max } else { sum };
                }
                *c = sum;
            }
        }
    }
}

/// `Windows::locate` for any CPU.
pub(crate) fn locate(windows: &Windows<'_>, tiles: &Tiles, ks: Range<usize>, to: &mut [Run]) {
    windows.locate(tiles, ks, to);
}

/// # Safety
/// As `transpose::transpose`.
pub(crate) unsafe fn transpose(
    from: *const f32,
    from_stride: usize,
    sizes: [usize; 2],
    to: *mut f32,
    to_stride: usize,
) {
    // SAFETY: the caller's.
    unsafe { super::transpose::transpose::<f32>(from, from_stride, sizes, to, to_stride) }
}
