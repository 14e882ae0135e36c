//! `CausalConvWithState`: depthwise convolution over the past, with the end of the past as a state.
//!
//! <https://onnx.ai/onnx/operators/onnx__CausalConvWithState.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::elementwise::infer_same;
use crate::numeric::{expect_shape, floats, from_f64};
use crate::recurrent::dot;
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "CausalConvWithState",
    domain: "",
    since: 27,
    read: |node| {
        let silu = match node.string_or("activation", "none")?.as_str() {
            "none" => false,
            "silu" | "swish" => true,
            other => return Err(OpError::attribute("activation", format!("unknown value `{other}`"))),
        };
        Ok(Arc::new(CausalConvWithState { silu }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[2, 3, 5]), ramp(&[3, 1, 4]), ramp(&[3])]).with("activation", "silu").outputs(2),
            Sample {
                inputs: vec![Some(ramp(&[1, 2, 1])), Some(ramp(&[2, 1, 3])), None, Some(ramp(&[1, 2, 2]))],
                n_outputs: 2,
                attributes: Vec::new(),
            },
        ]
    },
};

/// `CausalConvWithState`: inputs x `[n, c, length]`, weight `[c, 1, k]`, bias `[c]`, state `[n, c, k − 1]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CausalConvWithState {
    /// The result is multiplied by its sigmoid.
    pub silu: bool,
}

impl Op for CausalConvWithState {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let state = match (inputs.shape(0), inputs.shape(1)) {
            (Some([n, c, _]), Some([_, _, k])) => Some(vec![n.clone(), c.clone(), k.sub(&Dim::Known(1))]),
            _ => None,
        };
        Ok(vec![infer_same(inputs), Fact::maybe(inputs.dtype(0), state)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, weight) = (inputs.required(0)?, inputs.required(1)?);
        let (&[batch, channels, length], &[_, _, kernel]) = (x.shape(), weight.shape()) else {
            return Err(OpError::shape(0, x.shape(), "expected 3 axes"));
        };
        expect_shape(1, weight, &[channels, 1, kernel])?;
        let past_len = kernel.checked_sub(1).ok_or_else(|| OpError::shape(1, weight.shape(), "has no taps"))?;
        let state_shape = [batch, channels, past_len];
        let past = match inputs.optional(3) {
            Some(past) => {
                expect_shape(3, past, &state_shape)?;
                floats(3, past)?
            }
            None => vec![0.0; checked_len(DType::F64, &state_shape)?],
        };
        let bias = match inputs.optional(2) {
            Some(bias) => {
                expect_shape(2, bias, &[channels])?;
                floats(2, bias)?
            }
            None => vec![0.0; channels],
        };
        let (values, weights) = (floats(0, x)?, floats(1, weight)?);
        let n_rows = checked_len(DType::F64, &[batch, channels])?;
        let (mut out, mut state) = (Vec::with_capacity(values.len()), Vec::with_capacity(past.len()));
        for row in 0..n_rows {
            let mut line = past[row * past_len..][..past_len].to_vec();
            line.extend_from_slice(&values[row * length..][..length]);
            let channel = row % channels;
            let taps = &weights[channel * kernel..][..kernel];
            out.extend(line.windows(kernel).map(|window| {
                let sum = dot(window, taps) + bias[channel];
                if self.silu { sum / (1.0 + (-sum).exp()) } else { sum }
            }));
            state.extend_from_slice(&line[length..]);
        }
        let y = from_f64(x.dtype(), x.shape().to_vec(), out)?;
        Ok(vec![y, from_f64(x.dtype(), state_shape.to_vec(), state)?])
    }
}
