//! `ReluGrad`: put off, because the gradient of a batch norm takes it on the way.

use super::Lowering;
use crate::EngineError;
use crate::plan::lower::{Builder, Record};

pub(super) const RELU: Lowering = Lowering { domain: "com.microsoft", op_type: "ReluGrad", lower };

fn lower(builder: &mut Builder<'_, '_>, index: usize) -> Result<bool, EngineError> {
    let (Some([dy, output]), Some(dx)) = (builder.inputs(index), builder.output(index)) else { return Ok(false) };
    let network = builder.network;
    let shape = network.shape(dx);
    if !network.is_f32(dy) || network.shape(dy) != shape || network.shape(output) != shape {
        return Ok(false);
    }
    builder.set_record(dx, Record { masked: Some((dy, output)), ..Record::default() });
    Ok(true)
}
