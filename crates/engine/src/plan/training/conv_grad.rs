//! `ConvGrad`: the gradients of a convolution by what it read, by its weight and by its bias.

use lissom_kernels::conv::{ConvShape, Images};
use lissom_kernels::{Activation, Epilogue, Threads, conv_grad, masked_conv, sums};

use super::Lowering;
use super::masked::{self, is_masked};
use crate::EngineError;
use crate::plan::lower::{Builder, Channels, Layout, images};
use crate::plan::operands::Operands;
use crate::plan::step::{Compute, Source};

pub(super) const GRADIENT: Lowering = Lowering { domain: "com.microsoft", op_type: "ConvGrad", lower };

fn lower(builder: &mut Builder<'_, '_>, index: usize) -> Result<bool, EngineError> {
    let network = builder.network;
    let (Some([dy, x, weight]), Some([dx, dweight, dbias])) = (builder.inputs(index), builder.outputs(index)) else {
        return Ok(false);
    };
    let Some(shape) = builder.form(index).conv_shape(x, weight) else { return Ok(false) };
    let images = images(&builder.shape(x)?);
    if ![dy, x, weight].iter().all(|&id| network.is_f32(id)) || !builder.fits_output(&shape, images, dy)? {
        return Ok(false);
    }
    let used = |id: Option<lissom_graph::ValueId>| id.filter(|&id| builder.is_used(id));
    let (dx, dweight, dbias) = (used(dx), used(dweight), used(dbias));
    if builder.rounds() && super::conv_bf16::fits(&shape) {
        super::conv_grad_bf16::lower(builder, index, (shape, images), [dy, x, weight], [dx, dweight, dbias])?;
        return Ok(true);
    }
    let gradient = builder.source(dy, Layout::Last)?;
    if dweight.is_some() || dbias.is_some() {
        let input = builder.source(x, Layout::Last)?;
        let (len, channels) = (shape.weight_len(), shape.c_out);
        let scratch = conv_grad::weight_gradient_scratch_len(&shape, images)
            .map_err(|source| builder.kernel_error(index, source))?;
        let step = WeightGradient { shape, images, has_bias: dbias.is_some() };
        let (mut dweight, mut inputs, mut works) = (dweight, vec![input, gradient.clone()], Vec::new());
        if let Some((next, mask, kept)) = dweight.and_then(|id| masked::mask(builder, id)) {
            builder.is_done[next] = true;
            inputs.push(builder.source(mask, Layout::Plain)?);
            works.push(next);
            dweight = Some(kept);
        }
        let info = builder.info(index, &works, "conv weight gradient");
        let made = builder.compute(info, step, inputs, len + channels + scratch);
        for (id, part) in [(dweight, made.part(0..len)), (dbias, made.part(len..len + channels))] {
            if let (Some(id), Some(part)) = (id, part) {
                builder.set(id, Layout::Plain, part);
            }
        }
    }
    if let Some(dx) = dx {
        input_gradient(builder, index, (shape, images), gradient, weight, dx)?;
    }
    Ok(true)
}

fn input_gradient(
    builder: &mut Builder<'_, '_>,
    index: usize,
    (shape, images): (ConvShape, Images),
    gradient: Source,
    weight: lissom_graph::ValueId,
    dx: lissom_graph::ValueId,
) -> Result<(), EngineError> {
    let len = conv_grad::input_gradient_packed_len(&shape).map_err(|source| builder.kernel_error(index, source))?;
    let source = builder.source(weight, Layout::Plain)?;
    let pack = Pack { shape, images };
    let packed = builder.compute(builder.info(index, &[], "pack"), pack, vec![source.clone()], len);
    let chain = builder.chain(dx, shape.c_in, Channels::Second, false);
    let mut inputs = vec![gradient, packed, source];
    if let Some(id) = chain.residual {
        inputs.push(builder.source(id, Layout::Last)?);
    }
    let step = InputGradient { shape, images, activation: chain.activation };
    let info = builder.info(index, &chain.works, "conv input gradient");
    let len = builder.shape(dx)?.iter().product();
    let made = builder.compute(info, step, inputs, len);
    builder.end(&chain, Layout::Last, made);
    Ok(())
}

/// x, dy, a mask?; gives the gradient of the weight, that of the bias, and room to work in.
#[derive(Debug)]
struct WeightGradient {
    shape: ConvShape,
    images: Images,
    has_bias: bool,
}

impl Compute for WeightGradient {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let (x, dy) = (operands.f32(0)?, operands.f32(1)?);
        let (dweight, rest) = out.split_at_mut(self.shape.weight_len());
        let (dbias, scratch) = rest.split_at_mut(self.shape.c_out);
        let dbias = if self.has_bias { Some(dbias) } else { None };
        let mask = if operands.has(2) { Some(operands.f32(2)?) } else { None };
        let refused = |error| operands.kernel_error(error);
        if let Some(mask) = mask.filter(|mask| is_masked(&self.shape, self.images, mask)) {
            if let Some(dbias) = dbias {
                sums::columns(threads, dy, dbias).map_err(refused)?;
            }
            return masked_conv::weight_gradient(threads, x, self.images, &self.shape, dy, mask, dweight)
                .map_err(refused);
        }
        conv_grad::conv_weight_gradient(threads, x, self.images, &self.shape, dy, scratch, dweight, dbias)
            .map_err(refused)?;
        mask.map_or(Ok(()), |mask| masked::apply(threads, mask, dweight)).map_err(refused)
    }
}

/// The weight.
#[derive(Debug)]
struct Pack {
    shape: ConvShape,
    images: Images,
}

impl Compute for Pack {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let weight = operands.f32(0)?;
        if is_masked(&self.shape, self.images, weight) {
            return Ok(());
        }
        conv_grad::pack_input_gradient_into(threads, &self.shape, weight, out)
            .map_err(|error| operands.kernel_error(error))
    }
}

/// dy, packed weight, weight, another gradient of the same?
#[derive(Debug)]
struct InputGradient {
    shape: ConvShape,
    images: Images,
    activation: Activation,
}

impl Compute for InputGradient {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let residual = if operands.has(3) { Some(operands.f32(3)?) } else { None };
        let epilogue = Epilogue { bias: None, residual, activation: self.activation };
        let (dy, packed, weight) = (operands.f32(0)?, operands.f32(1)?, operands.f32(2)?);
        if is_masked(&self.shape, self.images, weight) {
            return masked_conv::input_gradient(threads, dy, self.images, &self.shape, weight, &epilogue, out)
                .map_err(|error| operands.kernel_error(error));
        }
        conv_grad::conv_input_gradient(threads, dy, self.images, &self.shape, packed, &epilogue, out)
            .map_err(|error| operands.kernel_error(error))
    }
}
