//! `HannWindow`, `HammingWindow` and `BlackmanWindow`: sums of cosines.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NodeReader, Op, OpError, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::numeric::from_f64;
use crate::quantize_linear::read_dtype;

/// `Σ coefficients[k] · cos(2πk · i / length)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CosineWindow {
    /// Factors of the cosines, signs included.
    pub coefficients: [f64; 3],
    /// The window repeats after its length, instead of being symmetric.
    pub periodic: bool,
    /// Type of the output.
    pub dtype: DType,
}

impl CosineWindow {
    pub(crate) fn read(node: &NodeReader<'_>, coefficients: [f64; 3]) -> Result<Arc<dyn Op>, OpError> {
        Ok(Arc::new(Self {
            coefficients,
            periodic: node.flag_or("periodic", true)?,
            dtype: read_dtype(node, "output_datatype")?.unwrap_or(DType::F32),
        }))
    }
}

impl Op for CosineWindow {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let length = inputs.get(0).as_dims().and_then(|dims| dims.into_iter().next());
        let shape = vec![length.unwrap_or_else(|| Dim::symbol("window_length"))];
        Ok(vec![Fact::new(self.dtype, shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let size = inputs.required(0)?.to_i64()?;
        let size = usize::try_from(size).map_err(|_| OpError::value(format!("a window of length {size}")))?;
        checked_len(DType::F64, &[size])?;
        let period = if self.periodic { size as f64 } else { (size as f64 - 1.0).max(1.0) };
        let value = |i: usize| {
            let angle = 2.0 * std::f64::consts::PI * i as f64 / period;
            self.coefficients.iter().enumerate().map(|(k, factor)| factor * (k as f64 * angle).cos()).sum()
        };
        from_f64(self.dtype, vec![size], (0..size).map(value).collect()).map(|window| vec![window])
    }
}

/// Samples of any of them.
pub(crate) fn samples() -> Vec<Sample> {
    vec![
        Sample::new([Tensor::scalar(10i32)]),
        Sample::new([Tensor::scalar(7i64)]).with("periodic", 0i64).with("output_datatype", 11i64),
        Sample::new([Tensor::scalar(1i64)]).with("periodic", 0i64),
        Sample::new([Tensor::scalar(0i64)]),
    ]
}
