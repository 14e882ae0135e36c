//! Functions of one number, written once for all instruction sets. Errors are tested in `elementwise::tests`.
//!
//! Polynomials are least-squares fits at Chebyshev nodes, rounded to f32. NaN in, NaN out.

use super::Lanes;

/// Horner's rule: `c[0] + c[1] x + …`.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn polynomial<V: Lanes, const D: usize>(x: V, c: [f32; D]) -> V {
    // SAFETY: the caller's.
    unsafe {
        let mut sum = V::splat(c[D - 1]);
        for &c in c[..D - 1].iter().rev() {
            sum = sum.mul_add(x, V::splat(c));
        }
        sum
    }
}

/// `e^x`, relative error below 3e-7 where the result is normal; 0 below -104, infinite above 88.73.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn exp<V: Lanes>(x: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        let x = x.at_least(V::splat(-105.0)).at_most(V::splat(90.0));
        let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
        // ln 2 in two parts, the first exact in few bits, so that `n` times it is exact.
        let r = n.mul_add(V::splat(-0.693_359_4), x);
        let r = n.mul_add(V::splat(2.121_944_4e-4), r);
        let tail = polynomial(r, [0.5, 0.166_665_73, 0.041_666_456, 0.008_363_769, 0.001_393_453_6]);
        tail.mul(r).mul_add(r, r).add(V::splat(1.0)).ldexp(n)
    }
}

/// `e^x` for `x <= 0`, as softmax needs it: relative error below 2e-7 + 1e-8 · |x|; 0 below -104.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn exp_of_negative<V: Lanes>(x: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        let x = x.at_least(V::splat(-105.0));
        let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
        let r = n.mul_add(V::splat(-std::f32::consts::LN_2), x);
        polynomial(r, [1.0, 0.999_999_7, 0.499_991_5, 0.166_676_37, 0.041_897_964, 0.008_290_307]).ldexp(n)
    }
}

/// `1 / (1 + e^-x)`, relative error below 5e-7.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn sigmoid<V: Lanes>(x: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        let one = V::splat(1.0);
        let down = exp(V::splat(0.0).sub(x));
        one.div(one.add(down))
    }
}

/// Hyperbolic tangent, relative error below 5e-7.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn tanh<V: Lanes>(x: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        let (one, size, square) = (V::splat(1.0), x.abs(), x.mul(x));
        let far = one.sub(V::splat(2.0).div(exp(size.add(size)).add(one))).copysign(x);
        let tail = polynomial(square, [-0.333_333_28, 0.133_327_83, -0.053_852_5, 0.021_003_643, -0.006_104_949_4]);
        let near = tail.mul(square).mul_add(x, x);
        size.if_less(V::splat(0.625), near, far)
    }
}

/// The error function, absolute error below 2e-7 and relative below 4e-7.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn erf<V: Lanes>(x: V) -> V {
    #[allow(clippy::approx_constant, reason = "a fitted coefficient, not 2 / √π")]
    const NEAR: [f32; 7] =
        [1.128_379_1, -0.376_126_26, 0.112_835_97, -0.026_854_329, 0.005_189_312, -8.018_855e-4, 7.882_497_4e-5];
    /// `-ln(1 - erf x)` on 0.9..4.
    const FAR: [f32; 9] = [
        -3.002_688_2e-4,
        1.130_155_1,
        0.631_956_2,
        0.109_960_8,
        -0.026_355_121,
        0.004_736_950_6,
        -5.920_927_5e-4,
        4.551_277_4e-5,
        -1.610_240_4e-6,
    ];
    // SAFETY: the caller's.
    unsafe {
        let size = x.abs().at_most(V::splat(4.0));
        let near = polynomial(x.mul(x), NEAR).mul(x);
        let decay = V::splat(0.0).sub(polynomial(size, FAR));
        let far = V::splat(1.0).sub(exp(decay)).copysign(x);
        size.if_less(V::splat(0.95), near, far)
    }
}

/// The larger; NaN if either is.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn larger<V: Lanes>(a: V, b: V) -> V {
    // SAFETY: the caller's. `at_least` keeps a NaN of `a`.
    unsafe { keep_nan(b, a.at_least(b)) }
}

/// The smaller; NaN if either is.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn smaller<V: Lanes>(a: V, b: V) -> V {
    // SAFETY: the caller's. `at_most` keeps a NaN of `a`.
    unsafe { keep_nan(b, a.at_most(b)) }
}

/// `b` if it is NaN, else `result`.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn keep_nan<V: Lanes>(b: V, result: V) -> V {
    // SAFETY: the caller's. A NaN is neither below infinity nor above the largest number.
    unsafe {
        let size = b.abs();
        let or_infinite = V::splat(f32::MAX).if_less(size, result, b);
        size.if_less(V::splat(f32::INFINITY), result, or_infinite)
    }
}
