//! What one call of an integer microkernel computes.

/// Depth of one block of K, in bytes.
pub(crate) const K_BLOCK: usize = 1024;
/// Bytes between the rows of a packed block of A; constant and no power of two, as for f32.
pub(crate) const ROW_STRIDE: usize = K_BLOCK + 64;

/// `sums = accumulate · sums + a · b` on one tile.
///
/// | pointer | reads or writes |
/// |---|---|
/// | `a` | rows of u8, `ROW_STRIDE` apart, `4 · groups` each |
/// | `b` | `groups` rows of one whole panel, four i8 a column |
/// | `sums` | rows of i32, `sums_stride` apart, one whole panel each |
pub(crate) struct Tile {
    pub a: *const u8,
    pub b: *const i8,
    /// Groups of four elements along K.
    pub groups: usize,
    pub sums: *mut i32,
    pub sums_stride: usize,
    pub accumulate: bool,
}
