//! `EyeLike`: a matrix of the input's shape with ones on a diagonal.
//!
//! <https://onnx.ai/onnx/operators/onnx__EyeLike.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{DType, Tensor};

use crate::cast::optional_type;
use crate::convert::{Conversion, convert};
use crate::gradient::{Gradients, constant_between_steps};

pub(crate) const OP: OpSpec = OpSpec {
    name: "EyeLike",
    domain: "",
    since: 9,
    read: |node| Ok(Arc::new(EyeLike { dtype: optional_type(node, "dtype")?, k: node.int_or("k", 0)? })),
    samples: || {
        let x = || Tensor::zeros(DType::F32, [3, 4]);
        vec![Sample::new(x()), Sample::new(x()).with("k", 1i64).with("dtype", 7i64), Sample::new(x()).with("k", -9i64)]
    },
};

/// `EyeLike`.
#[derive(Debug, Clone, Copy)]
pub struct EyeLike {
    /// Type of the output; the input's if left out.
    pub dtype: Option<DType>,
    /// Which diagonal: above the main one if positive.
    pub k: i64,
}

impl Op for EyeLike {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(self.dtype.or(inputs.dtype(0)), inputs.shape(0).map(<[_]>::to_vec))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let [rows, columns] = *x.shape() else { return Err(OpError::shape(0, x.shape(), "a matrix is expected")) };
        let is_one = |row: usize, column: usize| column as i64 == (row as i64).saturating_add(self.k);
        let ones = (0..rows).flat_map(|row| (0..columns).map(move |column| i64::from(is_one(row, column)))).collect();
        let eye = Tensor::new::<i64>([rows, columns], ones)?;
        Ok(vec![convert(&eye, self.dtype.unwrap_or(x.dtype()), Conversion::default())?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        constant_between_steps(vjp)
    }
}
