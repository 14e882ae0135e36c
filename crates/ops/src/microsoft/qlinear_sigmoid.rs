//! `QLinearSigmoid`: sigmoid of codes, given as codes again.

use std::sync::Arc;

use lissom_graph::{OpSpec, Sample};
use lissom_tensor::Tensor;

use super::qlinear::QLinearUnary;
use crate::sample_data::filled;

pub(crate) const OP: OpSpec = OpSpec {
    name: "QLinearSigmoid",
    domain: "com.microsoft",
    since: 1,
    read: |_| Ok(Arc::new(QLinearUnary { f: |x, _| 1.0 / (1.0 + (-x).exp()), alpha: 0.0 })),
    samples: || {
        let inputs = |scale: f32| {
            [
                filled(&[2, 3], vec![0u8, 10, 128, 200, 255, 77]),
                Tensor::scalar(scale),
                Tensor::scalar(128u8),
                Tensor::scalar(1f32 / 256.0),
                Tensor::scalar(3u8),
            ]
        };
        vec![Sample::new(inputs(0.02)), Sample::new(inputs(0.5))]
    },
};
