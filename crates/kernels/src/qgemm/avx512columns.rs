//! The loops of `columns` with AVX-512 VNNI.

use super::avx512finish::{Bytes, Floats};
use super::avx512vnni::masked;
use super::columns::Strip;
use super::finish::Kind;
use crate::simd::each_vector;
use std::arch::x86_64::*;

/// # Safety
/// The window gives `out_w` outputs and at least `ys.end` rows; `finish` is valid for them; `scratch` has
/// `scratch_bytes` at a multiple of 64; this CPU has AVX-512 VNNI, F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn strip(strip: &Strip<'_>, scratch: &mut [i8]) {
    // SAFETY: the caller's.
    unsafe {
        match strip.n.div_ceil(16) {
            4 => run::<4, 4>(strip, scratch),
            3 => run::<3, 4>(strip, scratch),
            2 => run::<2, 8>(strip, scratch),
            _ => run::<1, 8>(strip, scratch),
        }
    }
}

/// # Safety
/// As [`strip`], for `VECTORS · 16` channels, `PIXELS` at once.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn run<const VECTORS: usize, const PIXELS: usize>(strip: &Strip<'_>, scratch: &mut [i8]) {
    let (window, packed) = (&strip.window, strip.packed);
    // Bytes of a column.
    let width = VECTORS * 64;
    let [_, left, _, right] = window.pads;
    let padded_w = left + strip.w + right;
    let zero = (strip.pad ^ strip.flip) as i8;
    for line in scratch.chunks_exact_mut((padded_w * width).max(1)).take(packed.n_quads) {
        line[..left * width].fill(zero);
        line[(left + strip.w) * width..].fill(zero);
    }
    let pads = [strip.pad; 64];
    let weight = packed.block(strip.first, window.kernel[1]);
    let per_line = packed.n_quads * window.kernel[1] * width;
    for y in strip.ys.clone().step_by(packed.lines) {
        for quad in 0..packed.n_quads {
            let rows: [(*const u8, bool); 4] = std::array::from_fn(|row| {
                let row = y * window.stride[0] + (quad * 4 + row) * window.dilation[0];
                match row.checked_sub(window.pads[0]).filter(|&row| row < strip.h) {
                    Some(row) => (strip.image[row * strip.w * strip.channels + strip.first..].as_ptr(), true),
                    None => (pads.as_ptr(), false),
                }
            });
            let to = &mut scratch[(quad * padded_w + left) * width..][..strip.w * width];
            // SAFETY: the rows are in the image, or 64 bytes that are read again and again.
            unsafe { interleave::<VECTORS>(strip, rows, to) };
        }
        for line in 0..packed.lines.min(strip.ys.end - y) {
            // SAFETY: the caller's; these rows are interleaved.
            unsafe { sum_line::<VECTORS, PIXELS>(strip, scratch, &weight[line * per_line..], y + line) };
        }
    }
}

/// Four rows of `w` columns to words of four bytes. A row that is `false` is read again and again.
///
/// # Safety
/// As [`strip`]; the rows have `w` columns of `n` channels; `to` has `w` columns of `VECTORS · 64` bytes.
#[inline(always)]
unsafe fn interleave<const VECTORS: usize>(strip: &Strip<'_>, rows: [(*const u8, bool); 4], to: &mut [i8]) {
    let (total, to) = (strip.w * strip.n, to.as_mut_ptr());
    // SAFETY: the caller's; loads and stores are whole vectors inside of both, or masked.
    unsafe {
        if strip.n == strip.channels && strip.n == VECTORS * 16 && total >= 64 {
            // Nothing lies between the columns: they are read as one, the last 64 bytes twice if need be.
            for at in (0..total).step_by(64) {
                let at = at.min(total - 64);
                let from = rows.map(|(row, moves)| row.wrapping_add(if moves { at } else { 0 }));
                store_words::<4>(words_of(from, u64::MAX, strip.flip), to.add(at * 4));
            }
        } else if strip.n == 64 {
            for x in 0..strip.w {
                let from = rows.map(|(row, moves)| row.wrapping_add(if moves { x * strip.channels } else { 0 }));
                store_words::<4>(words_of(from, u64::MAX, strip.flip), to.add(x * 256));
            }
        } else {
            let mask = u64::MAX >> (64 - strip.n);
            for x in 0..strip.w {
                let from = rows.map(|(row, moves)| row.wrapping_add(if moves { x * strip.channels } else { 0 }));
                store_words::<VECTORS>(words_of(from, mask, strip.flip), to.add(x * VECTORS * 64));
            }
        }
    }
}

/// The first byte of each row in the first word, and so on; bytes that are masked are 0 (or `flip`).
///
/// # Safety
/// The masked bytes are there; as [`strip`].
#[inline(always)]
unsafe fn words_of(from: [*const u8; 4], mask: u64, flip: u8) -> [__m512i; 4] {
    // SAFETY: the caller's.
    unsafe {
        // Unpacking works on 16 bytes at a time; this order of words makes its results come out in order.
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let flip = _mm512_set1_epi8(flip as i8);
        let [a, b, c, d] = each_vector!(4, |row| {
            let bytes = if mask == u64::MAX {
                _mm512_loadu_si512(from[row].cast())
            } else {
                _mm512_maskz_loadu_epi8(mask, from[row].cast())
            };
            _mm512_permutexvar_epi32(order, _mm512_xor_si512(bytes, flip))
        });
        let (ab, cd) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
        let (ab_high, cd_high) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
        [
            _mm512_unpacklo_epi16(ab, cd),
            _mm512_unpackhi_epi16(ab, cd),
            _mm512_unpacklo_epi16(ab_high, cd_high),
            _mm512_unpackhi_epi16(ab_high, cd_high),
        ]
    }
}

/// # Safety
/// `N` vectors fit at `to`; as [`strip`].
#[inline(always)]
unsafe fn store_words<const N: usize>(words: [__m512i; 4], to: *mut i8) {
    for (v, &words) in words.iter().enumerate().take(N) {
        // SAFETY: the caller's.
        unsafe { _mm512_storeu_si512(to.add(v * 64).cast(), words) };
    }
}

/// # Safety
/// As [`strip`], for row `y` of the output, whose rows are interleaved in `scratch`.
#[inline(always)]
unsafe fn sum_line<const VECTORS: usize, const PIXELS: usize>(
    strip: &Strip<'_>,
    scratch: &[i8],
    weight: &[i8],
    y: usize,
) {
    let out_w = strip.out_w;
    let finish = strip.finish.at(y * out_w, 0);
    // SAFETY: the caller's.
    unsafe {
        let offsets = masked(finish.offsets, strip.n);
        // Both ways to finish have a `store` of their own.
        macro_rules! finished {
            ($way:expr) => {
                let mut x = 0;
                while x + PIXELS <= out_w {
                    let sums = sum::<VECTORS, PIXELS>(strip, scratch, weight, x, &offsets);
                    $way.store(&sums, x * finish.stride, finish.stride);
                    // The last ones are done twice rather than one at a time.
                    x = if x + PIXELS < out_w { (x + PIXELS).min(out_w.saturating_sub(PIXELS)) } else { out_w };
                }
                while x < out_w {
                    let sums = sum::<VECTORS, 1>(strip, scratch, weight, x, &offsets);
                    $way.store(&sums, x * finish.stride, finish.stride);
                    x += 1;
                }
                return;
            };
        }
        match &finish.kind {
            Kind::Bytes(kind) if kind.is_small => {
                let bytes = Bytes::<VECTORS>::new(kind, strip.n);
                finished!(bytes);
            }
            Kind::F32(kind) => {
                let floats = Floats::<VECTORS>::new(kind, strip.n);
                finished!(floats);
            }
            _ => {}
        }
        for x in 0..out_w {
            let sums = sum::<VECTORS, 1>(strip, scratch, weight, x, &[_mm512_setzero_si512(); VECTORS]);
            super::avx512vnni::finish(&finish.at(x, 0), sums.as_ptr().cast(), 0, 1, strip.n);
        }
    }
}

/// `offsets` plus the products of `PIXELS` outputs from `x` on.
///
/// # Safety
/// As [`sum_line`], for these outputs.
#[inline(always)]
unsafe fn sum<const VECTORS: usize, const PIXELS: usize>(
    strip: &Strip<'_>,
    scratch: &[i8],
    weight: &[i8],
    x: usize,
    offsets: &[__m512i; VECTORS],
) -> [[__m512i; VECTORS]; PIXELS] {
    let window = &strip.window;
    let [_, left, _, right] = window.pads;
    let width = VECTORS * 64;
    let step = window.stride[1] * width;
    // SAFETY: the caller's; the window lies inside of the padded width.
    unsafe {
        let mut sums = [*offsets; PIXELS];
        let mut weight = weight.as_ptr();
        for quad in 0..strip.packed.n_quads {
            let mut from = scratch.as_ptr().add(quad * (left + strip.w + right) * width + x * step);
            for _ in 0..window.kernel[1] {
                let taps = each_vector!(VECTORS, |v| _mm512_loadu_si512(weight.add(v * 64).cast()));
                for (pixel, sums) in sums.iter_mut().enumerate() {
                    for (v, (sum, &taps)) in sums.iter_mut().zip(&taps).enumerate() {
                        let words = _mm512_loadu_si512(from.add(pixel * step + v * 64).cast());
                        *sum = _mm512_dpbusd_epi32(*sum, words, taps);
                    }
                }
                weight = weight.add(VECTORS * 64);
                from = from.add(window.dilation[1] * width);
            }
        }
        sums
    }
}
