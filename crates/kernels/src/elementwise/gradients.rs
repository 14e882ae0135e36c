//! The gradients of functions of each element, written once for all instruction sets.

use super::{Binary, Operand};
use crate::simd::{Lanes, math, slopes};

/// Elements of an operand that are written out, if it is not there one by one.
const BLOCK: usize = 64;

/// Elements by which gradients are asked for ahead of their use: those that a bend lets through are loaded under a mask, so not
/// before the mask is known, and such loads do not teach the CPU what comes next.
const AHEAD: usize = 1024;

/// Applies an expression to `n` pairs; `dy` and `out` may be the same. A macro as `map` in `lanes.rs` is.
macro_rules! zip {
    ($V:ident, $a:expr, $b:expr, $out:expr, $n:expr, |$dy:ident, $x:ident| $value:expr) => {{
        let whole = $n - $n % $V::N;
        for i in (0..whole).step_by($V::N) {
            $V::prefetch($a.wrapping_add(i + AHEAD));
            let ($dy, $x) = ($V::load($a.add(i)), $V::load($b.add(i)));
            $value.store($out.add(i));
        }
        if whole < $n {
            let rest = $n - whole;
            let ($dy, $x) = ($V::load_first($a.add(whole), rest), $V::load_first($b.add(whole), rest));
            $value.store_first($out.add(whole), rest);
        }
    }};
}

/// As `lanes::binary`, for gradients. Those that meet fewer numbers than they are themselves are rare, so they are not fast.
///
/// # Safety
/// As `lanes::binary`.
#[inline(always)]
pub(super) unsafe fn broadcast<V: Lanes>(
    op: Binary,
    dy: *const f32,
    b: Operand<'_>,
    start: usize,
    out: *mut f32,
    n: usize,
) {
    let (mut at, mut values) = (0, [0.0; BLOCK]);
    while at < n {
        let (from, len) = match b {
            // SAFETY: the caller's.
            Operand::Same(b) => unsafe { (b.as_ptr().add(start), n) },
            _ => {
                let len = BLOCK.min(n - at);
                values[..len].iter_mut().enumerate().for_each(|(i, value)| *value = b.value(start + at + i));
                (values.as_ptr(), len)
            }
        };
        // SAFETY: the caller's; `len` values are there.
        unsafe { gradient::<V>(op, dy.add(at), from, out.add(at), len) };
        at += len;
    }
}

/// # Safety
/// `n` elements at `dy`, `b` and `out`; as [`Lanes`].
#[inline(always)]
unsafe fn gradient<V: Lanes>(op: Binary, dy: *const f32, b: *const f32, out: *mut f32, n: usize) {
    // SAFETY: the caller's, in every arm.
    unsafe {
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        match op {
            Binary::ReluGrad => zip!(V, dy, b, out, n, |dy, y| zero.if_less(y, dy, zero)),
            Binary::ClipGrad { min, max } => {
                let (min, max) = (V::splat(min), V::splat(max));
                zip!(V, dy, b, out, n, |dy, y| min.if_less(y, y.if_less(max, dy, zero), zero));
            }
            Binary::LeakyReluGrad { alpha } => {
                let alpha = V::splat(alpha);
                zip!(V, dy, b, out, n, |dy, y| y.if_less(zero, dy.mul(alpha), dy));
            }
            Binary::EluGrad { alpha } => {
                let alpha = V::splat(alpha);
                zip!(V, dy, b, out, n, |dy, y| y.if_less(zero, dy.mul(y.add(alpha)), dy));
            }
            Binary::SigmoidGrad => zip!(V, dy, b, out, n, |dy, y| dy.mul(y.mul(one.sub(y)))),
            Binary::HardSigmoidGrad { alpha } => {
                let alpha = V::splat(alpha);
                zip!(V, dy, b, out, n, |dy, y| zero.if_less(y, y.if_less(one, dy.mul(alpha), zero), zero));
            }
            Binary::HardSwishGrad => {
                let (end, third, half) = (V::splat(3.0), V::splat(1.0 / 3.0), V::splat(0.5));
                let start = V::splat(-3.0);
                zip!(V, dy, b, out, n, |dy, x| {
                    let slope = x.mul_add(third, half);
                    dy.mul(start.if_less(x, x.if_less(end, slope, one), zero))
                });
            }
            Binary::SiluGrad => zip!(V, dy, b, out, n, |dy, x| {
                let share = math::sigmoid(x);
                dy.mul(share.mul(x.mul_add(one.sub(share), one)))
            }),
            Binary::ErfGrad => {
                let scale = V::splat(std::f32::consts::FRAC_2_SQRT_PI);
                zip!(V, dy, b, out, n, |dy, x| dy.mul(scale.mul(math::exp(zero.sub(x.mul(x))))));
            }
            Binary::GeluGrad => zip!(V, dy, b, out, n, |dy, x| dy.mul(slopes::gelu_slope(x, &slopes::GELU_SLOPE))),
            Binary::GeluTanhGrad => {
                zip!(V, dy, b, out, n, |dy, x| dy.mul(slopes::gelu_slope(x, &slopes::GELU_TANH_SLOPE)));
            }
            Binary::TanhGrad => zip!(V, dy, b, out, n, |dy, y| dy.mul(one.sub(y.mul(y)))),
            // The others are not gradients: `lanes::binary` has them.
            _ => {}
        }
    }
}
