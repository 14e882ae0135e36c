//! Sixteen lanes: AVX-512 F, BW, DQ, VL.

use super::Lanes;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct F32x16(pub(crate) __m512);

impl F32x16 {
    /// `sum` and the products of both halves of each lane, which hold a pair of bf16.
    ///
    /// # Safety
    /// This CPU has AVX-512 F and BF16.
    #[inline(always)]
    pub(crate) unsafe fn dot_pairs(self, b: Self, sum: Self) -> Self {
        use std::mem::transmute;
        // SAFETY: the caller's; the types differ in the meaning of their bits only.
        unsafe {
            Self(_mm512_dpbf16_ps(sum.0, transmute::<__m512, __m512bh>(self.0), transmute::<__m512, __m512bh>(b.0)))
        }
    }
}

#[inline(always)]
fn first(n: usize) -> __mmask16 {
    debug_assert!(n <= 16);
    ((1u32 << n) - 1) as __mmask16
}

// SAFETY of all the blocks below: the contract of `Lanes`.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one contract, stated at the trait")]
impl Lanes for F32x16 {
    const N: usize = 16;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        unsafe { Self(_mm512_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        unsafe { Self(_mm512_maskz_loadu_ps(first(n), from)) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first(n), self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        unsafe { Self(_mm512_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        unsafe { Self(_mm512_sqrt_ps(self.0)) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        unsafe { Self(_mm512_fmadd_ps(self.0, b.0, c.0)) }
    }
    // x86 max and min return their second operand if either is NaN.
    #[inline(always)]
    unsafe fn at_least(self, limit: Self) -> Self {
        unsafe { Self(_mm512_max_ps(limit.0, self.0)) }
    }
    #[inline(always)]
    unsafe fn at_most(self, limit: Self) -> Self {
        unsafe { Self(_mm512_min_ps(limit.0, self.0)) }
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        unsafe { Self(_mm512_abs_ps(self.0)) }
    }
    #[inline(always)]
    unsafe fn copysign(self, sign: Self) -> Self {
        // Truth table of `mask ? sign : self` over (mask, sign, self).
        unsafe {
            let mask = _mm512_set1_epi32(i32::MIN);
            let bits =
                _mm512_ternarylogic_epi32::<0xCA>(mask, _mm512_castps_si512(sign.0), _mm512_castps_si512(self.0));
            Self(_mm512_castsi512_ps(bits))
        }
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        unsafe { Self(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    unsafe fn ldexp(self, n: Self) -> Self {
        unsafe { Self(_mm512_scalef_ps(self.0, n.0)) }
    }
    #[inline(always)]
    unsafe fn if_less(self, limit: Self, yes: Self, no: Self) -> Self {
        unsafe { Self(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, limit.0), no.0, yes.0)) }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // `_mm512_reduce_add_ps` is a call of its own.
        unsafe {
            let eight = _mm256_add_ps(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        unsafe { _mm512_reduce_max_ps(self.0) }
    }
    #[inline(always)]
    unsafe fn prefetch(at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    unsafe fn lookup(self, table: &[f32; 16]) -> Self {
        unsafe { Self(_mm512_permutexvar_ps(_mm512_castps_si512(self.0), _mm512_loadu_ps(table.as_ptr()))) }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        unsafe {
            let mut pairs = [_mm512_setzero_ps(); 16];
            for row in (0..16).step_by(2) {
                let a = _mm512_loadu_ps(from.add(row * from_stride));
                let b = _mm512_loadu_ps(from.add((row + 1) * from_stride));
                pairs[row] = _mm512_unpacklo_ps(a, b);
                pairs[row + 1] = _mm512_unpackhi_ps(a, b);
            }
            // Quads of four rows: quarter `i` of `quads[4 · rows + c]` is column `4 i + c`.
            let mut quads = [_mm512_setzero_ps(); 16];
            for rows in (0..16).step_by(4) {
                for c in 0..2 {
                    let (a, b) = (_mm512_castps_pd(pairs[rows + c]), _mm512_castps_pd(pairs[rows + c + 2]));
                    quads[rows + 2 * c] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                    quads[rows + 2 * c + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                }
            }
            for c in 0..4 {
                let [a, b, c4, d] = [quads[c], quads[4 + c], quads[8 + c], quads[12 + c]];
                let even = [_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c4, d)];
                let odd = [_mm512_shuffle_f32x4::<0xDD>(a, b), _mm512_shuffle_f32x4::<0xDD>(c4, d)];
                for (i, [low, high]) in [even, odd].into_iter().enumerate() {
                    let first = _mm512_shuffle_f32x4::<0x88>(low, high);
                    let second = _mm512_shuffle_f32x4::<0xDD>(low, high);
                    _mm512_storeu_ps(to.add((4 * i + c) * to_stride), first);
                    _mm512_storeu_ps(to.add((4 * i + c + 8) * to_stride), second);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn store_u8(self, to: *mut u8) {
        unsafe {
            // Clamped before the conversion, which turns what does not fit (and NaN) into i32::MIN.
            let clamped = self.at_least(Self::splat(0.0)).at_most(Self::splat(255.0));
            let bytes = _mm512_cvtusepi32_epi8(_mm512_max_epi32(_mm512_cvtps_epi32(clamped.0), _mm512_setzero_si512()));
            _mm_storeu_si128(to.cast(), bytes);
        }
    }
    #[inline(always)]
    unsafe fn load_i32_sum(a: *const i32, b: *const i32) -> Self {
        unsafe {
            Self(_mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_loadu_si512(a.cast()), _mm512_loadu_si512(b.cast()))))
        }
    }
    #[inline(always)]
    unsafe fn load_halves(from: *const u8) -> [Self; 2] {
        unsafe {
            // The permutation looks at four bits of an index, so it takes the half and converts it in one.
            let values = _mm512_set_ps(7., 6., 5., 4., 3., 2., 1., 0., -1., -2., -3., -4., -5., -6., -7., -8.);
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            let high = _mm512_srli_epi32::<4>(bytes);
            [Self(_mm512_permutexvar_ps(bytes, values)), Self(_mm512_permutexvar_ps(high, values))]
        }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self {
        unsafe { Self(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        unsafe { Self(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_where(self, from: *const f32, mask: u32) -> Self {
        unsafe { Self(_mm512_mask_loadu_ps(self.0, mask as __mmask16, from)) }
    }
    #[inline(always)]
    unsafe fn store_where(self, to: *mut f32, mask: u32) {
        unsafe { _mm512_mask_storeu_ps(to, mask as __mmask16, self.0) }
    }
    #[inline(always)]
    unsafe fn load_even_where(self, from: *const f32, mask: u32) -> Self {
        // Even lanes of two vectors; odd ones are not touched, they may lie outside.
        unsafe {
            let even = |half: u32| {
                let pairs = (half & 0xF) | (half & 0xF0) << 4;
                let pairs = (pairs & 0x0303) | (pairs & 0x0C0C) << 2;
                ((pairs & 0x1111) | (pairs & 0x2222) << 1) as __mmask16
            };
            let low = _mm512_maskz_loadu_ps(even(mask), from);
            let high = _mm512_maskz_loadu_ps(even(mask >> 8), from.wrapping_add(16));
            let lanes = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            Self(_mm512_mask_blend_ps(mask as __mmask16, self.0, _mm512_permutex2var_ps(low, lanes, high)))
        }
    }
    #[inline(always)]
    unsafe fn pick(table: *const f32, picks: *const u8) -> Self {
        unsafe {
            let picks = _mm512_cvtepu8_epi32(_mm_loadu_si128(picks.cast()));
            Self(_mm512_permutex2var_ps(_mm512_loadu_ps(table), picks, _mm512_loadu_ps(table.add(16))))
        }
    }
    #[inline(always)]
    unsafe fn transpose_square(square: &mut [Self]) {
        unsafe {
            let mut a = [_mm512_setzero_ps(); 16];
            // 4 x 4 inside each quarter of a vector, then the quarters.
            for i in 0..4 {
                let [r0, r1, r2, r3] = [0, 1, 2, 3].map(|j| square[4 * i + j].0);
                let (t0, t1) = (_mm512_unpacklo_ps(r0, r1), _mm512_unpackhi_ps(r0, r1));
                let (t2, t3) = (_mm512_unpacklo_ps(r2, r3), _mm512_unpackhi_ps(r2, r3));
                a[4 * i] = _mm512_shuffle_ps::<0x44>(t0, t2);
                a[4 * i + 1] = _mm512_shuffle_ps::<0xEE>(t0, t2);
                a[4 * i + 2] = _mm512_shuffle_ps::<0x44>(t1, t3);
                a[4 * i + 3] = _mm512_shuffle_ps::<0xEE>(t1, t3);
            }
            for i in 0..4 {
                let (t0, t1) =
                    (_mm512_shuffle_f32x4::<0x88>(a[i], a[4 + i]), _mm512_shuffle_f32x4::<0xDD>(a[i], a[4 + i]));
                let (t2, t3) = (
                    _mm512_shuffle_f32x4::<0x88>(a[8 + i], a[12 + i]),
                    _mm512_shuffle_f32x4::<0xDD>(a[8 + i], a[12 + i]),
                );
                square[i] = Self(_mm512_shuffle_f32x4::<0x88>(t0, t2));
                square[8 + i] = Self(_mm512_shuffle_f32x4::<0xDD>(t0, t2));
                square[4 + i] = Self(_mm512_shuffle_f32x4::<0x88>(t1, t3));
                square[12 + i] = Self(_mm512_shuffle_f32x4::<0xDD>(t1, t3));
            }
        }
    }
}
