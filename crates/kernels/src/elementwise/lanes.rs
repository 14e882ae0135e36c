//! The loops over elements, written once for all instruction sets.

use super::{Binary, Operand, Unary, gradients};
use crate::simd::{Lanes, math};

/// Applies an expression to `n` elements; `from` and `out` may be the same.
///
/// A macro, because closures of this size are not always inlined, and outside of a function with the instruction set
/// every operation in them would be a call.
macro_rules! map {
    ($V:ident, $from:expr, $out:expr, $n:expr, |$x:ident| $value:expr) => {{
        let whole = $n - $n % $V::N;
        for i in (0..whole).step_by($V::N) {
            let $x = $V::load($from.add(i));
            $value.store($out.add(i));
        }
        if whole < $n {
            let $x = $V::load_first($from.add(whole), $n - whole);
            $value.store_first($out.add(whole), $n - whole);
        }
    }};
}

/// # Safety
/// `n` elements at `x` and `out`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn unary<V: Lanes>(op: Unary, x: *const f32, out: *mut f32, n: usize) {
    // SAFETY: the caller's, in every arm.
    unsafe {
        let (zero, one, half) = (V::splat(0.0), V::splat(1.0), V::splat(0.5));
        match op {
            Unary::Relu => map!(V, x, out, n, |x| x.at_least(zero)),
            Unary::Clip { min, max } => {
                let (min, max) = (V::splat(min), V::splat(max));
                map!(V, x, out, n, |x| x.at_least(min).at_most(max));
            }
            Unary::LeakyRelu { alpha } => {
                let alpha = V::splat(alpha);
                map!(V, x, out, n, |x| x.if_less(zero, x.mul(alpha), x));
            }
            Unary::Elu { alpha } => {
                let alpha = V::splat(alpha);
                map!(V, x, out, n, |x| x.if_less(zero, math::exp(x).sub(one).mul(alpha), x));
            }
            Unary::Sigmoid => map!(V, x, out, n, |x| math::sigmoid(x)),
            Unary::HardSigmoid { alpha, beta } => {
                let (alpha, beta) = (V::splat(alpha), V::splat(beta));
                map!(V, x, out, n, |x| x.mul_add(alpha, beta).at_least(zero).at_most(one));
            }
            Unary::HardSwish => {
                let sixth = V::splat(1.0 / 6.0);
                map!(V, x, out, n, |x| x.mul_add(sixth, half).at_least(zero).at_most(one).mul(x));
            }
            Unary::Silu => map!(V, x, out, n, |x| x.mul(math::sigmoid(x))),
            Unary::Erf => map!(V, x, out, n, |x| math::erf(x)),
            Unary::Gelu => map!(V, x, out, n, |x| math::gelu(x, &math::GELU)),
            Unary::GeluTanh => map!(V, x, out, n, |x| math::gelu(x, &math::GELU_TANH)),
            Unary::Tanh => map!(V, x, out, n, |x| math::tanh(x)),
            Unary::Exp => map!(V, x, out, n, |x| math::exp(x)),
            Unary::Sqrt => map!(V, x, out, n, |x| x.sqrt()),
            Unary::Reciprocal => map!(V, x, out, n, |x| one.div(x)),
            Unary::Abs => map!(V, x, out, n, |x| x.abs()),
            Unary::Neg => {
                let sign = V::splat(-0.0);
                map!(V, x, out, n, |x| sign.sub(x));
            }
            Unary::Square => map!(V, x, out, n, |x| x.mul(x)),
        }
    }
}

/// # Safety
/// `n` elements at `a`, `out` and, if it is one a row, `b`; as [`Lanes`].
#[inline(always)]
unsafe fn zip<V: Lanes>(a: *const f32, b: Operand<'_>, start: usize, out: *mut f32, n: usize, f: impl Fn(V, V) -> V) {
    // SAFETY: the caller's; `b` is as long as its shape says, checked by the public functions.
    unsafe {
        match b {
            Operand::Scalar(b) => {
                let b = V::splat(b);
                map!(V, a, out, n, |a| f(a, b));
            }
            Operand::Same(b) => zip_row(a, b.as_ptr().add(start), out, n, f),
            Operand::Row(b) => {
                // The part may begin and end in the middle of a row.
                let mut at = 0;
                while at < n {
                    let col = (start + at) % b.len();
                    let len = (b.len() - col).min(n - at);
                    zip_row(a.add(at), b.as_ptr().add(col), out.add(at), len, &f);
                    at += len;
                }
            }
            Operand::Column { values, row_len } => {
                let mut at = 0;
                while at < n {
                    let (row, col) = ((start + at) / row_len, (start + at) % row_len);
                    let len = (row_len - col).min(n - at);
                    let b = V::splat(*values.as_ptr().add(row));
                    map!(V, a.add(at), out.add(at), len, |a| f(a, b));
                    at += len;
                }
            }
        }
    }
}

/// # Safety
/// `n` elements at each pointer; as [`Lanes`].
#[inline(always)]
unsafe fn zip_row<V: Lanes>(a: *const f32, b: *const f32, out: *mut f32, n: usize, f: impl Fn(V, V) -> V) {
    // SAFETY: the caller's.
    unsafe {
        let whole = n - n % V::N;
        for i in (0..whole).step_by(V::N) {
            f(V::load(a.add(i)), V::load(b.add(i))).store(out.add(i));
        }
        let rest = n - whole;
        if rest > 0 {
            let (a, b) = (V::load_first(a.add(whole), rest), V::load_first(b.add(whole), rest));
            f(a, b).store_first(out.add(whole), rest);
        }
    }
}

/// Elements `start .. start + n` of the whole; `a` and `out` point at the first of them, `b` is the whole operand.
///
/// # Safety
/// `n` elements at `a` and `out`, `b` covers them; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn binary<V: Lanes>(
    op: Binary,
    a: *const f32,
    b: Operand<'_>,
    start: usize,
    out: *mut f32,
    n: usize,
) {
    // SAFETY: the caller's, in every arm.
    unsafe {
        match op {
            Binary::Add => zip::<V>(a, b, start, out, n, |a, b| a.add(b)),
            Binary::Sub => zip::<V>(a, b, start, out, n, |a, b| a.sub(b)),
            Binary::SubFrom => zip::<V>(a, b, start, out, n, |a, b| b.sub(a)),
            Binary::Mul => zip::<V>(a, b, start, out, n, |a, b| a.mul(b)),
            Binary::Div => zip::<V>(a, b, start, out, n, |a, b| a.div(b)),
            Binary::DivFrom => zip::<V>(a, b, start, out, n, |a, b| b.div(a)),
            Binary::Max => zip::<V>(a, b, start, out, n, |a, b| math::larger(a, b)),
            Binary::Min => zip::<V>(a, b, start, out, n, |a, b| math::smaller(a, b)),
            gradient => gradients::broadcast::<V>(gradient, a, b, start, out, n),
        }
    }
}

/// `out[r, c] = clamp(x[r, c] · scale[c] + bias[c])` for `rows` rows of `scale.len()` columns.
///
/// # Safety
/// `rows · scale.len()` elements at `x` and `out`, `bias` as long as `scale`; as [`Lanes`].
#[inline(always)]
pub(super) unsafe fn scale_bias<V: Lanes>(
    x: *const f32,
    scale: &[f32],
    bias: &[f32],
    (min, max): (f32, f32),
    out: *mut f32,
    rows: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let n = scale.len();
        let (min, max) = (V::splat(min), V::splat(max));
        for row in 0..rows {
            let (x, out) = (x.add(row * n), out.add(row * n));
            for i in (0..n).step_by(V::N) {
                let len = (n - i).min(V::N);
                let scale = V::load_first(scale.as_ptr().add(i), len);
                let bias = V::load_first(bias.as_ptr().add(i), len);
                let sum = V::load_first(x.add(i), len).mul_add(scale, bias);
                sum.at_least(min).at_most(max).store_first(out.add(i), len);
            }
        }
    }
}
