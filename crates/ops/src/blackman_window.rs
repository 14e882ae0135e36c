//! `BlackmanWindow`: 0.42 − 0.5 cos + 0.08 cos of twice the angle.
//!
//! <https://onnx.ai/onnx/operators/onnx__BlackmanWindow.html>

use lissom_graph::OpSpec;

use crate::cosine_window::{CosineWindow, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "BlackmanWindow",
    domain: "",
    since: 17,
    read: |node| CosineWindow::read(node, [0.42, -0.5, 0.08]),
    samples,
};
