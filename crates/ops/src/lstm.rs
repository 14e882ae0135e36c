//! `LSTM`: one layer of long short-term memory.
//!
//! <https://onnx.ai/onnx/operators/onnx__LSTM.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::numeric::{expect_shape, floats};
use crate::recurrent::{Recurrent, Sizes, dot};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "LSTM",
    domain: "",
    since: 1,
    read: |node| {
        Ok(Arc::new(Lstm {
            layer: Recurrent::read(node, &["Sigmoid", "Tanh", "Tanh"])?,
            input_forget: node.flag_or("input_forget", false)?,
        }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[3, 2, 4]), ramp(&[1, 12, 4]), ramp(&[1, 12, 3]), ramp(&[1, 24])])
                .with("hidden_size", 3i64)
                .outputs(3),
            Sample {
                inputs: vec![
                    Some(ramp(&[3, 2, 4])),
                    Some(ramp(&[2, 8, 4])),
                    Some(ramp(&[2, 8, 2])),
                    None,
                    Some(Tensor::vector(vec![3i32, 1])),
                    Some(ramp(&[2, 2, 2])),
                    Some(ramp(&[2, 2, 2])),
                    Some(ramp(&[2, 6])),
                ],
                n_outputs: 3,
                attributes: Vec::new(),
            }
            .with("direction", "bidirectional")
            .with("hidden_size", 2i64)
            .with("clip", 2.0f32),
            Sample::new([ramp(&[2, 3, 4]), ramp(&[1, 4, 4]), ramp(&[1, 4, 1])]).with("layout", 1i64).outputs(3),
        ]
    },
};

/// `LSTM`. Gates stand in the order input, output, forget, cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Lstm {
    /// Directions, activations f, g, h, clipping, layout.
    pub layer: Recurrent,
    /// The forget gate is 1 − the input gate.
    pub input_forget: bool,
}

impl Op for Lstm {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        self.layer.infer(inputs, 2)
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let sizes = Sizes::of(&self.layer, inputs, 4)?;
        let n = sizes.hidden;
        let (recurrence, bias) = (floats(2, inputs.required(2)?)?, sizes.bias_values(inputs)?);
        let peepholes = match inputs.optional(7) {
            Some(peepholes) => {
                expect_shape(7, peepholes, &[sizes.directions, 3 * n])?;
                floats(7, peepholes)?
            }
            None => vec![0.0; sizes.directions * 3 * n],
        };
        let initial = [inputs.optional(5), inputs.optional(6)];
        let mut hidden = vec![0.0; n];
        self.layer.run(inputs, &sizes, &initial, |direction, sums, states| {
            let [f, g, h] = self.layer.activations[direction][..] else { return };
            let recurrence = &recurrence[direction * 4 * n * n..];
            let (w_bias, r_bias) = sizes.biases(&bias, direction);
            let peephole = &peepholes[direction * 3 * n..];
            hidden.copy_from_slice(&states[0]);
            for i in 0..n {
                let gate = |gate: usize, peep: f64| {
                    let row = gate * n + i;
                    let sum = sums[row] + dot(&recurrence[row * n..][..n], &hidden) + w_bias[row] + r_bias[row];
                    self.layer.clipped(sum + peep)
                };
                let cell = states[1][i];
                let input = f.apply(gate(0, peephole[i] * cell));
                let forget = if self.input_forget { 1.0 - input } else { f.apply(gate(2, peephole[2 * n + i] * cell)) };
                let cell = forget * cell + input * g.apply(gate(3, 0.0));
                let output = f.apply(gate(1, peephole[n + i] * cell));
                states[1][i] = cell;
                states[0][i] = output * h.apply(self.layer.clipped(cell));
            }
        })
    }
}
