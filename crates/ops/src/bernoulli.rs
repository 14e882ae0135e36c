//! `Bernoulli`: 1 with the probability that the input gives, else 0.
//!
//! <https://onnx.ai/onnx/operators/onnx__Bernoulli.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::cast::optional_type;
use crate::numeric::{floats, from_f64};
use crate::random::{Numbers, read_seed};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Bernoulli",
    domain: "",
    since: 15,
    read: |node| Ok(Arc::new(Bernoulli { dtype: optional_type(node, "dtype")?, seed: read_seed(node)? })),
    samples: || {
        let p = || Tensor::vector(vec![0f32, 0.5, 1.0]);
        vec![Sample::new([p()]), Sample::new([p()]).with("dtype", 7i64).with("seed", 2f32)]
    },
};

/// `Bernoulli`.
#[derive(Debug, Clone, Copy)]
pub struct Bernoulli {
    /// Type of the output; the input's if left out.
    pub dtype: Option<DType>,
    pub(crate) seed: u64,
}

impl Op for Bernoulli {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(self.dtype.or(inputs.dtype(0)), inputs.shape(0).map(<[_]>::to_vec))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let mut numbers = Numbers::new(self.seed);
        let draws = floats(0, x)?.into_iter().map(|p| if numbers.uniform() < p { 1.0 } else { 0.0 }).collect();
        Ok(vec![from_f64(self.dtype.unwrap_or(x.dtype()), x.shape().to_vec(), draws)?])
    }

    fn is_deterministic(&self) -> bool {
        false
    }
}
