//! AVX2: bytes become 16 bits, because sums of two products of bytes would not fit there.

use super::lanes::{self, Part, Quads};
use crate::simd::{F32x8, Lanes};
use std::arch::x86_64::*;

/// # Safety
/// As `lanes::part`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn part(part: &Part<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::part::<F32x8>(part) }
}

// SAFETY of all the blocks below: the contract of `Quads`.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one contract, stated at the trait")]
impl Quads for F32x8 {
    const PANEL: usize = 16;
    type Sums = __m256i;

    #[inline(always)]
    unsafe fn load_sums(from: *const i32, shift: i32) -> __m256i {
        unsafe { _mm256_add_epi32(_mm256_set1_epi32(shift), _mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn store_sums(sums: __m256i, to: *mut i32) {
        unsafe { _mm256_storeu_si256(to.cast(), sums) }
    }
    #[inline(always)]
    unsafe fn dot(sums: __m256i, quad: *const u8, columns: *const i8) -> __m256i {
        unsafe {
            let quad = _mm256_cvtepu8_epi16(_mm_set1_epi32(quad.cast::<i32>().read_unaligned()));
            let half = |i: usize| _mm256_cvtepi8_epi16(_mm_loadu_si128(columns.add(16 * i).cast()));
            let (low, high) = (_mm256_madd_epi16(quad, half(0)), _mm256_madd_epi16(quad, half(1)));
            // Pairs of columns: 0, 2, 1, 3.
            let products = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high));
            _mm256_add_epi32(sums, products)
        }
    }
    #[inline(always)]
    unsafe fn to_f32(sums: __m256i) -> Self {
        unsafe { Self(_mm256_cvtepi32_ps(sums)) }
    }
    #[inline(always)]
    unsafe fn high_bits(self) -> Self {
        unsafe { Self(_mm256_castsi256_ps(_mm256_srli_epi32::<4>(_mm256_castps_si256(self.0)))) }
    }
    #[inline(always)]
    unsafe fn fraction(self) -> Self {
        unsafe { Self(_mm256_sub_ps(self.0, _mm256_floor_ps(self.0))) }
    }
    #[inline(always)]
    unsafe fn raise(self, by: Self) -> Self {
        // Lower powers are 0 too.
        unsafe { self.ldexp(Self(_mm256_floor_ps(by.0)).at_least(Self::splat(-200.0))) }
    }
    #[inline(always)]
    unsafe fn store_code(self, to: *mut u8) {
        unsafe { self.store_u8(to) }
    }
}
