//! AVX-512 VNNI: `vpdpbusd` sums four products of bytes at once.

use super::lanes::{self, Part, Quads};
use crate::simd::{F32x16, Lanes};
use std::arch::x86_64::*;

/// # Safety
/// As `lanes::part`, on a CPU with AVX-512 VNNI, F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")]
pub(super) unsafe fn part(part: &Part<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::part::<F32x16>(part) }
}

// SAFETY of all the blocks below: the contract of `Quads`.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one contract, stated at the trait")]
impl Quads for F32x16 {
    const PANEL: usize = 64;
    type Sums = __m512i;

    #[inline(always)]
    unsafe fn load_sums(from: *const i32, shift: i32) -> __m512i {
        unsafe { _mm512_add_epi32(_mm512_set1_epi32(shift), _mm512_loadu_si512(from.cast())) }
    }
    #[inline(always)]
    unsafe fn store_sums(sums: __m512i, to: *mut i32) {
        unsafe { _mm512_storeu_si512(to.cast(), sums) }
    }
    #[inline(always)]
    unsafe fn dot(sums: __m512i, quad: *const u8, columns: *const i8) -> __m512i {
        unsafe {
            let quad = _mm512_set1_epi32(quad.cast::<i32>().read_unaligned());
            _mm512_dpbusd_epi32(sums, quad, _mm512_loadu_si512(columns.cast()))
        }
    }
    #[inline(always)]
    unsafe fn to_f32(sums: __m512i) -> Self {
        unsafe { Self(_mm512_cvtepi32_ps(sums)) }
    }
    #[inline(always)]
    unsafe fn high_bits(self) -> Self {
        unsafe { Self(_mm512_castsi512_ps(_mm512_srli_epi32::<4>(_mm512_castps_si512(self.0)))) }
    }
    #[inline(always)]
    unsafe fn fraction(self) -> Self {
        // The difference to the next integer below.
        unsafe { Self(_mm512_reduce_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    unsafe fn raise(self, by: Self) -> Self {
        // The instruction takes the floor of `by`.
        unsafe { Self(_mm512_scalef_ps(self.0, by.0)) }
    }
    #[inline(always)]
    unsafe fn store_code(self, to: *mut u8) {
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0))) }
    }
    #[inline(always)]
    unsafe fn store_codes(from: *const f32, factor: Self, n: usize, to: *mut u8) {
        unsafe {
            // Packing works in each quarter of a vector: its words then are of vectors 0, 1, 2, 3.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let whole = n - n % 64;
            for i in (0..whole).step_by(64) {
                let mut codes = [order; 4];
                for (vector, codes) in codes.iter_mut().enumerate() {
                    *codes = _mm512_cvtps_epi32(Self::load(from.add(i + 16 * vector)).mul(factor).0);
                }
                let low = _mm512_packus_epi32(codes[0], codes[1]);
                let high = _mm512_packus_epi32(codes[2], codes[3]);
                let bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high));
                _mm512_storeu_si512(to.add(i).cast(), bytes);
            }
            for i in (whole..n).step_by(16) {
                Self::load(from.add(i)).mul(factor).store_code(to.add(i));
            }
        }
    }
    #[inline(always)]
    unsafe fn sum_codes(from: *const u8, n: usize) -> i32 {
        unsafe {
            let (mut sums, whole) = (_mm512_setzero_si512(), n - n % 64);
            for i in (0..whole).step_by(64) {
                let codes = _mm512_loadu_si512(from.add(i).cast());
                sums = _mm512_add_epi64(sums, _mm512_sad_epu8(codes, _mm512_setzero_si512()));
            }
            if whole < n {
                let codes = _mm512_maskz_loadu_epi8((1 << (n - whole)) - 1, from.add(whole).cast());
                sums = _mm512_add_epi64(sums, _mm512_sad_epu8(codes, _mm512_setzero_si512()));
            }
            _mm512_reduce_add_epi64(sums) as i32
        }
    }
    #[inline(always)]
    unsafe fn pack_columns(from: *const u8, stride: usize, to: *mut i8, group_stride: usize) {
        unsafe {
            let mut rows = [_mm512_setzero_si512(); 4];
            for (i, row) in rows.iter_mut().enumerate() {
                // Quarter `q` is row `4 q + i`: then the 4 x 4 in each quarter are what must change places.
                let at = |quarter: usize| _mm_loadu_si128(from.add((4 * quarter + i) * stride).cast());
                let low = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(at(0)), at(1));
                let high = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(at(2)), at(3));
                *row = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
            }
            let [a, b, c, d] = rows;
            let (ab, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let (cd, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            let groups = [
                _mm512_unpacklo_epi64(ab, cd),
                _mm512_unpackhi_epi64(ab, cd),
                _mm512_unpacklo_epi64(ab_high, cd_high),
                _mm512_unpackhi_epi64(ab_high, cd_high),
            ];
            for (group, codes) in groups.into_iter().enumerate() {
                _mm512_storeu_si512(to.add(group * group_stride).cast(), codes);
            }
        }
    }
}
