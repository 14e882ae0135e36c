//! AVX2: windows of 16 bytes, eight outputs a vector; bytes are widened to 16 bits, because `vpmaddubsw` would saturate.

use super::blocks::BlockTile;
use super::gather::{BLOCK, GatherTile, Order};
use crate::qgemm::finish::{self, Finish};
use crate::simd::F32x8;
use std::arch::x86_64::*;

/// # Safety
/// `1 <= pixels <= 4`, one or two sets of 8 outputs, the pointers are as `GatherTile` says, and this CPU has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn gather(pixels: usize, sets: usize, t: &GatherTile) {
    macro_rules! by_pixels {
        ($($n:literal)*) => {
            // SAFETY: the caller's; the tile is as large as the caller says.
            unsafe {
                match (pixels, sets) {
                    $(($n, 1) => gather_tile::<$n, 1>(t), ($n, 2) => gather_tile::<$n, 2>(t),)*
                    _ => unreachable!("{pixels} pixels, {sets} sets"),
                }
            }
        };
    }
    by_pixels!(1 2 3 4)
}

/// Bytes 0 and 2 of each four of `x` as 16 bits, then 1 and 3.
///
/// # Safety
/// This CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
fn halves(x: __m256i) -> [__m256i; 2] {
    [_mm256_and_si256(x, _mm256_set1_epi16(0xFF)), _mm256_srli_epi16::<8>(x)]
}

/// As [`halves`], of signed bytes.
///
/// # Safety
/// This CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
fn signed_halves(x: __m256i) -> [__m256i; 2] {
    [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x)), _mm256_srai_epi16::<8>(x)]
}

/// `sum` plus the four products of each lane.
///
/// # Safety
/// This CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
fn add_products(sum: __m256i, x: [__m256i; 2], weights: [__m256i; 2]) -> __m256i {
    let products = _mm256_add_epi32(_mm256_madd_epi16(x[0], weights[0]), _mm256_madd_epi16(x[1], weights[1]));
    _mm256_add_epi32(sum, products)
}

/// # Safety
/// As [`gather`], for `P` pixels and `SETS` sets.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn gather_tile<const P: usize, const SETS: usize>(t: &GatherTile) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[_mm256_setzero_si256(); SETS]; P];
        let (mut starts, mut round) = (t.starts, t.rounds);
        for run in 0..t.n_runs {
            let offset = *t.run_offsets.add(run);
            for _ in 0..*t.run_rounds.add(run) {
                let at = offset + *starts as usize;
                for set in 0..SETS {
                    let indices = _mm256_loadu_si256(round.add(set * 32).cast());
                    let weights = signed_halves(_mm256_loadu_si256(round.add((SETS + set) * 32).cast()));
                    for (pixel, sums) in sums.iter_mut().enumerate() {
                        let x = _mm_loadu_si128((*t.pixels.add(pixel)).add(at).cast());
                        let picked = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(x), indices);
                        sums[set] = add_products(sums[set], halves(picked), weights);
                    }
                }
                starts = starts.add(1);
                round = round.add(SETS * 64);
            }
        }
        for (pixel, sums) in sums.iter().enumerate() {
            for (set, &sum) in sums.iter().enumerate() {
                _mm256_storeu_si256(t.sums.add(pixel * BLOCK + set * 8).cast(), sum);
            }
        }
    }
}

/// # Safety
/// `1 <= vectors <= 4`, the pointers are as `BlockTile` says, and this CPU has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn blocks(vectors: usize, t: &BlockTile) {
    // SAFETY: the caller's.
    unsafe {
        match vectors {
            1 => block_rows::<2>(t),
            2 => block_rows::<4>(t),
            3 => block_rows::<6>(t),
            4 => block_rows::<8>(t),
            _ => unreachable!("{vectors} vectors"),
        }
    }
}

/// # Safety
/// As [`blocks`], for `V` vectors of 8.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn block_rows<const V: usize>(t: &BlockTile) {
    // SAFETY: the caller's.
    unsafe {
        let mut block = *t.bounds as usize;
        for index in 0..t.rows {
            let to = t.sums.add(usize::from(*t.order.add(index)) * V * 8);
            let mut sums = [_mm256_setzero_si256(); V];
            if t.accumulate {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm256_loadu_si256(to.add(vector * 8).cast());
                }
            }
            let end = *t.bounds.add(index + 1) as usize;
            while block < end {
                let four = t.weights.add(block).cast::<i32>().read_unaligned();
                let weights = signed_halves(_mm256_set1_epi32(four));
                let x = t.slab.add(usize::from(*t.quads.add(block)) * V * 8);
                for (vector, sum) in sums.iter_mut().enumerate() {
                    let x = halves(_mm256_loadu_si256(x.add(vector * 8).cast()));
                    *sum = add_products(*sum, x, weights);
                }
                block += 1;
            }
            for (vector, &sum) in sums.iter().enumerate() {
                _mm256_storeu_si256(to.add(vector * 8).cast(), sum);
            }
        }
    }
}

/// # Safety
/// As `scalar::finish_block`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn finish_block(f: &Finish, sums: *mut i32, pixels: usize, n_cols: usize, order: Option<&Order>) {
    // SAFETY: the caller's.
    unsafe {
        if let Some(order) = order {
            super::scalar::reorder(sums, pixels, order);
        }
        finish::finish::<F32x8>(f, sums, BLOCK, pixels, n_cols);
    }
}
