//! From i32 sums to what is stored, written once for all instruction sets. The order of the roundings is part of the
//! contract: all variants give the same bytes.

use crate::activation::Activation;
use crate::simd::Lanes;

/// What becomes of the sums of one output column block; pointers are at its first column and row.
#[derive(Clone, Copy)]
pub(crate) struct Finish {
    /// Added to the sums as integers: bias and zero points. `n_cols` of them, in a buffer of whole vectors.
    pub offsets: *const i32,
    pub kind: Kind,
    /// Elements from one row of output and residual to the next.
    pub stride: usize,
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Bytes(Requantized),
    F32(Reals),
    /// The sums.
    I32 {
        out: *mut i32,
    },
}

/// `round(clamp(sum · multiplier + (residual - zero) · multiplier)) + shift`, stored as bytes `^ flip`.
#[derive(Clone, Copy)]
pub(crate) struct Requantized {
    pub multipliers: *const f32,
    pub residual: *const u8,
    pub residual_flip: u8,
    pub residual_zero: f32,
    pub residual_multiplier: f32,
    pub min: f32,
    pub max: f32,
    pub shift: f32,
    pub flip: u8,
    /// No value before the clamp leaves i32, and none is NaN; the zero point fits 16 bits with room.
    pub is_small: bool,
    pub out: *mut u8,
}

/// `clamp(sum · multiplier + bias + residual)`.
#[derive(Clone, Copy)]
pub(crate) struct Reals {
    pub multipliers: *const f32,
    pub bias: *const f32,
    pub residual: *const f32,
    pub min: f32,
    pub max: f32,
    pub out: *mut f32,
}

impl Requantized {
    /// The limits of bytes before they are flipped, which are the clamp if [`Self::is_small`]; else none, because what does not fit
    /// i32 has to meet the clamp before it is rounded.
    pub fn bytes_clamp(&self) -> [u8; 2] {
        if self.is_small { [self.min, self.max].map(|limit| (limit + self.shift) as u8) } else { [0, 255] }
    }
}

// SAFETY: plain data; tasks write disjoint parts of what `out` points to.
unsafe impl Sync for Finish {}
// SAFETY: as above.
unsafe impl Send for Finish {}

impl Finish {
    /// True if vectors of sums can become what is stored while they are in registers.
    pub fn fuses(&self) -> bool {
        match &self.kind {
            Kind::Bytes(kind) => kind.is_small,
            Kind::F32(_) => true,
            Kind::I32 { .. } => false,
        }
    }

    /// The same for the tile that begins at `row`, `col`.
    pub fn at(mut self, row: usize, col: usize) -> Self {
        let at = row * self.stride + col;
        let shift = |pointer: *const f32, by: usize| if pointer.is_null() { pointer } else { pointer.wrapping_add(by) };
        self.offsets = self.offsets.wrapping_add(col);
        match &mut self.kind {
            Kind::Bytes(kind) => {
                kind.multipliers = shift(kind.multipliers, col);
                kind.residual = if kind.residual.is_null() { kind.residual } else { kind.residual.wrapping_add(at) };
                kind.out = kind.out.wrapping_add(at);
            }
            Kind::F32(kind) => {
                kind.multipliers = shift(kind.multipliers, col);
                kind.bias = shift(kind.bias, col);
                kind.residual = shift(kind.residual, at);
                kind.out = kind.out.wrapping_add(at);
            }
            Kind::I32 { out } => *out = out.wrapping_add(at),
        }
        self
    }
}

/// Finishes `rows` rows of `n_cols` sums, which lie `sums_stride` apart in a buffer of whole vectors.
///
/// # Safety
/// The pointers of `finish` are valid for these rows and columns; as [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn finish<V: Lanes>(f: &Finish, sums: *const i32, sums_stride: usize, rows: usize, n_cols: usize) {
    let whole = n_cols - n_cols % V::N;
    for row in 0..rows {
        let at = row * f.stride;
        // SAFETY: the caller's.
        unsafe {
            let sums = sums.add(row * sums_stride);
            match &f.kind {
                Kind::Bytes(kind) => {
                    for col in (0..whole).step_by(V::N) {
                        bytes::<V, true>(f, kind, sums, at, col, V::N);
                    }
                    if whole < n_cols {
                        bytes::<V, false>(f, kind, sums, at, whole, n_cols - whole);
                    }
                }
                Kind::F32(kind) => {
                    for col in (0..whole).step_by(V::N) {
                        reals::<V, true>(f, kind, sums, at, col, V::N);
                    }
                    if whole < n_cols {
                        reals::<V, false>(f, kind, sums, at, whole, n_cols - whole);
                    }
                }
                Kind::I32 { out } => {
                    for col in 0..n_cols {
                        *out.add(at + col) = (*sums.add(col)).wrapping_add(*f.offsets.add(col));
                    }
                }
            }
        }
    }
}

/// `len` sums plus their offsets; all lanes if `WHOLE`.
///
/// # Safety
/// As [`finish`].
#[inline(always)]
unsafe fn sum<V: Lanes, const WHOLE: bool>(f: &Finish, sums: *const i32, col: usize, len: usize) -> V {
    // SAFETY: the caller's; the offsets may end here, so a part of a vector goes through a buffer.
    unsafe {
        if WHOLE {
            return V::load_i32_sum(sums.add(col), f.offsets.add(col));
        }
        let mut offsets = [0i32; 16];
        std::ptr::copy_nonoverlapping(f.offsets.add(col), offsets.as_mut_ptr(), len);
        V::load_i32_sum(sums.add(col), offsets.as_ptr())
    }
}

/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn load<V: Lanes, const WHOLE: bool>(from: *const f32, len: usize) -> V {
    // SAFETY: the caller's.
    unsafe { if WHOLE { V::load(from) } else { V::load_first(from, len) } }
}

/// # Safety
/// As [`finish`].
#[inline(always)]
unsafe fn reals<V: Lanes, const WHOLE: bool>(
    f: &Finish,
    kind: &Reals,
    sums: *const i32,
    at: usize,
    col: usize,
    len: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut y = sum::<V, WHOLE>(f, sums, col, len).mul(load::<V, WHOLE>(kind.multipliers.add(col), len));
        if !kind.bias.is_null() {
            y = y.add(load::<V, WHOLE>(kind.bias.add(col), len));
        }
        if !kind.residual.is_null() {
            y = y.add(load::<V, WHOLE>(kind.residual.add(at + col), len));
        }
        let y = y.at_least(V::splat(kind.min)).at_most(V::splat(kind.max));
        if WHOLE { y.store(kind.out.add(at + col)) } else { y.store_first(kind.out.add(at + col), len) }
    }
}

/// # Safety
/// As [`finish`].
#[inline(always)]
unsafe fn bytes<V: Lanes, const WHOLE: bool>(
    f: &Finish,
    kind: &Requantized,
    sums: *const i32,
    at: usize,
    col: usize,
    len: usize,
) {
    // SAFETY: the caller's; parts of vectors go through buffers of sixteen bytes.
    unsafe {
        let mut y = sum::<V, WHOLE>(f, sums, col, len).mul(load::<V, WHOLE>(kind.multipliers.add(col), len));
        if !kind.residual.is_null() {
            let from = kind.residual.add(at + col);
            let mut part = [0u8; 16];
            let from = if WHOLE {
                from
            } else {
                std::ptr::copy_nonoverlapping(from, part.as_mut_ptr(), len);
                part.as_ptr()
            };
            let r = if kind.residual_flip == 0 { V::load_u8(from) } else { V::load_i8(from.cast()) };
            y = y.add(r.sub(V::splat(kind.residual_zero)).mul(V::splat(kind.residual_multiplier)));
        }
        let y = y.at_least(V::splat(kind.min)).at_most(V::splat(kind.max)).round().add(V::splat(kind.shift));
        let to = kind.out.add(at + col);
        if WHOLE && kind.flip == 0 {
            return y.store_u8(to);
        }
        let mut part = [0u8; 16];
        y.store_u8(part.as_mut_ptr());
        for (i, byte) in part[..len].iter().enumerate() {
            *to.add(i) = byte ^ kind.flip;
        }
    }
}

impl Finish {
    /// Applies the part of `activation` that the clamp does not express to what was just stored, if it is f32.
    ///
    /// # Safety
    /// `out` is valid for these rows and columns.
    pub unsafe fn apply_curve(&self, activation: Activation, rows: usize, n_cols: usize) {
        if let Kind::F32(kind) = self.kind
            && activation.is_curve()
        {
            for row in 0..rows {
                // SAFETY: the caller's.
                activation.apply(unsafe { std::slice::from_raw_parts_mut(kind.out.add(row * self.stride), n_cols) });
            }
        }
    }
}
