//! `MaxPool` that also says where its maxima are, and `MaxPoolGrad`.
//!
//! The positions are not made: the gradient finds the maxima again by looking at the input.

use lissom_kernels::Threads;
use lissom_kernels::conv::Images;
use lissom_kernels::pool::{self, Forward, Pool, PoolShape};

use super::Lowering;
use crate::EngineError;
use crate::plan::lower::{Builder, Layout, images};
use crate::plan::operands::Operands;
use crate::plan::step::Compute;
use crate::plan::work::Op;

pub(super) const MAX: Lowering = Lowering { domain: "", op_type: "MaxPool", lower: lower_max };
pub(super) const MAX_GRADIENT: Lowering =
    Lowering { domain: "com.microsoft", op_type: "MaxPoolGrad", lower: lower_max_gradient };

/// If nobody but gradients reads the positions.
fn lower_max(builder: &mut Builder<'_, '_>, index: usize) -> Result<bool, EngineError> {
    let network = builder.network;
    let (Some([x]), Some([Some(y), positions])) = (builder.inputs(index), builder.outputs(index)) else {
        return Ok(false);
    };
    let Some(shape) = max_pool(builder, index)? else { return Ok(false) };
    let is_gradient = |&user: &usize| {
        let is_own = matches!(network.works[user].op, Op::Training(by) if by.op_type == MAX_GRADIENT.op_type);
        is_own && builder.input(user, 1) == positions
    };
    let all_gradients = positions
        .is_none_or(|id| !network.is_output[id.index()] && network.consumers[id.index()].iter().all(is_gradient));
    if !all_gradients || !network.is_f32(x) {
        return Ok(false);
    }
    let images = images(&builder.shape(x)?);
    let source = builder.source(x, Layout::Last)?;
    let len = builder.shape(y)?.iter().product();
    let kind = Forwards { shape, images };
    let made = builder.compute(builder.info(index, &[], "pool"), kind, vec![source], len);
    builder.set(y, Layout::Last, made);
    Ok(true)
}

fn lower_max_gradient(builder: &mut Builder<'_, '_>, index: usize) -> Result<bool, EngineError> {
    let network = builder.network;
    let (Some(dy), Some(positions), Some(dx)) =
        (builder.input(index, 0), builder.input(index, 1), builder.output(index))
    else {
        return Ok(false);
    };
    let maker = network.producers[positions.index()].filter(|_| !builder.is_ready(positions));
    let Some((maker, [x], [Some(y), _])) =
        maker.and_then(|maker| Some((maker, builder.inputs(maker)?, builder.outputs(maker)?)))
    else {
        return Ok(false);
    };
    let Some(shape) = max_pool(builder, maker)? else { return Ok(false) };
    let images = images(&builder.shape(x)?);
    let inputs =
        vec![builder.source(dy, Layout::Last)?, builder.source(x, Layout::Last)?, builder.source(y, Layout::Last)?];
    let len = builder.shape(dx)?.iter().product();
    let made = builder.compute(builder.info(index, &[], "pool gradient"), Gradient { shape, images }, inputs, len);
    builder.set(dx, Layout::Last, made);
    Ok(true)
}

fn max_pool(builder: &Builder<'_, '_>, index: usize) -> Result<Option<PoolShape>, EngineError> {
    let (Some(Op::Pool { op, window, is_ceil }), Some(x)) =
        (builder.form(index).pool(Pool::Max), builder.input(index, 0))
    else {
        return Ok(None);
    };
    Ok(Some(PoolShape { window, channels: builder.shape(x)?[1], op, is_ceil }))
}

/// x.
#[derive(Debug)]
struct Forwards {
    shape: PoolShape,
    images: Images,
}

impl Compute for Forwards {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        pool::pool(threads, operands.f32(0)?, self.images, &self.shape, out)
            .map_err(|error| operands.kernel_error(error))
    }
}

/// dy, x, y.
#[derive(Debug)]
struct Gradient {
    shape: PoolShape,
    images: Images,
}

impl Compute for Gradient {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let forward = Forward { x: operands.f32(1)?, y: Some(operands.f32(2)?) };
        pool::max_gradient(threads, operands.f32(0)?, forward, self.images, &self.shape, out)
            .map_err(|error| operands.kernel_error(error))
    }
}
