//! Between f32 and bytes, written once for all instruction sets.

use crate::simd::Lanes;

/// `out[i] = saturate(round(x[i] / scale) + shift)` in 0..=255, then `^ flip`.
///
/// # Safety
/// `n` elements at `x` and `out`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn quantize<V: Lanes>(x: *const f32, scale: f32, shift: f32, flip: u8, out: *mut u8, n: usize) {
    // SAFETY: the caller's; the tail goes through a buffer of sixteen bytes.
    unsafe {
        let (scale, shift) = (V::splat(scale), V::splat(shift));
        let whole = n - n % V::N;
        for i in (0..whole).step_by(V::N) {
            V::load(x.add(i)).div(scale).round().add(shift).store_u8(out.add(i));
        }
        if whole < n {
            let mut bytes = [0u8; 16];
            V::load_first(x.add(whole), n - whole).div(scale).round().add(shift).store_u8(bytes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), out.add(whole), n - whole);
        }
        if flip != 0 {
            for byte in std::slice::from_raw_parts_mut(out, n) {
                *byte ^= flip;
            }
        }
    }
}

/// `out[i] = (x[i] - zero_point) · scale`; the bytes are signed if `IS_SIGNED`.
///
/// # Safety
/// `n` elements at `x` and `out`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn dequantize<V: Lanes, const IS_SIGNED: bool>(
    x: *const u8,
    scale: f32,
    zero_point: f32,
    out: *mut f32,
    n: usize,
) {
    // SAFETY: the caller's; the tail goes through a buffer of sixteen bytes.
    unsafe {
        let (scale, zero) = (V::splat(scale), V::splat(zero_point));
        let load = |from: *const u8| if IS_SIGNED { V::load_i8(from.cast()) } else { V::load_u8(from) };
        let whole = n - n % V::N;
        for i in (0..whole).step_by(V::N) {
            load(x.add(i)).sub(zero).mul(scale).store(out.add(i));
        }
        if whole < n {
            let mut bytes = [0u8; 16];
            std::ptr::copy_nonoverlapping(x.add(whole), bytes.as_mut_ptr(), n - whole);
            load(bytes.as_ptr()).sub(zero).mul(scale).store_first(out.add(whole), n - whole);
        }
    }
}

/// # Safety
/// `V::N` bytes at `from`, signed if `IS_SIGNED`; as [`Lanes`].
#[inline(always)]
unsafe fn load<V: Lanes, const IS_SIGNED: bool>(from: *const u8) -> V {
    // SAFETY: the caller's.
    unsafe { if IS_SIGNED { V::load_i8(from.cast()) } else { V::load_u8(from) } }
}

/// `out[i] = (x[i] - zero_point) · scale + addend[i]`; the bytes are signed if `IS_SIGNED`.
///
/// # Safety
/// `n` elements at `x`, `addend` and `out`, of which the last two may be the same; as [`Lanes`].
#[inline(always)]
unsafe fn dequantize_add<V: Lanes, const IS_SIGNED: bool>(
    x: *const u8,
    [scale, zero_point]: [f32; 2],
    addend: *const f32,
    out: *mut f32,
    n: usize,
) {
    // SAFETY: the caller's; the tail goes through a buffer of sixteen bytes.
    unsafe {
        let (scale, zero) = (V::splat(scale), V::splat(zero_point));
        let whole = n - n % V::N;
        for i in (0..whole).step_by(V::N) {
            load::<V, IS_SIGNED>(x.add(i)).sub(zero).mul(scale).add(V::load(addend.add(i))).store(out.add(i));
        }
        if whole < n {
            let (mut bytes, rest) = ([0u8; 16], n - whole);
            std::ptr::copy_nonoverlapping(x.add(whole), bytes.as_mut_ptr(), rest);
            let real = load::<V, IS_SIGNED>(bytes.as_ptr()).sub(zero).mul(scale);
            real.add(V::load_first(addend.add(whole), rest)).store_first(out.add(whole), rest);
        }
    }
}

/// [`dequantize_add`] for either type.
///
/// # Safety
/// As [`dequantize_add`].
#[inline(always)]
pub(super) unsafe fn dequantize_add_any<V: Lanes>(
    is_signed: bool,
    x: *const u8,
    grid: [f32; 2],
    addend: *const f32,
    out: *mut f32,
    n: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        if is_signed {
            dequantize_add::<V, true>(x, grid, addend, out, n);
        } else {
            dequantize_add::<V, false>(x, grid, addend, out, n);
        }
    }
}

/// `x[i] = clamp(round(x[i] / scale)) · scale`; NaN becomes the lower bound.
///
/// # Safety
/// `n` elements at `x`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn round<V: Lanes>(x: *mut f32, scale: f32, [min, max]: [f32; 2], n: usize) {
    // SAFETY: the caller's.
    unsafe {
        let whole = n - n % V::N;
        for i in (0..whole).step_by(V::N) {
            round_vector(V::load(x.add(i)), scale, min, max).store(x.add(i));
        }
        if whole < n {
            let rounded = round_vector(V::load_first(x.add(whole), n - whole), scale, min, max);
            rounded.store_first(x.add(whole), n - whole);
        }
    }
}

/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn round_vector<V: Lanes>(x: V, scale: f32, min: f32, max: f32) -> V {
    // SAFETY: the caller's.
    unsafe {
        let (scale, min) = (V::splat(scale), V::splat(min));
        let steps = x.div(scale).round();
        min.if_less(steps, steps, min).at_most(V::splat(max)).mul(scale)
    }
}

/// What [`super::add`] computes, in units of the output: `out = saturate(clamp(a · a_scale + b · b_scale + shift))`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum {
    pub a_scale: f32,
    pub b_scale: f32,
    pub shift: f32,
    pub min: f32,
    pub max: f32,
    pub flip: u8,
}

/// The bytes of `a` and `b` are signed if `A` and `B` are true.
///
/// # Safety
/// `n` elements at `a`, `b` and `out`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn add<V: Lanes, const A: bool, const B: bool>(
    sum: &Sum,
    a: *const u8,
    b: *const u8,
    out: *mut u8,
    n: usize,
) {
    // SAFETY: the caller's; the tail goes through buffers of sixteen bytes.
    unsafe {
        let whole = n - n % V::N;
        for i in (0..whole).step_by(V::N) {
            add_vector::<V, A, B>(sum, a.add(i), b.add(i), out.add(i));
        }
        if whole < n {
            let mut bytes = [[0u8; 16]; 3];
            std::ptr::copy_nonoverlapping(a.add(whole), bytes[0].as_mut_ptr(), n - whole);
            std::ptr::copy_nonoverlapping(b.add(whole), bytes[1].as_mut_ptr(), n - whole);
            add_vector::<V, A, B>(sum, bytes[0].as_ptr(), bytes[1].as_ptr(), bytes[2].as_mut_ptr());
            std::ptr::copy_nonoverlapping(bytes[2].as_ptr(), out.add(whole), n - whole);
        }
        if sum.flip != 0 {
            for byte in std::slice::from_raw_parts_mut(out, n) {
                *byte ^= sum.flip;
            }
        }
    }
}

/// A function, not a closure: those are compiled for the CPU that every machine has.
///
/// # Safety
/// `V::N` elements at `a`, `b` and `out`; as [`Lanes`].
#[inline(always)]
unsafe fn add_vector<V: Lanes, const A: bool, const B: bool>(sum: &Sum, a: *const u8, b: *const u8, out: *mut u8) {
    // SAFETY: the caller's.
    unsafe {
        let a = if A { V::load_i8(a.cast()) } else { V::load_u8(a) };
        let b = if B { V::load_i8(b.cast()) } else { V::load_u8(b) };
        let sums = a.mul_add(V::splat(sum.a_scale), b.mul_add(V::splat(sum.b_scale), V::splat(sum.shift)));
        sums.at_least(V::splat(sum.min)).at_most(V::splat(sum.max)).store_u8(out);
    }
}

/// [`add`] for the types of its operands.
///
/// # Safety
/// As [`add`].
#[inline(always)]
pub(super) unsafe fn add_any<V: Lanes>(
    sum: &Sum,
    are_signed: [bool; 2],
    a: *const u8,
    b: *const u8,
    out: *mut u8,
    n: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        match are_signed {
            [false, false] => add::<V, false, false>(sum, a, b, out, n),
            [false, true] => add::<V, false, true>(sum, a, b, out, n),
            [true, false] => add::<V, true, false>(sum, a, b, out, n),
            [true, true] => add::<V, true, true>(sum, a, b, out, n),
        }
    }
}
