//! Attention of a quantized network in integers: `softmax(scale · Q Kᵀ + mask) · V` of codes.
//!
//! Both products are of bytes. Their sums are exact, so scores and results are within one step of evaluating the network in
//! real numbers (a score between two codes may take either); only softmax is computed in f32, and rounded to the grid of the weights. A task packs the keys and values of
//! one head, then takes its queries twelve at a time: what is between the products stays in cache.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
mod lanes;
mod pack;
mod scalar;
mod softmax;
#[cfg(test)]
mod tests;

use crate::attention::{Attention, Grid, check};
use crate::error::ShapeError;
use crate::quantize::{Bytes, BytesMut};
use crate::threads::{Shareable, Threads};
use lanes::{LINE, Numbers, Part, TILE_ROWS};
use std::cell::RefCell;

/// One of Q, K and V.
#[derive(Debug, Clone, Copy)]
pub enum Side<'a> {
    /// Numbers that are rounded to the grid of the side first.
    F32(&'a [f32]),
    /// Codes on the grid of the side.
    Codes(Bytes<'a>),
}

impl Side<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(x) => x.len(),
            Self::Codes(x) => x.len(),
        }
    }
}

/// Where the result goes.
#[derive(Debug)]
pub enum Out<'a> {
    /// Real numbers.
    F32(&'a mut [f32]),
    /// Codes: `saturate(round(x / scale) + zero_point)`, ties to even.
    Codes {
        /// As many as the strides of the output reach.
        codes: BytesMut<'a>,
        /// Distance of two codes.
        scale: f32,
        /// The code of 0.
        zero_point: i32,
    },
}

impl Out<'_> {
    fn len(&self) -> usize {
        match self {
            Self::F32(out) => out.len(),
            Self::Codes { codes, .. } => codes.len(),
        }
    }
}

/// A variant of the loops.
pub struct Kernel {
    /// `attention_u8s8_{rows}x{columns}_{isa}`, the tile of its two products.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    run: unsafe fn(&Part),
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All variants, fastest first. Dispatch and tests walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "attention_u8s8_6x64_avx512vnni", is_supported: crate::isa::has_avx512vnni, run: avx512vnni::part },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "attention_u8s8_6x16_avx2", is_supported: crate::isa::has_avx2, run: avx2::part },
    Kernel { name: "attention_u8s8_6x16_scalar", is_supported: || true, run: scalar::part },
];

/// Elements of a query or a value, or keys, of which sums of products of bytes are sure to fit 32 bits.
pub const MAX_TERMS: usize = 1 << 15;

/// `out = softmax(scale · q · kᵀ + mask) · v` for every head, as [`crate::attention::attention`]: the grids of all sides and of
/// the weights must be there, and have 256 codes at most. For sides that are codes those are all codes of their type.
///
/// # Errors
/// [`ShapeError`] if a head reaches outside of its slice, outputs overlap, a grid is missing or not of 8 bits, or there are
/// more than [`MAX_TERMS`] keys or elements of a query.
pub fn attention(
    threads: &Threads,
    shape: &Attention<'_>,
    sides: [Side<'_>; 3],
    mask: Option<&[f32]>,
    out: &mut Out<'_>,
) -> Result<(), ShapeError> {
    Kernel::best().attention(threads, shape, sides, mask, out)
}

/// A side, as the loops read it: `flip` makes unsigned codes of its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Raw {
    F32(*const f32),
    Codes { from: *const u8, flip: u8 },
}

/// The result of one head, as the loops write it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RawOut {
    F32(*mut f32),
    Codes { to: *mut u8, zero_point: f32, flip: u8 },
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        crate::isa::best(KERNELS, |kernel| kernel.is_supported)
    }

    /// [`attention`] with this variant.
    ///
    /// # Errors
    /// As [`attention`].
    ///
    /// # Panics
    /// If this CPU cannot run the variant.
    pub fn attention(
        &self,
        threads: &Threads,
        shape: &Attention<'_>,
        sides: [Side<'_>; 3],
        mask: Option<&[f32]>,
        out: &mut Out<'_>,
    ) -> Result<(), ShapeError> {
        assert!((self.is_supported)(), "{} needs another CPU", self.name);
        check(shape, sides.map(|side| side.len()), mask.map(<[f32]>::len), out.len())?;
        let (grids, mut numbers) = numbers(shape, sides)?;
        if shape.queries == 0 || shape.d_v == 0 || shape.offsets.is_empty() {
            return Ok(());
        }
        let room = Room::new(shape)?;
        let (to, codes) = match out {
            Out::F32(out) => (Shareable(out.as_mut_ptr().cast::<u8>()), None),
            Out::Codes { codes, scale, zero_point } => {
                numbers.out_factor /= *scale;
                // As in `quantize`, signed codes are computed 128 higher.
                let (lift, flip) = if matches!(codes, BytesMut::U8(_)) { (0, 0) } else { (128, 0x80) };
                (Shareable(codes.as_mut_ptr()), Some(((*zero_point + lift) as f32, flip)))
            }
        };
        let tiles = shape.queries.div_ceil(TILE_ROWS);
        // A head is one task if that keeps everybody busy: a part of its rows would pack the same keys again.
        let parts = (2 * threads.count()).div_ceil(shape.offsets.len()).min(tiles);
        let parts = if shape.offsets.len().is_multiple_of(threads.count()) { 1 } else { parts };
        threads.run(shape.offsets.len() * parts, |task| {
            let at = shape.offsets[task / parts];
            let index = task % parts;
            let raw = |side: Side<'_>, offset: usize| match side {
                Side::F32(x) => Raw::F32(x.as_ptr().wrapping_add(offset)),
                Side::Codes(x) => Raw::Codes { from: x.raw().as_ptr().wrapping_add(offset), flip: x.flip() },
            };
            let size = if codes.is_some() { 1 } else { size_of::<f32>() };
            // SAFETY: inside `out`, checked above.
            let to = unsafe { to.at(size * at.out) };
            let out = match codes {
                None => RawOut::F32(to.cast()),
                Some((zero_point, flip)) => RawOut::Codes { to, zero_point, flip },
            };
            SCRATCH.with_borrow_mut(|scratch| {
                if scratch.len() < room.total + 64 {
                    scratch.resize(room.total + 64, 0);
                }
                let start = scratch.as_ptr().align_offset(64).min(64);
                let part = Part {
                    shape: *shape,
                    grids,
                    numbers,
                    tiles: index * tiles / parts..(index + 1) * tiles / parts,
                    sides: [raw(sides[0], at.q), raw(sides[1], at.k), raw(sides[2], at.v)],
                    mask: mask.map_or(std::ptr::null(), |mask| mask.as_ptr().wrapping_add(at.mask)),
                    out,
                    room,
                    scratch: scratch[start..].as_mut_ptr(),
                };
                // SAFETY: `check` proved that the head stays inside its slices and that outputs of different heads are
                // disjoint; parts of a head are disjoint in rows; `Room` made the scratch memory large enough; this CPU
                // can run the variant.
                unsafe { (self.run)(&part) }
            });
        });
        Ok(())
    }
}

/// The grids of the sides, and what the loops need of all grids.
fn numbers(shape: &Attention<'_>, sides: [Side<'_>; 3]) -> Result<([Grid; 3], Numbers), ShapeError> {
    ShapeError::require(shape.d <= MAX_TERMS, "`d`", shape.d, "at most 32768")?;
    ShapeError::require(shape.keys <= MAX_TERMS, "`keys`", shape.keys, "at most 32768")?;
    let is_fit = |grid: &Grid| {
        let [low, high] = grid.codes.map(i64::from);
        (low..=high).contains(&i64::from(grid.zero_point)) && high - low <= 255
    };
    let [q, k, v] = shape.side_grids;
    let (Some(q), Some(k), Some(v), Some(weights)) = (q, k, v, shape.weight_grid) else {
        return Err(ShapeError::Invalid {
            what: "the number of grids",
            got: 0,
            must: "one for each side and the weights",
        });
    };
    let grids = [q, k, v];
    let are_fit = grids.iter().chain([&weights]).all(is_fit);
    ShapeError::require(are_fit, "the number of codes", 0, "at most 256, the zero point among them")?;
    for (side, grid) in sides.iter().zip(&grids) {
        let is_whole = match side {
            Side::F32(_) => true,
            Side::Codes(Bytes::U8(_)) => grid.codes == [0, 255],
            Side::Codes(Bytes::I8(_)) => grid.codes == [-128, 127],
        };
        ShapeError::require(is_whole, "the number of codes", 0, "as many as their type has")?;
    }
    let [zero_q, zero_k, zero_v, zero_w] =
        [&q, &k, &v, &weights].map(|grid| grid.zero_point.abs_diff(grid.codes[0]) as i32);
    let score = q.step * k.step * shape.scale;
    let numbers = Numbers {
        zeros: [zero_q, zero_k - 128, zero_v - 128, zero_w],
        score_factor: shape.score_grid.map_or(score, |grid| score / grid.scale),
        score_grid: shape
            .score_grid
            .map(|grid| (grid.codes.map(|code| code as f32 - grid.zero_point as f32), grid.step)),
        powers: shape.score_grid.and_then(|grid| powers(&grid)),
        weight_scale: weights.scale,
        weight_top: (weights.codes[1] - weights.zero_point) as f32,
        out_factor: weights.step * v.step,
    };
    Ok((grids, numbers))
}

/// See [`Numbers::powers`]; relative to the largest score.
fn powers(grid: &Grid) -> Option<[[f32; 16]; 2]> {
    let bits = f64::from(grid.step) * std::f64::consts::LOG2_E;
    let [low, high] = grid.codes.map(|code| f64::from(code - grid.zero_point) * bits);
    let power = |exponent: f64| exponent.exp2() as f32;
    let upper = std::array::from_fn(|i| power(low + 16.0 * i as f64 * bits - low.max(high)));
    let is_fit = (256.0 * bits).abs() <= 90.0 && grid.codes[1] - grid.codes[0] <= 255;
    is_fit.then_some([upper, std::array::from_fn(|i| power(i as f64 * bits))])
}

/// Where the parts of the scratch memory begin, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// A side as bytes, a row a line or more.
    pub staged: usize,
    pub keys: usize,
    pub values: usize,
    pub key_offsets: usize,
    pub value_offsets: usize,
    /// The rows of a tile.
    pub queries: usize,
    /// What the zero point of K adds to the scores of each row, later what that of V adds to its results.
    pub shifts: usize,
    /// Of each row of the tile, and one more.
    pub masks: usize,
    pub scores: usize,
    /// A line of sums a row.
    pub sums: usize,
    pub weights: usize,
    pub total: usize,
    /// Bytes from a query to the next.
    pub d_stride: usize,
    /// f32 from a row of scores to the next: one more line so that rows do not share cache sets.
    pub score_stride: usize,
    /// Bytes from a row of weights to the next.
    pub weight_stride: usize,
}

impl Room {
    fn new(shape: &Attention<'_>) -> Result<Self, ShapeError> {
        let Attention { keys, d, d_v, .. } = *shape;
        for (what, sizes) in [("k", [keys, d]), ("v", [keys, d_v]), ("scores", [keys, 4 * TILE_ROWS])] {
            let [a, b] = sizes.map(|size| size.saturating_add(8 * LINE));
            ShapeError::product(what, &[a, b, 4])?;
        }
        let [keys, d, d_v] = [keys, d, d_v].map(|n| n.next_multiple_of(LINE));
        let mut total = 0;
        let mut take = |bytes: usize| {
            let start = total;
            total += bytes.next_multiple_of(64);
            start
        };
        let score_stride = keys + LINE;
        let weight_stride = keys + 64;
        Ok(Self {
            staged: take(keys * d.max(d_v)),
            keys: take(keys * d),
            values: take(keys * d_v),
            key_offsets: take(4 * keys),
            value_offsets: take(4 * d_v),
            queries: take(TILE_ROWS * d),
            shifts: take(4 * TILE_ROWS),
            masks: take(4 * (TILE_ROWS + 1) * score_stride),
            scores: take(4 * TILE_ROWS * score_stride),
            sums: take(4 * TILE_ROWS * LINE),
            weights: take(TILE_ROWS * weight_stride),
            d_stride: d,
            score_stride,
            weight_stride,
            total,
        })
    }
}
