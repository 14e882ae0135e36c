//! Eight lanes: AVX2 and FMA.

use super::Lanes;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct F32x8(pub(crate) __m256);

/// Eight all-ones words, then eight zeros: a mask of the first `n` starts at `8 - n`.
static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// # Safety
/// `n <= 8`, and this CPU has AVX2.
#[inline(always)]
unsafe fn first(n: usize) -> __m256i {
    debug_assert!(n <= 8);
    // SAFETY: 8 - n + 8 <= 16 words are there.
    unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - n).cast()) }
}

/// # Safety
/// This CPU has AVX2.
#[inline(always)]
unsafe fn set_bits(mask: u32) -> __m256i {
    // SAFETY: the caller's.
    unsafe {
        let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(mask as i32), bits), bits)
    }
}

// SAFETY of all the blocks below: the contract of `Lanes`.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one contract, stated at the trait")]
impl Lanes for F32x8 {
    const N: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Self(_mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(_mm256_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        unsafe { Self(_mm256_maskload_ps(from, first(n))) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        unsafe { _mm256_maskstore_ps(to, first(n), self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(_mm256_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        unsafe { Self(_mm256_sub_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { Self(_mm256_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        unsafe { Self(_mm256_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        unsafe { Self(_mm256_sqrt_ps(self.0)) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        unsafe { Self(_mm256_fmadd_ps(self.0, b.0, c.0)) }
    }
    // x86 max and min return their second operand if either is NaN.
    #[inline(always)]
    unsafe fn at_least(self, limit: Self) -> Self {
        unsafe { Self(_mm256_max_ps(limit.0, self.0)) }
    }
    #[inline(always)]
    unsafe fn at_most(self, limit: Self) -> Self {
        unsafe { Self(_mm256_min_ps(limit.0, self.0)) }
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        unsafe { Self(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0)) }
    }
    #[inline(always)]
    unsafe fn copysign(self, sign: Self) -> Self {
        unsafe {
            let mask = _mm256_set1_ps(-0.0);
            Self(_mm256_or_ps(_mm256_and_ps(mask, sign.0), _mm256_andnot_ps(mask, self.0)))
        }
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        unsafe { Self(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    unsafe fn ldexp(self, n: Self) -> Self {
        // Three factors, because 2^n itself may be outside f32 where the product is not.
        unsafe {
            let power = |n| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))));
            let n = _mm256_cvtps_epi32(n.0);
            let quarter = _mm256_srai_epi32::<2>(n);
            let rest = _mm256_sub_epi32(n, _mm256_slli_epi32::<1>(quarter));
            let half_rest = _mm256_srai_epi32::<1>(rest);
            let once = _mm256_mul_ps(self.0, power(_mm256_slli_epi32::<1>(quarter)));
            let twice = _mm256_mul_ps(once, power(half_rest));
            Self(_mm256_mul_ps(twice, power(_mm256_sub_epi32(rest, half_rest))))
        }
    }
    #[inline(always)]
    unsafe fn if_less(self, limit: Self, yes: Self, no: Self) -> Self {
        unsafe { Self(_mm256_blendv_ps(no.0, yes.0, _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, limit.0))) }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
    #[inline(always)]
    unsafe fn prefetch(at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    unsafe fn lookup(self, table: &[f32; 16]) -> Self {
        unsafe {
            // The permutation looks at three bits; the fourth chooses the half of the table.
            let index = _mm256_castps_si256(self.0);
            let low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table.as_ptr()), index);
            let high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table.as_ptr().add(8)), index);
            Self(_mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index))))
        }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        unsafe {
            let mut pairs = [_mm256_setzero_ps(); 8];
            for row in (0..8).step_by(2) {
                let a = _mm256_loadu_ps(from.add(row * from_stride));
                let b = _mm256_loadu_ps(from.add((row + 1) * from_stride));
                pairs[row] = _mm256_unpacklo_ps(a, b);
                pairs[row + 1] = _mm256_unpackhi_ps(a, b);
            }
            // Quads of four rows: column `c` in the low half, column `c + 4` in the high one.
            let mut quads = [_mm256_setzero_ps(); 8];
            for half in [0, 4] {
                for c in 0..2 {
                    let (a, b) = (pairs[half + c], pairs[half + c + 2]);
                    quads[half + 2 * c] = _mm256_shuffle_ps::<0x44>(a, b);
                    quads[half + 2 * c + 1] = _mm256_shuffle_ps::<0xEE>(a, b);
                }
            }
            for c in 0..4 {
                let (a, b) = (quads[c], quads[c + 4]);
                _mm256_storeu_ps(to.add(c * to_stride), _mm256_permute2f128_ps::<0x20>(a, b));
                _mm256_storeu_ps(to.add((c + 4) * to_stride), _mm256_permute2f128_ps::<0x31>(a, b));
            }
        }
    }
    #[inline(always)]
    unsafe fn store_u8(self, to: *mut u8) {
        unsafe {
            let clamped = self.at_least(Self::splat(0.0)).at_most(Self::splat(255.0));
            let words = _mm256_max_epi32(_mm256_cvtps_epi32(clamped.0), _mm256_setzero_si256());
            let halves = _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storel_epi64(to.cast(), _mm_packus_epi16(halves, halves));
        }
    }
    #[inline(always)]
    unsafe fn load_i32_sum(a: *const i32, b: *const i32) -> Self {
        unsafe {
            Self(_mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_loadu_si256(a.cast()), _mm256_loadu_si256(b.cast()))))
        }
    }
    #[inline(always)]
    unsafe fn load_halves(from: *const u8) -> [Self; 2] {
        unsafe {
            let bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()));
            let eight = _mm256_set1_epi32(8);
            let half = |x| Self(_mm256_cvtepi32_ps(_mm256_sub_epi32(x, eight)));
            [half(_mm256_and_si256(bytes, _mm256_set1_epi32(15))), half(_mm256_srli_epi32::<4>(bytes))]
        }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self {
        unsafe { Self(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        unsafe { Self(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_where(self, from: *const f32, mask: u32) -> Self {
        unsafe {
            let mask = set_bits(mask);
            Self(_mm256_blendv_ps(self.0, _mm256_maskload_ps(from, mask), _mm256_castsi256_ps(mask)))
        }
    }
    #[inline(always)]
    unsafe fn store_where(self, to: *mut f32, mask: u32) {
        unsafe { _mm256_maskstore_ps(to, set_bits(mask), self.0) }
    }
    #[inline(always)]
    unsafe fn load_even_where(self, from: *const f32, mask: u32) -> Self {
        unsafe {
            let lanes = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
            Self(_mm256_mask_i32gather_ps::<4>(self.0, from, lanes, _mm256_castsi256_ps(set_bits(mask))))
        }
    }
    #[inline(always)]
    unsafe fn pick(table: *const f32, picks: *const u8) -> Self {
        unsafe {
            let picks = _mm256_cvtepu8_epi32(_mm_loadl_epi64(picks.cast()));
            let low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), picks);
            let high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table.add(8)), picks);
            // The sign bit chooses: 8 becomes it.
            Self(_mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(picks))))
        }
    }
    #[inline(always)]
    unsafe fn transpose_square(square: &mut [Self]) {
        unsafe {
            let mut a = [_mm256_setzero_ps(); 8];
            // 4 x 4 inside each half of a vector, then the halves.
            for i in 0..2 {
                let [r0, r1, r2, r3] = [0, 1, 2, 3].map(|j| square[4 * i + j].0);
                let (t0, t1) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
                let (t2, t3) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
                a[4 * i] = _mm256_shuffle_ps::<0x44>(t0, t2);
                a[4 * i + 1] = _mm256_shuffle_ps::<0xEE>(t0, t2);
                a[4 * i + 2] = _mm256_shuffle_ps::<0x44>(t1, t3);
                a[4 * i + 3] = _mm256_shuffle_ps::<0xEE>(t1, t3);
            }
            for i in 0..4 {
                square[i] = Self(_mm256_permute2f128_ps::<0x20>(a[i], a[4 + i]));
                square[4 + i] = Self(_mm256_permute2f128_ps::<0x31>(a[i], a[4 + i]));
            }
        }
    }
}
