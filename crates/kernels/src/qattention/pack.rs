//! The sides of a head as bytes in the order the products read them.

use super::Raw;
use super::lanes::{LINE, Part, Quads};
use crate::attention::Grid;
use std::ops::Range;

/// Rows of a side as bytes, `0..=255` if `flip` is 0, `-128..=127` if it is 0x80; zeros up to a whole line.
///
/// # Safety
/// As `lanes::part`; room for these rows, as far apart as the lines are long.
#[inline(always)]
pub(super) unsafe fn rows<V: Quads>(part: &Part<'_>, side: usize, rows: Range<usize>, to: *mut u8, flip: u8) {
    let shape = &part.shape;
    let (strides, n) = match side {
        0 => (shape.q_strides, shape.d),
        1 => (shape.k_strides, shape.d),
        _ => (shape.v_strides, shape.d_v),
    };
    let [token, element] = strides;
    let length = n.next_multiple_of(LINE);
    for (index, row) in rows.enumerate() {
        // SAFETY: the caller's.
        unsafe {
            let to = to.add(index * length);
            match part.sides[side] {
                Raw::Codes { from, flip: own } => {
                    copy_codes(from.wrapping_add(row * token), element, n, flip ^ own, to);
                }
                Raw::F32(from) => {
                    quantize::<V>(from.wrapping_add(row * token), element, n, &part.grids[side], flip, to);
                }
            }
            for i in n..length {
                *to.add(i) = 0;
            }
        }
    }
}

/// # Safety
/// `n` elements at `from`, a whole number of lines at `to`.
#[inline(always)]
unsafe fn copy_codes(from: *const u8, element: usize, n: usize, flip: u8, to: *mut u8) {
    // SAFETY: the caller's.
    unsafe {
        let mut done = 0;
        if element == 1 {
            let flips = u128::from_ne_bytes([flip; LINE]);
            while done + LINE <= n {
                let line = from.wrapping_add(done).cast::<u128>().read_unaligned() ^ flips;
                to.add(done).cast::<u128>().write_unaligned(line);
                done += LINE;
            }
        }
        for i in done..n {
            *to.add(i) = *from.wrapping_add(i * element) ^ flip;
        }
    }
}

/// # Safety
/// As [`copy_codes`], and as [`Quads`].
#[inline(always)]
unsafe fn quantize<V: Quads>(from: *const f32, element: usize, n: usize, grid: &Grid, flip: u8, to: *mut u8) {
    // SAFETY: the caller's; what is stored past the last element is inside the line.
    unsafe {
        let factor = V::splat(1.0 / grid.scale);
        let [low, high] = grid.codes.map(|code| V::splat((code - grid.zero_point) as f32));
        let zero = V::splat((grid.zero_point - grid.codes[0]) as f32);
        for i in (0..n).step_by(V::N) {
            let count = V::N.min(n - i);
            let x = if element == 1 && count == V::N {
                V::load(from.wrapping_add(i))
            } else if element == 1 {
                V::load_first(from.wrapping_add(i), count)
            } else {
                let mut line = [0.0; LINE];
                for (at, x) in line[..count].iter_mut().enumerate() {
                    *x = *from.wrapping_add((i + at) * element);
                }
                V::load(line.as_ptr())
            };
            // The limits stay where `x` is NaN.
            low.at_least(x.mul(factor).round()).at_most(high).add(zero).store_code(to.add(i));
        }
        if flip != 0 {
            for i in 0..n {
                *to.add(i) ^= flip;
            }
        }
    }
}

/// The keys in panels of columns, four elements of a key side by side, and what the zero point of Q adds to each score.
///
/// # Safety
/// As `lanes::part`.
#[inline(always)]
pub(super) unsafe fn keys<V: Quads>(part: &Part<'_>) {
    let room = &part.room;
    let (keys, length) = (part.shape.keys, room.d_stride);
    let padded = keys.next_multiple_of(LINE);
    // SAFETY: the caller's.
    unsafe {
        let staged = part.at::<u8>(room.staged);
        rows::<V>(part, 1, 0..keys, staged, 0x80);
        std::ptr::write_bytes(staged.add(keys * length), 0, (padded - keys) * length);
        for col in (0..padded).step_by(V::PANEL) {
            let width = V::PANEL.min(padded - col);
            let to = part.at::<i8>(room.keys).add(col * length);
            for row in (0..width).step_by(V::N) {
                for i in (0..length).step_by(LINE) {
                    let from = staged.add((col + row) * length + i);
                    V::pack_columns(from, length, to.add(i * width + 4 * row), 4 * width);
                }
            }
            let offsets = part.at::<i32>(room.key_offsets).add(col);
            sums::<V>(to, length / 4, width, -part.numbers.zeros[0], offsets);
        }
    }
}

/// The values in panels of columns, those of four keys side by side, and what the zero point of the weights adds.
///
/// # Safety
/// As `lanes::part`.
#[inline(always)]
pub(super) unsafe fn values<V: Quads>(part: &Part<'_>) {
    let room = &part.room;
    let (keys, length) = (part.shape.keys, part.shape.d_v.next_multiple_of(LINE));
    let padded = keys.next_multiple_of(4);
    // SAFETY: the caller's.
    unsafe {
        let staged = part.at::<u8>(room.staged);
        rows::<V>(part, 2, 0..keys, staged, 0x80);
        std::ptr::write_bytes(staged.add(keys * length), 0, (padded - keys) * length);
        for col in (0..length).step_by(V::PANEL) {
            let width = V::PANEL.min(length - col);
            let to = part.at::<i8>(room.values).add(col * padded);
            for key in (0..padded).step_by(4) {
                for i in (0..width).step_by(LINE) {
                    pack_rows(staged.add(key * length + col + i), length, to.add(key * width + 4 * i));
                }
            }
            let offsets = part.at::<i32>(room.value_offsets).add(col);
            sums::<V>(to, padded / 4, width, -part.numbers.zeros[3], offsets);
        }
    }
}

/// Of four rows of sixteen bytes those of each column side by side.
///
/// # Safety
/// They are there, as is room for 64.
#[inline(always)]
unsafe fn pack_rows(from: *const u8, stride: usize, to: *mut i8) {
    // SAFETY: the caller's; every x86-64 CPU has SSE2.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::*;
        let a = _mm_loadu_si128(from.cast());
        let b = _mm_loadu_si128(from.add(stride).cast());
        let c = _mm_loadu_si128(from.add(2 * stride).cast());
        let d = _mm_loadu_si128(from.add(3 * stride).cast());
        let (ab, cd) = (_mm_unpacklo_epi8(a, b), _mm_unpacklo_epi8(c, d));
        let (ab_high, cd_high) = (_mm_unpackhi_epi8(a, b), _mm_unpackhi_epi8(c, d));
        _mm_storeu_si128(to.cast(), _mm_unpacklo_epi16(ab, cd));
        _mm_storeu_si128(to.add(16).cast(), _mm_unpackhi_epi16(ab, cd));
        _mm_storeu_si128(to.add(32).cast(), _mm_unpacklo_epi16(ab_high, cd_high));
        _mm_storeu_si128(to.add(48).cast(), _mm_unpackhi_epi16(ab_high, cd_high));
    }
    // SAFETY: the caller's.
    #[cfg(not(target_arch = "x86_64"))]
    unsafe {
        for row in 0..4 {
            for col in 0..LINE {
                *to.add(4 * col + row) = *from.add(row * stride + col) as i8;
            }
        }
    }
}

/// `factor` times the sums of the columns of a panel.
///
/// # Safety
/// `n_groups` groups of `width` quads at `packed`, room for `width` sums.
#[inline(always)]
unsafe fn sums<V: Quads>(packed: *const i8, n_groups: usize, width: usize, factor: i32, to: *mut i32) {
    // SAFETY: the caller's.
    unsafe {
        for col in 0..width {
            *to.add(col) = 0;
        }
        if factor == 0 {
            return;
        }
        let ones = [1u8; 4];
        for col in (0..width).step_by(V::N) {
            let mut sums = V::load_sums(to.add(col), 0);
            for group in 0..n_groups {
                sums = V::dot(sums, ones.as_ptr(), packed.add(4 * (group * width + col)));
            }
            V::store_sums(sums, to.add(col));
        }
        for col in 0..width {
            *to.add(col) *= factor;
        }
    }
}
