//! What follows a product and is computed with it.

use lissom_graph::ValueId;
use lissom_kernels::Activation;
use lissom_kernels::elementwise::{Binary, Unary};

use super::Builder;
use crate::plan::work::Op;

/// Work that follows a product and becomes part of its step.
#[derive(Debug)]
pub(in crate::plan) struct Chain {
    /// Scales and shifts by channel, folded into weight and bias.
    pub folded: Vec<usize>,
    /// Added before the activation.
    pub residual: Option<ValueId>,
    pub activation: Activation,
    /// What the step makes.
    pub output: ValueId,
    /// All work in the chain, in order.
    pub works: Vec<usize>,
}

/// Which axis of a product's result is its channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum Channels {
    /// Axis 1: convolutions.
    Second,
    /// The last axis: matrix products.
    Final,
}

/// `y = scale · x + shift` by channel.
pub(super) struct Affine {
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

impl Affine {
    /// True if nothing is scaled.
    pub fn is_shift(&self) -> bool {
        self.scale.iter().all(|&scale| scale == 1.0)
    }
}

/// The activation that computes this function.
pub(super) fn activation_of(op: Unary) -> Activation {
    match op {
        Unary::Relu => Activation::Relu,
        Unary::Clip { min, max } => Activation::Clip { min, max },
        other => Activation::Curve(other),
    }
}

/// The function that this activation computes, unless it is the identity.
pub(crate) fn unary_of(activation: Activation) -> Option<Unary> {
    match activation {
        Activation::Relu => Some(Unary::Relu),
        Activation::Clip { min, max } => Some(Unary::Clip { min, max }),
        Activation::Curve(op) => Some(op),
        _ => None,
    }
}

impl Builder<'_, '_> {
    /// What follows `value`, a product with `n` channels. Only work whose result nobody else sees is taken.
    pub fn chain(&self, value: ValueId, n: usize, channels: Channels, can_fold: bool) -> Chain {
        let mut chain = Chain {
            folded: Vec::new(),
            residual: None,
            activation: Activation::None,
            output: value,
            works: Vec::new(),
        };
        while chain.activation == Activation::None {
            let Some(next) = self.network.only_consumer(chain.output) else { break };
            let Some(output) = self.output(next) else { break };
            if self.network.shape(output) != self.network.shape(chain.output) || self.is_done[next] {
                break;
            }
            match self.network.works[next].op {
                Op::Unary(op) => chain.activation = activation_of(op),
                _ if can_fold && chain.residual.is_none() && self.affine(next, chain.output, n, channels).is_some() => {
                    chain.folded.push(next);
                }
                Op::Binary(Binary::Add) if chain.residual.is_none() => {
                    let Some(other) = self.other(next, chain.output) else { break };
                    let is_alike = self.network.shape(other) == self.network.shape(chain.output);
                    if !is_alike || !self.is_ready(other) {
                        break;
                    }
                    chain.residual = Some(other);
                }
                _ => break,
            }
            chain.output = output;
            chain.works.push(next);
        }
        chain
    }

    /// The operand of binary work that is not `value`.
    pub fn other(&self, index: usize, value: ValueId) -> Option<ValueId> {
        match self.network.works[index].inputs[..] {
            [Some(a), Some(b)] if a == value && b != value => Some(b),
            [Some(a), Some(b)] if b == value && a != value => Some(a),
            _ => None,
        }
    }

    /// Work on `value` as a scale and shift by constants, one a channel.
    pub(super) fn affine(&self, index: usize, value: ValueId, n: usize, channels: Channels) -> Option<Affine> {
        let network = self.network;
        match network.works[index].op {
            Op::BatchNorm { epsilon } if channels == Channels::Second || network.shape(value)?.len() == 2 => {
                let part = |position: usize| network.floats(self.input(index, position)?);
                let (scale, bias, mean, variance) = (part(1)?, part(2)?, part(3)?, part(4)?);
                let scale: Vec<f32> = scale.iter().zip(&variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
                let shift = bias.iter().zip(&mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
                Some(Affine { scale, shift })
            }
            Op::Binary(op) => {
                let is_first = self.input(index, 0) == Some(value);
                let other = self.other(index, value)?;
                let values = self.by_channel(other, &network.shape(value)?, n, channels)?;
                let (ones, zeros) = (vec![1.0; n], vec![0.0; n]);
                Some(match op {
                    Binary::Add => Affine { scale: ones, shift: values },
                    Binary::Sub if is_first => Affine { scale: ones, shift: values.iter().map(|x| -x).collect() },
                    Binary::Sub => Affine { scale: vec![-1.0; n], shift: values },
                    Binary::Mul => Affine { scale: values, shift: zeros },
                    Binary::Div if is_first => Affine { scale: values.iter().map(|x| 1.0 / x).collect(), shift: zeros },
                    _ => return None,
                })
            }
            _ => None,
        }
        .filter(|affine| affine.scale.iter().chain(&affine.shift).all(|x| x.is_finite()))
    }

    /// The values of a constant that is one number, or one a channel.
    fn by_channel(&self, id: ValueId, shape: &[usize], n: usize, channels: Channels) -> Option<Vec<f32>> {
        if !self.network.is_constant(id) {
            return None;
        }
        let own = self.network.shape(id)?;
        let missing = shape.len().checked_sub(own.len())?;
        let axis = if channels == Channels::Second { 1 } else { shape.len() - 1 };
        let fits = own.iter().enumerate().all(|(at, &length)| length == 1 || (at + missing == axis && length == n));
        if !fits {
            return None;
        }
        let values = self.network.floats(id)?;
        Some(if values.len() == n { values } else { vec![*values.first()?; n] })
    }
}
