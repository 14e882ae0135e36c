//! Transposes of parts of matrices, in squares of a vector's width.

use crate::simd::Lanes;

/// `to[col · to_stride + row] = from[row · from_stride + col]` for `[rows, cols]`.
///
/// # Safety
/// Both sides have these elements; as [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn transpose<V: Lanes>(
    from: *const f32,
    from_stride: usize,
    [rows, cols]: [usize; 2],
    to: *mut f32,
    to_stride: usize,
) {
    let (whole_rows, whole_cols) = (rows - rows % V::N, cols - cols % V::N);
    // SAFETY, all: the caller's; squares and edges are inside.
    for row in (0..whole_rows).step_by(V::N) {
        for col in (0..whole_cols).step_by(V::N) {
            // SAFETY: above.
            unsafe {
                let (from, to) = (from.add(row * from_stride + col), to.add(col * to_stride + row));
                V::transpose(from, from_stride, to, to_stride);
            }
        }
        for col in whole_cols..cols {
            for row in row..row + V::N {
                // SAFETY: above.
                unsafe { *to.add(col * to_stride + row) = *from.add(row * from_stride + col) };
            }
        }
    }
    for row in whole_rows..rows {
        for col in 0..cols {
            // SAFETY: above.
            unsafe { *to.add(col * to_stride + row) = *from.add(row * from_stride + col) };
        }
    }
}
