//! `RNN`: one layer of a plain recurrent network.
//!
//! <https://onnx.ai/onnx/operators/onnx__RNN.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::numeric::floats;
use crate::recurrent::{Recurrent, Sizes, dot};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "RNN",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Rnn { layer: Recurrent::read(node, &["Tanh"])? })),
    samples: || {
        vec![
            Sample::new([ramp(&[3, 2, 4]), ramp(&[1, 3, 4]), ramp(&[1, 3, 3]), ramp(&[1, 6])])
                .with("hidden_size", 3i64)
                .outputs(2),
            Sample::new([ramp(&[3, 2, 4]), ramp(&[2, 3, 4]), ramp(&[2, 3, 3])])
                .with("direction", "bidirectional")
                .with("activations", vec!["Relu".to_owned(), "Softsign".to_owned()])
                .outputs(2),
        ]
    },
};

/// `RNN`: hₜ = f(W · xₜ + R · hₜ₋₁ + biases).
#[derive(Debug, Clone, PartialEq)]
pub struct Rnn {
    /// Directions, activation f, clipping, layout.
    pub layer: Recurrent,
}

impl Op for Rnn {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        self.layer.infer(inputs, 1)
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let sizes = Sizes::of(&self.layer, inputs, 1)?;
        let n = sizes.hidden;
        let (recurrence, bias) = (floats(2, inputs.required(2)?)?, sizes.bias_values(inputs)?);
        let mut hidden = vec![0.0; n];
        self.layer.run(inputs, &sizes, &[inputs.optional(5)], |direction, sums, states| {
            let [f] = self.layer.activations[direction][..] else { return };
            let recurrence = &recurrence[direction * n * n..];
            let (w_bias, r_bias) = sizes.biases(&bias, direction);
            hidden.copy_from_slice(&states[0]);
            for i in 0..n {
                let sum = sums[i] + dot(&recurrence[i * n..][..n], &hidden) + w_bias[i] + r_bias[i];
                states[0][i] = f.apply(self.layer.clipped(sum));
            }
        })
    }
}
