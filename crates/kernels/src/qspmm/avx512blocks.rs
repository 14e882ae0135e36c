//! AVX-512, vectors of pixels: `vpdpbusd` sums four products of each.

use super::blocks::BlockTile;
use super::blocks4x1::{LINE, ROWS, Tile4x1};
use super::gather::BLOCK;
use super::tiles::RowBytes;
use crate::simd::unrolled;
use std::arch::x86_64::*;

/// # Safety
/// `1 <= vectors <= 8`, the pointers are as `BlockTile` says, and this CPU has AVX-512 VNNI, F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn blocks(vectors: usize, t: &BlockTile) {
    macro_rules! by_vectors {
        ($($n:literal)*) => {
            // SAFETY: the caller's.
            unsafe {
                match vectors {
                    $($n if t.to.has_residual() => block_rows::<$n, true>(t),
                    $n => block_rows::<$n, false>(t),)*
                    _ => unreachable!("{vectors} vectors"),
                }
            }
        };
    }
    by_vectors!(1 2 3 4 5 6 7 8)
}

/// # Safety
/// As [`blocks`], for `V` vectors; there is a residual if `RESIDUAL`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn block_rows<const V: usize, const RESIDUAL: bool>(t: &BlockTile) {
    // SAFETY: the caller's.
    unsafe {
        let mut block = *t.bounds as usize;
        for index in 0..t.to.rows {
            let to = t.to.sums.add(usize::from(*t.order.add(index)) * V * 16);
            let mut sums = [_mm512_setzero_si512(); V];
            if t.to.accumulate {
                unrolled!(V, at most 8, |vector| sums[vector] = _mm512_loadu_si512(to.add(vector * 16).cast()));
            }
            let end = *t.bounds.add(index + 1) as usize;
            while block < end {
                let weights = _mm512_set1_epi32(t.weights.add(block).cast::<i32>().read_unaligned());
                let x = t.to.slab.add(usize::from(*t.quads.add(block)) * V * 16);
                unrolled!(V, at most 8, |vector| {
                    let x = _mm512_loadu_si512(x.add(vector * 16).cast());
                    sums[vector] = _mm512_dpbusd_epi32(sums[vector], x, weights);
                });
                block += 1;
            }
            if let Some(bytes) = &t.to.bytes {
                requantize_row::<V, RESIDUAL>(&sums, usize::from(*t.order.add(index)), bytes);
                continue;
            }
            unrolled!(V, at most 8, |vector| _mm512_storeu_si512(to.add(vector * 16).cast(), sums[vector]));
        }
    }
}

/// # Safety
/// `1 <= vectors <= 4`, the pointers are as `Tile4x1` says, and this CPU has AVX-512 VNNI, F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn blocks_4x1(vectors: usize, t: &Tile4x1) {
    // SAFETY: the caller's.
    unsafe {
        match vectors {
            1 if t.to.has_residual() => groups_4x1::<1, true>(t),
            1 => groups_4x1::<1, false>(t),
            2 if t.to.has_residual() => groups_4x1::<2, true>(t),
            2 => groups_4x1::<2, false>(t),
            3 if t.to.has_residual() => groups_4x1::<3, true>(t),
            3 => groups_4x1::<3, false>(t),
            4 if t.to.has_residual() => groups_4x1::<4, true>(t),
            4 => groups_4x1::<4, false>(t),
            _ => unreachable!("{vectors} vectors"),
        }
    }
}

/// # Safety
/// As [`blocks_4x1`], for `V` vectors; there is a residual if `RESIDUAL`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn groups_4x1<const V: usize, const RESIDUAL: bool>(t: &Tile4x1) {
    // SAFETY: the caller's.
    unsafe {
        let slab = t.to.slab.cast::<u8>();
        let mut step = t.steps.add(*t.bounds as usize);
        for index in 0..t.groups {
            let first = usize::from(*t.order.add(index));
            let to = t.to.sums.add(first * V * 16);
            let mut sums = [[_mm512_setzero_si512(); V]; ROWS];
            if t.to.accumulate {
                unrolled!(ROWS, at most 4, |row| {
                    unrolled!(V, at most 4, |vector| {
                        sums[row][vector] = _mm512_loadu_si512(to.add((row * V + vector) * 16).cast());
                    });
                });
            }
            let end = t.steps.add(*t.bounds.add(index + 1) as usize);
            while step < end {
                let [a, b, c, d] = (*step).inputs;
                let a = _mm512_loadu_si512(slab.add(a.into()).cast());
                let b = _mm512_loadu_si512(slab.add(b.into()).cast());
                let c = _mm512_loadu_si512(slab.add(c.into()).cast());
                let d = _mm512_loadu_si512(slab.add(d.into()).cast());
                let pairs = [
                    [_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d)],
                    [_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d)],
                ];
                unrolled!(V, at most 4, |vector| {
                    let [ab, cd] = pairs[vector / 2];
                    let x = if vector & 1 == 0 { _mm512_unpacklo_epi16(ab, cd) } else { _mm512_unpackhi_epi16(ab, cd) };
                    unrolled!(ROWS, at most 4, |row| {
                        let weights = (*step).weights.as_ptr().add(row).cast::<i32>().read_unaligned();
                        sums[row][vector] = _mm512_dpbusd_epi32(sums[row][vector], x, _mm512_set1_epi32(weights));
                    });
                });
                step = step.add(1);
            }
            unrolled!(ROWS, at most 4, |row| match &t.to.bytes {
                // Outputs that are missing in the last group have no multipliers.
                Some(bytes) if first + row < t.to.rows => {
                    requantize_row::<V, RESIDUAL>(&sums[row], first + row, bytes);
                }
                Some(_) => {}
                None => {
                    unrolled!(V, at most 4, |vector| {
                        _mm512_storeu_si512(to.add((row * V + vector) * 16).cast(), sums[row][vector]);
                    });
                }
            });
        }
    }
}

/// Pixel `16 j + 4 l + i` goes to byte `16 l + 4 j + i`: then vector `j` of what [`groups_4x1`] interleaves is pixels `16 j` and
/// on.
///
/// # Safety
/// `from` is `[groups][64]` elements of four bytes, `to` `[4 · groups][64]` bytes, and this CPU has AVX-512 F, BW.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn take_apart(from: *const u32, to: *mut u8, groups: usize) {
    // SAFETY: the caller's.
    unsafe {
        // Four pixels of four inputs become four inputs of four pixels.
        let square = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        for group in 0..groups {
            let from = from.add(group * LINE);
            let mut x = [_mm512_setzero_si512(); 4];
            unrolled!(4, at most 4, |vector| {
                x[vector] = _mm512_shuffle_epi8(_mm512_loadu_si512(from.add(vector * 16).cast()), square);
            });
            let (low, high) = (_mm512_unpacklo_epi32(x[0], x[1]), _mm512_unpackhi_epi32(x[0], x[1]));
            let (low2, high2) = (_mm512_unpacklo_epi32(x[2], x[3]), _mm512_unpackhi_epi32(x[2], x[3]));
            let inputs = [
                _mm512_unpacklo_epi64(low, low2),
                _mm512_unpackhi_epi64(low, low2),
                _mm512_unpacklo_epi64(high, high2),
                _mm512_unpackhi_epi64(high, high2),
            ];
            unrolled!(4, at most 4, |input| {
                _mm512_storeu_si512(to.add((group * 4 + input) * LINE).cast(), inputs[input]);
            });
        }
    }
}

/// Does what `finish::finish` does for bytes, to the same bits, to the sums of one output.
///
/// # Safety
/// As [`blocks`]; there is a residual if `RESIDUAL`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn requantize_row<const V: usize, const RESIDUAL: bool>(sums: &[__m512i; V], row: usize, bytes: &RowBytes) {
    // SAFETY: the caller's.
    unsafe {
        let offset = _mm512_set1_epi32(*bytes.offsets.add(row));
        let multiplier = _mm512_set1_ps(*bytes.multipliers.add(row));
        let (min, max) = (_mm512_set1_ps(bytes.min), _mm512_set1_ps(bytes.max));
        let (shift, flip) = (_mm512_set1_epi16(bytes.shift), _mm512_set1_epi8(bytes.flip as i8));
        let (lowest, highest) = (_mm512_set1_epi8(bytes.low as i8), _mm512_set1_epi8(bytes.high as i8));
        let (zero, by) = (_mm512_set1_ps(bytes.residual_zero), _mm512_set1_ps(bytes.residual_multiplier));
        // Four bytes of each line of 16, as four bytes each.
        let spread = _mm512_broadcast_i32x4(_mm_setr_epi32(-256, -255, -254, -253));
        unrolled!(2, at most 4, |part| if part * 4 < V {
            let mut rounded = [_mm512_setzero_si512(); 4];
            let mut residual = _mm512_setzero_si512();
            if RESIDUAL {
                residual = _mm512_loadu_si512(bytes.residual.add((part * BLOCK + row) * 64).cast());
            }
            unrolled!(4, at most 4, |vector| if part * 4 + vector < V {
                let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(sums[part * 4 + vector], offset));
                let mut y = _mm512_mul_ps(sum, multiplier);
                if RESIDUAL {
                    let spread = _mm512_add_epi32(spread, _mm512_set1_epi32(4 * vector as i32));
                    let r = _mm512_cvtepi32_ps(_mm512_shuffle_epi8(residual, spread));
                    y = _mm512_add_ps(y, _mm512_mul_ps(_mm512_sub_ps(r, zero), by));
                }
                // What is small can be clamped as bytes.
                let y = if bytes.is_small { y } else { _mm512_min_ps(max, _mm512_max_ps(min, y)) };
                rounded[vector] = _mm512_cvtps_epi32(y);
            });
            let low = _mm512_adds_epi16(_mm512_packs_epi32(rounded[0], rounded[1]), shift);
            let high = _mm512_adds_epi16(_mm512_packs_epi32(rounded[2], rounded[3]), shift);
            let packed = _mm512_min_epu8(highest, _mm512_max_epu8(lowest, _mm512_packus_epi16(low, high)));
            let packed = _mm512_xor_si512(packed, flip);
            let to = bytes.to.add((row * V.div_ceil(4) + part) * 64);
            _mm512_storeu_si512(to.cast(), packed);
        });
    }
}

/// Stores 64 pixels of up to 64 outputs, `[outputs][64]` as [`requantize_row`] packs them, as `[pixels][outputs]`.
///
/// # Safety
/// Rows of `from` lie `from_stride` bytes apart, those of `to` `to_stride`; `1 <= pixels <= 64`, and `scratch` holds
/// 64 · 64 bytes. This CPU has AVX-512 VBMI, F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
pub(super) unsafe fn transpose_bytes(
    from: *const u8,
    from_stride: usize,
    to: *mut u8,
    to_stride: usize,
    [pixels, n_cols]: [usize; 2],
    scratch: *mut u32,
) {
    // SAFETY: the caller's; only the given pixels and columns are written.
    unsafe {
        let mask = if n_cols >= 64 { u64::MAX } else { (1 << n_cols) - 1 };
        // Every fourth row at a time: then scratch is [4][fours of pixels][fours of rows][4 pixels].
        for first in 0..4 {
            let rows = std::array::from_fn(|row| from.wrapping_add((first + 4 * row) * from_stride));
            transpose(&rows, scratch.add(first * 256), 16);
        }
        // Bytes `2 · half` and `2 · half + 1` of each four of two vectors, in turn, then the pairs of two such vectors.
        let pairs = |half: u8| -> [u8; 64] {
            std::array::from_fn(|at| {
                let byte = (at / 4 * 4) as u8 + half * 2 + at as u8 % 4 / 2;
                byte + at as u8 % 2 * 64
            })
        };
        let fours = |half: u8| -> [u8; 64] {
            std::array::from_fn(|at| {
                let byte = (at / 4 * 4) as u8 + half * 2 + at as u8 % 2;
                byte + at as u8 % 4 / 2 * 64
            })
        };
        let load = |bytes: [u8; 64]| _mm512_loadu_si512(bytes.as_ptr().cast());
        let (pairs, fours) = ([load(pairs(0)), load(pairs(1))], [load(fours(0)), load(fours(1))]);
        for four in 0..16 {
            let row = |first: usize| _mm512_loadu_si512(scratch.add(first * 256 + four * 16).cast());
            let rows = [row(0), row(1), row(2), row(3)];
            for (half, &indices) in pairs.iter().enumerate() {
                let low = _mm512_permutex2var_epi8(rows[0], indices, rows[1]);
                let high = _mm512_permutex2var_epi8(rows[2], indices, rows[3]);
                for (odd, &indices) in fours.iter().enumerate() {
                    let pixel = four % 4 * 16 + four / 4 * 4 + half * 2 + odd;
                    if pixel < pixels {
                        let bytes = _mm512_permutex2var_epi8(low, indices, high);
                        _mm512_mask_storeu_epi8(to.add(pixel * to_stride).cast(), mask, bytes);
                    }
                }
            }
        }
    }
}

/// # Safety
/// As `scalar::transpose`, on a CPU with AVX-512 F.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn transpose(rows: &[*const u8; 16], to: *mut u32, to_stride: usize) {
    // SAFETY: the caller's.
    unsafe {
        let zero = _mm512_setzero_si512();
        let (mut a, mut b) = ([zero; 16], [zero; 16]);
        for (row, a) in rows.iter().zip(&mut a) {
            *a = _mm512_loadu_si512(row.cast());
        }
        // Pairs of rows, then fours: lane l of b[4i + j] holds column 4l + j of rows 4i..4i + 4.
        for i in 0..4 {
            let [r0, r1, r2, r3] = [a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3]];
            let (low, high) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
            let (low2, high2) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
            b[4 * i] = _mm512_unpacklo_epi64(low, low2);
            b[4 * i + 1] = _mm512_unpackhi_epi64(low, low2);
            b[4 * i + 2] = _mm512_unpacklo_epi64(high, high2);
            b[4 * i + 3] = _mm512_unpackhi_epi64(high, high2);
        }
        // Then 4 by 4 of lanes.
        for j in 0..4 {
            let [l0, l1, l2, l3] = [b[j], b[4 + j], b[8 + j], b[12 + j]];
            let even = _mm512_shuffle_i32x4::<0b10_00_10_00>(l0, l1);
            let odd = _mm512_shuffle_i32x4::<0b11_01_11_01>(l0, l1);
            let even2 = _mm512_shuffle_i32x4::<0b10_00_10_00>(l2, l3);
            let odd2 = _mm512_shuffle_i32x4::<0b11_01_11_01>(l2, l3);
            let columns = [
                _mm512_shuffle_i32x4::<0b10_00_10_00>(even, even2),
                _mm512_shuffle_i32x4::<0b10_00_10_00>(odd, odd2),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(even, even2),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(odd, odd2),
            ];
            for (lane, &column) in columns.iter().enumerate() {
                _mm512_storeu_si512(to.add((4 * lane + j) * to_stride).cast(), column);
            }
        }
    }
}
