//! The loops of this family for every CPU.

use super::tile::{self, PairLine, PairTile, tile};

/// # Safety
/// `1 <= rows <= 4`, one or two columns; the pointers are as `PairTile` says.
pub(super) unsafe fn run(rows: usize, vectors: usize, args: &PairTile<'_>) {
    // SAFETY: the caller's; one lane needs no instruction set.
    unsafe {
        match (rows, vectors) {
            (1, 1) => tile::<f32, 1, 1>(args),
            (2, 1) => tile::<f32, 2, 1>(args),
            (3, 1) => tile::<f32, 3, 1>(args),
            (4, 1) => tile::<f32, 4, 1>(args),
            (1, 2) => tile::<f32, 1, 2>(args),
            (2, 2) => tile::<f32, 2, 2>(args),
            (3, 2) => tile::<f32, 3, 2>(args),
            (4, 2) => tile::<f32, 4, 2>(args),
            _ => unreachable!("a tile of {rows} rows"),
        }
    }
}

/// # Safety
/// As `tile::pack`.
pub(super) unsafe fn pack(line: &PairLine) {
    // SAFETY: the caller's.
    unsafe { tile::pack::<f32>(line) }
}
