//! `Conv` with a weight that is computed: packed by a step of its own.

use lissom_kernels::conv::{self, ConvShape, Images};
use lissom_kernels::{Activation, Epilogue, Threads, masked_conv};

use super::Lowering;
use super::masked::is_masked;
use crate::EngineError;
use crate::plan::lower::{Builder, Channels, Layout, images};
use crate::plan::operands::Operands;
use crate::plan::step::Compute;

pub(super) const CONV: Lowering = Lowering { domain: "", op_type: "Conv", lower };

fn lower(builder: &mut Builder<'_, '_>, index: usize) -> Result<bool, EngineError> {
    let network = builder.network;
    let (Some(x), Some(weight), Some(out)) = (builder.input(index, 0), builder.input(index, 1), builder.output(index))
    else {
        return Ok(false);
    };
    let bias = builder.input(index, 2);
    let Some(shape) = builder.form(index).conv_shape(x, weight) else { return Ok(false) };
    let is_fit = [Some(x), Some(weight), bias].iter().flatten().all(|&id| network.is_f32(id));
    let images = images(&builder.shape(x)?);
    if !is_fit || !builder.fits_output(&shape, images, out)? {
        return Ok(false);
    }
    if builder.rounds() && super::conv_bf16::fits(&shape) {
        super::conv_bf16::lower(builder, index, (shape, images), [x, weight, out], bias)?;
        return Ok(true);
    }
    let packed_len = conv::packed_len(&shape).map_err(|source| builder.kernel_error(index, source))?;
    let source = builder.source(weight, Layout::Plain)?;
    let packed =
        builder.compute(builder.info(index, &[], "pack"), Pack { shape, images }, vec![source.clone()], packed_len);
    let chain = builder.chain(out, shape.c_out, Channels::Second, false);
    let mut inputs = vec![builder.source(x, Layout::Last)?, packed];
    if let Some(id) = bias {
        inputs.push(builder.source(id, Layout::Plain)?);
    }
    if let Some(id) = chain.residual {
        inputs.push(builder.source(id, Layout::Last)?);
    }
    inputs.push(source);
    let step = Conv {
        shape,
        images,
        has_bias: bias.is_some(),
        has_residual: chain.residual.is_some(),
        activation: chain.activation,
    };
    let info = builder.info(index, &chain.works, "conv packed");
    let len = builder.shape(out)?.iter().product();
    let made = builder.compute(info, step, inputs, len);
    builder.end(&chain, Layout::Last, made);
    Ok(true)
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
        conv::pack_into(threads, &self.shape, weight, out).map_err(|error| operands.kernel_error(error))
    }
}

/// x, packed weight, bias?, residual?, weight
#[derive(Debug)]
struct Conv {
    shape: ConvShape,
    images: Images,
    has_bias: bool,
    has_residual: bool,
    activation: Activation,
}

impl Compute for Conv {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let bias = if self.has_bias { Some(operands.f32(2)?) } else { None };
        let at = 2 + usize::from(self.has_bias);
        let residual = if self.has_residual { Some(operands.f32(at)?) } else { None };
        let epilogue = Epilogue { bias, residual, activation: self.activation };
        let (x, packed) = (operands.f32(0)?, operands.f32(1)?);
        let weight = operands.f32(at + usize::from(self.has_residual))?;
        if is_masked(&self.shape, self.images, weight) {
            return masked_conv::conv(threads, x, self.images, &self.shape, weight, &epilogue, out)
                .map_err(|error| operands.kernel_error(error));
        }
        conv::conv_packed(threads, x, self.images, &self.shape, packed, &epilogue, out)
            .map_err(|error| operands.kernel_error(error))
    }
}
