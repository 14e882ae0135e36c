//! `HannWindow`: ½ − ½ cos.
//!
//! <https://onnx.ai/onnx/operators/onnx__HannWindow.html>

use lissom_graph::OpSpec;

use crate::cosine_window::{CosineWindow, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "HannWindow",
    domain: "",
    since: 17,
    read: |node| CosineWindow::read(node, [0.5, -0.5, 0.0]),
    samples,
};
