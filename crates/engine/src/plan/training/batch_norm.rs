//! Batch norm while training: `BatchNormInternal` with the shortcut and the activation that follow it, and its gradient with
//! the gradient of that activation.
//!
//! Statistics, coefficients and sums are buffers of a few numbers a channel; outputs are parts of them.

use lissom_graph::ValueId;
use lissom_kernels::batch_norm::{self, Affine, Mask, Norm, Saved};
use lissom_kernels::{Activation, Threads};

use super::{Lowering, batch_norm_bf16 as bf16};
use crate::EngineError;
use crate::plan::lower::{Builder, Channels, Layout, is_clamp};
use crate::plan::operands::Operands;
use crate::plan::step::{Compute, Source};

pub(super) const FORWARD: Lowering =
    Lowering { domain: "com.microsoft", op_type: "BatchNormInternal", lower: lower_forward };
pub(super) const GRADIENT: Lowering =
    Lowering { domain: "com.microsoft", op_type: "BatchNormalizationGrad", lower: lower_gradient };

/// What the gradient of a batch norm finds of its forward pass.
#[derive(Debug, Clone)]
pub(in crate::plan) struct Forward {
    /// `scale · inv_std` and `bias - mean · scale · inv_std`, `[2, c]`.
    affine: Source,
    /// What the activation gave, and which one it was; none if something was added before it.
    activation: Option<(ValueId, Activation)>,
}

/// Channels second in the graph, last in memory.
fn layout(shape: &[usize]) -> Layout {
    if shape.len() >= 3 { Layout::Last } else { Layout::Plain }
}

fn lower_forward(builder: &mut Builder<'_, '_>, index: usize) -> Result<bool, EngineError> {
    let network = builder.network;
    let (Some([x, scale, bias, mean, variance]), Some([y, new_mean, new_variance, saved_mean, saved_inv_std])) =
        (builder.inputs(index), builder.outputs(index))
    else {
        return Ok(false);
    };
    let form = builder.form(index);
    let (Some(epsilon), Some(momentum)) = (form.float("epsilon", 1e-5), form.float("momentum", 0.9)) else {
        return Ok(false);
    };
    let Some(y) = y else { return Ok(false) };
    let shape = builder.shape(x)?;
    if shape.len() < 2 || !network.is_f32(x) {
        return Ok(false);
    }
    let (c, layout) = (shape[1], layout(&shape));
    let is_pairs = is_pairs(builder, x, c);
    let source = image(builder, x, layout, is_pairs)?;
    let info = builder.info(index, &[], "batch norm statistics");
    let statistics = if is_pairs {
        builder.compute(info, bf16::Statistics, vec![source.clone()], 2 * c)
    } else {
        builder.compute(info, Statistics, vec![source.clone()], 2 * c)
    };
    let info = builder.info(index, &[], "batch norm coefficients");
    let inputs = vec![statistics.clone(), builder.source(scale, Layout::Plain)?, builder.source(bias, Layout::Plain)?];
    let coefficients = builder.compute(info, Coefficients { epsilon }, inputs, 3 * c);
    let part = |source: &Source, at: usize| source.part(at * c..(at + 1) * c);
    for (id, old, at) in [(new_mean, mean, 0), (new_variance, variance, 1)] {
        if let (Some(id), Some(now)) = (id.filter(|&id| builder.is_used(id)), part(&statistics, at)) {
            let info = builder.info(index, &[], "running statistics");
            let inputs = vec![builder.source(old, Layout::Plain)?, now];
            let made = builder.compute(info, Running { momentum }, inputs, c);
            builder.set(id, Layout::Plain, made);
        }
    }
    for (id, source) in [(saved_mean, part(&statistics, 0)), (saved_inv_std, part(&coefficients, 0))] {
        if let (Some(id), Some(source)) = (id, source) {
            builder.set(id, Layout::Plain, source);
        }
    }
    let chain = builder.chain(y, c, Channels::Second, false);
    if let (Some(id), Some(affine)) = (saved_inv_std, coefficients.part(c..3 * c)) {
        let activation = chain.residual.is_none().then_some((chain.output, chain.activation));
        builder.batch_norms.insert(id, Forward { affine, activation });
    }
    let (len, activation): (usize, _) = (shape.iter().product(), chain.activation);
    let ends_in_pairs = is_pairs && is_clamp(activation);
    let source = if is_pairs && !ends_in_pairs { builder.source(x, layout)? } else { source };
    let mut inputs = vec![source, coefficients];
    if let Some(residual) = chain.residual {
        inputs.push(image(builder, residual, layout, ends_in_pairs)?);
    }
    let info = builder.info(index, &chain.works, "batch norm");
    if ends_in_pairs {
        let made = builder.compute(info, bf16::Normalize { activation }, inputs, len / 2);
        builder.end_pairs(&chain, made);
    } else {
        let made = builder.compute(info, Normalize { activation }, inputs, len);
        builder.end(&chain, layout, made);
    }
    Ok(true)
}

fn lower_gradient(builder: &mut Builder<'_, '_>, index: usize) -> Result<bool, EngineError> {
    let network = builder.network;
    let (Some([dy, x, scale, mean, inv_std]), Some([dx, dscale, dbias])) =
        (builder.inputs(index), builder.outputs(index))
    else {
        return Ok(false);
    };
    let shape = builder.shape(x)?;
    if shape.len() < 2 || network.shape(dy) != Some(shape.clone()) || !network.is_f32(x) {
        return Ok(false);
    }
    let (c, layout, len): (_, _, usize) = (shape[1], layout(&shape), shape.iter().product());
    let is_pairs = is_pairs(builder, x, c);
    let len: usize = if is_pairs { len / 2 } else { len };
    // The gradient of an activation that nobody needed so far is taken on the way.
    let masked = builder.relu_gradient(dy);
    let (from, activation, mask) = match masked {
        None => (dy, Activation::None, None),
        Some((from, output)) => match builder.batch_norms.get(&inv_std) {
            Some(Forward { affine, activation: Some((own, activation)) }) if *own == output => {
                (from, *activation, Some((true, affine.clone())))
            }
            _ => (from, Activation::Relu, Some((false, image(builder, output, layout, is_pairs)?))),
        },
    };
    let is_recomputed = mask.as_ref().map(|(is_recomputed, _)| *is_recomputed);
    let writes_masked = masked.is_some() && network.only_consumer(dy).is_none();
    let x = image(builder, x, layout, is_pairs)?;
    let (mean, inv_std) = (builder.source(mean, Layout::Plain)?, builder.source(inv_std, Layout::Plain)?);
    let mut inputs = vec![image(builder, from, layout, is_pairs)?, x.clone(), mean.clone(), inv_std.clone()];
    inputs.extend(mask.iter().map(|(_, source)| source.clone()));
    let info = builder.info(index, &[], "batch norm gradient sums");
    let start = if writes_masked { len } else { 0 };
    let made = if is_pairs {
        builder.compute(info, bf16::Sums { is_recomputed, activation, writes_masked }, inputs, start + 2 * c)
    } else {
        builder.compute(info, Sums { is_recomputed, activation, writes_masked }, inputs, start + 2 * c)
    };
    let (Some(own_dscale), Some(own_dbias)) = (made.part(start..start + c), made.part(start + c..start + 2 * c)) else {
        return Ok(false);
    };
    for (id, source) in [(dscale, &own_dscale), (dbias, &own_dbias)] {
        if let Some(id) = id {
            builder.set(id, Layout::Plain, source.clone());
        }
    }
    let mut mask = mask;
    let mut from = image(builder, from, layout, is_pairs)?;
    if let (true, Some(part)) = (writes_masked, made.part(0..len)) {
        set_image(builder, dy, layout, part.clone(), is_pairs);
        (from, mask) = (part, None);
    }
    if let Some(dx) = dx.filter(|&dx| builder.is_used(dx)) {
        let scale = builder.source(scale, Layout::Plain)?;
        let mut inputs = vec![from, x, mean, inv_std, scale, own_dscale, own_dbias];
        let is_recomputed = mask.as_ref().map(|(is_recomputed, _)| *is_recomputed);
        inputs.extend(mask.map(|(_, source)| source));
        let info = builder.info(index, &[], "batch norm gradient");
        let made = if is_pairs {
            builder.compute(info, bf16::Gradient { is_recomputed, activation }, inputs, len)
        } else {
            builder.compute(info, Gradient { is_recomputed, activation }, inputs, len)
        };
        set_image(builder, dx, layout, made, is_pairs);
    }
    Ok(true)
}

/// True if a convolution left `x` in bf16.
fn is_pairs(builder: &Builder<'_, '_>, x: ValueId, c: usize) -> bool {
    builder.has_pairs(x) && c.is_multiple_of(2)
}

/// A value as all of a batch norm are: pairs, or numbers in a layout.
fn image(builder: &mut Builder<'_, '_>, id: ValueId, layout: Layout, is_pairs: bool) -> Result<Source, EngineError> {
    if is_pairs { builder.pairs(id) } else { builder.source(id, layout) }
}

/// What [`image`] reads.
fn set_image(builder: &mut Builder<'_, '_>, id: ValueId, layout: Layout, source: Source, is_pairs: bool) {
    if is_pairs { builder.set_pairs(id, source) } else { builder.set(id, layout, source) }
}

/// x.
#[derive(Debug)]
struct Statistics;

impl Compute for Statistics {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let (mean, variance) = out.split_at_mut(out.len() / 2);
        batch_norm::statistics(threads, operands.f32(0)?, mean, variance).map_err(|error| operands.kernel_error(error))
    }
}

/// Statistics, scale, bias; gives the inverse deviation and the affine map.
#[derive(Debug)]
struct Coefficients {
    epsilon: f32,
}

impl Compute for Coefficients {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], _threads: &Threads) -> Result<(), EngineError> {
        let statistics = operands.f32(0)?;
        let c = out.len() / 3;
        let (mean, variance) = statistics.split_at(statistics.len() / 2);
        let of = Affine { scale: operands.f32(1)?, bias: operands.f32(2)? };
        let (inv_std, affine) = out.split_at_mut(c);
        let (scale, bias) = affine.split_at_mut(c);
        batch_norm::coefficients([mean, variance], self.epsilon, of, inv_std, [scale, bias])
            .map_err(|error| operands.kernel_error(error))
    }
}

/// Old, now.
#[derive(Debug)]
struct Running {
    momentum: f32,
}

impl Compute for Running {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], _threads: &Threads) -> Result<(), EngineError> {
        let (old, now) = (operands.f32(0)?, operands.f32(1)?);
        for ((out, old), now) in out.iter_mut().zip(old).zip(now) {
            *out = old * self.momentum + now * (1.0 - self.momentum);
        }
        Ok(())
    }
}

/// The two halves of `[2, c]`.
pub(super) fn affine(values: &[f32]) -> Affine<'_> {
    let (scale, bias) = values.split_at(values.len() / 2);
    Affine { scale, bias }
}

/// x, coefficients, residual?
#[derive(Debug)]
struct Normalize {
    activation: Activation,
}

impl Compute for Normalize {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let coefficients = operands.f32(1)?;
        let of = affine(&coefficients[coefficients.len() / 3..]);
        let residual = if operands.has(2) { Some(operands.f32(2)?) } else { None };
        batch_norm::normalize(threads, operands.f32(0)?, of, residual, self.activation, out)
            .map_err(|error| operands.kernel_error(error))
    }
}

/// What the activation let through: by input `at`, the affine map before it or what it gave.
pub(super) fn mask<'a>(
    operands: &Operands<'a>,
    at: usize,
    is_recomputed: Option<bool>,
    activation: Activation,
) -> Result<Mask<'a>, EngineError> {
    Ok(match is_recomputed {
        None => Mask::All,
        Some(true) => Mask::Recomputed(affine(operands.f32(at)?), activation),
        Some(false) => Mask::Output(operands.f32(at)?, activation),
    })
}

/// dy, x, mean, inverse deviation, mask?; gives the masked dy, if it is wanted, and the gradients of scale and bias.
#[derive(Debug)]
struct Sums {
    is_recomputed: Option<bool>,
    activation: Activation,
    writes_masked: bool,
}

impl Compute for Sums {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let (dy, x) = (operands.f32(0)?, operands.f32(1)?);
        let saved = Saved { mean: operands.f32(2)?, inv_std: operands.f32(3)? };
        let mask = mask(operands, 4, self.is_recomputed, self.activation)?;
        let (masked, sums) = out.split_at_mut(if self.writes_masked { x.len() } else { 0 });
        let (dscale, dbias) = sums.split_at_mut(sums.len() / 2);
        let done = if self.writes_masked {
            batch_norm::gradient_sums_masking(threads, dy, x, saved, mask, masked, dscale, dbias)
        } else {
            batch_norm::gradient_sums(threads, dy, x, saved, mask, dscale, dbias)
        };
        done.map_err(|error| operands.kernel_error(error))
    }
}

/// dy, x, mean, inverse deviation, scale, gradients of scale and bias, mask?
#[derive(Debug)]
struct Gradient {
    is_recomputed: Option<bool>,
    activation: Activation,
}

impl Compute for Gradient {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let saved = Saved { mean: operands.f32(2)?, inv_std: operands.f32(3)? };
        let norm = Norm { scale: operands.f32(4)?, saved, dscale: operands.f32(5)?, dbias: operands.f32(6)? };
        let mask = mask(operands, 7, self.is_recomputed, self.activation)?;
        batch_norm::gradient(threads, operands.f32(0)?, operands.f32(1)?, &norm, mask, out)
            .map_err(|error| operands.kernel_error(error))
    }
}
