//! `LayerNormalization` with a scale that is computed, and its gradient.

use lissom_graph::ValueId;
use lissom_kernels::Threads;
use lissom_kernels::layer_norm::{self, LayerNorm, Saved};

use super::Lowering;
use crate::EngineError;
use crate::plan::lower::{Builder, Layout};
use crate::plan::operands::Operands;
use crate::plan::step::Compute;

pub(super) const FORWARD: Lowering = Lowering { domain: "", op_type: "LayerNormalization", lower: lower_forward };
pub(super) const GRADIENT: Lowering =
    Lowering { domain: "com.microsoft", op_type: "LayerNormalizationGrad", lower: lower_gradient };

/// Rows and their length; none if an operand is not f32, or a vector is not as long as a row.
fn size(builder: &Builder<'_, '_>, index: usize, x: ValueId, vectors: &[ValueId]) -> Option<[usize; 2]> {
    let network = builder.network;
    let shape = network.shape(x)?;
    let axis = builder.form(index).int("axis", -1)?;
    let axis = usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).ok()?;
    let tail = shape.get(axis..)?;
    let is_row = |&id: &ValueId| network.is_f32(id) && network.shape(id).as_deref() == Some(tail);
    let is_fit = network.is_f32(x) && !shape.contains(&0) && vectors.iter().all(is_row);
    is_fit.then(|| [shape[..axis].iter().product(), tail.iter().product()])
}

fn lower_forward(builder: &mut Builder<'_, '_>, index: usize) -> Result<bool, EngineError> {
    let (Some(x), Some(scale), Some([Some(y), mean, inv_std])) =
        (builder.input(index, 0), builder.input(index, 1), builder.outputs(index))
    else {
        return Ok(false);
    };
    let vectors: Vec<ValueId> = [Some(scale), builder.input(index, 2)].into_iter().flatten().collect();
    let Some([rows, n]) = size(builder, index, x, &vectors) else { return Ok(false) };
    let form = builder.form(index);
    let (Some(epsilon), Some(1)) = (form.float("epsilon", 1e-5), form.int("stash_type", 1)) else { return Ok(false) };
    let mut inputs = vec![builder.source(x, Layout::Plain)?];
    for id in vectors {
        inputs.push(builder.source(id, Layout::Plain)?);
    }
    let info = builder.info(index, &[], "layer norm");
    let made = builder.compute(info, Forward { n, rows, epsilon }, inputs, rows * n + 2 * rows);
    let starts = [(Some(y), 0, rows * n), (mean, rows * n, rows), (inv_std, rows * n + rows, rows)];
    for (id, start, len) in starts {
        if let (Some(id), Some(part)) = (id, made.part(start..start + len)) {
            builder.set(id, Layout::Plain, part);
        }
    }
    Ok(true)
}

fn lower_gradient(builder: &mut Builder<'_, '_>, index: usize) -> Result<bool, EngineError> {
    let network = builder.network;
    let (Some(ids @ [dy, x, scale, mean, inv_std]), Some([Some(dx), dscale, dbias])) =
        (builder.inputs(index), builder.outputs(index))
    else {
        return Ok(false);
    };
    let Some([rows, n]) = size(builder, index, x, &[scale]) else { return Ok(false) };
    let is_statistic = |id: ValueId| {
        network.is_f32(id) && network.shape(id).is_some_and(|shape| shape.iter().product::<usize>() == rows)
    };
    let is_fit = network.is_f32(dy) && network.shape(dy) == network.shape(x);
    if !is_fit || !is_statistic(mean) || !is_statistic(inv_std) {
        return Ok(false);
    }
    let mut inputs = Vec::with_capacity(ids.len());
    for id in ids {
        inputs.push(builder.source(id, Layout::Plain)?);
    }
    let len = rows * n;
    let info = builder.info(index, &[], "layer norm gradient");
    let made = builder.compute(info, Gradient { n }, inputs, len + 2 * n);
    for (id, start, len) in [(Some(dx), 0, len), (dscale, len, n), (dbias, len + n, n)] {
        if let (Some(id), Some(part)) = (id, made.part(start..start + len)) {
            builder.set(id, Layout::Plain, part);
        }
    }
    Ok(true)
}

/// x, scale, bias?; gives y, means and inverse deviations.
#[derive(Debug)]
struct Forward {
    n: usize,
    rows: usize,
    epsilon: f32,
}

impl Compute for Forward {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let bias = if operands.has(2) { Some(operands.f32(2)?) } else { None };
        let norm = LayerNorm { scale: Some(operands.f32(1)?), bias, epsilon: self.epsilon, is_centered: true };
        let (y, statistics) = out.split_at_mut(self.rows * self.n);
        let (mean, inv_std) = statistics.split_at_mut(self.rows);
        layer_norm::normalize(threads, operands.f32(0)?, self.n, &norm, mean, inv_std, y)
            .map_err(|error| operands.kernel_error(error))
    }
}

/// dy, x, scale, means, inverse deviations; gives the gradients of x, scale and bias.
#[derive(Debug)]
struct Gradient {
    n: usize,
}

impl Compute for Gradient {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let (dy, x) = (operands.f32(0)?, operands.f32(1)?);
        // The gradient is that of the saved statistics: it needs no epsilon.
        let norm = LayerNorm { scale: Some(operands.f32(2)?), bias: None, epsilon: 0.0, is_centered: true };
        let saved = Saved { mean: operands.f32(3)?, inv_std: operands.f32(4)? };
        let (dx, sums) = out.split_at_mut(x.len());
        let (dscale, dbias) = sums.split_at_mut(self.n);
        layer_norm::gradient(threads, dy, x, self.n, &norm, saved, dx, [Some(dscale), Some(dbias)])
            .map_err(|error| operands.kernel_error(error))
    }
}
