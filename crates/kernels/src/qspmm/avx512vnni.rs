//! AVX-512, vectors of outputs: `vpermb` picks their inputs, `vpdpbusd` sums four products of each.

use super::gather::{BLOCK, GatherTile};
use super::two_of_four::{CHUNK, SETS, STEP, Tile24};
use crate::simd::unrolled;
use std::arch::x86_64::*;

/// # Safety
/// `1 <= pixels <= 8`, one or two sets of 16 outputs, the pointers are as `GatherTile` says, and this CPU has
/// AVX-512 VNNI, VBMI, F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
pub(super) unsafe fn gather(pixels: usize, sets: usize, t: &GatherTile) {
    macro_rules! by_pixels {
        ($($n:literal)*) => {
            // SAFETY: the caller's; the tile is as large as the caller says.
            unsafe {
                match (pixels, sets) {
                    (1, 1) => gather_one::<1>(t),
                    (1, 2) => gather_one::<2>(t),
                    $(($n, 1) => gather_tile::<$n, 1>(t), ($n, 2) => gather_tile::<$n, 2>(t),)*
                    _ => unreachable!("{pixels} pixels, {sets} sets"),
                }
            }
        };
    }
    by_pixels!(2 3 4 5 6 7 8)
}

/// # Safety
/// As [`gather`], for `P` pixels and `SETS` sets.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn gather_tile<const P: usize, const SETS: usize>(t: &GatherTile) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); SETS]; P];
        let (mut starts, mut round) = (t.starts, t.rounds);
        for run in 0..t.n_runs {
            let offset = *t.run_offsets.add(run);
            for _ in 0..*t.run_rounds.add(run) {
                let at = offset + *starts as usize;
                let (mut indices, mut weights) = ([_mm512_setzero_si512(); SETS], [_mm512_setzero_si512(); SETS]);
                for set in 0..SETS {
                    indices[set] = _mm512_loadu_si512(round.add(set * 64).cast());
                    weights[set] = _mm512_loadu_si512(round.add((SETS + set) * 64).cast());
                }
                for (pixel, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_loadu_si512((*t.pixels.add(pixel)).add(at).cast());
                    for set in 0..SETS {
                        sums[set] =
                            _mm512_dpbusd_epi32(sums[set], _mm512_permutexvar_epi8(indices[set], x), weights[set]);
                    }
                }
                starts = starts.add(1);
                round = round.add(SETS * 128);
            }
        }
        for (pixel, sums) in sums.iter().enumerate() {
            for (set, &sum) in sums.iter().enumerate() {
                _mm512_storeu_si512(t.sums.add(pixel * BLOCK + set * 16).cast(), sum);
            }
        }
    }
}

/// One pixel: four sums a set, so that products do not wait for each other.
///
/// # Safety
/// As [`gather`], for `SETS` sets.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn gather_one<const SETS: usize>(t: &GatherTile) {
    const CHAINS: usize = 4;
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); SETS]; CHAINS];
        let (mut starts, mut round) = (t.starts, t.rounds);
        for run in 0..t.n_runs {
            let x = (*t.pixels).add(*t.run_offsets.add(run));
            let step = |sums: &mut [__m512i; SETS], start: u32, round: *const u8| {
                let x = _mm512_loadu_si512(x.add(start as usize).cast());
                for (set, sum) in sums.iter_mut().enumerate() {
                    let indices = _mm512_loadu_si512(round.add(set * 64).cast());
                    let weights = _mm512_loadu_si512(round.add((SETS + set) * 64).cast());
                    *sum = _mm512_dpbusd_epi32(*sum, _mm512_permutexvar_epi8(indices, x), weights);
                }
            };
            let rounds = *t.run_rounds.add(run) as usize;
            for _ in 0..rounds / CHAINS {
                for (chain, sums) in sums.iter_mut().enumerate() {
                    step(sums, *starts.add(chain), round.add(chain * SETS * 128));
                }
                starts = starts.add(CHAINS);
                round = round.add(CHAINS * SETS * 128);
            }
            for _ in 0..rounds % CHAINS {
                step(&mut sums[0], *starts, round);
                starts = starts.add(1);
                round = round.add(SETS * 128);
            }
        }
        for set in 0..SETS {
            let sum = sums.iter().fold(_mm512_setzero_si512(), |sum, chain| _mm512_add_epi32(sum, chain[set]));
            _mm512_storeu_si512(t.sums.add(set * 16).cast(), sum);
        }
    }
}

/// # Safety
/// `1 <= pixels <= 8`, the pointers are as `Tile24` says, and this CPU has AVX-512 VNNI, VBMI, F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
pub(super) unsafe fn two_of_four(pixels: usize, t: &Tile24) {
    // SAFETY: the caller's.
    unsafe {
        match pixels {
            1 => tile_24::<1>(t),
            2 => tile_24::<2>(t),
            3 => tile_24::<3>(t),
            4 => tile_24::<4>(t),
            5 => tile_24::<5>(t),
            6 => tile_24::<6>(t),
            7 => tile_24::<7>(t),
            8 => tile_24::<8>(t),
            _ => unreachable!("{pixels} pixels"),
        }
    }
}

/// # Safety
/// As [`two_of_four`], for `P` pixels.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn tile_24<const P: usize>(t: &Tile24) {
    // SAFETY: the caller's.
    unsafe {
        // Two sums where there are few pixels, so that products do not wait for each other.
        let mut sums = [[[_mm512_setzero_si512(); 2]; SETS]; P];
        let mut data = t.data;
        // Byte `j` of lane `i` of each pair is bits `32 i + 2 j` and on of the pair's choices.
        let fields = _mm512_set1_epi64(0x26_24_22_20_06_04_02_00);
        let two_bits = _mm512_set1_epi8(3);
        let quads = _mm512_set1_epi32(0x0404_0000);
        for run in 0..t.passes * t.n_runs {
            let mut offset = *t.run_offsets.add(run % t.n_runs);
            for first in (0..t.steps).step_by(CHUNK) {
                let mut choices = [_mm512_setzero_si512(); SETS];
                unrolled!(SETS, at most 4, |set| choices[set] = _mm512_loadu_si512(data.add(set * 64).cast()));
                data = data.add(SETS * 64);
                unrolled!(CHUNK, at most 4, |step| if first + step < t.steps {
                    let fields = _mm512_add_epi8(fields, _mm512_set1_epi8(8 * step as i8));
                    let places = _mm512_add_epi8(quads, _mm512_set1_epi8(8 * step as i8));
                    let (mut indices, mut weights) = (choices, choices);
                    unrolled!(SETS, at most 4, |set| {
                        let bits = _mm512_multishift_epi64_epi8(fields, choices[set]);
                        // `bits & 3 | place`.
                        indices[set] = _mm512_ternarylogic_epi32::<0xEA>(bits, two_bits, places);
                        weights[set] = _mm512_loadu_si512(data.add(set * 64).cast());
                    });
                    data = data.add(SETS * 64);
                    unrolled!(P, at most 8, |pixel| {
                        let x = _mm256_loadu_si256((*t.pixels.add(pixel)).add(offset).cast());
                        let x = _mm512_castsi256_si512(x);
                        unrolled!(SETS, at most 4, |set| {
                            let to = if P > 2 { 0 } else { step % 2 };
                            let picked = _mm512_permutexvar_epi8(indices[set], x);
                            sums[pixel][set][to] = _mm512_dpbusd_epi32(sums[pixel][set][to], picked, weights[set]);
                        });
                    });
                });
                offset += CHUNK * STEP;
            }
        }
        unrolled!(P, at most 8, |pixel| {
            unrolled!(SETS, at most 4, |set| {
                let sum = _mm512_add_epi32(sums[pixel][set][0], sums[pixel][set][1]);
                _mm512_storeu_si512(t.sums.add(pixel * BLOCK + set * 16).cast(), sum);
            });
        });
    }
}
