//! Functions of each element: activations, arithmetic with the common broadcasts, scale and bias by channel.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod gradients;
mod lanes;
mod scalar;
#[cfg(test)]
mod tests;

use crate::activation::Activation;
use crate::error::ShapeError;
use crate::threads::{Shareable, Threads};
use std::sync::OnceLock;

/// A function of one number. NaN gives NaN. Errors against f64: see `math.rs` (relative, below 5e-7, if not exact).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Unary {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, min), max)`.
    Clip {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// `x < 0 ? alpha · x : x`.
    LeakyRelu {
        /// Slope below 0.
        alpha: f32,
    },
    /// `x < 0 ? alpha · (e^x - 1) : x`.
    Elu {
        /// Limit below 0, negated.
        alpha: f32,
    },
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `clip(alpha · x + beta, 0, 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `x · clip(x / 6 + 0.5, 0, 1)`.
    HardSwish,
    /// `x · sigmoid(x)`.
    Silu,
    /// Error function.
    Erf,
    /// `x / 2 · (1 + erf(x / √2))`.
    Gelu,
    /// `x / 2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
    GeluTanh,
    /// Hyperbolic tangent.
    Tanh,
    /// `e^x`.
    Exp,
    /// Square root.
    Sqrt,
    /// `1 / x`.
    Reciprocal,
    /// Absolute value.
    Abs,
    /// `-x`.
    Neg,
    /// `x²`.
    Square,
}

/// A function of two numbers. NaN on either side gives NaN, but for the gradients of functions with a bend.
///
/// The gradients take the gradient of the output as `a`, and as `b` the output `y` or the input `x` of the function, as said;
/// they are `a` times the slope, and do not change places.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `b - a`, for a broadcast left side.
    SubFrom,
    /// `a · b`.
    Mul,
    /// `a / b`.
    Div,
    /// `b / a`, for a broadcast left side.
    DivFrom,
    /// The larger.
    Max,
    /// The smaller.
    Min,
    /// Of [`Unary::Relu`], by `y` or `x`: `a` where `b > 0`, else 0.
    ReluGrad,
    /// Of [`Unary::Clip`], by `y` or `x`: `a` where `min < b < max`, else 0.
    ClipGrad {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// Of [`Unary::LeakyRelu`], by `x` (or `y`, if `alpha >= 0`).
    LeakyReluGrad {
        /// Slope below 0.
        alpha: f32,
    },
    /// Of [`Unary::Elu`], by `y`, for `alpha >= 0`.
    EluGrad {
        /// Limit below 0, negated.
        alpha: f32,
    },
    /// Of [`Unary::Sigmoid`], by `y`.
    SigmoidGrad,
    /// Of [`Unary::HardSigmoid`], by `y`.
    HardSigmoidGrad {
        /// Slope.
        alpha: f32,
    },
    /// Of [`Unary::HardSwish`], by `x`.
    HardSwishGrad,
    /// Of [`Unary::Silu`], by `x`.
    SiluGrad,
    /// Of [`Unary::Erf`], by `x`.
    ErfGrad,
    /// Of [`Unary::Gelu`], by `x`; absolute error of the slope below 1e-6.
    GeluGrad,
    /// Of [`Unary::GeluTanh`], by `x`; absolute error of the slope below 1e-6.
    GeluTanhGrad,
    /// Of [`Unary::Tanh`], by `y`.
    TanhGrad,
}

impl Binary {
    /// The function whose operands change places, if there is one.
    pub fn swapped(self) -> Option<Self> {
        Some(match self {
            Self::Add | Self::Mul | Self::Max | Self::Min => self,
            Self::Sub => Self::SubFrom,
            Self::SubFrom => Self::Sub,
            Self::Div => Self::DivFrom,
            Self::DivFrom => Self::Div,
            _ => return None,
        })
    }
}

/// The second operand of [`binary`]: how it spreads over the first.
#[derive(Debug, Clone, Copy)]
pub enum Operand<'a> {
    /// One number for all.
    Scalar(f32),
    /// As large as the first operand.
    Same(&'a [f32]),
    /// A vector over the last axis, repeated for every row.
    Row(&'a [f32]),
    /// One number a row of `row_len` elements (last axis 1).
    Column {
        /// One a row.
        values: &'a [f32],
        /// Elements of a row of the first operand.
        row_len: usize,
    },
}

type UnaryRun = unsafe fn(Unary, *const f32, *mut f32, usize);
type BinaryRun = unsafe fn(Binary, *const f32, Operand<'_>, usize, *mut f32, usize);
type ScaleBiasRun = unsafe fn(*const f32, &[f32], &[f32], (f32, f32), *mut f32, usize);

/// A variant of all loops over elements.
pub struct Kernel {
    /// `elementwise_f32_{lanes}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    unary: UnaryRun,
    binary: BinaryRun,
    scale_bias: ScaleBiasRun,
}

/// All variants, fastest first. Dispatch and tests walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "elementwise_f32_16_avx512",
        is_supported: crate::isa::has_avx512,
        unary: avx512::unary,
        binary: avx512::binary,
        scale_bias: avx512::scale_bias,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "elementwise_f32_8_avx2",
        is_supported: crate::isa::has_avx2,
        unary: avx2::unary,
        binary: avx2::binary,
        scale_bias: avx2::scale_bias,
    },
    Kernel {
        name: "elementwise_f32_1_scalar",
        is_supported: || true,
        unary: scalar::unary,
        binary: scalar::binary,
        scale_bias: scalar::scale_bias,
    },
];

/// Elements worth a task: some 32 KiB, in L1.
const TASK: usize = 8192;

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        // Remembered: it is asked for once a row.
        static BEST: OnceLock<&Kernel> = OnceLock::new();
        BEST.get_or_init(|| crate::isa::best(KERNELS, |kernel| kernel.is_supported))
    }

    fn assert_supported(&self) {
        assert!((self.is_supported)(), "{} needs another CPU", self.name);
    }

    /// `out[i] = op(x[i])`.
    pub fn unary(&self, op: Unary, x: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
        self.assert_supported();
        ShapeError::expect("out", out.len(), x.len())?;
        // SAFETY: equal lengths; this CPU can run the variant.
        unsafe { (self.unary)(op, x.as_ptr(), out.as_mut_ptr(), x.len()) }
        Ok(())
    }

    /// `x[i] = op(x[i])`.
    pub fn unary_in_place(&self, op: Unary, x: &mut [f32]) {
        self.assert_supported();
        let at = x.as_mut_ptr();
        // SAFETY: each vector is read before it is written; this CPU can run the variant.
        unsafe { (self.unary)(op, at, at, x.len()) }
    }

    /// `out[i] = op(a[i], b[..])`.
    pub fn binary(&self, op: Binary, a: &[f32], b: Operand<'_>, out: &mut [f32]) -> Result<(), ShapeError> {
        self.assert_supported();
        ShapeError::expect("out", out.len(), a.len())?;
        b.check(a.len())?;
        // SAFETY: lengths checked; this CPU can run the variant.
        unsafe { (self.binary)(op, a.as_ptr(), b, 0, out.as_mut_ptr(), a.len()) }
        Ok(())
    }
}

impl Operand<'_> {
    /// What meets element `i` of the first operand.
    fn value(&self, i: usize) -> f32 {
        match *self {
            Self::Scalar(b) => b,
            Self::Same(b) => b[i],
            Self::Row(b) => b[i % b.len()],
            Self::Column { values, row_len } => values[i / row_len],
        }
    }

    fn check(&self, len: usize) -> Result<(), ShapeError> {
        match *self {
            Self::Scalar(_) => Ok(()),
            Self::Same(b) => ShapeError::expect("b", b.len(), len),
            Self::Row(b) if len > 0 => ShapeError::require(
                len.is_multiple_of(b.len().max(1)) && !b.is_empty(),
                "the length of `b`",
                b.len(),
                "a divisor of the length of `a`",
            ),
            Self::Row(_) => Ok(()),
            Self::Column { values, row_len } => {
                ShapeError::expect("a", len, ShapeError::product("a", &[values.len(), row_len])?)
            }
        }
    }
}

/// `out[i] = op(x[i])`.
///
/// # Errors
/// [`ShapeError`] if the lengths differ.
pub fn unary(threads: &Threads, op: Unary, x: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
    ShapeError::expect("out", out.len(), x.len())?;
    let kernel = Kernel::best();
    threads.run_chunks(out, TASK, |index, out| {
        // SAFETY: the chunk of `x` is as long as that of `out`; this CPU can run the variant.
        unsafe { (kernel.unary)(op, x.as_ptr().add(index * TASK), out.as_mut_ptr(), out.len()) }
    });
    Ok(())
}

/// `x[i] = op(x[i])`.
pub fn unary_in_place(threads: &Threads, op: Unary, x: &mut [f32]) {
    let kernel = Kernel::best();
    threads.run_chunks(x, TASK, |_, x| kernel.unary_in_place(op, x));
}

/// [`unary_in_place`] on the calling thread.
pub(crate) fn unary_here(op: Unary, x: &mut [f32]) {
    Kernel::best().unary_in_place(op, x);
}

/// `out[i] = op(a[i], b[..])`, `b` broadcast as [`Operand`] says.
///
/// # Errors
/// [`ShapeError`] if a length does not fit.
pub fn binary(threads: &Threads, op: Binary, a: &[f32], b: Operand<'_>, out: &mut [f32]) -> Result<(), ShapeError> {
    ShapeError::expect("out", out.len(), a.len())?;
    b.check(a.len())?;
    let kernel = Kernel::best();
    threads.run_chunks(out, TASK, |index, out| {
        let start = index * TASK;
        // SAFETY: lengths checked above; this CPU can run the variant.
        unsafe { (kernel.binary)(op, a.as_ptr().add(start), b, start, out.as_mut_ptr(), out.len()) }
    });
    Ok(())
}

/// `a[i] = op(a[i], b[..])`.
///
/// # Errors
/// [`ShapeError`] if a length does not fit.
pub fn binary_in_place(threads: &Threads, op: Binary, a: &mut [f32], b: Operand<'_>) -> Result<(), ShapeError> {
    b.check(a.len())?;
    let kernel = Kernel::best();
    threads.run_chunks(a, TASK, |index, a| {
        let at = a.as_mut_ptr();
        // SAFETY: each vector is read before it is written; lengths checked above; this CPU can run the variant.
        unsafe { (kernel.binary)(op, at, b, index * TASK, at, a.len()) }
    });
    Ok(())
}

/// `out[r, c] = activation(x[r, c] · scale[c] + bias[c])`: batch norm on NHWC, or any affine map by last axis.
///
/// # Errors
/// [`ShapeError`] if a length does not fit.
pub fn scale_bias(
    threads: &Threads,
    x: &[f32],
    scale: &[f32],
    bias: &[f32],
    activation: Activation,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let n = scale.len();
    ShapeError::expect("out", out.len(), x.len())?;
    ShapeError::expect("bias", bias.len(), n)?;
    ShapeError::require(
        x.is_empty() || (n > 0 && x.len().is_multiple_of(n)),
        "the length of `scale`",
        n,
        "a divisor of the length of `x`",
    )?;
    if x.is_empty() {
        return Ok(());
    }
    let kernel = Kernel::best();
    let rows = x.len() / n;
    let task_rows = (TASK / n).max(1);
    let to = Shareable(out.as_mut_ptr());
    threads.run(rows.div_ceil(task_rows), |task| {
        let row = task * task_rows;
        let count = task_rows.min(rows - row);
        // SAFETY: rows are disjoint and inside `x` and `out`; this CPU can run the variant.
        unsafe {
            (kernel.scale_bias)(x.as_ptr().add(row * n), scale, bias, activation.clamp(), to.at(row * n), count);
            if activation.is_curve() {
                activation.apply(std::slice::from_raw_parts_mut(to.at(row * n), count * n));
            }
        }
    });
    Ok(())
}
