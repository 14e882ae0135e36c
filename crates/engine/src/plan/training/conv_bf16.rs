//! `Conv` with a weight that is computed, where a session may round: operands in bf16, sums in f32.

use lissom_graph::ValueId;
use lissom_kernels::conv::{self, ConvShape, End, Images};
use lissom_kernels::{Activation, Epilogue, Threads};

use crate::EngineError;
use crate::plan::lower::{Builder, Channels, Layout};
use crate::plan::operands::Operands;
use crate::plan::step::{Compute, Source};

/// Depthwise convolutions, which are not products, stay in f32, and so do groups that would cut a pair.
pub(super) fn fits(shape: &ConvShape) -> bool {
    let is_even = |channels: usize| (channels / shape.groups.max(1)).is_multiple_of(2);
    !shape.is_depthwise() && (shape.groups == 1 || is_even(shape.c_in) && is_even(shape.c_out))
}

/// f32 words of an image that ends so.
pub(super) fn words(end: End, shape: &[usize]) -> usize {
    let len: usize = shape.iter().product();
    if end == End::Pairs { len / 2 } else { len }
}

/// The residual, as the results are.
pub(super) fn residual(builder: &mut Builder<'_, '_>, id: ValueId, end: End) -> Result<Source, EngineError> {
    if end == End::Pairs { builder.pairs(id) } else { builder.source(id, Layout::Last) }
}

pub(super) fn lower(
    builder: &mut Builder<'_, '_>,
    index: usize,
    (shape, images): (ConvShape, Images),
    [x, weight, out]: [ValueId; 3],
    bias: Option<ValueId>,
) -> Result<(), EngineError> {
    let packed_len = conv::packed_pairs_len(&shape).map_err(|source| builder.kernel_error(index, source))?;
    let source = builder.source(weight, Layout::Plain)?;
    let packed = builder.compute(builder.info(index, &[], "pack bf16"), Pack { shape }, vec![source], packed_len);
    let chain = builder.chain(out, shape.c_out, Channels::Second, false);
    let is_pairs = builder.ends_in_pairs(&chain) && conv::ends_in_pairs(&shape, shape.c_in, shape.c_out);
    let end = if is_pairs { End::Pairs } else { End::F32 };
    let mut inputs = vec![builder.pairs(x)?, packed];
    if let Some(id) = bias {
        inputs.push(builder.source(id, Layout::Plain)?);
    }
    if let Some(id) = chain.residual {
        inputs.push(residual(builder, id, end)?);
    }
    let (has_bias, has_residual) = (bias.is_some(), chain.residual.is_some());
    let step = Conv { shape, images, has_bias, has_residual, activation: chain.activation, end };
    let info = builder.info(index, &chain.works, "conv bf16");
    let len = words(end, &builder.shape(out)?);
    let made = builder.compute(info, step, inputs, len);
    if is_pairs {
        builder.end_pairs(&chain, made)
    } else {
        builder.end(&chain, Layout::Last, made)
    }
    Ok(())
}

/// The weight.
#[derive(Debug)]
struct Pack {
    shape: ConvShape,
}

impl Compute for Pack {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        conv::pack_pairs_into(threads, &self.shape, operands.f32(0)?, out).map_err(|error| operands.kernel_error(error))
    }
}

/// x, packed weight, bias?, residual?
#[derive(Debug)]
struct Conv {
    shape: ConvShape,
    images: Images,
    has_bias: bool,
    has_residual: bool,
    activation: Activation,
    end: End,
}

impl Compute for Conv {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let bias = if self.has_bias { Some(operands.f32(2)?) } else { None };
        let at = 2 + usize::from(self.has_bias);
        let residual = if self.has_residual { Some(operands.f32(at)?) } else { None };
        let epilogue = Epilogue { bias, residual, activation: self.activation };
        let (x, packed) = (operands.f32(0)?, operands.f32(1)?);
        conv::conv_pairs(threads, x, self.images, &self.shape, packed, &epilogue, self.end, out)
            .map_err(|error| operands.kernel_error(error))
    }
}
