//! What batch norm reads beside its matrices.

use super::lanes;
use crate::activation::Activation;
use crate::channels::Channels;
use crate::error::ShapeError;
use crate::gemm::pointer;

/// `x · scale + bias`, one number a channel each.
#[derive(Debug, Clone, Copy)]
pub struct Affine<'a> {
    /// Factors, `[c]`.
    pub scale: &'a [f32],
    /// What is added, `[c]`.
    pub bias: &'a [f32],
}

/// What the forward pass knew of its batch, one number a channel each.
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a> {
    /// Means, `[c]`.
    pub mean: &'a [f32],
    /// `1 / √(variance + ε)`, `[c]`.
    pub inv_std: &'a [f32],
}

/// Which gradients of the output go on to what was before an activation: those where it has a slope. An activation is none, a
/// ReLU or a clip; its slope at a bound is 0.
#[derive(Debug, Clone, Copy)]
pub enum Mask<'a, E = f32> {
    /// All: there was no activation.
    All,
    /// By the output of the activation, laid out as the gradient.
    Output(&'a [E], Activation),
    /// By that output, computed again from `x` as [`normalize`](super::normalize) did without a residual.
    Recomputed(Affine<'a>, Activation),
}

/// What [`gradient`](super::gradient) needs of a batch norm besides `dy` and `x`, one number a channel each.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// Gamma, `[c]`.
    pub scale: &'a [f32],
    /// Of the forward pass.
    pub saved: Saved<'a>,
    /// Gradient of gamma, from [`gradient_sums`](super::gradient_sums), `[c]`.
    pub dscale: &'a [f32],
    /// Gradient of beta, from [`gradient_sums`](super::gradient_sums), `[c]`.
    pub dbias: &'a [f32],
}

impl<E> Mask<'_, E> {
    pub(super) fn check(&self, len: usize, c: usize) -> Result<(), ShapeError> {
        let activation = match *self {
            Self::All => return Ok(()),
            Self::Output(y, activation) => {
                ShapeError::expect("y", y.len(), len)?;
                activation
            }
            Self::Recomputed(affine, activation) => {
                affine.check(c)?;
                activation
            }
        };
        ShapeError::require(!activation.is_curve(), "the curve of an activation", 1, "none, a ReLU or a clip")
    }

    /// As the loops take it; `wide` keeps the coefficients alive.
    pub(super) fn for_loops(&self, channels: &Channels, wide: &mut [Vec<f32>; 2]) -> lanes::Mask<E> {
        let (kind, activation) = match *self {
            Self::All | Self::Output(_, Activation::None) | Self::Recomputed(_, Activation::None) => {
                (lanes::ALL, Activation::None)
            }
            Self::Output(_, activation) => (lanes::OUTPUT, activation),
            Self::Recomputed(affine, activation) => {
                *wide = [channels.widen(affine.scale), channels.widen(affine.bias)];
                (lanes::RECOMPUTED, activation)
            }
        };
        let y = if let Self::Output(y, _) = *self { Some(y) } else { None };
        let (low, high) = activation.clamp();
        // Nothing is above infinity, but an output may be there.
        let high = if high == f32::INFINITY { high } else { high.next_down() };
        let affine = [wide[0].as_ptr(), wide[1].as_ptr()];
        lanes::Mask { kind, y: pointer(y), affine, bounds: [low, high] }
    }
}

impl Affine<'_> {
    pub(super) fn check(&self, c: usize) -> Result<(), ShapeError> {
        ShapeError::expect("scale", self.scale.len(), c)?;
        ShapeError::expect("bias", self.bias.len(), c)
    }
}
