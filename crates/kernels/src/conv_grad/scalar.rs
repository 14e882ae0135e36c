//! The loops of this family for every CPU; the compiler makes vectors of eight columns where it can.

use super::depthwise::{self, Row};
use super::tile::{self, Tile};

/// Columns of a tile.
const COLUMNS: usize = 8;

/// # Safety
/// The pointers are as `Tile` says, and there are at most [`COLUMNS`] columns.
pub(super) unsafe fn run(rows: usize, vectors: usize, args: &Tile<'_>) {
    // Columns side by side count as one vector here.
    let vectors = if args.vector_cols == 0 { vectors } else { 1 };
    for (row, vector) in (0..rows).flat_map(|row| (0..vectors).map(move |vector| (row, vector))) {
        // SAFETY: the caller's.
        unsafe {
            let to = args.sums.add(row * args.sums_stride + vector * args.sums_vector);
            let mut sums = [0.0f32; COLUMNS];
            to.copy_to_nonoverlapping(sums.as_mut_ptr(), args.n_cols);
            for segment in args.segments {
                let (x, d) = (args.x.add(segment.x + row), args.d.add(segment.d));
                let d = d.wrapping_offset(vector as isize * args.d_vector);
                for pixel in 0..segment.n {
                    let x = *x.add(pixel * args.x_step);
                    let d = std::slice::from_raw_parts(d.wrapping_add(pixel * args.d_step), args.n_cols);
                    sums.iter_mut().zip(d).for_each(|(sum, d)| *sum += x * d);
                }
            }
            to.copy_from_nonoverlapping(sums.as_ptr(), args.n_cols);
        }
    }
}

/// # Safety
/// As `tile::depthwise`.
pub(super) unsafe fn depthwise(args: &Tile<'_>) {
    // SAFETY: the caller's.
    unsafe { tile::depthwise::<f32>(args) }
}

/// # Safety
/// As `tile::add_rows`.
pub(super) unsafe fn add_rows(from: *const f32, stride: usize, n_rows: usize, is_kept: bool, to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe { tile::add_rows::<f32>(from, stride, n_rows, is_kept, to) }
}

/// # Safety
/// As `depthwise::row`.
pub(super) unsafe fn depthwise_input(args: &Row<'_>, to: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe { depthwise::row::<f32>(args, to) }
}
