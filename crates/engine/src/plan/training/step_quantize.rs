//! `StepQuantize` and its gradient: activations in the layout they have, weights as the graph has them.

use lissom_graph::ValueId;
use lissom_kernels::Threads;
use lissom_kernels::step_quantize::{self, Grid};
use lissom_tensor::DType;

use super::Lowering;
use crate::EngineError;
use crate::plan::lower::{Builder, Layout};
use crate::plan::operands::Operands;
use crate::plan::step::Compute;

pub(super) const FORWARD: Lowering = Lowering { domain: "lissom", op_type: "StepQuantize", lower: lower_forward };
pub(super) const GRADIENT: Lowering = Lowering { domain: "lissom", op_type: "StepQuantizeGrad", lower: lower_gradient };

/// Where the codes lie, and how the step's gradient is scaled.
#[derive(Debug, Clone, Copy)]
struct Rule {
    codes: [f32; 2],
    inner: usize,
    scale: f32,
}

/// The rule for values of a shape whose steps are `step`; the layout they are read in.
fn rule(builder: &Builder<'_, '_>, index: usize, v: ValueId, step: ValueId) -> Option<(Rule, Layout)> {
    let (network, form) = (builder.network, builder.form(index));
    let (shape, steps) = (network.shape(v)?, network.shape(step)?);
    if !network.is_f32(v) || network.dtype(step) != Some(DType::F32) {
        return None;
    }
    let codes = [form.int("min", -128)? as f32, form.int("max", 127)? as f32];
    let scale = form.float("gradient_scale", 1.0)?;
    if steps.iter().product::<usize>() == 1 {
        let layout = if shape.len() >= 3 { builder.layout(v) } else { Layout::Plain };
        return Some((Rule { codes, inner: 1, scale }, layout));
    }
    let axis = form.int("axis", 1)?;
    let axis = if axis < 0 { axis + shape.len() as i64 } else { axis };
    let axis = usize::try_from(axis).ok().filter(|&axis| steps[..] == [*shape.get(axis).unwrap_or(&0)])?;
    Some((Rule { codes, inner: shape[axis + 1..].iter().product(), scale }, Layout::Plain))
}

fn lower_forward(builder: &mut Builder<'_, '_>, index: usize) -> Result<bool, EngineError> {
    let (Some([v, step]), Some(out)) = (builder.inputs(index), builder.output(index)) else { return Ok(false) };
    let Some((rule, layout)) = rule(builder, index, v, step) else { return Ok(false) };
    let len = builder.shape(v)?.iter().product();
    let inputs = vec![builder.source(v, layout)?, builder.source(step, Layout::Plain)?];
    let made = builder.compute(builder.info(index, &[], "step quantize"), Forward(rule), inputs, len);
    builder.set(out, layout, made);
    Ok(true)
}

fn lower_gradient(builder: &mut Builder<'_, '_>, index: usize) -> Result<bool, EngineError> {
    let (Some([dy, v, step]), Some([dv, dstep])) = (builder.inputs(index), builder.outputs(index)) else {
        return Ok(false);
    };
    let Some((rule, layout)) = rule(builder, index, v, step) else { return Ok(false) };
    let shape = builder.shape(v)?;
    if !builder.network.is_f32(dy) || builder.network.shape(dy).as_ref() != Some(&shape) {
        return Ok(false);
    }
    let len: usize = shape.iter().product();
    let n_steps: usize = builder.shape(step)?.iter().product();
    let inputs = vec![builder.source(dy, layout)?, builder.source(v, layout)?, builder.source(step, Layout::Plain)?];
    let info = builder.info(index, &[], "step quantize gradient");
    let made = builder.compute(info, Gradient(rule), inputs, len + n_steps);
    let (Some(to_v), Some(to_step)) = (made.part(0..len), made.part(len..len + n_steps)) else { return Ok(false) };
    for (id, layout, source) in [(dv, layout, to_v), (dstep, Layout::Plain, to_step)] {
        if let Some(id) = id {
            builder.set(id, layout, source);
        }
    }
    Ok(true)
}

/// v, steps.
#[derive(Debug)]
struct Forward(Rule);

impl Compute for Forward {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let grid = Grid { steps: operands.f32(1)?, inner: self.0.inner, codes: self.0.codes };
        step_quantize::quantize(threads, operands.f32(0)?, &grid, out).map_err(|error| operands.kernel_error(error))
    }
}

/// dy, v, steps; gives dv and the steps' gradients.
#[derive(Debug)]
struct Gradient(Rule);

impl Compute for Gradient {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let Rule { codes, inner, scale } = self.0;
        let (v, grid) = (operands.f32(1)?, Grid { steps: operands.f32(2)?, inner, codes });
        let (dv, dsteps) = out.split_at_mut(v.len());
        step_quantize::gradient(threads, [operands.f32(0)?, v], &grid, scale, dv, dsteps)
            .map_err(|error| operands.kernel_error(error))
    }
}
