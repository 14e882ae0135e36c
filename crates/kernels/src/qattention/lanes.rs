//! The loops of one part of a head, written once for all instruction sets.

use super::pack;
use super::{Raw, RawOut, Room};
use crate::attention::{Attention, Grid};
use crate::simd::{Lanes, math};
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

/// Powers of two whose sum is below this are computed again, relative to the largest.
const SMALLEST_SUM: f32 = 1.0e-30;
/// A power of two that is 0.
const LOWEST: f32 = -160.0;

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
            mask_row::<V>(part, 0, 0);
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
                    mask_row::<V>(part, first + row, row);
                }
            }
            powers::<V>(part, first, n_rows);
            weights::<V>(part, n_rows);
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

/// `offsets` and `shifts` plus the products of `ROWS` rows with `VECTORS` vectors of columns.
///
/// # Safety
/// `n_groups` quads in each row, as many groups of columns at `b`; as [`Quads`].
#[inline(always)]
unsafe fn dots<V: Quads, const ROWS: usize, const VECTORS: usize>(
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

/// One row of the mask, 0 after the last key: what powers are multiplied by. In `row` [`TILE_ROWS`] what is added to
/// scores in powers of two, -∞ after the last key.
///
/// # Safety
/// As [`part`]; the scratch memory has this row.
#[inline(always)]
unsafe fn mask_row<V: Quads>(part: &Part<'_>, query: usize, row: usize) {
    let keys = part.shape.keys;
    let padded = keys.next_multiple_of(LINE);
    // SAFETY: the caller's.
    unsafe {
        let to = part.at::<f32>(part.room.masks).add(row * part.room.score_stride);
        let mask = part.mask.wrapping_add(query * part.shape.mask_stride);
        let (smallest, factor) = (V::splat(f32::MIN), V::splat(std::f32::consts::LOG2_E));
        for i in (0..padded).step_by(V::N) {
            let mut own = V::splat(0.0);
            if !part.mask.is_null() {
                own = V::load_first(mask.wrapping_add(i), V::N.min(keys.saturating_sub(i)));
            }
            let own = if row == TILE_ROWS {
                // A row of the smallest numbers is no row of -∞.
                own.if_less(smallest, own, own.mul(factor).at_least(smallest))
            } else {
                math::exp(own)
            };
            own.store(to.add(i));
        }
        for i in keys..padded {
            *to.add(i) = if row == TILE_ROWS { f32::NEG_INFINITY } else { 0.0 };
        }
    }
}

/// Row `row` of the mask of a tile.
#[inline(always)]
fn mask_of(part: &Part<'_>, row: usize) -> *const f32 {
    let is_shared = part.mask.is_null() || part.shape.mask_stride == 0;
    part.at::<f32>(part.room.masks).wrapping_add(if is_shared { 0 } else { row * part.room.score_stride })
}

/// `2^(score - something)` of every query of the tile and key, and the sums of each row.
///
/// # Safety
/// As [`part`].
#[inline(always)]
unsafe fn powers<V: Quads>(part: &Part<'_>, first: usize, n_rows: usize) {
    let padded = part.shape.keys.next_multiple_of(LINE);
    // SAFETY: the caller's.
    unsafe {
        let sums = part.at::<f32>(part.room.sums);
        if part.numbers.powers.is_some() {
            for i in 0..n_rows * LINE {
                *sums.add(i) = 0.0;
            }
            for col in (0..padded).step_by(V::PANEL) {
                by_rows!(n_rows, V::PANEL.min(padded - col), power_tile::<V>(part, col));
            }
        }
        for row in 0..n_rows {
            let mut total = f32::NAN;
            if part.numbers.powers.is_some() {
                total = V::load(sums.add(row * LINE)).sum();
            }
            if !(total >= SMALLEST_SUM && total < f32::INFINITY) {
                mask_row::<V>(part, first + row, TILE_ROWS);
                for col in (0..padded).step_by(V::PANEL) {
                    by_vectors!(V::PANEL.min(padded - col) / V::N, score_row::<V, 1>(part, col, row));
                }
                total = relative::<V>(part, row, padded);
            }
            *sums.add(row * LINE) = total;
        }
    }
}

/// Scores of one row become powers relative to the largest; gives their sum.
///
/// # Safety
/// As [`part`].
#[inline(always)]
unsafe fn relative<V: Quads>(part: &Part<'_>, row: usize, padded: usize) -> f32 {
    // SAFETY: the caller's.
    unsafe {
        let scores = part.at::<f32>(part.room.scores).add(row * part.room.score_stride);
        let mut top = V::splat(f32::NEG_INFINITY);
        // A NaN need not survive here, because its power is NaN whatever is subtracted.
        for i in (0..padded).step_by(V::N) {
            top = V::load(scores.add(i)).at_least(top);
        }
        let (top, mut sum) = (V::splat(top.largest()), V::splat(0.0));
        for i in (0..padded).step_by(V::N) {
            let power = power_of_two(V::load(scores.add(i)).sub(top).at_least(V::splat(LOWEST)));
            power.store(scores.add(i));
            sum = sum.add(power);
        }
        sum.sum()
    }
}

/// `2^x` for finite `x`, relative error below 4e-6: weights are rounded to eight bits.
///
/// # Safety
/// As [`Quads`].
#[inline(always)]
unsafe fn power_of_two<V: Quads>(x: V) -> V {
    /// Through the Chebyshev nodes of 0..1.
    const C: [f32; 5] = [1.000_003_5, 0.692_972_9, 0.241_604_36, 0.051_745, 0.013_670_31];
    // SAFETY: the caller's.
    unsafe {
        let r = x.fraction();
        let mut sum = V::splat(C[4]);
        for c in [C[3], C[2], C[1], C[0]] {
            sum = sum.mul_add(r, V::splat(c));
        }
        sum.raise(x)
    }
}

/// The products of queries and keys.
///
/// # Safety
/// As [`part`]; `VECTORS` vectors of the panel at `col`, `ROWS` rows of the tile from `row` on.
#[inline(always)]
unsafe fn score_sums<V: Quads, const ROWS: usize, const VECTORS: usize>(
    part: &Part<'_>,
    col: usize,
    row: usize,
) -> [[V::Sums; VECTORS]; ROWS] {
    let room = &part.room;
    // SAFETY: the caller's.
    unsafe {
        let sides = [
            part.at::<u8>(room.queries).add(row * room.d_stride).cast_const(),
            part.at::<u8>(room.keys).add(col * room.d_stride).cast_const(),
        ];
        let (offsets, shifts) = (part.at::<i32>(room.key_offsets).add(col), part.at::<i32>(room.shifts).add(row));
        dots::<V, ROWS, VECTORS>(sides, room.d_stride, part.shape.d.div_ceil(4), offsets, shifts)
    }
}

/// Powers of scores on a grid, from tables.
///
/// # Safety
/// As [`score_sums`].
#[inline(always)]
unsafe fn power_tile<V: Quads, const ROWS: usize, const VECTORS: usize>(part: &Part<'_>, col: usize, row: usize) {
    /// 1.5 · 2²³: adding it rounds to an integer, which is then in the lowest bits.
    const ROUNDING: f32 = 12_582_912.0;
    let (room, numbers) = (&part.room, &part.numbers);
    let ([low, high], _) = numbers.score_grid.unwrap_or(([0.0; 2], 0.0));
    let [upper, lower] = numbers.powers.as_ref().unwrap_or(&[[0.0; 16]; 2]);
    // SAFETY: the caller's.
    unsafe {
        let sums = score_sums::<V, ROWS, VECTORS>(part, col, row);
        let (factor, zero) = (V::splat(numbers.score_factor), V::splat(ROUNDING - low));
        let (smallest, largest) = (V::splat(ROUNDING), V::splat(ROUNDING + (high - low)));
        for (i, sums) in sums.into_iter().enumerate() {
            let to = part.at::<f32>(room.scores).add((row + i) * room.score_stride + col);
            let mask = mask_of(part, row + i).add(col);
            let total = part.at::<f32>(room.sums).add((row + i) * LINE);
            let mut powers = V::load(total);
            for (vector, sums) in sums.into_iter().enumerate() {
                let code = V::to_f32(sums).mul_add(factor, zero).at_least(smallest).at_most(largest);
                let power = code.high_bits().lookup(upper).mul(code.lookup(lower));
                let power = power.mul(V::load(mask.add(vector * V::N)));
                powers = powers.add(power);
                power.store(to.add(vector * V::N));
            }
            powers.store(total);
        }
    }
}

/// The scores of one row, with the exact mask.
///
/// # Safety
/// As [`score_sums`].
#[inline(always)]
unsafe fn score_row<V: Quads, const ROWS: usize, const VECTORS: usize>(part: &Part<'_>, col: usize, row: usize) {
    let (room, numbers) = (&part.room, &part.numbers);
    // SAFETY: the caller's.
    unsafe {
        let sums = score_sums::<V, ROWS, VECTORS>(part, col, row)[0];
        let factor = V::splat(numbers.score_factor);
        let to = part.at::<f32>(room.scores).add(row * room.score_stride + col);
        let mask = part.at::<f32>(room.masks).add(TILE_ROWS * room.score_stride + col);
        let (codes, step) = numbers.score_grid.unwrap_or(([0.0; 2], 1.0));
        let step = V::splat(step * std::f32::consts::LOG2_E);
        for (vector, sums) in sums.into_iter().enumerate() {
            let mut score = V::to_f32(sums).mul(factor);
            if numbers.score_grid.is_some() {
                score = V::splat(codes[0]).at_least(score.round()).at_most(V::splat(codes[1]));
            }
            score.mul_add(step, V::load(mask.add(vector * V::N))).store(to.add(vector * V::N));
        }
    }
}

/// Powers become codes of the weights.
///
/// # Safety
/// As [`part`].
#[inline(always)]
unsafe fn weights<V: Quads>(part: &Part<'_>, n_rows: usize) {
    let (room, numbers) = (&part.room, &part.numbers);
    let padded = part.shape.keys.next_multiple_of(LINE);
    let zero = numbers.zeros[3];
    // The largest weight, 1, has a code.
    let is_plain = zero == 0 && numbers.weight_top + 0.4 > 1.0 / numbers.weight_scale;
    for row in 0..n_rows {
        // SAFETY: the caller's.
        unsafe {
            let powers = part.at::<f32>(room.scores).add(row * room.score_stride);
            let codes = part.at::<u8>(room.weights).add(row * room.weight_stride);
            let total = *part.at::<f32>(room.sums).add(row * LINE);
            if total.is_nan() {
                // As quantizing NaN; what is past the last key must add nothing.
                std::ptr::write_bytes(codes, 0, part.shape.keys);
                for i in part.shape.keys..padded {
                    *codes.add(i) = zero as u8;
                }
            } else {
                let share = V::splat(1.0 / (total * numbers.weight_scale));
                let (top, zero) = (V::splat(numbers.weight_top), V::splat(zero as f32));
                if is_plain {
                    V::store_codes(powers, share, padded, codes);
                } else {
                    for i in (0..padded).step_by(V::N) {
                        let weight = V::load(powers.add(i)).mul(share).round().at_most(top);
                        weight.add(zero).store_code(codes.add(i));
                    }
                }
            }
            let sum = V::sum_codes(codes, padded) - padded as i32 * zero;
            *part.at::<i32>(room.shifts).add(row) = -numbers.zeros[2] * sum;
        }
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
