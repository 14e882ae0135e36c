//! Batch norm while training of an image in bf16, as a convolution left it: the same steps on pairs, numbers of a channel in f32.

use lissom_kernels::batch_norm::{self, Norm, Saved};
use lissom_kernels::{Activation, Threads};

use super::batch_norm::{affine, mask};
use crate::EngineError;
use crate::plan::operands::Operands;
use crate::plan::step::Compute;

/// x.
#[derive(Debug)]
pub(super) struct Statistics;

impl Compute for Statistics {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let (mean, variance) = out.split_at_mut(out.len() / 2);
        batch_norm::statistics_pairs(threads, operands.f32(0)?, mean, variance)
            .map_err(|error| operands.kernel_error(error))
    }
}

/// x, coefficients, residual?
#[derive(Debug)]
pub(super) struct Normalize {
    pub activation: Activation,
}

impl Compute for Normalize {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let coefficients = operands.f32(1)?;
        let of = affine(&coefficients[coefficients.len() / 3..]);
        let residual = if operands.has(2) { Some(operands.f32(2)?) } else { None };
        batch_norm::normalize_pairs(threads, operands.f32(0)?, of, residual, self.activation, out)
            .map_err(|error| operands.kernel_error(error))
    }
}

/// dy, x, mean, inverse deviation, mask?; gives the masked dy, if it is wanted, and the gradients of scale and bias.
#[derive(Debug)]
pub(super) struct Sums {
    pub is_recomputed: Option<bool>,
    pub activation: Activation,
    pub writes_masked: bool,
}

impl Compute for Sums {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let (dy, x) = (operands.f32(0)?, operands.f32(1)?);
        let saved = Saved { mean: operands.f32(2)?, inv_std: operands.f32(3)? };
        let mask = mask(operands, 4, self.is_recomputed, self.activation)?;
        let (masked, sums) = out.split_at_mut(if self.writes_masked { x.len() } else { 0 });
        let (dscale, dbias) = sums.split_at_mut(sums.len() / 2);
        let masked = if self.writes_masked { Some(masked) } else { None };
        batch_norm::gradient_sums_pairs(threads, dy, x, saved, mask, masked, dscale, dbias)
            .map_err(|error| operands.kernel_error(error))
    }
}

/// dy, x, mean, inverse deviation, scale, gradients of scale and bias, mask?
#[derive(Debug)]
pub(super) struct Gradient {
    pub is_recomputed: Option<bool>,
    pub activation: Activation,
}

impl Compute for Gradient {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let saved = Saved { mean: operands.f32(2)?, inv_std: operands.f32(3)? };
        let norm = Norm { scale: operands.f32(4)?, saved, dscale: operands.f32(5)?, dbias: operands.f32(6)? };
        let mask = mask(operands, 7, self.is_recomputed, self.activation)?;
        batch_norm::gradient_pairs(threads, operands.f32(0)?, operands.f32(1)?, &norm, mask, out)
            .map_err(|error| operands.kernel_error(error))
    }
}
