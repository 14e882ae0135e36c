//! `Upsample`: `Resize` of opsets before 10.
//!
//! <https://onnx.ai/onnx/operators/onnx__Upsample.html>

use std::sync::Arc;

use lissom_graph::{NodeReader, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::resize::Resize;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Upsample",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Resize { scales: read_scales(node)?, ..Resize::read_10(node)? })),
    samples: || {
        let image = || Tensor::new([1, 1, 2, 2], vec![1f32, 2.0, 3.0, 4.0]);
        let scales = || [Tensor::vector(vec![1f32, 1.0, 2.0, 3.0])];
        vec![
            Sample::new(image().into_iter().chain(scales())),
            Sample::new(image().into_iter().chain(scales())).with("mode", "linear"),
        ]
    },
};

/// Scales were attributes before opset 9, and height and width had one each before 7.
fn read_scales(node: &NodeReader<'_>) -> Result<Option<Vec<f32>>, OpError> {
    match node.opset() {
        9.. => Ok(None),
        7.. => node.floats("scales"),
        _ => {
            let scale = |name| node.float(name)?.ok_or_else(|| OpError::attribute(name, "is missing"));
            Ok(Some(vec![1.0, 1.0, scale("height_scale")?, scale("width_scale")?]))
        }
    }
}
