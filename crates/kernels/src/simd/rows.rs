//! Rows that end in the middle of a vector.

use super::Lanes;

/// The vector at `i` of `n` floats, zeros after them. A mask that is computed costs more than the choice.
///
/// # Safety
/// As [`Lanes`]; `i < n`.
#[inline(always)]
pub(crate) unsafe fn load<V: Lanes>(from: *const f32, i: usize, n: usize) -> V {
    // SAFETY: the caller's.
    unsafe { if i + V::N <= n { V::load(from.add(i)) } else { V::load_first(from.add(i), n - i) } }
}

/// The opposite of [`load`].
///
/// # Safety
/// As [`load`].
#[inline(always)]
pub(crate) unsafe fn store<V: Lanes>(x: V, to: *mut f32, i: usize, n: usize) {
    // SAFETY: the caller's.
    unsafe { if i + V::N <= n { x.store(to.add(i)) } else { x.store_first(to.add(i), n - i) } }
}

/// `x` with zeros from element `n` of the row on, if `i` is where the vector is.
///
/// # Safety
/// As [`load`].
#[inline(always)]
pub(crate) unsafe fn inside<V: Lanes>(x: V, i: usize, n: usize) -> V {
    // SAFETY: the caller's; no vector has more than 16 lanes.
    unsafe {
        if i + V::N <= n {
            return x;
        }
        let mut lanes = [0.0; 16];
        x.store_first(lanes.as_mut_ptr(), n - i);
        V::load(lanes.as_ptr())
    }
}

/// Sums of `$K` expressions over a row of `$n`, each in four vectors, so that additions do not wait for each other; the lanes
/// are added in a fixed order. A macro, because closures are compiled for the CPU that every machine has.
macro_rules! row_sums {
    ($V:ident, $K:literal, $n:expr, |$i:ident| $values:expr) => {{
        let n: usize = $n;
        let mut sums = [[$V::splat(0.0); 4]; $K];
        let mut at = 0;
        while at + 4 * $V::N <= n {
            for v in 0..4 {
                let $i = at + v * $V::N;
                let values: [$V; $K] = $values;
                for k in 0..$K {
                    sums[k][v] = sums[k][v].add(values[k]);
                }
            }
            at += 4 * $V::N;
        }
        while at < n {
            let $i = at;
            let values: [$V; $K] = $values;
            for k in 0..$K {
                sums[k][0] = sums[k][0].add($crate::simd::rows::inside(values[k], at, n));
            }
            at += $V::N;
        }
        let mut totals = [0.0f32; $K];
        for k in 0..$K {
            totals[k] = sums[k][0].add(sums[k][1]).add(sums[k][2].add(sums[k][3])).sum();
        }
        totals
    }};
}
pub(crate) use row_sums;
