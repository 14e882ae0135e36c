//! Up to 6 rows by 4 vectors of 16 i32, 8 rows where there are at most 2; `vpdpbusd` sums four products at once.

use super::avx512finish::{Bytes, Floats, first16};
use super::finish::{self, Finish, Kind};
use super::tile::Band;
use crate::simd::F32x16;
use crate::simd::each_vector;
use std::arch::x86_64::*;

/// # Safety
/// The panel is 16, 32, 48 or 64 wide; the pointers are as `Band` says; without a finish there are at most 6 rows, 8
/// if the panel is at most 32 wide; this CPU has AVX-512 VNNI, F, BW, DQ, VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn run(band: &Band<'_>) {
    // SAFETY: the caller's.
    unsafe {
        match band.width {
            64 => run_wide::<4>(band),
            48 => run_wide::<3>(band),
            32 => run_narrow::<2>(band),
            _ => run_narrow::<1>(band),
        }
    }
}

/// Calls `tiles(rows, first row, number of tiles)` with nearly equal tiles of at most `max` rows, the larger ones first.
#[inline(always)]
fn cut(n_rows: usize, max: usize, mut tiles: impl FnMut(usize, usize, usize)) {
    let n_tiles = n_rows.div_ceil(max);
    if n_tiles == 0 {
        return;
    }
    let (rows, n_larger) = (n_rows / n_tiles, n_rows % n_tiles);
    if n_larger > 0 {
        tiles(rows + 1, 0, n_larger);
    }
    tiles(rows, n_larger * (rows + 1), n_tiles - n_larger);
}

macro_rules! by_rows {
    ($name:ident, [$($n:literal)*]) => {
        /// # Safety
        /// As [`run`], for a panel of `VECTORS · 16` columns.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        unsafe fn $name<const VECTORS: usize>(band: &Band<'_>) {
            cut(band.n_rows, const { [$($n),*].len() }, |rows, first, n_tiles| {
                // SAFETY: the caller's; the tiles have as many rows as they say.
                unsafe {
                    match rows {
                        $($n => tiles::<$n, VECTORS>(band, first, n_tiles),)*
                        _ => unreachable!("a tile of {rows} rows"),
                    }
                }
            });
        }
    };
}

by_rows!(run_wide, [1 2 3 4 5 6]);
by_rows!(run_narrow, [1 2 3 4 5 6 7 8]);

/// `n_tiles` tiles of `ROWS` rows each.
///
/// # Safety
/// As [`run`], for a panel of `VECTORS · 16` columns, of which these rows exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn tiles<const ROWS: usize, const VECTORS: usize>(band: &Band<'_>, first: usize, n_tiles: usize) {
    let rows = (0..n_tiles).map(|tile| first + tile * ROWS);
    // SAFETY: the caller's.
    unsafe {
        match band.finish {
            Some(Finish { kind: Kind::Bytes(kind), offsets, stride }) => {
                let (bytes, offsets) = (Bytes::<VECTORS>::new(kind, band.n_cols), masked(*offsets, band.n_cols));
                for row in rows {
                    bytes.store(&sum_tile::<ROWS, VECTORS>(band, row, &offsets), row * stride, *stride);
                }
            }
            Some(Finish { kind: Kind::F32(kind), offsets, stride }) => {
                let (floats, offsets) = (Floats::<VECTORS>::new(kind, band.n_cols), masked(*offsets, band.n_cols));
                for row in rows {
                    floats.store(&sum_tile::<ROWS, VECTORS>(band, row, &offsets), row * stride, *stride);
                }
            }
            _ => {
                for first in rows {
                    let sums = sum_tile::<ROWS, VECTORS>(band, first, &[_mm512_setzero_si512(); VECTORS]);
                    for (row, sums) in sums.iter().enumerate() {
                        for (vector, &sum) in sums.iter().enumerate() {
                            let at = ((first + row) * VECTORS + vector) * 16;
                            _mm512_storeu_si512(band.sums.add(at).cast(), sum);
                        }
                    }
                }
            }
        }
    }
}

/// Vectors of the first `n` integers at `from`, then zeros.
///
/// # Safety
/// They are there; this CPU has AVX-512 F.
#[inline(always)]
pub(super) unsafe fn masked<const VECTORS: usize>(from: *const i32, n: usize) -> [__m512i; VECTORS] {
    // SAFETY: the caller's; lanes past the last are masked.
    unsafe {
        each_vector!(VECTORS, |v| {
            _mm512_maskz_loadu_epi32(first16(n as isize - v as isize * 16), from.wrapping_add(v * 16))
        })
    }
}

/// `offsets` plus the products of rows `first .. first + ROWS`.
///
/// # Safety
/// As [`tiles`].
#[inline(always)]
unsafe fn sum_tile<const ROWS: usize, const VECTORS: usize>(
    band: &Band<'_>,
    first: usize,
    offsets: &[__m512i; VECTORS],
) -> [[__m512i; VECTORS]; ROWS] {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [*offsets; ROWS];
        let flip = _mm512_set1_epi8(band.flip as i8);
        let rows: [*const u8; ROWS] = std::array::from_fn(|row| *band.rows.add(first + row));
        let next = if band.next.is_null() {
            (*band.rows.add(if first + ROWS < band.n_rows { first + ROWS } else { first })).cast()
        } else {
            // Each of the first tiles fetches a part of the next panel.
            let fetched = first / ROWS * band.n_groups * 64;
            band.next.wrapping_add(if fetched < band.n_groups * VECTORS * 64 { fetched } else { 0 })
        };
        let mut b = band.b;
        for group in 0..band.n_groups {
            _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(group * 64));
            let offset = *band.offsets.add(group);
            let mut columns = [_mm512_setzero_si512(); VECTORS];
            for (vector, columns) in columns.iter_mut().enumerate() {
                *columns = _mm512_loadu_si512(b.add(vector * 64).cast());
            }
            for (row, sums) in rows.iter().zip(&mut sums) {
                let x = _mm512_set1_epi32(row.add(offset).cast::<i32>().read_unaligned());
                let x = _mm512_xor_epi32(x, flip);
                for (sum, &columns) in sums.iter_mut().zip(&columns) {
                    *sum = _mm512_dpbusd_epi32(*sum, x, columns);
                }
            }
            b = b.add(VECTORS * 64);
        }
        sums
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
