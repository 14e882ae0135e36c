//! bf16 beside the f32 of [`Lanes`]: numbers that fill half a lane in memory, and pairs of them in the bits of one lane.

use super::Lanes;
use crate::bgemm::{pair, round, widen};

/// What kernels in bf16 need of a vector. All functions are `unsafe` for the reasons that [`Lanes`] gives.
pub(crate) trait Bf16: Lanes {
    /// The first `n <= N` lanes from as many bf16; the others are 0.
    unsafe fn load_bf16(from: *const u16, n: usize) -> Self;
    /// Rounds the first `n <= N` lanes as `bgemm::round` does.
    unsafe fn store_bf16(self, to: *mut u16, n: usize);
    /// Lane by lane the pair of both, rounded, `self` in the lower half.
    unsafe fn pair(self, second: Self) -> Self;
    /// Lane `i` is the pair of number `i` of both rows, which have `n[0]` and `n[1]` numbers, at most `N`; the others are 0.
    unsafe fn load_pairs(first: *const u16, second: *const u16, n: [usize; 2]) -> Self;
    /// [`Self::load_pairs`] of `2 N` numbers of both rows: pairs of the first `N`, then of the others.
    #[inline(always)]
    unsafe fn load_pairs_twice(first: *const u16, second: *const u16) -> [Self; 2] {
        // SAFETY: the caller's.
        unsafe {
            let whole = [Self::N; 2];
            [Self::load_pairs(first, second, whole), Self::load_pairs(first.add(Self::N), second.add(Self::N), whole)]
        }
    }
    /// [`Self::load_pairs`] of `N` numbers and the `N` that follow.
    #[inline(always)]
    unsafe fn load_pairs_in_one(from: *const u16) -> Self {
        // SAFETY: the caller's.
        unsafe { Self::load_pairs(from, from.add(Self::N), [Self::N; 2]) }
    }
    /// `sum` and the products of both halves of each lane.
    unsafe fn add_pairs(self, b: Self, sum: Self) -> Self;
}

// SAFETY of all the blocks below: the contract of `Bf16`.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one contract, stated at the trait")]
impl Bf16 for f32 {
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16, n: usize) -> Self {
        if n == 0 { 0.0 } else { widen(unsafe { from.read() }) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, n: usize) {
        if n > 0 {
            unsafe { to.write(round(self)) }
        }
    }
    #[inline(always)]
    unsafe fn pair(self, second: Self) -> Self {
        pair(self, second)
    }
    #[inline(always)]
    unsafe fn load_pairs(first: *const u16, second: *const u16, n: [usize; 2]) -> Self {
        let first = if n[0] == 0 { 0 } else { unsafe { first.read() } };
        let second = if n[1] == 0 { 0 } else { unsafe { second.read() } };
        f32::from_bits(u32::from(first) | u32::from(second) << 16)
    }
    #[inline(always)]
    unsafe fn add_pairs(self, b: Self, sum: Self) -> Self {
        let (x, b) = (self.to_bits(), b.to_bits());
        sum + widen(x as u16) * widen(b as u16) + widen((x >> 16) as u16) * widen((b >> 16) as u16)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Bf16;
    use crate::simd::{F32x8, F32x16, Lanes};
    use std::arch::x86_64::*;

    /// Places of pairs: `i` and `i + DISTANCE` in lane `i`.
    ///
    /// # Safety
    /// This CPU has AVX-512 F.
    #[inline(always)]
    unsafe fn places<const DISTANCE: i32>() -> __m512i {
        // SAFETY: the caller's.
        unsafe {
            let low = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            _mm512_or_si512(low, _mm512_slli_epi32::<16>(_mm512_add_epi32(low, _mm512_set1_epi32(DISTANCE))))
        }
    }

    // SAFETY of all the blocks below: the contract of `Bf16`; for `F32x16` the CPU also has AVX-512 BF16.
    #[allow(clippy::undocumented_unsafe_blocks, reason = "one contract, stated at the trait")]
    impl Bf16 for F32x16 {
        #[inline(always)]
        unsafe fn load_bf16(from: *const u16, n: usize) -> Self {
            unsafe {
                let mask = ((1u32 << n) - 1) as __mmask16;
                let halves = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from.cast()));
                Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves)))
            }
        }
        #[inline(always)]
        unsafe fn store_bf16(self, to: *mut u16, n: usize) {
            unsafe {
                let mask = ((1u32 << n) - 1) as __mmask16;
                let halves = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(self.0));
                _mm256_mask_storeu_epi16(to.cast(), mask, halves);
            }
        }
        #[inline(always)]
        unsafe fn pair(self, second: Self) -> Self {
            unsafe {
                let all = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second.0, self.0));
                Self(_mm512_castsi512_ps(_mm512_permutexvar_epi16(places::<16>(), all)))
            }
        }
        #[inline(always)]
        unsafe fn load_pairs(first: *const u16, second: *const u16, n: [usize; 2]) -> Self {
            unsafe {
                let [low, high] = [((1u32 << n[0]) - 1) as __mmask16, ((1u32 << n[1]) - 1) as __mmask16];
                let first = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(low, first.cast()));
                let second = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(high, second.cast()));
                Self(_mm512_castsi512_ps(_mm512_or_si512(first, _mm512_slli_epi32::<16>(second))))
            }
        }
        #[inline(always)]
        unsafe fn load_pairs_twice(first: *const u16, second: *const u16) -> [Self; 2] {
            unsafe {
                let (first, second) = (_mm512_loadu_si512(first.cast()), _mm512_loadu_si512(second.cast()));
                let low = places::<32>();
                let high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
                let low = _mm512_permutex2var_epi16(first, low, second);
                let high = _mm512_permutex2var_epi16(first, high, second);
                [Self(_mm512_castsi512_ps(low)), Self(_mm512_castsi512_ps(high))]
            }
        }
        #[inline(always)]
        unsafe fn load_pairs_in_one(from: *const u16) -> Self {
            unsafe {
                let both = _mm512_loadu_si512(from.cast());
                Self(_mm512_castsi512_ps(_mm512_permutexvar_epi16(places::<16>(), both)))
            }
        }
        #[inline(always)]
        unsafe fn add_pairs(self, b: Self, sum: Self) -> Self {
            unsafe { self.dot_pairs(b, sum) }
        }
    }

    /// The upper halves of the lanes, rounded as `bgemm::round` does.
    ///
    /// # Safety
    /// This CPU has AVX2.
    #[inline(always)]
    unsafe fn rounded(x: __m256) -> __m256i {
        // SAFETY: the caller's.
        unsafe {
            let bits = _mm256_castps_si256(x);
            let upper = _mm256_srli_epi32::<16>(bits);
            let is_odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
            let near = _mm256_add_epi32(bits, _mm256_add_epi32(is_odd, _mm256_set1_epi32(0x7fff)));
            let near = _mm256_srli_epi32::<16>(near);
            let exponent = _mm256_and_si256(bits, _mm256_set1_epi32(0x7f80_0000));
            let is_small = _mm256_cmpeq_epi32(exponent, _mm256_setzero_si256());
            let sign = _mm256_and_si256(upper, _mm256_set1_epi32(0x8000));
            let near = _mm256_blendv_epi8(near, sign, is_small);
            let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
            _mm256_blendv_epi8(near, _mm256_or_si256(upper, _mm256_set1_epi32(0x40)), is_nan)
        }
    }

    /// The numbers of the lower and of the upper halves.
    ///
    /// # Safety
    /// This CPU has AVX2.
    #[inline(always)]
    unsafe fn halves(pairs: F32x8) -> [F32x8; 2] {
        // SAFETY: the caller's.
        unsafe {
            let bits = _mm256_castps_si256(pairs.0);
            let high = _mm256_and_si256(bits, _mm256_set1_epi32(0xffff_0000_u32.cast_signed()));
            [F32x8(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))), F32x8(_mm256_castsi256_ps(high))]
        }
    }

    // SAFETY of all the blocks below: the contract of `Bf16`.
    #[allow(clippy::undocumented_unsafe_blocks, reason = "one contract, stated at the trait")]
    impl Bf16 for F32x8 {
        #[inline(always)]
        unsafe fn load_bf16(from: *const u16, n: usize) -> Self {
            unsafe {
                let mut room = [0u16; 8];
                let halves = if n == 8 {
                    _mm_loadu_si128(from.cast())
                } else {
                    std::ptr::copy_nonoverlapping(from, room.as_mut_ptr(), n);
                    _mm_loadu_si128(room.as_ptr().cast())
                };
                Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves))))
            }
        }
        #[inline(always)]
        unsafe fn store_bf16(self, to: *mut u16, n: usize) {
            unsafe {
                let all = rounded(self.0);
                let packed = _mm_packus_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
                if n == 8 {
                    _mm_storeu_si128(to.cast(), packed);
                } else {
                    let mut room = [0u16; 8];
                    _mm_storeu_si128(room.as_mut_ptr().cast(), packed);
                    std::ptr::copy_nonoverlapping(room.as_ptr(), to, n);
                }
            }
        }
        #[inline(always)]
        unsafe fn pair(self, second: Self) -> Self {
            unsafe {
                let second = _mm256_slli_epi32::<16>(rounded(second.0));
                Self(_mm256_castsi256_ps(_mm256_or_si256(rounded(self.0), second)))
            }
        }
        #[inline(always)]
        unsafe fn load_pairs(first: *const u16, second: *const u16, n: [usize; 2]) -> Self {
            unsafe {
                let (first, second) = (Self::load_bf16(first, n[0]), Self::load_bf16(second, n[1]));
                let first = _mm256_srli_epi32::<16>(_mm256_castps_si256(first.0));
                Self(_mm256_castsi256_ps(_mm256_or_si256(first, _mm256_castps_si256(second.0))))
            }
        }
        #[inline(always)]
        unsafe fn add_pairs(self, b: Self, sum: Self) -> Self {
            unsafe {
                let ([x0, x1], [b0, b1]) = (halves(self), halves(b));
                x1.mul_add(b1, x0.mul_add(b0, sum))
            }
        }
    }
}
