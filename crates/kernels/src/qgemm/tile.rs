//! What one call of an integer microkernel computes.

use super::finish::Finish;

/// `sums = a · b`: some rows of A, read where they lie, by one panel of B.
///
/// A row of A is `n_groups` groups of four bytes: they lie `offsets` after the row's pointer.
///
/// | pointer | reads or writes |
/// |---|---|
/// | `rows` | a pointer to each of the `n_rows` rows of A |
/// | `offsets` | `n_groups` of them, in bytes |
/// | `b` | `n_groups` rows of one whole panel, four i8 a column |
/// | `sums` | rows of i32, one whole panel each; only where there is no `finish` |
pub(crate) struct Band<'a> {
    pub rows: *const *const u8,
    /// No more than a tile has where there is no `finish`.
    pub n_rows: usize,
    pub offsets: *const usize,
    pub n_groups: usize,
    /// Makes the raw bytes of A unsigned.
    pub flip: u8,
    pub b: *const i8,
    /// The panel after this one, only fetched; null if the next rows are to be fetched instead.
    pub next: *const i8,
    /// Columns in storage, and those that exist.
    pub width: usize,
    pub n_cols: usize,
    pub sums: *mut i32,
    /// At the first row and column: finished in registers. Only kernels that fuse are given one.
    pub finish: Option<&'a Finish>,
}
