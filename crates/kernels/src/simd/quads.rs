//! Vectors of f32 as groups of four adjacent lanes, for weights that come in groups of four inputs.

use super::Lanes;

/// Vectors of whole groups of four.
///
/// # Safety
/// As [`Lanes`].
pub(crate) trait Quads: Lanes {
    /// As many choices of one of four as there are lanes, one after the other: two bits each, sixteen a lane.
    type Choices: Copy;

    /// Lanes `4 i` to `4 i + 3` are the floats at `from + 4 · at[i]`.
    unsafe fn load_quads(from: *const f32, at: *const u16) -> Self;
    /// Writes the `N / 4` sums of the groups.
    unsafe fn store_quad_sums(self, to: *mut f32);
    /// All groups are the four floats at `from`.
    unsafe fn splat_quad(from: *const f32) -> Self;
    unsafe fn load_choices(from: *const u32) -> Self::Choices;
    /// Leaves the first choice of each lane out.
    unsafe fn next(choices: Self::Choices) -> Self::Choices;
    /// Of its group, each lane becomes the one of its first choice.
    unsafe fn choose(self, choices: Self::Choices) -> Self;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Quads;
    use crate::simd::{F32x8, F32x16};
    use std::arch::x86_64::*;

    // SAFETY of all blocks: the contract of `Lanes`.
    #[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all: the contract of `Lanes`")]
    impl Quads for F32x16 {
        type Choices = __m512i;

        #[inline(always)]
        unsafe fn load_quads(from: *const f32, at: *const u16) -> Self {
            unsafe {
                // As one word: read one by one, the compiler makes a vector of them and takes it apart again.
                let at = at.cast::<u64>().read_unaligned();
                let quad = |i: u32| _mm_loadu_ps(from.add(4 * usize::from((at >> (16 * i)) as u16)));
                let low = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(quad(0)), quad(1));
                let high = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(quad(2)), quad(3));
                Self(_mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high))
            }
        }
        #[inline(always)]
        unsafe fn store_quad_sums(self, to: *mut f32) {
            unsafe {
                let pairs = _mm512_add_ps(self.0, _mm512_permute_ps::<0b10_11_00_01>(self.0));
                let sums = _mm512_add_ps(pairs, _mm512_permute_ps::<0b01_00_11_10>(pairs));
                let sums = _mm512_maskz_compress_ps(0x1111, sums);
                _mm_storeu_ps(to, _mm512_castps512_ps128(sums));
            }
        }
        #[inline(always)]
        unsafe fn splat_quad(from: *const f32) -> Self {
            unsafe { Self(_mm512_broadcast_f32x4(_mm_loadu_ps(from))) }
        }
        #[inline(always)]
        unsafe fn load_choices(from: *const u32) -> __m512i {
            unsafe { _mm512_loadu_si512(from.cast()) }
        }
        #[inline(always)]
        unsafe fn next(choices: __m512i) -> __m512i {
            unsafe { _mm512_srli_epi32::<2>(choices) }
        }
        #[inline(always)]
        unsafe fn choose(self, choices: __m512i) -> Self {
            unsafe { Self(_mm512_permutevar_ps(self.0, choices)) }
        }
    }

    // SAFETY of all blocks: the contract of `Lanes`.
    #[allow(clippy::undocumented_unsafe_blocks, reason = "one reason for all: the contract of `Lanes`")]
    impl Quads for F32x8 {
        type Choices = __m256i;

        #[inline(always)]
        unsafe fn load_quads(from: *const f32, at: *const u16) -> Self {
            unsafe {
                let at = at.cast::<u32>().read_unaligned();
                let quad = |i: u32| _mm_loadu_ps(from.add(4 * usize::from((at >> (16 * i)) as u16)));
                Self(_mm256_insertf128_ps::<1>(_mm256_castps128_ps256(quad(0)), quad(1)))
            }
        }
        #[inline(always)]
        unsafe fn store_quad_sums(self, to: *mut f32) {
            unsafe {
                let pairs = _mm256_hadd_ps(self.0, self.0);
                let sums = _mm256_hadd_ps(pairs, pairs);
                let sums = _mm_unpacklo_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps::<1>(sums));
                _mm_storel_pd(to.cast(), _mm_castps_pd(sums));
            }
        }
        #[inline(always)]
        unsafe fn splat_quad(from: *const f32) -> Self {
            unsafe { Self(_mm256_broadcast_ps(&_mm_loadu_ps(from))) }
        }
        #[inline(always)]
        unsafe fn load_choices(from: *const u32) -> __m256i {
            unsafe { _mm256_loadu_si256(from.cast()) }
        }
        #[inline(always)]
        unsafe fn next(choices: __m256i) -> __m256i {
            unsafe { _mm256_srli_epi32::<2>(choices) }
        }
        #[inline(always)]
        unsafe fn choose(self, choices: __m256i) -> Self {
            unsafe { Self(_mm256_permutevar_ps(self.0, choices)) }
        }
    }
}
