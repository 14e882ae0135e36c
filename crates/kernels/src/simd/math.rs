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

/// Coefficients of polynomials, the constant first, on each of 16 equal parts of an interval.
pub(crate) type Pieces = [[f32; 16]; 5];

/// End of the interval of [`GELU`] and [`GELU_TANH`]; further out both functions are 0 or the identity.
const GELU_END: f32 = 5.5;

/// `-½ erfc(x / √2)` on `0..5.5`: what is missing of 1 in the share of `x` that Gelu lets through, negated.
pub(crate) const GELU: Pieces = [
    [
        -4.317_679e-1,
        -3.030_581_8e-1,
        -1.950_668_2e-1,
        -1.144_639_8e-1,
        -6.094_669_6e-2,
        -2.933_720_9e-2,
        -1.272_920_4e-2,
        -4.966_902_5e-3,
        -1.739_655_7e-3,
        -5.461_141e-4,
        -1.534_679_5e-4,
        -3.856_863e-5,
        -8.661_173e-6,
        -1.736_796_5e-6,
        -3.108_155_5e-7,
        -4.961_68e-8,
    ],
    [
        1.351_248_6e-1,
        1.200_655_9e-1,
        9.479_488_4e-2,
        6.650_182e-2,
        4.145_372_3e-2,
        2.296_009_1e-2,
        1.129_957_4e-2,
        4.941_137e-3,
        1.919_843_3e-3,
        6.627_900_3e-4,
        2.033_08e-4,
        5.541_122e-5,
        1.341_843_65e-5,
        2.887_106_6e-6,
        5.519_194_7e-7,
        9.374_226_6e-8,
    ],
    [
        -3.991_671_4e-3,
        -1.064_043_5e-2,
        -1.400_150_3e-2,
        -1.375_155_9e-2,
        -1.102_117_4e-2,
        -7.460_893e-3,
        -4.339_45e-3,
        -2.189_550_8e-3,
        -9.641_907e-4,
        -3.720_437_5e-4,
        -1.261_422_3e-4,
        -3.765_669_3e-5,
        -9.912_827e-6,
        -2.303_732_1e-6,
        -4.730_877_7e-7,
        -8.590_979e-8,
    ],
    [
        -2.568_73e-3,
        -1.729_483_5e-3,
        -4.911_702e-4,
        5.774_516e-4,
        1.128_606_5e-3,
        1.159_362_4e-3,
        8.876_011e-4,
        5.507_968e-4,
        2.867_152_8e-4,
        1.274_339_6e-4,
        4.886_865_3e-5,
        1.627_833_4e-5,
        4.731_841_7e-6,
        1.204_297_5e-6,
        2.690_272e-7,
        5.284_971_7e-8,
    ],
    [
        1.159_090_75e-4,
        2.845_638e-4,
        3.101_424_7e-4,
        2.097_012_5e-4,
        6.640_348e-5,
        -4.134_242_8e-5,
        -8.450_627e-5,
        -7.839_167e-5,
        -5.260_820_4e-5,
        -2.819_812_8e-5,
        -1.255_621_2e-5,
        -4.739_356_4e-6,
        -1.534_519_4e-6,
        -4.295_043_8e-7,
        -1.044_768_9e-7,
        -2.217_217_3e-8,
    ],
];

/// `½ (tanh(√(2/π) (x + 0.044715 x³)) - 1)` on `0..5.5`: as [`GELU`], for the form with tanh.
pub(crate) const GELU_TANH: Pieces = [
    [
        -4.317_695_5e-1,
        -3.030_955_2e-1,
        -1.951_871_7e-1,
        -1.146_421_2e-1,
        -6.107_873_5e-2,
        -2.933_458_4e-2,
        -1.259_839_9e-2,
        -4.788_036_5e-3,
        -1.589_746_8e-3,
        -4.543_631e-4,
        -1.099_983_8e-4,
        -2.217_983e-5,
        -3.661_412_2e-6,
        -4.863_293e-7,
        -5.108_111_3e-8,
        -4.169_593_6e-9,
    ],
    [
        1.351_151_5e-1,
        1.200_005_9e-1,
        9.470_764_5e-2,
        6.648_87e-2,
        4.155_614_6e-2,
        2.310_901_1e-2,
        1.139_370_5e-2,
        4.944_414_4e-3,
        1.867_682_4e-3,
        6.054_351e-4,
        1.657_214_3e-4,
        3.764_964_6e-5,
        6.975_485e-6,
        1.035_500_4e-6,
        1.210_124_2e-7,
        1.093_851_4e-8,
    ],
    [
        -4.010_372e-3,
        -1.066_855_25e-2,
        -1.398_934_05e-2,
        -1.369_483_6e-2,
        -1.097_297_7e-2,
        -7.465_406e-3,
        -4.383_308e-3,
        -2.230_012_8e-3,
        -9.781_666e-4,
        -3.657_683_3e-4,
        -1.148_426_7e-4,
        -2.976_617e-5,
        -6.257_979e-6,
        -1.048_593_4e-6,
        -1.376_196_6e-7,
        -1.390_425_7e-8,
    ],
    [
        -2.579_142_3e-3,
        -1.723_675_6e-3,
        -4.734_744_7e-4,
        5.851_214_5e-4,
        1.115_981e-3,
        1.141_181_1e-3,
        8.815_951e-4,
        5.574_855_6e-4,
        2.955_7e-4,
        1.315_386_5e-4,
        4.865_875e-5,
        1.474_443_2e-5,
        3.600_732_3e-6,
        6.970_787_5e-7,
        1.052_464_14e-7,
        1.219_416_2e-8,
    ],
    [
        1.184_667_34e-4,
        2.891_885_2e-4,
        3.106_013_2e-4,
        2.047_820_6e-4,
        6.237_678_5e-5,
        -3.999_771_4e-5,
        -8.059_863e-5,
        -7.642_694e-5,
        -5.328_146_7e-5,
        -2.956_625_6e-5,
        -1.325_336e-5,
        -4.772_840_4e-6,
        -1.364_110_2e-6,
        -3.050_761_3e-7,
        -5.261_586_7e-8,
        -6.895_549e-9,
    ],
];

/// `max(x, 0) + |x| · pieces(|x|)`, which is `x / 2 · (1 + erf(x / √2))` or the form with tanh: absolute error below 3e-7,
/// relative error near 0 below 4e-7.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn gelu<V: Lanes>(x: V, pieces: &Pieces) -> V {
    // SAFETY: the caller's.
    unsafe {
        // A little less than the end, which belongs to no part.
        let size = x.abs().at_most(V::splat(GELU_END.next_down()));
        let sum = piecewise(size, GELU_END, pieces);
        size.mul_add(sum, x.at_least(V::splat(0.0)))
    }
}

/// The polynomials of `pieces`, which divide `0..end` into equal parts, at `size` in there.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn piecewise<V: Lanes>(size: V, end: f32, pieces: &Pieces) -> V {
    /// 1.5 · 2²³: adding it rounds to an integer, which is then in the lowest bits.
    const ROUNDING: f32 = 12_582_912.0;
    // SAFETY: the caller's.
    unsafe {
        let at = size.mul_add(V::splat(16.0 / end), V::splat(-0.5));
        let index = at.add(V::splat(ROUNDING));
        let t = at.sub(index.sub(V::splat(ROUNDING)));
        let mut sum = index.lookup(&pieces[4]);
        for coefficients in pieces[..4].iter().rev() {
            sum = sum.mul_add(t, index.lookup(coefficients));
        }
        sum
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
