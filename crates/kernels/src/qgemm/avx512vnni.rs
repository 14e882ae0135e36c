//! Up to 6 rows by 4 vectors of 16 i32, 12 rows where there are at most 2; `vpdpbusd` sums four products at once.

use super::avx512finish::{Bytes, Floats};
use super::finish::{self, Finish, Kind};
use super::tile::Tile;
use crate::simd::F32x16;
use std::arch::x86_64::*;

/// # Safety
/// `1 <= rows <= 6`, 12 if the panel is at most 32 wide; it is 16, 32, 48 or 64 wide; the pointers are as `Tile` says;
/// this CPU has AVX-512 VNNI, F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn run(rows: usize, panel: usize, args: &Tile<'_>) {
    macro_rules! by_rows {
        ([$($n:literal)*] [$($more:literal)*]) => {
            // SAFETY: the caller's; the tile is as large as the caller says.
            unsafe {
                match (rows, panel) {
                    $(($n, 64) => tile::<$n, 4>(args), ($n, 48) => tile::<$n, 3>(args),)*
                    $(($n, 32) => tile::<$n, 2>(args), ($n, 16) => tile::<$n, 1>(args),)*
                    $(($more, 32) => tile::<$more, 2>(args), ($more, 16) => tile::<$more, 1>(args),)*
                    _ => unreachable!("a tile of {rows} rows and {panel} columns"),
                }
            }
        };
    }
    by_rows!([1 2 3 4 5 6] [7 8 9 10 11 12])
}

/// # Safety
/// As [`run`], for `ROWS` rows and a panel of `VECTORS · 16` columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn tile<const ROWS: usize, const VECTORS: usize>(args: &Tile<'_>) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); VECTORS]; ROWS];
        let flip = _mm512_set1_epi8(args.flip as i8);
        let mut b = args.b;
        for segment in 0..args.n_segments {
            let offset = *args.offsets.add(segment);
            let a: [*const u8; ROWS] = std::array::from_fn(|row| (*args.rows.add(row)).add(offset));
            for group in 0..args.groups {
                let mut columns = [_mm512_setzero_si512(); VECTORS];
                for (vector, columns) in columns.iter_mut().enumerate() {
                    *columns = _mm512_loadu_si512(b.add(vector * 64).cast());
                }
                for (a, sums) in a.iter().zip(&mut sums) {
                    let x = _mm512_set1_epi32(a.add(group * 4).cast::<i32>().read_unaligned());
                    let x = _mm512_xor_epi32(x, flip);
                    for (sum, &columns) in sums.iter_mut().zip(&columns) {
                        *sum = _mm512_dpbusd_epi32(*sum, x, columns);
                    }
                }
                b = b.add(VECTORS * 64);
            }
        }
        match args.finish {
            Some(Finish { kind: Kind::Bytes(kind), offsets, stride }) => {
                Bytes::<VECTORS>::new(kind, *offsets, args.n_cols).store(&sums, 0, *stride);
            }
            Some(Finish { kind: Kind::F32(kind), offsets, stride }) => {
                Floats::<VECTORS>::new(kind, *offsets, args.n_cols).store(&sums, *stride);
            }
            _ => {
                for (row, sums) in sums.iter().enumerate() {
                    for (vector, &sum) in sums.iter().enumerate() {
                        _mm512_storeu_si512(args.sums.add((row * VECTORS + vector) * 16).cast(), sum);
                    }
                }
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
