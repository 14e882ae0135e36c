//! 13 rows by 2 vectors of 16 i32; `vpdpbusd` sums four products at once.

use super::finish::{self, Finish};
use super::tile::{ROW_STRIDE, Tile};
use crate::simd::F32x16;
use std::arch::x86_64::*;

/// # Safety
/// `1 <= rows <= 13`, the panel is 16 or 32 wide, the pointers are as `Tile` says, and this CPU has AVX-512 VNNI, F, BW.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn run(rows: usize, panel: usize, args: &Tile) {
    macro_rules! by_rows {
        ($($n:literal)*) => {
            // SAFETY: the caller's; the tile is as large as the caller says.
            unsafe {
                match (rows, panel) {
                    $(($n, 16) => tile::<$n, 1>(args), ($n, _) => tile::<$n, 2>(args),)*
                    _ => unreachable!("a tile of {rows} rows"),
                }
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13)
}

/// # Safety
/// As [`run`], for `ROWS` rows and a panel of `VECTORS · 16` columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn tile<const ROWS: usize, const VECTORS: usize>(args: &Tile) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); VECTORS]; ROWS];
        if args.accumulate {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_loadu_si512(args.sums.add(row * args.sums_stride + vector * 16).cast());
                }
            }
        }
        let (mut a, mut b) = (args.a, args.b);
        for _ in 0..args.groups {
            let mut column = [_mm512_setzero_si512(); VECTORS];
            for (vector, column) in column.iter_mut().enumerate() {
                *column = _mm512_loadu_si512(b.add(vector * 64).cast());
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_epi32(a.add(row * ROW_STRIDE).cast::<i32>().read_unaligned());
                for (sum, &column) in sums.iter_mut().zip(&column) {
                    *sum = _mm512_dpbusd_epi32(*sum, x, column);
                }
            }
            a = a.add(4);
            b = b.add(VECTORS * 64);
        }
        for (row, sums) in sums.iter().enumerate() {
            for (vector, &sum) in sums.iter().enumerate() {
                _mm512_storeu_si512(args.sums.add(row * args.sums_stride + vector * 16).cast(), sum);
            }
        }
    }
}

/// # Safety
/// As `finish::finish`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn finish(f: &Finish, sums: *const i32, stride: usize, rows: usize, n_cols: usize) {
    // SAFETY: the caller's.
    unsafe { finish::finish::<F32x16>(f, sums, stride, rows, n_cols) }
}

/// # Safety
/// As `depthwise::row`, on a CPU with AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn depthwise(row: &super::depthwise::Row<'_>) {
    // SAFETY: the caller's.
    unsafe {
        let finish = |sums, x, col, n| finish(&row.finish.at(x, col), sums, 0, 1, n);
        match row.channels {
            ..32 => super::depthwise::row::<16>(row, finish),
            32..64 => super::depthwise::row::<32>(row, finish),
            _ => super::depthwise::row::<64>(row, finish),
        }
    }
}
