//! AVX-512: `vpermb` picks the inputs of sixteen outputs, `vpdpbusd` sums four products of each.

use super::blocks::{BlockTile, RowBytes};
use super::gather::{BLOCK, GatherTile};
use std::arch::x86_64::*;

/// # Safety
/// `1 <= pixels <= 8`, one or two sets of 16 outputs, the pointers are as `GatherTile` says, and this CPU has
/// AVX-512 VNNI, VBMI, F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
pub(super) unsafe fn gather(pixels: usize, sets: usize, t: &GatherTile) {
    macro_rules! by_pixels {
        ($($n:literal)*) => {
            // SAFETY: the caller's; the tile is as large as the caller says.
            unsafe {
                match (pixels, sets) {
                    (1, 1) => gather_one::<1>(t),
                    (1, 2) => gather_one::<2>(t),
                    $(($n, 1) => gather_tile::<$n, 1>(t), ($n, 2) => gather_tile::<$n, 2>(t),)*
                    _ => unreachable!("{pixels} pixels, {sets} sets"),
                }
            }
        };
    }
    by_pixels!(2 3 4 5 6 7 8)
}

/// # Safety
/// As [`gather`], for `P` pixels and `SETS` sets.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn gather_tile<const P: usize, const SETS: usize>(t: &GatherTile) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); SETS]; P];
        let (mut starts, mut round) = (t.starts, t.rounds);
        for run in 0..t.n_runs {
            let offset = *t.run_offsets.add(run);
            for _ in 0..*t.run_rounds.add(run) {
                let at = offset + *starts as usize;
                let (mut indices, mut weights) = ([_mm512_setzero_si512(); SETS], [_mm512_setzero_si512(); SETS]);
                for set in 0..SETS {
                    indices[set] = _mm512_loadu_si512(round.add(set * 64).cast());
                    weights[set] = _mm512_loadu_si512(round.add((SETS + set) * 64).cast());
                }
                for (pixel, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_loadu_si512((*t.pixels.add(pixel)).add(at).cast());
                    for set in 0..SETS {
                        sums[set] =
                            _mm512_dpbusd_epi32(sums[set], _mm512_permutexvar_epi8(indices[set], x), weights[set]);
                    }
                }
                starts = starts.add(1);
                round = round.add(SETS * 128);
            }
        }
        for (pixel, sums) in sums.iter().enumerate() {
            for (set, &sum) in sums.iter().enumerate() {
                _mm512_storeu_si512(t.sums.add(pixel * BLOCK + set * 16).cast(), sum);
            }
        }
    }
}

/// One pixel: four sums a set, so that products do not wait for each other.
///
/// # Safety
/// As [`gather`], for `SETS` sets.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn gather_one<const SETS: usize>(t: &GatherTile) {
    const CHAINS: usize = 4;
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); SETS]; CHAINS];
        let (mut starts, mut round) = (t.starts, t.rounds);
        for run in 0..t.n_runs {
            let x = (*t.pixels).add(*t.run_offsets.add(run));
            let step = |sums: &mut [__m512i; SETS], start: u32, round: *const u8| {
                let x = _mm512_loadu_si512(x.add(start as usize).cast());
                for (set, sum) in sums.iter_mut().enumerate() {
                    let indices = _mm512_loadu_si512(round.add(set * 64).cast());
                    let weights = _mm512_loadu_si512(round.add((SETS + set) * 64).cast());
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_permutexvar_epi8(indices, x), weights);
                }
            };
            let rounds = *t.run_rounds.add(run) as usize;
            for _ in 0..rounds / CHAINS {
                for (chain, sums) in sums.iter_mut().enumerate() {
                    step(sums, *starts.add(chain), round.add(chain * SETS * 128));
                }
                starts = starts.add(CHAINS);
                round = round.add(CHAINS * SETS * 128);
            }
            for _ in 0..rounds % CHAINS {
                step(&mut sums[0], *starts, round);
                starts = starts.add(1);
                round = round.add(SETS * 128);
            }
        }
        for set in 0..SETS {
            let sum = sums.iter().fold(_mm512_setzero_si512(), |sum, chain| _mm512_add_epi32(sum, chain[set]));
            _mm512_storeu_si512(t.sums.add(set * 16).cast(), sum);
        }
    }
}

/// # Safety
/// `1 <= vectors <= 8`, the pointers are as `BlockTile` says, and this CPU has AVX-512 VNNI, F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn blocks(vectors: usize, t: &BlockTile) {
    macro_rules! by_vectors {
        ($($n:literal)*) => {
            // SAFETY: the caller's.
            unsafe {
                match vectors {
                    $($n => block_rows::<$n>(t),)*
                    _ => unreachable!("{vectors} vectors"),
                }
            }
        };
    }
    by_vectors!(1 2 3 4 5 6 7 8)
}

/// # Safety
/// As [`blocks`], for `V` vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn block_rows<const V: usize>(t: &BlockTile) {
    // SAFETY: the caller's.
    unsafe {
        let mut block = *t.bounds as usize;
        for index in 0..t.rows {
            let to = t.sums.add(usize::from(*t.order.add(index)) * V * 16);
            let mut sums = [_mm512_setzero_si512(); V];
            if t.accumulate {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_loadu_si512(to.add(vector * 16).cast());
                }
            }
            let end = *t.bounds.add(index + 1) as usize;
            while block < end {
                let weights = _mm512_set1_epi32(t.weights.add(block).cast::<i32>().read_unaligned());
                let x = t.slab.add(usize::from(*t.quads.add(block)) * V * 16);
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_loadu_si512(x.add(vector * 16).cast()), weights);
                }
                block += 1;
            }
            if let Some(bytes) = &t.bytes {
                requantize_row(&sums, usize::from(*t.order.add(index)), bytes);
                continue;
            }
            for (vector, &sum) in sums.iter().enumerate() {
                _mm512_storeu_si512(to.add(vector * 16).cast(), sum);
            }
        }
    }
}

/// Does what `finish::finish` does for bytes without a residual, to the same bits, to the sums of one output.
///
/// # Safety
/// As [`blocks`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn requantize_row<const V: usize>(sums: &[__m512i; V], row: usize, bytes: &RowBytes) {
    // SAFETY: the caller's.
    unsafe {
        let offset = _mm512_set1_epi32(*bytes.offsets.add(row));
        let multiplier = _mm512_set1_ps(*bytes.multipliers.add(row));
        let (min, max) = (_mm512_set1_ps(bytes.min), _mm512_set1_ps(bytes.max));
        let (shift, flip) = (_mm512_set1_epi16(bytes.shift), _mm512_set1_epi8(bytes.flip as i8));
        for (part, sums) in sums.chunks(4).enumerate() {
            let mut rounded = [_mm512_setzero_si512(); 4];
            for (rounded, &sum) in rounded.iter_mut().zip(sums) {
                let y = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(sum, offset)), multiplier);
                *rounded = _mm512_cvtps_epi32(_mm512_min_ps(max, _mm512_max_ps(min, y)));
            }
            let low = _mm512_adds_epi16(_mm512_packs_epi32(rounded[0], rounded[1]), shift);
            let high = _mm512_adds_epi16(_mm512_packs_epi32(rounded[2], rounded[3]), shift);
            let packed = _mm512_xor_si512(_mm512_packus_epi16(low, high), flip);
            let to = bytes.to.add((row * V.div_ceil(4) + part) * 64);
            _mm512_storeu_si512(to.cast(), packed);
        }
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
