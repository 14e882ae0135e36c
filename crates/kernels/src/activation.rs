//! The function that ends a layer.

use crate::elementwise::{self, Unary};

/// What a layer applies to its sums, after bias and residual.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Activation {
    /// The identity.
    #[default]
    None,
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
    /// `min(max(x, min), max)`; NaN stays NaN.
    Clip {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// Any other function of one element, applied while the output is in cache.
    Curve(Unary),
}

impl Activation {
    /// The bounds that the inner loop applies; infinite where there are none.
    pub(crate) fn clamp(self) -> (f32, f32) {
        match self {
            Self::Relu => (0.0, f32::INFINITY),
            Self::Clip { min, max } => (min, max),
            Self::None | Self::Curve(_) => (f32::NEG_INFINITY, f32::INFINITY),
        }
    }

    /// True if [`Self::apply`] must run after the inner loop.
    pub(crate) fn is_curve(self) -> bool {
        matches!(self, Self::Curve(_))
    }

    /// The part that the bounds do not express, in place.
    pub(crate) fn apply(self, x: &mut [f32]) {
        if let Self::Curve(curve) = self {
            elementwise::unary_here(curve, x);
        }
    }
}

/// What is done to the sums of a layer before they are stored: `activation(sums + bias + residual)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// One number an output channel (column).
    pub bias: Option<&'a [f32]>,
    /// As large as the output and laid out alike.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}
