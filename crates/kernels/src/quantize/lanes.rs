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
        let (a_scale, b_scale, shift) = (V::splat(sum.a_scale), V::splat(sum.b_scale), V::splat(sum.shift));
        let (min, max) = (V::splat(sum.min), V::splat(sum.max));
        let step = |a: *const u8, b: *const u8, out: *mut u8| {
            let a = if A { V::load_i8(a.cast()) } else { V::load_u8(a) };
            let b = if B { V::load_i8(b.cast()) } else { V::load_u8(b) };
            a.mul_add(a_scale, b.mul_add(b_scale, shift)).at_least(min).at_most(max).store_u8(out);
        };
        let whole = n - n % V::N;
        for i in (0..whole).step_by(V::N) {
            step(a.add(i), b.add(i), out.add(i));
        }
        if whole < n {
            let mut bytes = [[0u8; 16]; 3];
            std::ptr::copy_nonoverlapping(a.add(whole), bytes[0].as_mut_ptr(), n - whole);
            std::ptr::copy_nonoverlapping(b.add(whole), bytes[1].as_mut_ptr(), n - whole);
            step(bytes[0].as_ptr(), bytes[1].as_ptr(), bytes[2].as_mut_ptr());
            std::ptr::copy_nonoverlapping(bytes[2].as_ptr(), out.add(whole), n - whole);
        }
        if sum.flip != 0 {
            for byte in std::slice::from_raw_parts_mut(out, n) {
                *byte ^= sum.flip;
            }
        }
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
