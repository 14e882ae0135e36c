//! `Gelu`: x · Φ(x), Φ the normal distribution.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{Tensor, broadcast_shapes, flat_indices};

use crate::elementwise::infer_same;
use crate::erf::erf;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_broadcast, optional_x, x};
use crate::numeric::{floats, from_f64};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Gelu",
    domain: "com.microsoft",
    since: 1,
    read: |_| Ok(Arc::new(BiasedGelu { f: gelu, gradient: "GeluGrad" })),
    samples: || vec![Sample::new([ramp(&[2, 5])]), Sample::new([ramp(&[0])])],
};

/// The exact form.
pub(super) fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

/// A function of x + bias; the bias, input 1, may be left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct BiasedGelu {
    pub f: fn(f64) -> f64,
    /// The operator that gives its gradient.
    pub gradient: &'static str,
}

impl Op for BiasedGelu {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let mut values = floats(0, x)?;
        if let Some(bias) = inputs.optional(1) {
            if broadcast_shapes(bias.shape(), x.shape())? != x.shape() {
                return Err(OpError::shape(1, bias.shape(), format!("does not broadcast to {:?}", x.shape())));
            }
            let added = floats(1, bias)?;
            if !x.is_empty() {
                values.iter_mut().zip(flat_indices(bias.shape(), x.shape())).for_each(|(x, i)| *x += added[i]);
            }
        }
        values.iter_mut().for_each(|x| *x = (self.f)(*x));
        Ok(vec![from_f64(x.dtype(), x.shape().to_vec(), values)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_broadcast(vjp, |vjp, dy| {
            let bias = optional_x(vjp, 1);
            let gradient = |sum: Expr| Some(Expr::microsoft(self.gradient, [dy, sum]));
            Ok(match bias {
                Some(bias) => vec![gradient(x(vjp, 0)? + bias); 2],
                None => vec![gradient(x(vjp, 0)?)],
            })
        })
    }
}
