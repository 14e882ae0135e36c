//! What one call of an integer microkernel computes.

use super::finish::Finish;

/// `sums = a · b` on one tile, A read where it lies.
///
/// A row of A is `n_segments` runs of `4 · groups` bytes: the runs begin `offsets` after the row's pointer.
///
/// | pointer | reads or writes |
/// |---|---|
/// | `rows` | a pointer to each row of A |
/// | `offsets` | `n_segments` of them, in bytes |
/// | `b` | `n_segments · groups` rows of one whole panel, four i8 a column |
/// | `sums` | rows of i32, one whole panel each; only where there is no `finish` |
pub(crate) struct Tile<'a> {
    pub rows: *const *const u8,
    pub offsets: *const usize,
    pub n_segments: usize,
    /// Groups of four elements a segment.
    pub groups: usize,
    /// Makes the raw bytes of A unsigned.
    pub flip: u8,
    pub b: *const i8,
    pub sums: *mut i32,
    /// At this tile: finished in registers. Only kernels that fuse are given one.
    pub finish: Option<&'a Finish>,
    /// Columns of the panel that exist.
    pub n_cols: usize,
}
