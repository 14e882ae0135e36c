//! 6 rows by 8 columns; bytes are widened to 16 bits, because `vpmaddubsw` would saturate.

use super::finish::{self, Finish};
use super::tile::Band;
use crate::simd::F32x8;
use std::arch::x86_64::*;

/// # Safety
/// `1 <= n_rows <= 6`, the panel is 4 or 8 wide, the pointers are as `Band` says, and this CPU has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn run(args: &Band<'_>) {
    macro_rules! by_rows {
        ($($n:literal)*) => {
            // SAFETY: the caller's; the tile is as large as the caller says.
            unsafe {
                match (args.n_rows, args.width) {
                    $(($n, 4) => tile::<$n, 1>(args), ($n, _) => tile::<$n, 2>(args),)*
                    _ => unreachable!("a tile of {} rows", args.n_rows),
                }
            }
        };
    }
    by_rows!(1 2 3 4 5 6)
}

/// # Safety
/// As [`run`], for `ROWS` rows and a panel of `VECTORS · 4` columns.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn tile<const ROWS: usize, const VECTORS: usize>(args: &Band<'_>) {
    // SAFETY: the caller's.
    unsafe {
        // Two partial sums a column side by side, four columns a vector.
        let mut sums = [[_mm256_setzero_si256(); VECTORS]; ROWS];
        let flip = _mm_set1_epi8(args.flip as i8);
        let a: [*const u8; ROWS] = std::array::from_fn(|row| *args.rows.add(row));
        for group in 0..args.n_groups {
            let (offset, b) = (*args.offsets.add(group), args.b.add(group * VECTORS * 16));
            let mut columns = [_mm256_setzero_si256(); VECTORS];
            for (vector, columns) in columns.iter_mut().enumerate() {
                *columns = _mm256_cvtepi8_epi16(_mm_loadu_si128(b.add(vector * 16).cast()));
            }
            for (a, sums) in a.iter().zip(&mut sums) {
                let four = _mm_set1_epi32(a.add(offset).cast::<i32>().read_unaligned());
                let x = _mm256_cvtepu8_epi16(_mm_xor_si128(four, flip));
                for (sum, &columns) in sums.iter_mut().zip(&columns) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x, columns));
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (vector, &sum) in sums.iter().enumerate() {
                let pairs = _mm256_hadd_epi32(sum, sum);
                let ordered = _mm256_permute4x64_epi64::<0b1000>(pairs);
                let to = args.sums.add(row * VECTORS * 4 + vector * 4).cast();
                _mm_storeu_si128(to, _mm256_castsi256_si128(ordered));
            }
        }
    }
}

/// # Safety
/// As `finish::finish`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn finish(f: &Finish, sums: *const i32, stride: usize, rows: usize, n_cols: usize) {
    // SAFETY: the caller's.
    unsafe { finish::finish::<F32x8>(f, sums, stride, rows, n_cols) }
}

/// # Safety
/// As `depthwise::row`, on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn depthwise(row: &super::depthwise::Row<'_>) {
    // SAFETY: the caller's.
    unsafe {
        let finish = |sums, x, col, n| finish(&row.finish.at(x, col), sums, 0, 1, n);
        if row.channels < 32 {
            super::depthwise::row::<16>(row, finish);
        } else {
            super::depthwise::row::<32>(row, finish);
        }
    }
}
