//! The tiles of `gemm::avx512`, with pairs of bf16 for elements.

use super::bf16;
use crate::conv::windows::Windows;
use crate::gemm::driver::Tiles;
use crate::gemm::tile::{Run, Terms, Tile, tile};
use crate::simd::{F32x16, Lanes};
use std::ops::Range;

/// The products of a pair.
struct Pair;

impl Terms<F32x16> for Pair {
    #[inline(always)]
    unsafe fn add(x: F32x16, column: F32x16, sum: F32x16) -> F32x16 {
        // SAFETY: the caller's.
        unsafe { x.dot_pairs(column, sum) }
    }
}

/// # Safety
/// As `gemm::avx512::run`, on a CPU that also has AVX-512 BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
pub(super) unsafe fn run(rows: usize, panel: usize, args: &Tile) {
    macro_rules! by_rows {
        ($($n:literal)*; $($narrow:literal)*) => {
            // SAFETY: the caller's; the tile is as large as the caller says.
            unsafe {
                match (rows, panel) {
                    $(($n, 16) => tile::<F32x16, Pair, $n, 1>(args), ($n, _) => tile::<F32x16, Pair, $n, 2>(args),)*
                    $(($narrow, 16) => tile::<F32x16, Pair, $narrow, 1>(args),)*
                    _ => unreachable!("a tile of {rows} rows"),
                }
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13; 14 15 16 17 18 19 20 21 22 23 24 25 26)
}

/// # Safety
/// This CPU has AVX-512 F, BW, DQ, VL, BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
pub(super) unsafe fn locate(windows: &Windows<'_>, tiles: &Tiles, ks: Range<usize>, to: &mut [Run]) {
    windows.locate(tiles, ks, to);
}

/// # Safety
/// This CPU has AVX-512 F, BW, DQ, VL, BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
pub(super) unsafe fn round(from: &[f32], to: &mut [f32]) {
    const STEP: usize = 2 * F32x16::N;
    let (blocks, rest) = from.as_chunks::<STEP>();
    let (whole, rest_to) = to.split_at_mut(blocks.len() * F32x16::N);
    for (from, to) in blocks.iter().zip(whole.as_chunks_mut::<{ F32x16::N }>().0) {
        // SAFETY: a block is two vectors, its pairs are one.
        unsafe {
            F32x16::to_pairs(F32x16::load(from.as_ptr()), F32x16::load(from[F32x16::N..].as_ptr()))
                .store(to.as_mut_ptr());
        }
    }
    bf16::round_pairs(rest, rest_to);
}
