//! `LogSoftmax`, and the gradients of both softmaxes, over the last axis.

use lissom_kernels::{Threads, softmax};

use super::Lowering;
use crate::EngineError;
use crate::plan::lower::{Builder, Layout};
use crate::plan::operands::Operands;
use crate::plan::step::Compute;

pub(super) const LOG_SOFTMAX: Lowering =
    Lowering { domain: "", op_type: "LogSoftmax", lower: |builder, index| lower(builder, index, Kind::Log) };
pub(super) const SOFTMAX_GRADIENT: Lowering = Lowering {
    domain: "com.microsoft",
    op_type: "SoftmaxGrad_13",
    lower: |builder, index| lower(builder, index, Kind::Gradient),
};
pub(super) const LOG_SOFTMAX_GRADIENT: Lowering = Lowering {
    domain: "com.microsoft",
    op_type: "LogSoftmaxGrad_13",
    lower: |builder, index| lower(builder, index, Kind::LogGradient),
};

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// x.
    Log,
    /// dy, y.
    Gradient,
    /// dy, y.
    LogGradient,
}

#[derive(Debug)]
struct Rows {
    kind: Kind,
    n: usize,
}

fn lower(builder: &mut Builder<'_, '_>, index: usize, kind: Kind) -> Result<bool, EngineError> {
    let network = builder.network;
    let (Some(x), Some(out)) = (builder.input(index, 0), builder.output(index)) else { return Ok(false) };
    let shape = builder.shape(x)?;
    let form = builder.form(index);
    let is_since_13 = !form.node.domain.is_empty() || form.node.opset >= 13;
    let is_last = form.int("axis", -1).is_some_and(|axis| axis == -1 || axis + 1 == shape.len() as i64);
    let Some(&n) = shape.last().filter(|_| is_since_13 && is_last && network.is_f32(x)) else { return Ok(false) };
    let mut inputs = vec![builder.source(x, Layout::Plain)?];
    if !matches!(kind, Kind::Log) {
        let Some(y) = builder.input(index, 1).filter(|&y| network.shape(y).as_ref() == Some(&shape)) else {
            return Ok(false);
        };
        inputs.push(builder.source(y, Layout::Plain)?);
    }
    let made = builder.compute(builder.info(index, &[], "softmax"), Rows { kind, n }, inputs, shape.iter().product());
    builder.set(out, Layout::Plain, made);
    Ok(true)
}

impl Compute for Rows {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let x = operands.f32(0)?;
        let done = match self.kind {
            Kind::Log => softmax::log_softmax(threads, x, self.n, out),
            Kind::Gradient => softmax::gradient(threads, x, operands.f32(1)?, self.n, out),
            Kind::LogGradient => softmax::log_gradient(threads, x, operands.f32(1)?, self.n, out),
        };
        done.map_err(|error| operands.kernel_error(error))
    }
}
