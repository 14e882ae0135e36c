//! What is between the products: integer scores become codes of the weights.

use super::lanes::{LINE, Part, Quads, TILE_ROWS, by_rows, by_vectors, dots};
use crate::simd::math;

/// Powers of two whose sum is below this are computed again, relative to the largest.
const SMALLEST_SUM: f32 = 1.0e-30;
/// A power of two that is 0.
const LOWEST: f32 = -160.0;

/// One row of the mask, 0 after the last key: what powers are multiplied by. In `row` [`TILE_ROWS`] what is added to
/// scores in powers of two, -∞ after the last key.
///
/// # Safety
/// As `lanes::part`; the scratch memory has this row.
#[inline(always)]
pub(super) unsafe fn mask_row<V: Quads>(part: &Part<'_>, query: usize, row: usize) {
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
/// As `lanes::part`.
#[inline(always)]
pub(super) unsafe fn powers<V: Quads>(part: &Part<'_>, first: usize, n_rows: usize) {
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
            if !(SMALLEST_SUM..f32::INFINITY).contains(&total) {
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
/// As `lanes::part`.
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
/// As `lanes::part`; `VECTORS` vectors of the panel at `col`, `ROWS` rows of the tile from `row` on.
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
/// As `lanes::part`.
#[inline(always)]
pub(super) unsafe fn weights<V: Quads>(part: &Part<'_>, n_rows: usize) {
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
