//! Gradients of smooth activations, element by element: `GeluGrad`, `FastGeluGrad`, `SigmoidGrad`, `TanhGrad`.

use lissom_kernels::elementwise::Binary;

use super::Lowering;
use crate::EngineError;
use crate::plan::lower::Builder;

pub(super) const GELU: Lowering =
    Lowering { domain: "com.microsoft", op_type: "GeluGrad", lower: |b, index| lower(b, index, Binary::GeluGrad) };
pub(super) const FAST_GELU: Lowering = Lowering {
    domain: "com.microsoft",
    op_type: "FastGeluGrad",
    lower: |b, index| lower(b, index, Binary::GeluTanhGrad),
};
pub(super) const SIGMOID: Lowering = Lowering {
    domain: "com.microsoft",
    op_type: "SigmoidGrad",
    lower: |b, index| lower(b, index, Binary::SigmoidGrad),
};
pub(super) const TANH: Lowering =
    Lowering { domain: "com.microsoft", op_type: "TanhGrad", lower: |b, index| lower(b, index, Binary::TanhGrad) };

/// dy, and x or y. They must be of one shape, since these functions have no form with operands in the other order.
fn lower(builder: &mut Builder<'_, '_>, index: usize, op: Binary) -> Result<bool, EngineError> {
    let network = builder.network;
    let (Some(ids), Some(out)) = (builder.inputs::<2>(index), builder.output(index)) else { return Ok(false) };
    let shape = network.shape(out);
    let is_fit = ids.iter().all(|&id| network.is_f32(id) && network.shape(id) == shape);
    if is_fit { builder.binary(index, op) } else { Ok(false) }
}
