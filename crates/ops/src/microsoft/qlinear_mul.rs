//! `QLinearMul`: product of codes, given as codes again.

use std::sync::Arc;

use lissom_graph::{OpSpec, Sample};
use lissom_tensor::Tensor;

use super::qlinear::QLinearBinary;
use crate::sample_data::filled;

pub(crate) const OP: OpSpec = OpSpec {
    name: "QLinearMul",
    domain: "com.microsoft",
    since: 1,
    read: |_| Ok(Arc::new(QLinearBinary { f: |a, b| a * b })),
    samples: || {
        let sample = |b: Tensor| {
            Sample::new([
                filled(&[2, 3], vec![0u8, 10, 128, 200, 255, 77]),
                Tensor::scalar(0.02f32),
                Tensor::scalar(128u8),
                b,
                Tensor::scalar(0.05f32),
                Tensor::scalar(100u8),
                Tensor::scalar(0.06f32),
                Tensor::scalar(120u8),
            ])
        };
        vec![sample(filled(&[2, 3], vec![9u8, 8, 7, 250, 240, 0])), sample(Tensor::vector(vec![1u8, 100, 255]))]
    },
};
