//! `DequantizeLinear` of `com.microsoft`: ONNX's own, in models older than its types.

use lissom_graph::OpSpec;

use crate::dequantize_linear;

pub(crate) const OP: OpSpec = OpSpec {
    name: "DequantizeLinear",
    domain: "com.microsoft",
    since: 1,
    read: dequantize_linear::OP.read,
    samples: dequantize_linear::OP.samples,
};
