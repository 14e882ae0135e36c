//! Tensors of independent random numbers: what `RandomNormal`, `RandomUniform` and their `Like` forms share.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NodeReader, Op, OpError, Sample, Vjp};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::cast::optional_type;
use crate::constant_of_shape::shape_of;
use crate::gradient::{Gradients, constant_between_steps};
use crate::numeric::from_f64;
use crate::random::{Numbers, read_seed};

/// A tensor of random numbers.
#[derive(Debug, Clone)]
pub struct RandomTensor {
    /// What they are drawn from.
    pub distribution: Distribution,
    /// The shape; the input's if left out.
    pub shape: Option<Vec<usize>>,
    /// The type; the input's if left out.
    pub dtype: Option<DType>,
    pub(crate) seed: u64,
}

/// What random numbers are drawn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// The normal distribution.
    #[allow(missing_docs)]
    Normal { mean: f64, deviation: f64 },
    /// Every number from `low` up to `high`, which is excluded.
    #[allow(missing_docs)]
    Uniform { low: f64, high: f64 },
}

impl RandomTensor {
    pub(crate) fn read(node: &NodeReader<'_>, is_normal: bool, is_like: bool) -> Result<Arc<dyn Op>, OpError> {
        let float = |name, default| Ok::<_, OpError>(f64::from(node.float_or(name, default)?));
        let distribution = if is_normal {
            Distribution::Normal { mean: float("mean", 0.0)?, deviation: float("scale", 1.0)? }
        } else {
            Distribution::Uniform { low: float("low", 0.0)?, high: float("high", 1.0)? }
        };
        let dtype = optional_type(node, "dtype")?;
        let (shape, dtype) = if is_like {
            (None, dtype)
        } else {
            let shape = node.ints("shape")?.ok_or_else(|| OpError::attribute("shape", "is missing"))?;
            (Some(shape_of(&shape)?), Some(dtype.unwrap_or(DType::F32)))
        };
        Ok(Arc::new(Self { distribution, shape, dtype, seed: read_seed(node)? }))
    }
}

impl Op for RandomTensor {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = match &self.shape {
            Some(shape) => Some(shape.iter().map(|&length| length.into()).collect()),
            None => inputs.shape(0).map(<[_]>::to_vec),
        };
        Ok(vec![Fact::maybe(self.dtype.or(inputs.dtype(0)), shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let shape = match &self.shape {
            Some(shape) => shape.clone(),
            None => inputs.required(0)?.shape().to_vec(),
        };
        let dtype = match self.dtype {
            Some(dtype) => dtype,
            None => inputs.required(0)?.dtype(),
        };
        let mut numbers = Numbers::new(self.seed);
        let mut draw = || match self.distribution {
            Distribution::Normal { mean, deviation } => mean + deviation * numbers.normal(),
            Distribution::Uniform { low, high } => low + (high - low) * numbers.uniform(),
        };
        let values = (0..checked_len(DType::F64, &shape)?).map(|_| draw()).collect();
        Ok(vec![from_f64(dtype, shape, values)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        constant_between_steps(vjp)
    }

    fn is_deterministic(&self) -> bool {
        false
    }
}

/// Cases with a shape.
pub(crate) fn samples() -> Vec<Sample> {
    vec![
        Sample::new([]).with("shape", vec![2i64, 3]).with("seed", 1f32),
        Sample::new([]).with("shape", vec![0i64]).with("dtype", 11i64),
    ]
}

/// Cases with an input whose shape is taken.
pub(crate) fn like_samples() -> Vec<Sample> {
    let x = || Tensor::zeros(DType::F32, [2, 3]);
    vec![Sample::new(x()), Sample::new(x()).with("dtype", 10i64).with("seed", 1f32)]
}
