//! AVX-512: from sums to what is stored, 64 outputs at a time, to the same bits as `finish::finish`.

use super::gather::{BLOCK, Order};
use crate::qgemm::finish::{self, Finish, Kind, Reals, Requantized};
use crate::simd::F32x16;
use crate::simd::each_vector;
use std::arch::x86_64::*;

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
    each_vector!(4, |part| {
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
    unsafe {
        each_vector!(4, |part| {
            _mm512_maskz_loadu_epi32((mask >> (part * 16)) as __mmask16, from.wrapping_add(part * 16))
        })
    }
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
        let [low, high] = kind.bytes_clamp();
        let (lowest, highest) = (_mm512_set1_epi8(low as i8), _mm512_set1_epi8(high as i8));
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
                // What is small can be clamped as bytes. NaN stays NaN, which becomes the smallest integer.
                let y = if kind.is_small { y } else { _mm512_min_ps(max, _mm512_max_ps(min, y)) };
                *rounded = _mm512_cvtps_epi32(y);
            }
            let low = _mm512_adds_epi16(_mm512_packs_epi32(rounded[0], rounded[1]), shift);
            let high = _mm512_adds_epi16(_mm512_packs_epi32(rounded[2], rounded[3]), shift);
            let bytes = _mm512_min_epu8(highest, _mm512_max_epu8(lowest, _mm512_packus_epi16(low, high)));
            let bytes = _mm512_permutexvar_epi8(packed_places, bytes);
            _mm512_mask_storeu_epi8(kind.out.add(at).cast(), mask, _mm512_xor_si512(bytes, flip));
        }
    }
}
