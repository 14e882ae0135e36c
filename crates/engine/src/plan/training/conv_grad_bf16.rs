//! `ConvGrad` where a session may round: operands in bf16, sums in f32.

use lissom_graph::ValueId;
use lissom_kernels::conv::{self, ConvShape, End, Images};
use lissom_kernels::{Activation, Epilogue, Threads, conv_grad};

use super::conv_bf16::{residual, words};
use crate::EngineError;
use crate::plan::lower::{Builder, Channels, Layout};
use crate::plan::operands::Operands;
use crate::plan::step::{Compute, Source};

/// Outputs are those that somebody reads: gradients of x, of the weight, of the bias.
pub(super) fn lower(
    builder: &mut Builder<'_, '_>,
    index: usize,
    (shape, images): (ConvShape, Images),
    [dy, x, weight]: [ValueId; 3],
    [dx, dweight, dbias]: [Option<ValueId>; 3],
) -> Result<(), EngineError> {
    let gradient = builder.pairs(dy)?;
    if dweight.is_some() || dbias.is_some() {
        let input = builder.pairs(x)?;
        let (len, channels) = (shape.weight_len(), shape.c_out);
        let scratch = conv_grad::weight_gradient_pairs_scratch_len(&shape, images)
            .map_err(|source| builder.kernel_error(index, source))?;
        let step = WeightGradient { shape, images, has_bias: dbias.is_some() };
        let info = builder.info(index, &[], "conv weight gradient bf16");
        let made = builder.compute(info, step, vec![input, gradient.clone()], len + channels + scratch);
        for (id, part) in [(dweight, made.part(0..len)), (dbias, made.part(len..len + channels))] {
            if let (Some(id), Some(part)) = (id, part) {
                builder.set(id, Layout::Plain, part);
            }
        }
    }
    if let Some(dx) = dx {
        input_gradient(builder, index, (shape, images), gradient, weight, dx)?;
    }
    Ok(())
}

fn input_gradient(
    builder: &mut Builder<'_, '_>,
    index: usize,
    (shape, images): (ConvShape, Images),
    gradient: Source,
    weight: ValueId,
    dx: ValueId,
) -> Result<(), EngineError> {
    let len =
        conv_grad::input_gradient_packed_pairs_len(&shape).map_err(|source| builder.kernel_error(index, source))?;
    let source = builder.source(weight, Layout::Plain)?;
    let packed = builder.compute(builder.info(index, &[], "pack bf16"), Pack { shape }, vec![source], len);
    let chain = builder.chain(dx, shape.c_in, Channels::Second, false);
    let is_pairs = builder.ends_in_pairs(&chain) && conv::ends_in_pairs(&shape, shape.c_out, shape.c_in);
    let end = if is_pairs { End::Pairs } else { End::F32 };
    let mut inputs = vec![gradient, packed];
    if let Some(id) = chain.residual {
        inputs.push(residual(builder, id, end)?);
    }
    let step = InputGradient { shape, images, activation: chain.activation, end };
    let info = builder.info(index, &chain.works, "conv input gradient bf16");
    let len = words(end, &builder.shape(dx)?);
    let made = builder.compute(info, step, inputs, len);
    if is_pairs {
        builder.end_pairs(&chain, made)
    } else {
        builder.end(&chain, Layout::Last, made)
    }
    Ok(())
}

/// x, dy; gives the gradient of the weight, that of the bias, and room to work in.
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
        conv_grad::conv_weight_gradient_pairs(threads, x, self.images, &self.shape, dy, scratch, dweight, dbias)
            .map_err(|error| operands.kernel_error(error))
    }
}

/// The weight.
#[derive(Debug)]
struct Pack {
    shape: ConvShape,
}

impl Compute for Pack {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        conv_grad::pack_input_gradient_pairs_into(threads, &self.shape, operands.f32(0)?, out)
            .map_err(|error| operands.kernel_error(error))
    }
}

/// dy, packed weight, another gradient of the same?
#[derive(Debug)]
struct InputGradient {
    shape: ConvShape,
    images: Images,
    activation: Activation,
    end: End,
}

impl Compute for InputGradient {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let residual = if operands.has(2) { Some(operands.f32(2)?) } else { None };
        let epilogue = Epilogue { bias: None, residual, activation: self.activation };
        let (dy, packed) = (operands.f32(0)?, operands.f32(1)?);
        conv_grad::conv_input_gradient_pairs(threads, dy, self.images, &self.shape, packed, &epilogue, self.end, out)
            .map_err(|error| operands.kernel_error(error))
    }
}
