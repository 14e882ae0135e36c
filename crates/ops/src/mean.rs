//! `Mean`: the mean of any number of tensors, with broadcasting.
//!
//! <https://onnx.ai/onnx/operators/onnx__Mean.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Vjp};
use lissom_tensor::Tensor;

use crate::elementwise::{infer_broadcast, zip};
use crate::gradient::Gradients;
use crate::numeric::{floats, from_f64};
use crate::variadic::{fold, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Mean",
    domain: "",
    since: 1,
    read: |node| {
        node.ignore(&["consumed_inputs"]); // opset 1's hint for in-place work
        Ok(Arc::new(Mean))
    },
    samples,
};

/// `Mean`.
#[derive(Debug, Clone, Copy)]
pub struct Mean;

impl Op for Mean {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_broadcast(inputs)?])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let dtype = inputs.required(0)?.dtype();
        let wide: Vec<Tensor> = inputs
            .all()?
            .into_iter()
            .enumerate()
            .map(|(index, x)| Ok(Tensor::new(x.shape(), floats(index, x)?)?))
            .collect::<Result<_, OpError>>()?;
        let wide: Vec<Option<&Tensor>> = wide.iter().map(Some).collect();
        let sum = fold(&Inputs(&wide), |a, b| zip::<f64, f64>(a, b, |x, y| x + y))?;
        let n = inputs.len() as f64;
        let means = sum.as_slice::<f64>()?.iter().map(|x| x / n).collect();
        Ok(vec![from_f64(dtype, sum.shape().to_vec(), means)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        crate::variadic::vjp(vjp, |dy, inputs, _| vec![dy / inputs.len() as f64; inputs.len()])
    }
}
