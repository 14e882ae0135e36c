//! `Det`: determinants of square matrices.
//!
//! <https://onnx.ai/onnx/operators/onnx__Det.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::numeric::{floats, from_f64};
use crate::sample_data::{filled, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Det",
    domain: "",
    since: 11,
    read: |_| Ok(Arc::new(Det)),
    samples: || {
        vec![
            Sample::new([filled(&[2, 2], vec![0f32, 1.0, 2.0, 3.0])]),
            Sample::new([ramp(&[2, 3, 3])]),
            Sample::new([ramp(&[2, 0, 0])]),
        ]
    },
};

/// `Det`: `[…, m, m]` to `[…]`.
#[derive(Debug, Clone, Copy)]
pub struct Det;

impl Op for Det {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let batch = match inputs.shape(0) {
            Some([batch @ .., _, _]) => Some(batch.to_vec()),
            Some(x) => return Err(OpError::value(format!("expected at least 2 axes, found {}", x.len()))),
            None => None,
        };
        Ok(vec![Fact::maybe(inputs.dtype(0), batch)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let (batch, n) = match x.shape() {
            [batch @ .., rows, columns] if rows == columns => (batch.to_vec(), *rows),
            _ => return Err(OpError::shape(0, x.shape(), "expected square matrices")),
        };
        let count = checked_len(DType::F64, &batch)?;
        let mut values = floats(0, x)?;
        let out = if n == 0 { vec![1.0; count] } else { values.chunks_exact_mut(n * n).map(|m| det(m, n)).collect() };
        Ok(vec![from_f64(x.dtype(), batch, out)?])
    }
}

/// Determinant of an `n × n` matrix by elimination with row exchanges; the matrix is overwritten.
fn det(matrix: &mut [f64], n: usize) -> f64 {
    let mut product = 1.0;
    for column in 0..n {
        let magnitude = |row: usize| matrix[row * n + column].abs();
        let pivot = (column..n).fold(column, |best, row| if magnitude(row) > magnitude(best) { row } else { best });
        if pivot != column {
            (0..n).for_each(|i| matrix.swap(pivot * n + i, column * n + i));
            product = -product;
        }
        let value = matrix[column * n + column];
        product *= value;
        if value == 0.0 {
            return 0.0;
        }
        for row in column + 1..n {
            let factor = matrix[row * n + column] / value;
            for i in column..n {
                matrix[row * n + i] -= factor * matrix[column * n + i];
            }
        }
    }
    product
}
