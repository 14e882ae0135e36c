//! `Mod`: the rest of a division, with the sign of the divisor, or of the dividend if `fmod`.
//!
//! <https://onnx.ai/onnx/operators/onnx__Mod.html>

use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::Tensor;

use crate::binary::samples;
use crate::elementwise::{infer_broadcast, two, zip_numeric};
use crate::gradient::{Gradients, of_broadcast, x, y};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Mod",
    domain: "",
    since: 10,
    read: |node| Ok(Arc::new(Mod { fmod: node.flag_or("fmod", false)? })),
    samples: || {
        let ints = || [vec![-7i64, 7, 5, i64::MIN], vec![3, -3, 5, -1]].map(Tensor::vector);
        let mut cases: Vec<Sample> = samples().into_iter().map(|sample| sample.with("fmod", 1i64)).collect();
        cases.extend([Sample::new(ints()), Sample::new(ints()).with("fmod", 1i64)]);
        cases
    },
};

/// `Mod`.
#[derive(Debug, Clone, Copy)]
pub struct Mod {
    /// The sign is the dividend's.
    pub fmod: bool,
}

impl Op for Mod {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_broadcast(inputs)?])
    }

    /// The rest of an integer division by zero is zero.
    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = two(inputs)?;
        if self.fmod {
            return Ok(vec![zip_numeric!(
                a,
                b,
                float = |x, y| x % y,
                int = |x, y| if y == 0 { 0 } else { x.wrapping_rem(y) }
            )?]);
        }
        Ok(vec![zip_numeric!(
            a,
            b,
            float = |x, y| {
                let rest = x % y;
                if rest != 0.0 && (rest < 0.0) != (y < 0.0) { rest + y } else { rest }
            },
            int = |x, y| {
                let rest = if y == 0 { 0 } else { x.wrapping_rem(y) };
                // Only signed types have values below zero.
                if rest != 0 && (rest < 0 as _) != (y < 0 as _) { rest.wrapping_add(y) } else { rest }
            }
        )?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_broadcast(vjp, |vjp, dy| {
            let (a, b, rest) = (x(vjp, 0)?, x(vjp, 1)?, y(vjp, 0)?);
            let quotient = ((a - rest) / b).apply("Round");
            Ok(vec![Some(dy.clone()), Some(-(dy * quotient))])
        })
    }
}
