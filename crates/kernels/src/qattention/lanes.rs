//! The loops of one part of a head, written once for all instruction sets.

use super::{Raw, RawOut, Room};
use super::{pack, softmax};
use crate::attention::{Attention, Grid};
use crate::simd::Lanes;
use std::ops::Range;

/// Rows of queries that go through both products together.
pub(super) const TILE_ROWS: usize = 12;

/// Columns are packed in multiples of this, and rows of bytes are as long.
pub(super) const LINE: usize = 16;

/// Integer sums beside the vectors of f32, as many lanes.
///
/// # Safety
/// As [`Lanes`].
pub(super) trait Quads: Lanes {
    /// Columns of a panel: a multiple of [`LINE`].
    const PANEL: usize;
    type Sums: Copy;

    /// Sums plus an integer for all lanes.
    unsafe fn load_sums(from: *const i32, shift: i32) -> Self::Sums;
    unsafe fn store_sums(sums: Self::Sums, to: *mut i32);
    /// Adds to each lane the products of four unsigned bytes with four signed ones of its column.
    unsafe fn dot(sums: Self::Sums, quad: *const u8, columns: *const i8) -> Self::Sums;
    unsafe fn to_f32(sums: Self::Sums) -> Self;
    /// The bits four places lower.
    unsafe fn high_bits(self) -> Self;
    /// `x - floor(x)`.
    unsafe fn fraction(self) -> Self;
    /// `self · 2^floor(by)` for `by` in -200..=200.
    unsafe fn raise(self, by: Self) -> Self;
    /// Rounds to nearest even numbers that are then in `0..=255` and stores `N` bytes.
    unsafe fn store_code(self, to: *mut u8);

    /// [`Self::store_code`] of a line of numbers times `factor`.
    #[inline(always)]
    unsafe fn store_codes(from: *const f32, factor: Self, n: usize, to: *mut u8) {
        for i in (0..n).step_by(Self::N) {
            // SAFETY: the caller's.
            unsafe { Self::load(from.add(i)).mul(factor).store_code(to.add(i)) }
        }
    }

    /// The sum of `n` bytes.
    #[inline(always)]
    unsafe fn sum_codes(from: *const u8, n: usize) -> i32 {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts(from, n) }.iter().map(|&code| i32::from(code)).sum()
    }

    /// Of `N` rows of sixteen bytes the four quads, each beside those of the other rows.
    #[inline(always)]
    unsafe fn pack_columns(from: *const u8, stride: usize, to: *mut i8, group_stride: usize) {
        for row in 0..Self::N {
            for group in 0..4 {
                // SAFETY: the caller's.
                unsafe {
                    let quad = from.add(row * stride + 4 * group).cast::<u32>().read_unaligned();
                    to.add(group * group_stride + 4 * row).cast::<u32>().write_unaligned(quad);
                }
            }
        }
    }
}

/// What the codes mean. Codes of Q and of the weights are taken as `0..=255`, those of K and V as `-128..=127`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    /// Codes of 0 of Q, K, V and the weights.
    pub zeros: [i32; 4],
    /// Times the sums it is the scores in units of their grid, or real.
    pub score_factor: f32,
    /// Smallest and largest score on its grid, less the zero point, and the step after rounding.
    pub score_grid: Option<([f32; 2], f32)>,
    /// Powers of scores on the grid, if it spans so few powers of two that no largest score need be known: of the upper
    /// and of the lower four bits of a code that counts from the smallest one.
    pub powers: Option<[[f32; 16]; 2]>,
    /// Of a weight.
    pub weight_scale: f32,
    /// The largest weight code, less the zero point.
    pub weight_top: f32,
    /// Times the sums it is the result.
    pub out_factor: f32,
}

/// Some rows of the queries of one head, and memory to work in.
pub(super) struct Part<'a> {
    pub shape: Attention<'a>,
    pub grids: [Grid; 3],
    pub numbers: Numbers,
    /// Which tiles of [`TILE_ROWS`] queries are computed.
    pub tiles: Range<usize>,
    pub sides: [Raw; 3],
    /// May be null.
    pub mask: *const f32,
    pub out: RawOut,
    pub room: Room,
    /// `room.total` bytes that begin on a cache line.
    pub scratch: *mut u8,
}

impl Part<'_> {
    /// A part of the scratch memory.
    #[inline(always)]
    pub fn at<T>(&self, offset: usize) -> *mut T {
        self.scratch.wrapping_add(offset).cast()
    }
}

/// # Safety
/// The pointers of `part` are as its fields say, the head is inside its slices, nobody else touches the rows of these
/// tiles or the scratch memory, and this CPU has the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn part<V: Quads>(part: &Part<'_>) {
    let Attention { queries, d, .. } = part.shape;
    let room = &part.room;
    // SAFETY: the caller's, in every call.
    unsafe {
        pack::keys::<V>(part);
        pack::values::<V>(part);
        let is_shared = part.mask.is_null() || part.shape.mask_stride == 0;
        if is_shared {
            softmax::mask_row::<V>(part, 0, 0);
        }
        for tile in part.tiles.clone() {
            let first = tile * TILE_ROWS;
            let n_rows = TILE_ROWS.min(queries - first);
            let staged = part.at::<u8>(room.queries);
            pack::rows::<V>(part, 0, first..first + n_rows, staged, 0);
            for row in 0..n_rows {
                let sum = V::sum_codes(staged.add(row * room.d_stride), d.next_multiple_of(4));
                let [zero_q, zero_k, ..] = part.numbers.zeros;
                *part.at::<i32>(room.shifts).add(row) = zero_k * (zero_q * d as i32 - sum);
                if !is_shared {
                    softmax::mask_row::<V>(part, first + row, row);
                }
            }
            softmax::powers::<V>(part, first, n_rows);
            softmax::weights::<V>(part, n_rows);
            results::<V>(part, first, n_rows);
        }
    }
}

/// Calls a tile with 6, 2 or 1 of the rows that are left.
macro_rules! by_rows {
    ($n_rows:expr, $width:expr, $tile:ident::<$V:ident>($($argument:expr),*)) => {
        let (n_rows, vectors) = ($n_rows, $width / $V::N);
        let mut row = 0;
        while row < n_rows {
            match n_rows - row {
                6.. => {
                    by_vectors!(vectors, $tile::<$V, 6>($($argument,)* row));
                    row += 6;
                }
                2..=5 => {
                    by_vectors!(vectors, $tile::<$V, 2>($($argument,)* row));
                    row += 2;
                }
                _ => {
                    by_vectors!(vectors, $tile::<$V, 1>($($argument,)* row));
                    row += 1;
                }
            }
        }
    };
}

/// A panel is 16, 32, 48 or 64 columns; narrower vectors have panels of 16.
macro_rules! by_vectors {
    ($vectors:expr, $tile:ident::<$V:ident, $rows:literal>($($argument:expr),*)) => {
        if $V::N == 16 {
            match $vectors {
                4 => $tile::<$V, $rows, 4>($($argument),*),
                3 => $tile::<$V, $rows, 3>($($argument),*),
                2 => $tile::<$V, $rows, 2>($($argument),*),
                _ => $tile::<$V, $rows, 1>($($argument),*),
            }
        } else if $V::N == 8 {
            $tile::<$V, $rows, 2>($($argument),*)
        } else {
            $tile::<$V, $rows, 16>($($argument),*)
        }
    };
}

pub(super) use {by_rows, by_vectors};

/// `offsets` and `shifts` plus the products of `ROWS` rows with `VECTORS` vectors of columns.
///
/// # Safety
/// `n_groups` quads in each row, as many groups of columns at `b`; as [`Quads`].
#[inline(always)]
pub(super) unsafe fn dots<V: Quads, const ROWS: usize, const VECTORS: usize>(
    [rows, b]: [*const u8; 2],
    stride: usize,
    n_groups: usize,
    offsets: *const i32,
    shifts: *const i32,
) -> [[V::Sums; VECTORS]; ROWS] {
    // SAFETY: the caller's.
    unsafe {
        let b = b.cast::<i8>();
        let mut sums = [[V::load_sums(offsets, 0); VECTORS]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            for (vector, sum) in sums.iter_mut().enumerate() {
                *sum = V::load_sums(offsets.add(vector * V::N), *shifts.add(row));
            }
        }
        for group in 0..n_groups {
            let b = b.add(group * 4 * VECTORS * V::N);
            for (row, sums) in sums.iter_mut().enumerate() {
                let quad = rows.add(row * stride + 4 * group);
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = V::dot(*sum, quad, b.add(4 * vector * V::N));
                }
            }
        }
        sums
    }
}

/// # Safety
/// As [`part`].
#[inline(always)]
unsafe fn results<V: Quads>(part: &Part<'_>, first: usize, n_rows: usize) {
    let padded = part.shape.d_v.next_multiple_of(LINE);
    for col in (0..padded).step_by(V::PANEL) {
        let width = V::PANEL.min(padded - col);
        // SAFETY: the caller's.
        unsafe {
            by_rows!(n_rows, width, result_tile::<V>(part, col, first));
        }
    }
}

/// # Safety
/// As [`part`]; `VECTORS` vectors of the panel at `col`.
#[inline(always)]
unsafe fn result_tile<V: Quads, const ROWS: usize, const VECTORS: usize>(
    part: &Part<'_>,
    col: usize,
    first: usize,
    row: usize,
) {
    let room = &part.room;
    let Attention { keys, d_v, out_stride, .. } = part.shape;
    // SAFETY: the caller's.
    unsafe {
        let sides = [
            part.at::<u8>(room.weights).add(row * room.weight_stride).cast_const(),
            part.at::<u8>(room.values).add(col * keys.next_multiple_of(4)).cast_const(),
        ];
        let (offsets, shifts) = (part.at::<i32>(room.value_offsets).add(col), part.at::<i32>(room.shifts).add(row));
        let sums = dots::<V, ROWS, VECTORS>(sides, room.weight_stride, keys.div_ceil(4), offsets, shifts);
        let factor = V::splat(part.numbers.out_factor);
        for (i, sums) in sums.into_iter().enumerate() {
            for (vector, sums) in sums.into_iter().enumerate() {
                let at = col + vector * V::N;
                let n = V::N.min(d_v.saturating_sub(at));
                if n > 0 {
                    let to = (first + row + i) * out_stride + at;
                    store(V::to_f32(sums).mul(factor), part.out, to, n);
                }
            }
        }
    }
}

/// Stores the first `n` lanes at `at`.
///
/// # Safety
/// They are there; as [`Quads`].
#[inline(always)]
unsafe fn store<V: Quads>(x: V, out: RawOut, at: usize, n: usize) {
    // SAFETY: the caller's.
    unsafe {
        match out {
            RawOut::F32(to) if n == V::N => x.store(to.add(at)),
            RawOut::F32(to) => x.store_first(to.add(at), n),
            RawOut::Codes { to, zero_point, flip } => {
                let mut codes = [0u8; LINE];
                x.round().add(V::splat(zero_point)).store_u8(codes.as_mut_ptr());
                let codes = (u128::from_ne_bytes(codes) ^ u128::from_ne_bytes([flip; LINE])).to_ne_bytes();
                if n == LINE {
                    to.add(at).cast::<[u8; LINE]>().write_unaligned(codes);
                } else {
                    std::ptr::copy_nonoverlapping(codes.as_ptr(), to.add(at), n);
                }
            }
        }
    }
}
