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
