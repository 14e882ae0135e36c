//! `CumProd`: the running product along an axis.
//!
//! <https://onnx.ai/onnx/operators/onnx__CumProd.html>

use lissom_graph::OpSpec;

use crate::cumulative::{Cumulative, samples};

pub(crate) const OP: OpSpec =
    OpSpec { name: "CumProd", domain: "", since: 26, read: |node| Cumulative::read(node, true), samples };
