//! `QuantizeLinear` of `com.microsoft`: ONNX's own, in models older than its types.

use lissom_graph::OpSpec;

use crate::quantize_linear;

pub(crate) const OP: OpSpec = OpSpec {
    name: "QuantizeLinear",
    domain: "com.microsoft",
    since: 1,
    read: quantize_linear::OP.read,
    samples: quantize_linear::OP.samples,
};
