//! AVX2: windows of 16 bytes, eight outputs a vector; bytes are widened to 16 bits, because `vpmaddubsw` would saturate.

use super::blocks::BlockTile;
use super::blocks4x1::{LINE, ROWS, Tile4x1};
use super::gather::{BLOCK, GatherTile, Order};
use super::two_of_four::{CHUNK, SETS, STEP, Tile24};
use crate::qgemm::finish::{self, Finish};
use crate::simd::{F32x8, unrolled};
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
/// `1 <= pixels <= 4`, the pointers are as `Tile24` says, and this CPU has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn two_of_four(pixels: usize, t: &Tile24) {
    // SAFETY: the caller's.
    unsafe {
        match pixels {
            1 => tile_24::<1>(t),
            2 => tile_24::<2>(t),
            3 => tile_24::<3>(t),
            4 => tile_24::<4>(t),
            _ => unreachable!("{pixels} pixels"),
        }
    }
}

/// The lowest byte of each lane as four indices: its fields of two bits, the latter two of them from 4 on.
///
/// # Safety
/// This CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
fn indices(choices: __m256i) -> __m256i {
    let field = |bits: i32| _mm256_and_si256(choices, _mm256_set1_epi32(bits));
    let low = _mm256_or_si256(field(0x03), _mm256_slli_epi32::<6>(field(0x0C)));
    let high = _mm256_or_si256(_mm256_slli_epi32::<12>(field(0x30)), _mm256_slli_epi32::<18>(field(0xC0)));
    _mm256_or_si256(_mm256_or_si256(low, high), _mm256_set1_epi32(0x0404_0000))
}

/// # Safety
/// As [`two_of_four`], for `P` pixels.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn tile_24<const P: usize>(t: &Tile24) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[_mm256_setzero_si256(); SETS]; P];
        let mut data = t.data;
        for run in 0..t.passes * t.n_runs {
            let offset = *t.run_offsets.add(run % t.n_runs);
            let mut choices = [_mm256_setzero_si256(); SETS];
            for step in 0..t.steps {
                if step % CHUNK == 0 {
                    unrolled!(SETS, at most 4, |set| choices[set] = _mm256_loadu_si256(data.add(set * 32).cast()));
                    data = data.add(SETS * 32);
                }
                unrolled!(SETS, at most 4, |set| {
                    let indices = indices(choices[set]);
                    choices[set] = _mm256_srli_epi32::<8>(choices[set]);
                    let weights = signed_halves(_mm256_loadu_si256(data.add(set * 32).cast()));
                    unrolled!(P, at most 4, |pixel| {
                        let x = _mm_loadl_epi64((*t.pixels.add(pixel)).add(offset + step * STEP).cast());
                        let picked = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(x), indices);
                        sums[pixel][set] = add_products(sums[pixel][set], halves(picked), weights);
                    });
                });
                data = data.add(SETS * 32);
            }
        }
        unrolled!(P, at most 4, |pixel| {
            unrolled!(SETS, at most 4, |set| {
                _mm256_storeu_si256(t.sums.add(pixel * BLOCK + set * 8).cast(), sums[pixel][set]);
            });
        });
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
        for index in 0..t.to.rows {
            let to = t.to.sums.add(usize::from(*t.order.add(index)) * V * 8);
            let mut sums = [_mm256_setzero_si256(); V];
            if t.to.accumulate {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm256_loadu_si256(to.add(vector * 8).cast());
                }
            }
            let end = *t.bounds.add(index + 1) as usize;
            while block < end {
                let four = t.weights.add(block).cast::<i32>().read_unaligned();
                let weights = signed_halves(_mm256_set1_epi32(four));
                let x = t.to.slab.add(usize::from(*t.quads.add(block)) * V * 8);
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
/// The pointers are as `Tile4x1` says for `1 <= vectors <= 4`, and this CPU has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn blocks_4x1(vectors: usize, t: &Tile4x1) {
    // SAFETY: the caller's.
    unsafe {
        for index in 0..t.groups {
            let steps = [*t.bounds.add(index), *t.bounds.add(index + 1)].map(|at| at as usize);
            for vector in 0..vectors {
                // Low halves of what is interleaved are the even vectors.
                match vector % 2 {
                    0 => group_4x1::<false>(t, index, steps, [vector, vectors]),
                    _ => group_4x1::<true>(t, index, steps, [vector, vectors]),
                }
            }
        }
    }
}

/// Sixteen pixels of one group of rows.
///
/// # Safety
/// As [`blocks_4x1`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn group_4x1<const IS_HIGH: bool>(
    t: &Tile4x1,
    index: usize,
    [start, end]: [usize; 2],
    [vector, vectors]: [usize; 2],
) {
    // SAFETY: the caller's.
    unsafe {
        let slab = t.to.slab.cast::<u8>().add(vector / 2 * 32);
        let first = usize::from(*t.order.add(index));
        let to = t.to.sums.add((first * vectors + vector) * 16);
        let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
        if t.to.accumulate {
            unrolled!(ROWS, at most 4, |row| {
                unrolled!(2, at most 4, |half| {
                    sums[row][half] = _mm256_loadu_si256(to.add(row * vectors * 16 + half * 8).cast());
                });
            });
        }
        for at in start..end {
            let step = &*t.steps.add(at);
            let mut x = [_mm256_setzero_si256(); 4];
            unrolled!(4, at most 4, |input| {
                x[input] = _mm256_loadu_si256(slab.add(step.inputs[input].into()).cast());
            });
            let (ab, cd) = if IS_HIGH {
                (_mm256_unpackhi_epi8(x[0], x[1]), _mm256_unpackhi_epi8(x[2], x[3]))
            } else {
                (_mm256_unpacklo_epi8(x[0], x[1]), _mm256_unpacklo_epi8(x[2], x[3]))
            };
            let x = [halves(_mm256_unpacklo_epi16(ab, cd)), halves(_mm256_unpackhi_epi16(ab, cd))];
            unrolled!(ROWS, at most 4, |row| {
                let weights = step.weights.as_ptr().add(row).cast::<i32>().read_unaligned();
                let weights = signed_halves(_mm256_set1_epi32(weights));
                unrolled!(2, at most 4, |half| sums[row][half] = add_products(sums[row][half], x[half], weights));
            });
        }
        unrolled!(ROWS, at most 4, |row| {
            unrolled!(2, at most 4, |half| {
                _mm256_storeu_si256(to.add(row * vectors * 16 + half * 8).cast(), sums[row][half]);
            });
        });
    }
}

/// Of each 32 pixels, pixel `8 j + 4 l + i` goes to byte `16 l + 4 j + i`: then vector `j` of what is interleaved is pixels `8 j`
/// and on.
///
/// # Safety
/// As `scalar::take_apart`, on a CPU with AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn take_apart(from: *const u32, to: *mut u8, groups: usize) {
    // SAFETY: the caller's.
    unsafe {
        // Four pixels of four inputs become four inputs of four pixels.
        let square = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        for at in 0..2 * groups {
            let (group, half) = (at / 2, at % 2 * 32);
            let from = from.add(group * LINE + half);
            let mut x = [_mm256_setzero_si256(); 4];
            unrolled!(4, at most 4, |vector| {
                x[vector] = _mm256_shuffle_epi8(_mm256_loadu_si256(from.add(vector * 8).cast()), square);
            });
            let (low, high) = (_mm256_unpacklo_epi32(x[0], x[1]), _mm256_unpackhi_epi32(x[0], x[1]));
            let (low2, high2) = (_mm256_unpacklo_epi32(x[2], x[3]), _mm256_unpackhi_epi32(x[2], x[3]));
            let inputs = [
                _mm256_unpacklo_epi64(low, low2),
                _mm256_unpackhi_epi64(low, low2),
                _mm256_unpacklo_epi64(high, high2),
                _mm256_unpackhi_epi64(high, high2),
            ];
            unrolled!(4, at most 4, |input| {
                _mm256_storeu_si256(to.add((group * 4 + input) * LINE + half).cast(), inputs[input]);
            });
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
