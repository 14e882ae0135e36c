//! `GRU`: one layer of gated recurrent units.
//!
//! <https://onnx.ai/onnx/operators/onnx__GRU.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::numeric::floats;
use crate::recurrent::{Recurrent, Sizes, dot};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "GRU",
    domain: "",
    since: 1,
    read: |node| {
        Ok(Arc::new(Gru {
            layer: Recurrent::read(node, &["Sigmoid", "Tanh"])?,
            linear_before_reset: node.flag_or("linear_before_reset", false)?,
        }))
    },
    samples: || {
        let inputs = || [ramp(&[3, 2, 4]), ramp(&[1, 9, 4]), ramp(&[1, 9, 3]), ramp(&[1, 18])];
        vec![
            Sample::new(inputs()).with("hidden_size", 3i64).outputs(2),
            Sample::new(inputs()).with("linear_before_reset", 1i64).with("direction", "reverse").outputs(2),
            Sample::new([ramp(&[0, 2, 4]), ramp(&[2, 3, 4]), ramp(&[2, 3, 1])])
                .with("direction", "bidirectional")
                .outputs(2),
        ]
    },
};

/// `GRU`. Gates stand in the order update, reset, hidden.
#[derive(Debug, Clone, PartialEq)]
pub struct Gru {
    /// Directions, activations f, g, clipping, layout.
    pub layer: Recurrent,
    /// The reset gate acts after the recurrent product instead of before it.
    pub linear_before_reset: bool,
}

impl Op for Gru {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        self.layer.infer(inputs, 1)
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let sizes = Sizes::of(&self.layer, inputs, 3)?;
        let n = sizes.hidden;
        let (recurrence, bias) = (floats(2, inputs.required(2)?)?, sizes.bias_values(inputs)?);
        let mut hidden = vec![0.0; n];
        let (mut update, mut reset, mut masked) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        self.layer.run(inputs, &sizes, &[inputs.optional(5)], |direction, sums, states| {
            let [f, g] = self.layer.activations[direction][..] else { return };
            let recurrence = &recurrence[direction * 3 * n * n..];
            let (w_bias, r_bias) = sizes.biases(&bias, direction);
            hidden.copy_from_slice(&states[0]);
            for i in 0..n {
                let gate = |row: usize| {
                    let sum = sums[row] + dot(&recurrence[row * n..][..n], &hidden) + w_bias[row] + r_bias[row];
                    f.apply(self.layer.clipped(sum))
                };
                update[i] = gate(i);
                reset[i] = gate(n + i);
                masked[i] = reset[i] * hidden[i];
            }
            for i in 0..n {
                let row = 2 * n + i;
                let weights = &recurrence[row * n..][..n];
                let recurrent = if self.linear_before_reset {
                    reset[i] * (dot(weights, &hidden) + r_bias[row])
                } else {
                    dot(weights, &masked) + r_bias[row]
                };
                let candidate = g.apply(self.layer.clipped(sums[row] + recurrent + w_bias[row]));
                states[0][i] = (1.0 - update[i]) * candidate + update[i] * hidden[i];
            }
        })
    }
}
