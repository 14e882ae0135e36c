//! The plain version, for every CPU.

use super::finish::{self, Finish};
use super::tile::Band;

/// # Safety
/// The pointers are as `Band` says.
pub(super) unsafe fn run(args: &Band<'_>) {
    let panel = args.width;
    for row in 0..args.n_rows {
        // SAFETY: rows of A, whole panels of B and of the sums are there, as `Band` says.
        unsafe {
            let sums = std::slice::from_raw_parts_mut(args.sums.add(row * panel), panel);
            sums.fill(0);
            for group in 0..args.n_groups {
                let a = (*args.rows.add(row)).add(*args.offsets.add(group));
                let a = std::slice::from_raw_parts(a, 4);
                let b = std::slice::from_raw_parts(args.b.add(group * 4 * panel), 4 * panel);
                for (sum, b) in sums.iter_mut().zip(b.chunks_exact(4)) {
                    let products = a.iter().zip(b).map(|(&x, &b)| i32::from(x ^ args.flip) * i32::from(b));
                    *sum = sum.wrapping_add(products.sum());
                }
            }
        }
    }
}

/// # Safety
/// As `finish::finish`.
pub(super) unsafe fn finish(f: &Finish, sums: *const i32, stride: usize, rows: usize, n_cols: usize) {
    // SAFETY: the caller's.
    unsafe { finish::finish::<f32>(f, sums, stride, rows, n_cols) }
}

/// # Safety
/// As `depthwise::row`.
pub(super) unsafe fn depthwise(row: &super::depthwise::Row<'_>) {
    // SAFETY: the caller's.
    unsafe { super::depthwise::row::<16>(row, |sums, x, col, n| finish(&row.finish.at(x, col), sums, 0, 1, n)) }
}
