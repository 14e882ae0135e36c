//! The loop over one panel, written once for all instruction sets.

use super::{Bits, VECTORS};
use crate::simd::Lanes;

/// Some rows of the left side and one panel of `VECTORS · N` columns.
pub(super) struct Panel {
    /// `rows` rows of `k`.
    pub a: *const f32,
    pub rows: usize,
    pub k: usize,
    /// Codes that share a scale.
    pub group: usize,
    pub bits: Bits,
    /// `k` rows of a panel.
    pub codes: *const u8,
    /// A panel for each group.
    pub scales: *const f32,
    /// As the scales, or null.
    pub zeros: *const f32,
    /// Sums of `a`, one a group in each row; null without zero points.
    pub group_sums: *const f32,
    /// Written: `rows` rows of a panel.
    pub sums: *mut f32,
}

/// # Safety
/// The pointers are as the fields of `panel` say, it has `ROWS` rows, and this CPU has the instruction set of `V`.
#[inline(always)]
pub(super) unsafe fn panel<V: Lanes, const ROWS: usize>(panel: &Panel) {
    // SAFETY: the caller's.
    unsafe {
        match panel.bits {
            Bits::Eight => decoded::<V, ROWS>(panel, V::N * VECTORS, |codes| {
                std::array::from_fn(|vector| V::load_i8(codes.add(vector * V::N).cast()))
            }),
            Bits::Four => decoded::<V, ROWS>(panel, V::N * VECTORS / 2, |codes| {
                let ([a, b], [c, d]) = (V::load_halves(codes), V::load_halves(codes.add(V::N)));
                [a, b, c, d]
            }),
        }
    }
}

/// `decode` makes a row of the panel of `row_bytes` bytes.
///
/// # Safety
/// As [`panel`].
#[inline(always)]
unsafe fn decoded<V: Lanes, const ROWS: usize>(
    panel: &Panel,
    row_bytes: usize,
    decode: impl Fn(*const u8) -> [V; VECTORS],
) {
    let n_groups = panel.k.div_ceil(panel.group);
    // SAFETY: the caller's.
    unsafe {
        let mut totals = [[V::splat(0.0); VECTORS]; ROWS];
        let mut codes = panel.codes;
        for group in 0..n_groups {
            let ks = group * panel.group..panel.k.min((group + 1) * panel.group);
            let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
            for k in ks {
                let column = decode(codes);
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = V::splat(*panel.a.add(row * panel.k + k));
                    for (sum, &column) in sums.iter_mut().zip(&column) {
                        *sum = x.mul_add(column, *sum);
                    }
                }
                codes = codes.add(row_bytes);
            }
            for vector in 0..VECTORS {
                let at = (group * VECTORS + vector) * V::N;
                let scale = V::load(panel.scales.add(at));
                for (row, (totals, sums)) in totals.iter_mut().zip(&sums).enumerate() {
                    let mut sum = sums[vector];
                    if !panel.zeros.is_null() {
                        let less = V::splat(-*panel.group_sums.add(row * n_groups + group));
                        sum = less.mul_add(V::load(panel.zeros.add(at)), sum);
                    }
                    totals[vector] = sum.mul_add(scale, totals[vector]);
                }
            }
        }
        for (row, totals) in totals.iter().enumerate() {
            for (vector, total) in totals.iter().enumerate() {
                total.store(panel.sums.add((row * VECTORS + vector) * V::N));
            }
        }
    }
}
