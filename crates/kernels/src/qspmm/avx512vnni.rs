//! AVX-512: `vpermb` picks the inputs of sixteen outputs, `vpdpbusd` sums four products of each.

use super::blocks::{BlockTile, RowBytes};
use super::gather::{BLOCK, GatherTile, Order};
use crate::qgemm::finish::{self, Finish, Kind, Reals, Requantized};
use crate::simd::F32x16;
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
/// As `scalar::finish_block`, on a CPU with AVX-512 VBMI, F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
pub(super) unsafe fn finish_block(f: &Finish, sums: *mut i32, pixels: usize, n_cols: usize, order: Option<&Order>) {
    // SAFETY: the caller's.
    unsafe {
        match &f.kind {
            Kind::Bytes(kind) if super::is_small(kind) => {
                let order = order.unwrap_or(&Order::SAME);
                match (kind.residual.is_null(), n_cols.div_ceil(16)) {
                    (true, 1) => requantize::<false, 1>(f, kind, sums, pixels, n_cols, order),
                    (true, 2) => requantize::<false, 2>(f, kind, sums, pixels, n_cols, order),
                    (true, _) => requantize::<false, 4>(f, kind, sums, pixels, n_cols, order),
                    (false, 1) => requantize::<true, 1>(f, kind, sums, pixels, n_cols, order),
                    (false, 2) => requantize::<true, 2>(f, kind, sums, pixels, n_cols, order),
                    (false, _) => requantize::<true, 4>(f, kind, sums, pixels, n_cols, order),
                }
            }
            Kind::F32(kind) => dequantize(f, kind, sums, pixels, n_cols, order),
            _ => {
                if let Some(order) = order {
                    reorder(sums, pixels, order);
                }
                finish::finish::<F32x16>(f, sums, BLOCK, pixels, n_cols);
            }
        }
    }
}

/// 64 elements of four bytes in the order of `indices`, vector by vector.
///
/// # Safety
/// This CPU has AVX-512 F.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn ordered(from: [__m512i; 4], indices: &[u8; BLOCK]) -> [__m512i; 4] {
    std::array::from_fn(|part| {
        // SAFETY: sixteen of the indices.
        let indices = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(indices.as_ptr().add(part * 16).cast()) });
        let is_high = _mm512_test_epi32_mask(indices, _mm512_set1_epi32(32));
        let low = _mm512_permutex2var_epi32(from[0], indices, from[1]);
        let high = _mm512_permutex2var_epi32(from[2], indices, from[3]);
        _mm512_mask_mov_epi32(low, is_high, high)
    })
}

/// The first `n` of 64 elements of four bytes.
///
/// # Safety
/// They are there, and this CPU has AVX-512 F.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn load_first(from: *const i32, mask: u64) -> [__m512i; 4] {
    // SAFETY: the caller's; what is masked is not read.
    std::array::from_fn(|part| unsafe {
        _mm512_maskz_loadu_epi32((mask >> (part * 16)) as __mmask16, from.wrapping_add(part * 16))
    })
}

/// # Safety
/// `sums` holds `BLOCK` for each pixel; as [`finish_block`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
unsafe fn reorder(sums: *mut i32, pixels: usize, order: &Order) {
    for pixel in 0..pixels {
        // SAFETY: the caller's.
        unsafe {
            let at = sums.add(pixel * BLOCK);
            for (part, sums) in ordered(load_first(at, u64::MAX), &order.places).into_iter().enumerate() {
                _mm512_storeu_si512(at.add(part * 16).cast(), sums);
            }
        }
    }
}

/// Does what `finish::finish` does for real numbers, to the same bits.
///
/// # Safety
/// As [`finish_block`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
unsafe fn dequantize(f: &Finish, kind: &Reals, sums: *const i32, pixels: usize, n_cols: usize, order: Option<&Order>) {
    // SAFETY: the caller's; no more than `n_cols` elements are read or written.
    unsafe {
        let mask = if n_cols >= BLOCK { u64::MAX } else { (1 << n_cols) - 1 };
        let offsets = load_first(f.offsets, mask);
        let multipliers = load_first(kind.multipliers.cast(), mask);
        let (min, max) = (_mm512_set1_ps(kind.min), _mm512_set1_ps(kind.max));
        for pixel in 0..pixels {
            let at = pixel * f.stride;
            let mut some = load_first(sums.add(pixel * BLOCK), u64::MAX);
            if let Some(order) = order {
                some = ordered(some, &order.places);
            }
            for (part, sum) in some.into_iter().enumerate().take(n_cols.div_ceil(16)) {
                let (mask, col) = ((mask >> (part * 16)) as __mmask16, part * 16);
                let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(sum, offsets[part]));
                let mut y = _mm512_mul_ps(sum, _mm512_castsi512_ps(multipliers[part]));
                if !kind.bias.is_null() {
                    y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask, kind.bias.add(col)));
                }
                if !kind.residual.is_null() {
                    y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask, kind.residual.add(at + col)));
                }
                // NaN stays NaN.
                y = _mm512_min_ps(max, _mm512_max_ps(min, y));
                _mm512_mask_storeu_ps(kind.out.add(at + col), mask, y);
            }
        }
    }
}

/// Does what `finish::finish` does for bytes, to the same bits, in the order of the sums; the bytes are put in order.
///
/// # Safety
/// As [`finish_block`]; there is a residual if `RESIDUAL`, and no more than `16 · PARTS` columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
unsafe fn requantize<const RESIDUAL: bool, const PARTS: usize>(
    f: &Finish,
    kind: &Requantized,
    sums: *const i32,
    pixels: usize,
    n_cols: usize,
    order: &Order,
) {
    // SAFETY: the caller's; no more than `n_cols` elements are read or written.
    unsafe {
        let mask = if n_cols >= BLOCK { u64::MAX } else { (1 << n_cols) - 1 };
        let offsets = ordered(load_first(f.offsets, mask), &order.outputs);
        let multipliers = ordered(load_first(kind.multipliers.cast(), mask), &order.outputs);
        let (min, max) = (_mm512_set1_ps(kind.min), _mm512_set1_ps(kind.max));
        let shift = _mm512_set1_epi16(kind.shift as i16);
        let flip = _mm512_set1_epi8(kind.flip as i8);
        // Packing takes four sums of each vector in turn: exchange the bits of vector and four.
        let places = _mm512_loadu_si512(order.places.as_ptr().cast());
        let field = |bits: i8| _mm512_and_si512(places, _mm512_set1_epi8(bits));
        let packed_places = _mm512_or_si512(
            field(3),
            _mm512_or_si512(_mm512_slli_epi16::<2>(field(0x0C)), _mm512_srli_epi16::<2>(field(0x30))),
        );
        let outputs = _mm512_loadu_si512(order.outputs.as_ptr().cast());
        let residual_zero = _mm512_set1_ps(kind.residual_zero);
        let residual_multiplier = _mm512_set1_ps(kind.residual_multiplier);
        for pixel in 0..pixels {
            let at = pixel * f.stride;
            let residual = if RESIDUAL {
                let raw = _mm512_maskz_loadu_epi8(mask, kind.residual.add(at).cast());
                _mm512_permutexvar_epi8(outputs, raw)
            } else {
                _mm512_setzero_si512()
            };
            let residuals = [
                _mm512_castsi512_si128(residual),
                _mm512_extracti32x4_epi32::<1>(residual),
                _mm512_extracti32x4_epi32::<2>(residual),
                _mm512_extracti32x4_epi32::<3>(residual),
            ];
            let mut rounded = [_mm512_setzero_si512(); 4];
            for (part, rounded) in rounded.iter_mut().enumerate().take(PARTS) {
                let sum = _mm512_loadu_si512(sums.add(pixel * BLOCK + part * 16).cast());
                let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(sum, offsets[part]));
                let mut y = _mm512_mul_ps(sum, _mm512_castsi512_ps(multipliers[part]));
                if RESIDUAL {
                    let r = if kind.residual_flip == 0 {
                        _mm512_cvtepu8_epi32(residuals[part])
                    } else {
                        _mm512_cvtepi8_epi32(residuals[part])
                    };
                    let r = _mm512_sub_ps(_mm512_cvtepi32_ps(r), residual_zero);
                    y = _mm512_add_ps(y, _mm512_mul_ps(r, residual_multiplier));
                }
                // NaN stays NaN, which becomes the smallest integer.
                *rounded = _mm512_cvtps_epi32(_mm512_min_ps(max, _mm512_max_ps(min, y)));
            }
            let low = _mm512_adds_epi16(_mm512_packs_epi32(rounded[0], rounded[1]), shift);
            let high = _mm512_adds_epi16(_mm512_packs_epi32(rounded[2], rounded[3]), shift);
            let bytes = _mm512_permutexvar_epi8(packed_places, _mm512_packus_epi16(low, high));
            _mm512_mask_storeu_epi8(kind.out.add(at).cast(), mask, _mm512_xor_si512(bytes, flip));
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
            for half in 0..2 {
                let low = _mm512_permutex2var_epi8(rows[0], pairs[half], rows[1]);
                let high = _mm512_permutex2var_epi8(rows[2], pairs[half], rows[3]);
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
