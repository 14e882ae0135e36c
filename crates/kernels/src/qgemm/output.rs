//! What integer products and convolutions store.

use super::finish::{Finish, Kind, Reals, Requantized};
use crate::activation::Activation;
use crate::error::ShapeError;
use crate::gemm::pointer;
use crate::quantize::{Bytes, BytesMut};
use std::borrow::Cow;
use std::marker::PhantomData;

/// Where the sums go, and through what.
#[derive(Debug)]
pub enum Output<'a> {
    /// Quantized again.
    Bytes(Requantize<'a>, BytesMut<'a>),
    /// As real numbers.
    F32(Dequantize<'a>, &'a mut [f32]),
    /// As they are, zero points taken off (ONNX `MatMulInteger`, `ConvInteger`).
    I32(&'a mut [i32]),
}

/// `q = clamp(round(clamp(real)) + zero_point)`, `real = (sum + bias) · multiplier + (residual - zero) · multiplier`,
/// ties to even.
#[derive(Debug, Clone, Copy)]
pub struct Requantize<'a> {
    /// `scale_a · scale_b / scale_out`, one for all or one a column.
    pub multipliers: &'a [f32],
    /// One a column, in units of `scale_a · scale_b`.
    pub bias: Option<&'a [i32]>,
    /// Added before the activation.
    pub residual: Option<QResidual<'a>>,
    /// Of the output.
    pub zero_point: i32,
    /// Smallest and largest quantized value kept: `[zero_point, 255]` is a fused relu. Cut to the limits of the type.
    pub clamp: [i32; 2],
}

/// A second quantized input, added to the output.
#[derive(Debug, Clone, Copy)]
pub struct QResidual<'a> {
    /// As large as the output.
    pub values: Bytes<'a>,
    /// Of `values`.
    pub zero_point: i32,
    /// `scale_residual / scale_out`.
    pub multiplier: f32,
}

/// `real = activation(sum · scale + bias + residual)`.
#[derive(Debug, Clone, Copy)]
pub struct Dequantize<'a> {
    /// `scale_a · scale_b`, one for all or one a column.
    pub scales: &'a [f32],
    /// One a column.
    pub bias: Option<&'a [f32]>,
    /// As large as the output.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

/// Checked arguments of an [`Output`], alive while kernels run.
pub(crate) struct Plan<'a> {
    offsets: Vec<i32>,
    multipliers: Cow<'a, [f32]>,
    kind: Kind,
    n: usize,
    pub activation: Activation,
    /// `kind` points into what the output borrows.
    borrowed: PhantomData<&'a mut [f32]>,
}

impl Plan<'_> {
    /// For the first row and column of the output.
    pub fn finish(&self) -> Finish {
        let mut kind = self.kind;
        match &mut kind {
            Kind::Bytes(kind) => kind.multipliers = self.multipliers.as_ptr(),
            Kind::F32(kind) => kind.multipliers = self.multipliers.as_ptr(),
            Kind::I32 { .. } => {}
        }
        Finish { offsets: self.offsets.as_ptr(), kind, stride: self.n }
    }
}

impl Output<'_> {
    /// Checks everything against an output of `[m, n]`; `offsets(bias)` makes the number added to each column's sums.
    pub(crate) fn plan(
        &mut self,
        [m, n]: [usize; 2],
        offsets: impl Fn(Option<&[i32]>) -> Vec<i32>,
    ) -> Result<Plan<'_>, ShapeError> {
        let size = ShapeError::product("out", &[m, n])?;
        let (kind, multipliers, bias, activation) = match self {
            Self::Bytes(requantize, out) => {
                ShapeError::expect("out", out.len(), size)?;
                ShapeError::expect("bias", requantize.bias.map_or(n, <[i32]>::len), n)?;
                ShapeError::expect(
                    "residual",
                    requantize.residual.map_or(size, |residual| residual.values.len()),
                    size,
                )?;
                let multipliers = one_a_column("multipliers", requantize.multipliers, n)?;
                (Kind::Bytes(requantize.kind(&multipliers, out)), multipliers, requantize.bias, Activation::None)
            }
            Self::F32(dequantize, out) => {
                ShapeError::expect("out", out.len(), size)?;
                ShapeError::expect("bias", dequantize.bias.map_or(n, <[f32]>::len), n)?;
                ShapeError::expect("residual", dequantize.residual.map_or(size, <[f32]>::len), size)?;
                let scales = one_a_column("scales", dequantize.scales, n)?;
                let (min, max) = dequantize.activation.clamp();
                let (bias, residual) = (pointer(dequantize.bias), pointer(dequantize.residual));
                let kind = Reals { multipliers: std::ptr::null(), bias, residual, min, max, out: out.as_mut_ptr() };
                (Kind::F32(kind), scales, None, dequantize.activation)
            }
            Self::I32(out) => {
                ShapeError::expect("out", out.len(), size)?;
                (Kind::I32 { out: out.as_mut_ptr() }, Cow::Borrowed(&[][..]), None, Activation::None)
            }
        };
        Ok(Plan { offsets: offsets(bias), multipliers, kind, n, activation, borrowed: PhantomData })
    }
}

fn one_a_column<'a>(what: &'static str, values: &'a [f32], n: usize) -> Result<Cow<'a, [f32]>, ShapeError> {
    match values {
        [one] if n != 1 => Ok(Cow::Owned(vec![*one; n])),
        _ => ShapeError::expect(what, values.len(), n).map(|()| Cow::Borrowed(values)),
    }
}

impl Requantize<'_> {
    fn kind(&self, multipliers: &[f32], out: &mut BytesMut<'_>) -> Requantized {
        let (lowest, highest) = out.limits();
        let flip = if lowest < 0 { 0x80 } else { 0 };
        let (min, max) = (self.clamp[0].clamp(lowest, highest), self.clamp[1].clamp(lowest, highest));
        let residual = self.residual;
        Requantized {
            multipliers: std::ptr::null(),
            residual: pointer(residual.map(|residual| residual.values.raw())),
            residual_flip: residual.map_or(0, |residual| residual.values.flip()),
            residual_zero: residual.map_or(0.0, |residual| residual.zero_point as f32),
            residual_multiplier: residual.map_or(0.0, |residual| residual.multiplier),
            min: min.saturating_sub(self.zero_point) as f32,
            max: max.saturating_sub(self.zero_point) as f32,
            // Signed output is made 128 higher, as unsigned, and flipped.
            shift: self.zero_point as f32 + f32::from(flip),
            flip,
            is_small: self.is_small(multipliers),
            out: out.as_mut_ptr(),
        }
    }

    /// True if no value before the clamp can leave i32: sums are below 2^31, and there is no NaN.
    fn is_small(&self, multipliers: &[f32]) -> bool {
        // Both sides of the comparison are taken at once, which is quicker than stopping early.
        let are_small = multipliers.iter().fold(true, |all, multiplier| all & (multiplier.abs() < 0.25));
        let is_near = |zero_point: i32| (-1000..=1000).contains(&zero_point);
        let residual = self.residual.is_none_or(|r| r.multiplier.abs() < 1e5 && is_near(r.zero_point));
        are_small && residual && is_near(self.zero_point)
    }
}
