//! Sums in registers, offsets added, to what is stored, sixty-four columns at once: the formulas of `finish`, with the same roundings.

use super::finish::{Reals, Requantized};
use crate::simd::each_vector;
use std::arch::x86_64::*;

/// The first `n` of 16 lanes; none below 0, all from 16.
#[inline(always)]
pub(super) fn first16(n: isize) -> __mmask16 {
    ((1u32 << n.clamp(0, 16)) - 1) as __mmask16
}

/// Constants of one panel of `VECTORS · 16` columns that become bytes.
pub(super) struct Bytes<'a, const VECTORS: usize> {
    kind: &'a Requantized,
    n_cols: usize,
    multipliers: [__m512; VECTORS],
    shift: __m512i,
    low: __m512i,
    high: __m512i,
    flip: __m512i,
}

impl<'a, const VECTORS: usize> Bytes<'a, VECTORS> {
    /// # Safety
    /// `kind.is_small`; its pointers are valid for `n_cols` columns; this CPU has AVX-512 F, BW, DQ, VL.
    #[inline(always)]
    pub unsafe fn new(kind: &'a Requantized, n_cols: usize) -> Self {
        // SAFETY: the caller's; lanes past the last column are masked.
        unsafe {
            Self {
                kind,
                n_cols,
                multipliers: each_vector!(VECTORS, |v| {
                    let mask = first16(n_cols as isize - v as isize * 16);
                    _mm512_maskz_loadu_ps(mask, kind.multipliers.wrapping_add(v * 16))
                }),
                shift: _mm512_set1_epi16(kind.shift as i16),
                low: _mm512_set1_epi8((kind.min + kind.shift) as u8 as i8),
                high: _mm512_set1_epi8((kind.max + kind.shift) as u8 as i8),
                flip: _mm512_set1_epi8(kind.flip as i8),
            }
        }
    }

    /// Stores `ROWS` rows, `stride` apart, from element `at` on.
    ///
    /// # Safety
    /// As [`Self::new`], for all rows.
    #[inline(always)]
    pub unsafe fn store<const ROWS: usize>(&self, sums: &[[__m512i; VECTORS]; ROWS], at: usize, stride: usize) {
        // SAFETY: the caller's.
        unsafe {
            if self.kind.residual.is_null() {
                self.store_as::<ROWS, false>(sums, at, stride);
            } else {
                self.store_as::<ROWS, true>(sums, at, stride);
            }
        }
    }

    /// # Safety
    /// As [`Self::store`].
    #[inline(always)]
    unsafe fn store_as<const ROWS: usize, const ADD: bool>(
        &self,
        sums: &[[__m512i; VECTORS]; ROWS],
        at: usize,
        stride: usize,
    ) {
        // Written out, because an array that a loop indexes does not stay in registers.
        macro_rules! rounds {
            ($($first:literal)*) => {
                $(if $first < ROWS && $first % const { if VECTORS > 2 { 1 } else { 4 / VECTORS } } == 0 {
                    // SAFETY: the caller's; parts that do not exist are not used.
                    unsafe {
                        let parts = [
                            self.part::<ROWS, ADD>(sums, $first, 0, at, stride),
                            self.part::<ROWS, ADD>(sums, $first, 1, at, stride),
                            self.part::<ROWS, ADD>(sums, $first, 2, at, stride),
                            self.part::<ROWS, ADD>(sums, $first, 3, at, stride),
                        ];
                        self.store_round(parts, self.kind.out.wrapping_add(at + $first * stride), stride, ROWS - $first);
                    }
                })*
            };
        }
        rounds!(0 1 2 3 4 5 6 7 8 9 10 11);
    }

    /// The `slot`-th vector of those that are packed together with row `first`.
    ///
    /// # Safety
    /// As [`Self::store`].
    #[inline(always)]
    unsafe fn part<const ROWS: usize, const ADD: bool>(
        &self,
        sums: &[[__m512i; VECTORS]; ROWS],
        first: usize,
        slot: usize,
        at: usize,
        stride: usize,
    ) -> __m512i {
        let (row, v) = (first + slot / VECTORS, slot % VECTORS);
        // SAFETY: the caller's.
        unsafe {
            if row < ROWS && (VECTORS != 3 || slot < 3) {
                self.rounded::<ADD>(sums[row][v], v, at + row * stride)
            } else {
                _mm512_setzero_si512()
            }
        }
    }

    /// Stores four parts: one row, or as many as `VECTORS` leave room for, of which `n_rows` exist.
    ///
    /// # Safety
    /// As [`Self::store`].
    #[inline(always)]
    unsafe fn store_round(&self, parts: [__m512i; 4], to: *mut u8, stride: usize, n_rows: usize) {
        // SAFETY: the caller's; only rows and columns that exist are written.
        unsafe {
            let bytes = self.packed(parts);
            match VECTORS {
                4 if self.n_cols == 64 => _mm512_storeu_si512(to.cast(), bytes),
                3 | 4 => _mm512_mask_storeu_epi8(to.cast(), u64::MAX >> (64 - self.n_cols), bytes),
                2 => {
                    self.store_half(to, _mm512_castsi512_si256(bytes));
                    if n_rows > 1 {
                        self.store_half(to.wrapping_add(stride), _mm512_extracti64x4_epi64::<1>(bytes));
                    }
                }
                _ => {
                    self.store_quarter(to, _mm512_castsi512_si128(bytes));
                    if n_rows > 1 {
                        self.store_quarter(to.wrapping_add(stride), _mm512_extracti32x4_epi32::<1>(bytes));
                    }
                    if n_rows > 2 {
                        self.store_quarter(to.wrapping_add(2 * stride), _mm512_extracti32x4_epi32::<2>(bytes));
                    }
                    if n_rows > 3 {
                        self.store_quarter(to.wrapping_add(3 * stride), _mm512_extracti32x4_epi32::<3>(bytes));
                    }
                }
            }
        }
    }

    /// `round(sum · multiplier + (residual - zero) · multiplier)` of one vector of columns.
    ///
    /// # Safety
    /// As [`Self::store`]; `row` is the row's distance in elements.
    #[inline(always)]
    unsafe fn rounded<const ADD: bool>(&self, sum: __m512i, v: usize, row: usize) -> __m512i {
        // SAFETY: the caller's; lanes past the last column are masked.
        unsafe {
            let mut real = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), self.multipliers[v]);
            if ADD {
                let mask = first16(self.n_cols as isize - v as isize * 16);
                let from = self.kind.residual.wrapping_add(row + v * 16);
                let bytes = _mm_maskz_loadu_epi8(mask, from.cast());
                let wide = if self.kind.residual_flip == 0 {
                    _mm512_cvtepu8_epi32(bytes)
                } else {
                    _mm512_cvtepi8_epi32(bytes)
                };
                let distance = _mm512_sub_ps(_mm512_cvtepi32_ps(wide), _mm512_set1_ps(self.kind.residual_zero));
                let other = _mm512_mul_ps(distance, _mm512_set1_ps(self.kind.residual_multiplier));
                real = _mm512_add_ps(real, other);
            }
            _mm512_cvtps_epi32(real)
        }
    }

    /// Zero point, clamp and sign; four vectors become one.
    ///
    /// # Safety
    /// This CPU has AVX-512 F, BW.
    #[inline(always)]
    unsafe fn packed(&self, parts: [__m512i; 4]) -> __m512i {
        // SAFETY: the caller's.
        unsafe {
            let low = _mm512_adds_epi16(_mm512_packs_epi32(parts[0], parts[1]), self.shift);
            let high = _mm512_adds_epi16(_mm512_packs_epi32(parts[2], parts[3]), self.shift);
            let bytes = _mm512_packus_epi16(low, high);
            let bytes = _mm512_min_epu8(_mm512_max_epu8(bytes, self.low), self.high);
            // Packing works on 16 bytes at a time, so the columns lie as a transposed 4 × 4 of words.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_xor_si512(_mm512_permutexvar_epi32(order, bytes), self.flip)
        }
    }

    /// # Safety
    /// `n_cols` bytes at `to`.
    #[inline(always)]
    unsafe fn store_half(&self, to: *mut u8, bytes: __m256i) {
        // SAFETY: the caller's.
        unsafe {
            if self.n_cols == 32 {
                _mm256_storeu_si256(to.cast(), bytes);
            } else {
                _mm256_mask_storeu_epi8(to.cast(), u32::MAX >> (32 - self.n_cols), bytes);
            }
        }
    }

    /// # Safety
    /// `n_cols` bytes at `to`.
    #[inline(always)]
    unsafe fn store_quarter(&self, to: *mut u8, bytes: __m128i) {
        // SAFETY: the caller's.
        unsafe {
            if self.n_cols == 16 {
                _mm_storeu_si128(to.cast(), bytes);
            } else {
                _mm_mask_storeu_epi8(to.cast(), first16(self.n_cols as isize), bytes);
            }
        }
    }
}

/// Constants of one panel of `VECTORS · 16` columns that become f32.
pub(super) struct Floats<'a, const VECTORS: usize> {
    kind: &'a Reals,
    masks: [__mmask16; VECTORS],
    multipliers: [__m512; VECTORS],
    bias: [__m512; VECTORS],
}

impl<'a, const VECTORS: usize> Floats<'a, VECTORS> {
    /// # Safety
    /// The pointers of `kind` are valid for `n_cols` columns; this CPU has AVX-512 F, BW, DQ, VL.
    #[inline(always)]
    pub unsafe fn new(kind: &'a Reals, n_cols: usize) -> Self {
        // SAFETY: the caller's; lanes past the last column are masked.
        unsafe {
            let masks: [__mmask16; VECTORS] = each_vector!(VECTORS, |v| first16(n_cols as isize - v as isize * 16));
            Self {
                kind,
                masks,
                multipliers: each_vector!(VECTORS, |v| {
                    _mm512_maskz_loadu_ps(masks[v], kind.multipliers.wrapping_add(v * 16))
                }),
                bias: each_vector!(VECTORS, |v| {
                    let mask = if kind.bias.is_null() { 0 } else { masks[v] };
                    _mm512_maskz_loadu_ps(mask, kind.bias.wrapping_add(v * 16))
                }),
            }
        }
    }

    /// Stores `ROWS` rows, `stride` apart, from element `at` on.
    ///
    /// # Safety
    /// As [`Self::new`], for all rows.
    #[inline(always)]
    pub unsafe fn store<const ROWS: usize>(&self, sums: &[[__m512i; VECTORS]; ROWS], at: usize, stride: usize) {
        // Written out, because an array that a loop indexes does not stay in registers.
        macro_rules! rows {
            ($($row:literal)*) => {
                $(if $row < ROWS {
                    // SAFETY: the caller's.
                    unsafe {
                        self.store_vector(&sums[$row % ROWS], 0, at + $row * stride);
                        self.store_vector(&sums[$row % ROWS], 1, at + $row * stride);
                        self.store_vector(&sums[$row % ROWS], 2, at + $row * stride);
                        self.store_vector(&sums[$row % ROWS], 3, at + $row * stride);
                    }
                })*
            };
        }
        rows!(0 1 2 3 4 5 6 7 8 9 10 11);
    }

    /// Stores the `v`-th vector, if there is one, of a row that begins at `row`.
    ///
    /// # Safety
    /// As [`Self::store`].
    #[inline(always)]
    unsafe fn store_vector(&self, sums: &[__m512i; VECTORS], v: usize, row: usize) {
        if v >= VECTORS {
            return;
        }
        let (kind, at) = (self.kind, row + v * 16);
        // SAFETY: the caller's; lanes past the last column are masked.
        unsafe {
            let mut y = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[v]), self.multipliers[v]);
            if !kind.bias.is_null() {
                y = _mm512_add_ps(y, self.bias[v]);
            }
            if !kind.residual.is_null() {
                y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(self.masks[v], kind.residual.wrapping_add(at)));
            }
            // As `Lanes::at_least`: the second operand, if either is NaN.
            let y = _mm512_min_ps(_mm512_set1_ps(kind.max), _mm512_max_ps(_mm512_set1_ps(kind.min), y));
            _mm512_mask_storeu_ps(kind.out.wrapping_add(at), self.masks[v], y);
        }
    }
}
