//! `Trilu`: the upper or lower triangle of each matrix; the rest is zero.
//!
//! <https://onnx.ai/onnx/operators/onnx__Trilu.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, optional_x};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Trilu",
    domain: "",
    since: 14,
    read: |node| Ok(Arc::new(Trilu { upper: node.flag_or("upper", true)? })),
    samples: || {
        let x = || Tensor::new([2, 2, 3], (1..13).collect::<Vec<i64>>());
        vec![
            Sample::new(x()),
            Sample::new(x()).with("upper", 0i64),
            Sample::new([crate::sample_data::ramp(&[3, 3])]).with("upper", 0i64),
            Sample::new(x().into_iter().chain([Tensor::scalar(-1i64)])),
        ]
    },
};

/// `Trilu`.
#[derive(Debug, Clone, Copy)]
pub struct Trilu {
    /// The upper triangle.
    pub upper: bool,
}

impl Op for Trilu {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let k = inputs.optional(1).map_or(Ok(0), Tensor::to_i64)?;
        let [.., rows, columns] = *x.shape() else {
            return Err(OpError::shape(0, x.shape(), "matrices are expected"));
        };
        let keeps = |at: usize| {
            let (row, column) = ((at / columns % rows) as i64, (at % columns) as i64);
            let diagonal = row.saturating_add(k);
            if self.upper { column >= diagonal } else { column <= diagonal }
        };
        let zero = Tensor::zeros(x.dtype(), [])?;
        Ok(vec![x.pick_or(&zero, x.shape(), (0..x.len()).map(|at| keeps(at).then_some(at)))?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            let triangle = Expr::optional("", "Trilu", vec![Some(dy), optional_x(vjp, 1)]);
            Ok(vec![Some(triangle.with("upper", i64::from(self.upper)))])
        })
    }
}
