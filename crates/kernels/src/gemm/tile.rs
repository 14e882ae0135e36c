//! The inner loop, written once: a tile of `ROWS` rows and `VECTORS` vectors of C stays in registers.
//!
//! Elements of A and B are f32 or, for `bgemm`, pairs of bf16 in the bits of one; then a depth is a number of pairs.

use crate::simd::Lanes;

/// Depth of one block of K: a panel block of B (32 columns, 32 KiB) stays in L1 while the rows of A pass by.
pub(crate) const K_BLOCK: usize = 256;
/// Floats between the rows of a packed block of A; not a power of two, so that rows do not fall on the same cache sets.
pub(crate) const ROW_STRIDE: usize = K_BLOCK + 16;
/// Floats of a cache line.
pub(crate) const LINE: usize = 16;
/// Pointers of one run of a tile: at least the rows of the largest tile.
pub(crate) const SLOTS: usize = 32;

/// Where one run of columns of A begins, for each row of a tile; slots past the rows are not read.
pub(crate) type Run = [*const f32; SLOTS];

/// What one call of a microkernel computes: `c = finish(accumulate · c + a · b)` on one tile.
///
/// | pointer | reads or writes |
/// |---|---|
/// | `runs` | `n_runs`, whose pointers have `run_len` floats each: the columns of A, run by run |
/// | `b` | `n_runs · run_len` rows of one whole panel |
/// | `c`, `residual` | rows `c_stride` apart, `n_cols` floats each |
/// | `bias` | `n_cols` floats |
pub(crate) struct Tile {
    pub runs: *const Run,
    pub n_runs: usize,
    pub run_len: usize,
    pub b: *const f32,
    /// Fetched into L2 on the way, 64 bytes a step; need not be valid.
    pub next: *const f32,
    pub c: *mut f32,
    pub c_stride: usize,
    /// Columns of the panel that exist; the others of B are zeros and never stored.
    pub n_cols: usize,
    /// Start from what `c` holds instead of 0.
    pub accumulate: bool,
    /// `Some` on the last block of K.
    pub finish: Option<Finish>,
}

/// Bias, then residual, then the clamp; null pointers are absent.
#[derive(Clone, Copy)]
pub(crate) struct Finish {
    pub bias: *const f32,
    pub residual: *const f32,
    pub min: f32,
    pub max: f32,
}

/// What one step adds to a sum: a product, or the products of a pair.
pub(crate) trait Terms<V> {
    /// # Safety
    /// As the functions of [`Lanes`].
    unsafe fn add(x: V, column: V, sum: V) -> V;
}

/// One product: elements are f32.
pub(crate) struct One;

impl<V: Lanes> Terms<V> for One {
    #[inline(always)]
    unsafe fn add(x: V, column: V, sum: V) -> V {
        // SAFETY: the caller's.
        unsafe { x.mul_add(column, sum) }
    }
}

/// # Safety
/// The pointers of `tile` are valid as its table says for `ROWS` rows, `n_cols <= VECTORS · V::N`, and this CPU has the
/// instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn tile<V: Lanes, T: Terms<V>, const ROWS: usize, const VECTORS: usize>(tile: &Tile) {
    // SAFETY: the caller's; every access below is inside what the table of `Tile` promises.
    unsafe {
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        let is_whole = tile.n_cols == VECTORS * V::N;
        if tile.accumulate {
            if is_whole {
                add_rows::<V, ROWS, VECTORS, true>(&mut sums, tile.c, tile);
            } else {
                add_rows::<V, ROWS, VECTORS, false>(&mut sums, tile.c, tile);
            }
        }
        let (mut b, mut next) = (tile.b, tile.next);
        for run in 0..tile.n_runs {
            let run = &*tile.runs.add(run);
            for k in 0..tile.run_len {
                prefetch(next);
                next = next.wrapping_add(LINE);
                let mut column = [V::splat(0.0); VECTORS];
                for (vector, column) in column.iter_mut().enumerate() {
                    *column = V::load(b.add(vector * V::N));
                }
                for (sums, a) in sums.iter_mut().zip(run) {
                    let x = V::splat(*a.add(k));
                    for (sum, &column) in sums.iter_mut().zip(&column) {
                        *sum = T::add(x, column, *sum);
                    }
                }
                b = b.add(VECTORS * V::N);
            }
        }
        if is_whole {
            end::<V, ROWS, VECTORS, true>(&mut sums, tile);
        } else {
            end::<V, ROWS, VECTORS, false>(&mut sums, tile);
        }
    }
}

/// Asks for a cache line; any address is fine.
#[inline(always)]
pub(crate) fn prefetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has the instruction, and it never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Loads the `vector`-th vector of a row, the columns that exist.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn load<V: Lanes, const WHOLE: bool>(from: *const f32, vector: usize, n_cols: usize) -> V {
    // SAFETY: only existing columns are read.
    unsafe {
        if WHOLE {
            V::load(from.add(vector * V::N))
        } else {
            V::load_first(from.wrapping_add(vector * V::N), n_cols.saturating_sub(vector * V::N).min(V::N))
        }
    }
}

// Each loop over the rows below is short, or the compiler would not unroll it and would keep the sums in memory.

/// # Safety
/// As [`tile`]; `from` has rows like `c`.
#[inline(always)]
unsafe fn add_rows<V: Lanes, const ROWS: usize, const VECTORS: usize, const WHOLE: bool>(
    sums: &mut [[V; VECTORS]; ROWS],
    from: *const f32,
    tile: &Tile,
) {
    for (row, sums) in sums.iter_mut().enumerate() {
        for (vector, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's.
            unsafe { *sum = sum.add(load::<V, WHOLE>(from.add(row * tile.c_stride), vector, tile.n_cols)) };
        }
    }
}

/// Finishes and stores.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn end<V: Lanes, const ROWS: usize, const VECTORS: usize, const WHOLE: bool>(
    sums: &mut [[V; VECTORS]; ROWS],
    tile: &Tile,
) {
    // SAFETY: the caller's.
    unsafe {
        if let Some(finish) = &tile.finish {
            if !finish.bias.is_null() {
                for vector in 0..VECTORS {
                    let bias = load::<V, WHOLE>(finish.bias, vector, tile.n_cols);
                    for sums in sums.iter_mut() {
                        sums[vector] = sums[vector].add(bias);
                    }
                }
            }
            if !finish.residual.is_null() {
                add_rows::<V, ROWS, VECTORS, WHOLE>(sums, finish.residual, tile);
            }
            let (min, max) = (V::splat(finish.min), V::splat(finish.max));
            for sums in sums.iter_mut() {
                for sum in sums {
                    *sum = sum.at_least(min).at_most(max);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let c = tile.c.add(row * tile.c_stride);
            for (vector, sum) in sums.iter().enumerate() {
                if WHOLE {
                    sum.store(c.add(vector * V::N));
                } else {
                    let n = tile.n_cols.saturating_sub(vector * V::N).min(V::N);
                    sum.store_first(c.wrapping_add(vector * V::N), n);
                }
            }
        }
    }
}
