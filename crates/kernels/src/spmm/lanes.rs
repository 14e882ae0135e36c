//! A block of pixels against all its weights, written once for all instruction sets.

use super::driver::{Block, Call};
use super::finish::{self, End};
use super::nonzeros::DEPTH;
use super::packed::{Group, Stream};
use super::{bands, gather};
use crate::simd::{Lanes, unrolled};

/// How rows are grouped.
pub(super) trait Form {
    /// # Safety
    /// As [`groups`], `run.width` is `vectors · V::N`.
    unsafe fn run<V: Lanes, const IS_BANDED: bool>(vectors: usize, run: &Run<'_>);
}

/// Two rows, each with positions of its own. Without vectors a block has at most two pixels: each number is a copy of the loop.
pub(super) struct Pairs;
/// Four adjacent rows that share their positions.
pub(super) struct Quads;
/// Four adjacent inputs at a time, with all rows that use them.
pub(super) struct Inputs;

/// Slab or bands, and where rows end, see [`End`]: a loop of its own for each keeps all in registers.
const SLAB: u8 = 0;
const SLAB_PLANES: u8 = 1;
const BANDS: u8 = 2;
const BANDS_SPANS: u8 = 3;

macro_rules! by_vectors {
    ($vectors:expr, $V:ty, $run:expr, $rows:literal, $is_shared:literal: $($n:literal)*) => {
        match ($vectors, &$run.end) {
            $(($n, End::Spans(_)) if IS_BANDED => groups::<$V, $rows, $is_shared, $n, BANDS_SPANS>($run),)*
            $(($n, _) if IS_BANDED => groups::<$V, $rows, $is_shared, $n, BANDS>($run),)*
            $(($n, End::Planes(_)) => groups::<$V, $rows, $is_shared, $n, SLAB_PLANES>($run),)*
            $(($n, _) => groups::<$V, $rows, $is_shared, $n, SLAB>($run),)*
            (vectors, _) => unreachable!("a block of {vectors} vectors"),
        }
    };
}

impl Form for Pairs {
    #[inline(always)]
    unsafe fn run<V: Lanes, const IS_BANDED: bool>(vectors: usize, run: &Run<'_>) {
        // SAFETY: the caller's.
        unsafe {
            if V::N == 1 {
                by_vectors!(vectors, V, run, 2, false: 1 2)
            } else {
                by_vectors!(vectors, V, run, 2, false: 1 2 3 4 5 6 7 8)
            }
        }
    }
}

impl Form for Quads {
    #[inline(always)]
    unsafe fn run<V: Lanes, const IS_BANDED: bool>(vectors: usize, run: &Run<'_>) {
        // SAFETY: the caller's.
        unsafe {
            if V::N == 1 {
                by_vectors!(vectors, V, run, 4, true: 1 2)
            } else {
                by_vectors!(vectors, V, run, 4, true: 1 2 3 4 5 6)
            }
        }
    }
}

impl Form for Inputs {
    #[inline(always)]
    unsafe fn run<V: Lanes, const IS_BANDED: bool>(vectors: usize, run: &Run<'_>) {
        // SAFETY: the caller's.
        unsafe {
            match vectors {
                1 => inputs::<V, 1, IS_BANDED>(run),
                2 => inputs::<V, 2, IS_BANDED>(run),
                _ if V::N == 1 => unreachable!("a block of {vectors} vectors"),
                3 => inputs::<V, 3, IS_BANDED>(run),
                _ => inputs::<V, 4, IS_BANDED>(run),
            }
        }
    }
}

/// The groups of one block of K and one part.
pub(super) struct Run<'a> {
    groups: &'a [Group],
    positions: *const u32,
    weights: *const f32,
    slab: *const f32,
    /// Floats from one input of a block of 1x4 to the next.
    step: usize,
    /// Rows of the part.
    rows: usize,
    /// Row 0 of the part.
    sums: *mut f32,
    /// Rows start from their bias, else from `sums`.
    bias: Option<*const f32>,
    end: End<'a>,
}

/// # Safety
/// The memory of `block` is as large as it says, and the slices of `call` as its shape says; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn run<V: Lanes, F: Form, const IS_BANDED: bool>(call: &Call<'_>, block: &mut Block<'_>) {
    let packed = call.packed;
    let width = block.vectors * V::N;
    let rows = block.rows(packed);
    // SAFETY: the caller's; positions and rows were made for blocks of this size by `PackedSpmm`.
    unsafe {
        for row in 0..rows.len().next_multiple_of(16) {
            let is_there = !call.bias.is_null() && row < rows.len();
            block.bias.add(row).write(if is_there { *call.bias.add(rows.start + row) } else { 0.0 });
        }
        let line = packed.line(width);
        for at in 0..width {
            block.slab.add(packed.zeros() * line + at).write(0.0);
        }
        block.plan.start(call, &block.place, V::N);
        for (k_block, columns) in packed.blocks.iter().enumerate() {
            match &packed.bands {
                Some(bands) if IS_BANDED => bands::fill::<V>(call, block, bands, &packed.columns[columns.clone()]),
                _ => gather::fill::<V>(call, block, columns.clone()),
            }
            let is_last = k_block + 1 == packed.blocks.len();
            let end = if is_last { End::of(call, block) } else { End::Sums };
            for part in block.parts.clone() {
                let Stream { groups, position, weight } = &packed.streams[k_block * packed.parts.len() + part];
                let first = packed.parts[part].rows.start - rows.start;
                let run = Run {
                    groups: &packed.groups[groups.clone()],
                    positions: packed.positions.as_ptr().add(*position),
                    weights: packed.weights.as_ptr().add(*weight),
                    slab: block.slab,
                    step: packed.step(width),
                    rows: packed.parts[part].rows.len(),
                    sums: block.sums.add(first * width),
                    bias: (k_block == 0).then_some(block.bias.add(first).cast_const()),
                    end: end.below_row(first),
                };
                F::run::<V, IS_BANDED>(block.vectors, &run);
            }
        }
        if matches!(End::of(call, block), End::Sums) {
            finish::store::<V>(call, block);
        }
    }
}

/// Steps whose positions are read before they are needed: loads from an address that was itself just loaded run at two
/// thirds of the speed of loads from one that has been known for a while.
pub(super) const AHEAD: usize = 4;

/// Adds the products of all groups to the sums of their rows.
///
/// # Safety
/// Positions and weights are as many as the groups have steps, and [`AHEAD`] more positions can be read; slab and sums
/// are `VECTORS · V::N` wide and hold the positions and rows; as [`Lanes`].
#[inline(always)]
unsafe fn groups<V: Lanes, const ROWS: usize, const IS_SHARED: bool, const VECTORS: usize, const KIND: u8>(
    run: &Run<'_>,
) {
    let width = VECTORS * V::N;
    let line = if KIND < BANDS { width } else { V::N };
    let Some(&(mut next)) = run.groups.first() else { return };
    // SAFETY: the caller's.
    unsafe {
        let (mut positions, mut weights) = (run.positions, run.weights);
        // Four names, not an array: that would live on the stack.
        let (mut a, mut b, mut c, mut d) = (*positions, *positions.add(1), *positions.add(2), *positions.add(3));
        positions = positions.add(AHEAD);
        for index in 1..=run.groups.len() {
            let group = next;
            next = *run.groups.get(index).unwrap_or(&group);
            let rows: [usize; ROWS] = group.of::<ROWS, IS_SHARED>();
            let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
            unrolled!(ROWS, at most 4, |i| match run.bias {
                Some(bias) => sums[i] = [V::splat(*bias.add(rows[i])); VECTORS],
                None => {
                    let from = run.sums.add(rows[i] * width);
                    unrolled!(VECTORS, at most 8, |vector| sums[i][vector] = V::load(from.add(vector * V::N)));
                }
            });
            for _ in 0..group.steps {
                let now = a;
                (a, b, c, d) = (b, c, d, *positions);
                positions = positions.add(1);
                if IS_SHARED {
                    let from = run.slab.add(now as usize * line);
                    unrolled!(VECTORS, at most 8, |vector| {
                        let x = V::load(from.add(vector * V::N));
                        unrolled!(ROWS, at most 4, |i| {
                            sums[i][vector] = V::splat(*weights.add(i)).mul_add(x, sums[i][vector]);
                        });
                    });
                } else {
                    unrolled!(ROWS, at most 4, |i| {
                        let from = run.slab.add((u64::from(now) >> (16 * i)) as u16 as usize * line);
                        let weight = V::splat(*weights.add(i));
                        unrolled!(VECTORS, at most 8, |vector| {
                            let x = V::load(from.add(vector * V::N));
                            sums[i][vector] = weight.mul_add(x, sums[i][vector]);
                        });
                    });
                }
                weights = weights.add(ROWS);
            }
            unrolled!(ROWS, at most 4, |i| match &run.end {
                End::Planes(planes) if KIND == SLAB_PLANES => planes.store::<V, VECTORS>(sums[i], rows[i]),
                End::Spans(spans) if KIND == BANDS_SPANS => spans.store::<V, VECTORS>(sums[i], rows[i]),
                _ => {
                    let to = run.sums.add(rows[i] * width);
                    unrolled!(VECTORS, at most 8, |vector| sums[i][vector].store(to.add(vector * V::N)));
                }
            });
        }
    }
}

/// Adds the products of groups of four inputs, which stay in registers, to the sums of all rows that have weights for them:
/// a sum is read and written once for four products, and an input read once for all rows. So no product needs a load of its
/// own, which is what bounds [`groups`].
///
/// # Safety
/// As [`groups`]; positions are rows, one a step, with four weights each.
#[inline(always)]
unsafe fn inputs<V: Lanes, const VECTORS: usize, const IS_BANDED: bool>(run: &Run<'_>) {
    let width = VECTORS * V::N;
    let line = if IS_BANDED { V::N } else { width };
    // SAFETY: the caller's.
    unsafe {
        if let Some(bias) = run.bias {
            for row in 0..run.rows {
                let bias = V::splat(*bias.add(row));
                let to = run.sums.add(row * width);
                unrolled!(VECTORS, at most 4, |vector| bias.store(to.add(vector * V::N)));
            }
        }
        let (mut rows, mut weights) = (run.positions, run.weights);
        for group in run.groups {
            let mut x = [[V::splat(0.0); VECTORS]; DEPTH];
            unrolled!(DEPTH, at most 4, |input| {
                let from = run.slab.add(usize::from(group.rows[0]) * line + input * run.step);
                unrolled!(VECTORS, at most 4, |vector| x[input][vector] = V::load(from.add(vector * V::N)));
            });
            for _ in 0..group.steps {
                let to = run.sums.add(*rows as usize * width);
                let mut of_inputs = [V::splat(0.0); DEPTH];
                unrolled!(DEPTH, at most 4, |input| of_inputs[input] = V::splat(*weights.add(input)));
                unrolled!(VECTORS, at most 4, |vector| {
                    let mut sum = V::load(to.add(vector * V::N));
                    unrolled!(DEPTH, at most 4, |input| sum = of_inputs[input].mul_add(x[input][vector], sum));
                    sum.store(to.add(vector * V::N));
                });
                (rows, weights) = (rows.add(1), weights.add(DEPTH));
            }
        }
        if matches!(run.end, End::Sums) {
            return;
        }
        for row in 0..run.rows {
            let mut sums = [V::splat(0.0); VECTORS];
            unrolled!(VECTORS, at most 4, |vector| sums[vector] = V::load(run.sums.add(row * width + vector * V::N)));
            match &run.end {
                End::Planes(planes) => planes.store::<V, VECTORS>(sums, row),
                End::Spans(spans) => spans.store::<V, VECTORS>(sums, row),
                End::Sums => {}
            }
        }
    }
}

impl Group {
    #[inline(always)]
    fn of<const ROWS: usize, const IS_SHARED: bool>(self) -> [usize; ROWS] {
        let mut rows = [usize::from(self.rows[0]); ROWS];
        for (i, row) in rows.iter_mut().enumerate() {
            if IS_SHARED { *row += i } else { *row = usize::from(self.rows[i]) }
        }
        rows
    }
}
