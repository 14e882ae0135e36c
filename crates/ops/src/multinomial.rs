//! `Multinomial`: classes drawn with the probabilities whose logarithms the input gives.
//!
//! <https://onnx.ai/onnx/operators/onnx__Multinomial.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::cast::optional_type;
use crate::numeric::{floats, from_i64};
use crate::random::{Numbers, read_seed};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Multinomial",
    domain: "",
    since: 7,
    read: |node| {
        let n_draws = node.int_or("sample_size", 1)?;
        Ok(Arc::new(Multinomial {
            dtype: optional_type(node, "dtype")?.unwrap_or(DType::I32),
            n_draws: usize::try_from(n_draws).map_err(|_| OpError::attribute("sample_size", "is negative"))?,
            seed: read_seed(node)?,
        }))
    },
    samples: || {
        let x = || Tensor::new([2, 3], vec![0f32, 0.0, 0.0, f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY]);
        vec![Sample::new(x()), Sample::new(x()).with("sample_size", 4i64).with("dtype", 7i64)]
    },
};

/// `Multinomial`: input `[batch, classes]`, output `[batch, draws]`.
#[derive(Debug, Clone, Copy)]
pub struct Multinomial {
    /// Type of the output.
    pub dtype: DType,
    /// Draws for each row.
    pub n_draws: usize,
    pub(crate) seed: u64,
}

impl Op for Multinomial {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = inputs.shape(0).and_then(|shape| Some(vec![shape.first()?.clone(), Dim::from(self.n_draws)]));
        Ok(vec![Fact::maybe(Some(self.dtype), shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let bad = || OpError::shape(0, x.shape(), "a row of classes for each entry of the batch is expected");
        let [n_rows, n_classes] = *x.shape() else { return Err(bad()) };
        if n_classes == 0 {
            return Err(bad());
        }
        let mut numbers = Numbers::new(self.seed);
        let mut draws = Vec::with_capacity(checked_len(DType::I64, &[n_rows, self.n_draws])?);
        for row in floats(0, x)?.chunks(n_classes) {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let shares: Vec<f64> = row.iter().map(|log| (log - largest).exp()).collect();
            let total: f64 = shares.iter().sum();
            for _ in 0..self.n_draws {
                let mut left = numbers.uniform() * total;
                let chosen = shares.iter().position(|share| {
                    left -= share;
                    left < 0.0
                });
                draws.push(chosen.unwrap_or(n_classes - 1) as i64);
            }
        }
        Ok(vec![from_i64(self.dtype, vec![n_rows, self.n_draws], draws)?])
    }

    fn is_deterministic(&self) -> bool {
        false
    }
}
