//! Loops over a block of a matrix of channels, written once for all instruction sets.
//!
//! Columns are taken four vectors at a time, so that what belongs to a channel stays in registers. Elements are f32 or bf16, what
//! belongs to a channel is f32.

use super::Half;
use crate::simd::{Bf16, Lanes, each_vector};

/// Elements in memory that become vectors of f32.
pub(super) trait Load<V>: Copy {
    /// # Safety
    /// `len <= V::N` elements at `from`, `V::N` of them if there are several vectors; as [`Lanes`].
    unsafe fn load<const R: usize>(from: *const Self, len: usize) -> V;

    /// # Safety
    /// As [`Self::load`].
    unsafe fn store<const R: usize>(x: V, to: *mut Self, len: usize);
}

impl<V: Lanes> Load<V> for f32 {
    #[inline(always)]
    unsafe fn load<const R: usize>(from: *const Self, len: usize) -> V {
        // SAFETY: the caller's.
        unsafe { load::<V, R>(from, len) }
    }
    #[inline(always)]
    unsafe fn store<const R: usize>(x: V, to: *mut Self, len: usize) {
        // SAFETY: the caller's.
        unsafe { store::<V, R>(x, to, len) }
    }
}

impl<V: Bf16> Load<V> for Half {
    #[inline(always)]
    unsafe fn load<const R: usize>(from: *const Self, len: usize) -> V {
        // SAFETY: the caller's.
        unsafe { V::load_bf16(from.cast(), if R > 1 { V::N } else { len }) }
    }
    #[inline(always)]
    unsafe fn store<const R: usize>(x: V, to: *mut Self, len: usize) {
        // SAFETY: the caller's.
        unsafe { x.store_bf16(to.cast(), if R > 1 { V::N } else { len }) }
    }
}

/// Rows, and how far apart they are.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub rows: usize,
    pub stride: usize,
    pub width: usize,
}

/// Elements by which gradients are asked for ahead of their use. A gradient that is masked is loaded under its mask, so not before
/// the mask is known, and such loads do not teach the CPU what comes next.
const AHEAD: usize = 1024;

/// Which gradients count: all; those whose output, that of the activation, lies inside of the bounds; the same of an
/// output that is computed again.
pub(super) const ALL: usize = 0;
pub(super) const OUTPUT: usize = 1;
pub(super) const RECOMPUTED: usize = 2;

/// As [`super::Mask`].
#[derive(Clone, Copy)]
pub(super) struct Mask<E> {
    pub kind: usize,
    /// The output, laid out as the gradient.
    pub y: *const E,
    /// Scale and bias, one a column.
    pub affine: [*const f32; 2],
    /// A gradient counts where `bounds[0] < y` and not `bounds[1] < y`.
    pub bounds: [f32; 2],
}

/// What `sums` reads and writes.
#[derive(Clone, Copy)]
pub(super) struct Sums<E> {
    pub dy: *const E,
    pub x: *const E,
    /// One a column.
    pub mean: *const f32,
    pub mask: Mask<E>,
    /// Where the gradients that count go, zeros between them; null if nobody wants them.
    pub masked: *mut E,
    /// One a column each: the sums of the gradients and of their products with `x - mean`.
    pub out: [*mut f32; 2],
}

/// What `normalize` reads and writes.
#[derive(Clone, Copy)]
pub(super) struct Normalize<E> {
    pub x: *const E,
    /// Scale and bias, one a column.
    pub affine: [*const f32; 2],
    /// Null if there is none.
    pub residual: *const E,
    pub clamp: (f32, f32),
    pub out: *mut E,
}

/// What `gradient` reads and writes: `out = dy · of_dy + (x - mean) · of_x + constant`.
#[derive(Clone, Copy)]
pub(super) struct Gradient<E> {
    pub dy: *const E,
    pub x: *const E,
    /// Mean, then the factors and the constant, one a column each.
    pub columns: [*const f32; 4],
    pub mask: Mask<E>,
    pub out: *mut E,
}

/// Calls `$strip` for four vectors of columns at a time, then for one, the last of which may be shorter.
macro_rules! strips {
    ($V:ident, $width:expr, |$col:ident, $len:ident, $R:ident| $strip:expr) => {{
        let mut $col = 0;
        while $col + 4 * $V::N <= $width {
            const $R: usize = 4;
            let $len = $V::N;
            $strip;
            $col += 4 * $V::N;
        }
        while $col < $width {
            const $R: usize = 1;
            let $len = $V::N.min($width - $col);
            $strip;
            $col += $V::N;
        }
    }};
}

/// # Safety
/// `len <= V::N` elements at `from`, `V::N` of them if there are several vectors; as [`Lanes`].
#[inline(always)]
unsafe fn load<V: Lanes, const R: usize>(from: *const f32, len: usize) -> V {
    // SAFETY: the caller's.
    unsafe { if R > 1 || len == V::N { V::load(from) } else { V::load_first(from, len) } }
}

/// # Safety
/// As [`load`].
#[inline(always)]
unsafe fn store<V: Lanes, const R: usize>(x: V, to: *mut f32, len: usize) {
    // SAFETY: the caller's.
    unsafe { if R > 1 || len == V::N { x.store(to) } else { x.store_first(to, len) } }
}

/// Sums of the distances from `shift`, and of their squares.
///
/// # Safety
/// `width` elements at each row of `x`, at `shift` and at both of `out`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn statistics<V: Lanes, E: Load<V>>(at: Rows, x: *const E, shift: *const f32, out: [*mut f32; 2]) {
    // SAFETY: the caller's.
    unsafe {
        strips!(V, at.width, |col, len, R| {
            statistics_strip::<V, E, R>(at, x.add(col), shift.add(col), [out[0].add(col), out[1].add(col)], len)
        });
    }
}

/// # Safety
/// As [`statistics`].
#[inline(always)]
unsafe fn statistics_strip<V: Lanes, E: Load<V>, const R: usize>(
    at: Rows,
    x: *const E,
    shift: *const f32,
    out: [*mut f32; 2],
    len: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let shift = each_vector!(R, |v| load::<V, R>(shift.add(v * V::N), len));
        let mut sums = [V::splat(0.0); R];
        let mut squares = sums;
        for row in 0..at.rows {
            for v in 0..R {
                let distance = E::load::<R>(x.add(row * at.stride + v * V::N), len).sub(shift[v]);
                sums[v] = sums[v].add(distance);
                squares[v] = distance.mul_add(distance, squares[v]);
            }
        }
        for v in 0..R {
            store::<V, R>(sums[v], out[0].add(v * V::N), len);
            store::<V, R>(squares[v], out[1].add(v * V::N), len);
        }
    }
}

/// # Safety
/// `width` elements at each row of `x`, `out` and, if it is there, the residual, and at both of `affine`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn normalize<V: Lanes, E: Load<V>>(at: Rows, of: Normalize<E>) {
    // SAFETY: the caller's.
    unsafe {
        strips!(V, at.width, |col, len, R| {
            let has_residual = !of.residual.is_null();
            let of = Normalize {
                x: of.x.add(col),
                affine: [of.affine[0].add(col), of.affine[1].add(col)],
                residual: of.residual.wrapping_add(col),
                out: of.out.add(col),
                ..of
            };
            if has_residual {
                normalize_strip::<V, E, R, true>(at, of, len);
            } else {
                normalize_strip::<V, E, R, false>(at, of, len);
            }
        });
    }
}

/// # Safety
/// As [`normalize`].
#[inline(always)]
unsafe fn normalize_strip<V: Lanes, E: Load<V>, const R: usize, const RESIDUAL: bool>(
    at: Rows,
    of: Normalize<E>,
    len: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let scale = each_vector!(R, |v| load::<V, R>(of.affine[0].add(v * V::N), len));
        let bias = each_vector!(R, |v| load::<V, R>(of.affine[1].add(v * V::N), len));
        let (min, max) = (V::splat(of.clamp.0), V::splat(of.clamp.1));
        for row in 0..at.rows {
            for v in 0..R {
                let i = row * at.stride + v * V::N;
                let mut y = E::load::<R>(of.x.add(i), len).mul_add(scale[v], bias[v]);
                if RESIDUAL {
                    y = y.add(E::load::<R>(of.residual.add(i), len));
                }
                E::store::<R>(y.at_least(min).at_most(max), of.out.add(i), len);
            }
        }
    }
}

impl<E> Mask<E> {
    /// From column `col` on.
    ///
    /// # Safety
    /// What the kind of mask reads has more than `col` columns.
    #[inline(always)]
    unsafe fn from(self, col: usize) -> Self {
        let affine = [self.affine[0].wrapping_add(col), self.affine[1].wrapping_add(col)];
        Self { y: self.y.wrapping_add(col), affine, ..self }
    }
}

/// The columns that a mask needs: none unless the output is computed again.
///
/// # Safety
/// `len` elements of `R` vectors, if the kind needs them; as [`Lanes`].
#[inline(always)]
unsafe fn columns<V: Lanes, const R: usize, const KIND: usize>(from: *const f32, len: usize) -> [V; R] {
    // SAFETY: the caller's.
    unsafe {
        if KIND == RECOMPUTED { each_vector!(R, |v| load::<V, R>(from.add(v * V::N), len)) } else { [V::splat(0.0); R] }
    }
}

/// `dy` where it counts, else 0.
///
/// # Safety
/// `len` elements of the output at `y`, if the kind needs them; as [`Lanes`].
#[inline(always)]
unsafe fn masked<V: Lanes, E: Load<V>, const R: usize, const KIND: usize>(
    dy: V,
    x: V,
    y: *const E,
    len: usize,
    [scale, bias, low, high]: [V; 4],
) -> V {
    // SAFETY: the caller's.
    unsafe {
        let zero = V::splat(0.0);
        let y = match KIND {
            ALL => return dy,
            OUTPUT => E::load::<R>(y, len),
            _ => x.mul_add(scale, bias),
        };
        high.if_less(y, zero, low.if_less(y, dy, zero))
    }
}

/// # Safety
/// `width` elements at each row of `dy`, `x`, `masked` (which may be `dy`) and what the mask needs, at `mean` and at both of
/// `out`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn sums<V: Lanes, E: Load<V>>(at: Rows, of: Sums<E>) {
    // SAFETY: the caller's.
    unsafe {
        strips!(V, at.width, |col, len, R| {
            let is_kept = !of.masked.is_null();
            let of = Sums {
                dy: of.dy.add(col),
                x: of.x.add(col),
                mean: of.mean.add(col),
                mask: of.mask.from(col),
                masked: of.masked.wrapping_add(col),
                out: [of.out[0].add(col), of.out[1].add(col)],
            };
            match (of.mask.kind, is_kept) {
                (ALL, false) => sums_strip::<V, E, R, ALL, false>(at, of, len),
                (ALL, true) => sums_strip::<V, E, R, ALL, true>(at, of, len),
                (OUTPUT, false) => sums_strip::<V, E, R, OUTPUT, false>(at, of, len),
                (OUTPUT, true) => sums_strip::<V, E, R, OUTPUT, true>(at, of, len),
                (_, false) => sums_strip::<V, E, R, RECOMPUTED, false>(at, of, len),
                (_, true) => sums_strip::<V, E, R, RECOMPUTED, true>(at, of, len),
            }
        });
    }
}

/// # Safety
/// As [`sums`].
#[inline(always)]
unsafe fn sums_strip<V: Lanes, E: Load<V>, const R: usize, const KIND: usize, const KEEP: bool>(
    at: Rows,
    of: Sums<E>,
    len: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let mean = each_vector!(R, |v| load::<V, R>(of.mean.add(v * V::N), len));
        let scale = columns::<V, R, KIND>(of.mask.affine[0], len);
        let bias = columns::<V, R, KIND>(of.mask.affine[1], len);
        let [low, high] = [V::splat(of.mask.bounds[0]), V::splat(of.mask.bounds[1])];
        let mut all = [V::splat(0.0); R];
        let mut products = all;
        for row in 0..at.rows {
            for v in 0..R {
                let i = row * at.stride + v * V::N;
                let x = E::load::<R>(of.x.add(i), len);
                let dy = E::load::<R>(of.dy.add(i), len);
                if KIND != ALL {
                    V::prefetch(of.dy.wrapping_add(i + AHEAD).cast());
                }
                let y = of.mask.y.wrapping_add(i);
                let dy = masked::<V, E, R, KIND>(dy, x, y, len, [scale[v], bias[v], low, high]);
                if KEEP {
                    E::store::<R>(dy, of.masked.add(i), len);
                }
                all[v] = all[v].add(dy);
                products[v] = dy.mul_add(x.sub(mean[v]), products[v]);
            }
        }
        for v in 0..R {
            store::<V, R>(all[v], of.out[0].add(v * V::N), len);
            store::<V, R>(products[v], of.out[1].add(v * V::N), len);
        }
    }
}

/// # Safety
/// `width` elements at each row of `dy`, `x`, `out` (which may be `dy`) and what the mask needs, and at all of `columns`; as
/// [`Lanes`].
#[inline(always)]
pub(super) unsafe fn gradient<V: Lanes, E: Load<V>>(at: Rows, of: Gradient<E>) {
    // SAFETY: the caller's.
    unsafe {
        strips!(V, at.width, |col, len, R| {
            let [a, b, c, d] = of.columns;
            let of = Gradient {
                dy: of.dy.add(col),
                x: of.x.add(col),
                columns: [a.add(col), b.add(col), c.add(col), d.add(col)],
                mask: of.mask.from(col),
                out: of.out.add(col),
            };
            match of.mask.kind {
                ALL => gradient_strip::<V, E, R, ALL>(at, of, len),
                OUTPUT => gradient_strip::<V, E, R, OUTPUT>(at, of, len),
                _ => gradient_strip::<V, E, R, RECOMPUTED>(at, of, len),
            }
        });
    }
}

/// # Safety
/// As [`gradient`].
#[inline(always)]
unsafe fn gradient_strip<V: Lanes, E: Load<V>, const R: usize, const KIND: usize>(
    at: Rows,
    of: Gradient<E>,
    len: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let mean = each_vector!(R, |v| load::<V, R>(of.columns[0].add(v * V::N), len));
        let of_dy = each_vector!(R, |v| load::<V, R>(of.columns[1].add(v * V::N), len));
        let of_x = each_vector!(R, |v| load::<V, R>(of.columns[2].add(v * V::N), len));
        let constant = each_vector!(R, |v| load::<V, R>(of.columns[3].add(v * V::N), len));
        let scale = columns::<V, R, KIND>(of.mask.affine[0], len);
        let bias = columns::<V, R, KIND>(of.mask.affine[1], len);
        let [low, high] = [V::splat(of.mask.bounds[0]), V::splat(of.mask.bounds[1])];
        for row in 0..at.rows {
            for v in 0..R {
                let i = row * at.stride + v * V::N;
                let x = E::load::<R>(of.x.add(i), len);
                let dy = E::load::<R>(of.dy.add(i), len);
                if KIND != ALL {
                    V::prefetch(of.dy.wrapping_add(i + AHEAD).cast());
                }
                let y = of.mask.y.wrapping_add(i);
                let dy = masked::<V, E, R, KIND>(dy, x, y, len, [scale[v], bias[v], low, high]);
                let dx = dy.mul_add(of_dy[v], x.sub(mean[v]).mul_add(of_x[v], constant[v]));
                E::store::<R>(dx, of.out.add(i), len);
            }
        }
    }
}
