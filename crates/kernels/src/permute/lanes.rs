//! Squares of vectors, written once for all instruction sets.

use crate::simd::Lanes;
use std::ops::Range;

/// Whole squares by vectors, what is left at the edges as the plain version does.
///
/// # Safety
/// As `move_columns`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn columns<V: Lanes>(x: &[f32], [rows, cols]: [usize; 2], range: Range<usize>, out: *mut f32) {
    let whole_rows = rows - rows % V::N;
    let whole_end = range.end - range.len() % V::N;
    // SAFETY: the squares lie inside of both; the rest is the caller's.
    unsafe {
        if whole_rows == 0 || whole_end == range.start {
            return super::move_columns(x, [rows, cols], range, out);
        }
        // Down a column of squares, so that lines of the output are written at once.
        for col in (range.start..whole_end).step_by(V::N) {
            for row in (0..whole_rows).step_by(V::N) {
                V::transpose(x.as_ptr().add(row * cols + col), cols, out.add(col * rows + row), rows);
            }
            for r in whole_rows..rows {
                for c in col..col + V::N {
                    out.add(c * rows + r).write(*x.get_unchecked(r * cols + c));
                }
            }
        }
        super::move_columns(x, [rows, cols], whole_end..range.end, out);
    }
}
