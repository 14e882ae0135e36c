//! `HammingWindow`: 25/46 − 21/46 cos.
//!
//! <https://onnx.ai/onnx/operators/onnx__HammingWindow.html>

use lissom_graph::OpSpec;

use crate::cosine_window::{CosineWindow, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "HammingWindow",
    domain: "",
    since: 17,
    read: |node| CosineWindow::read(node, [25.0 / 46.0, -21.0 / 46.0, 0.0]),
    samples,
};
