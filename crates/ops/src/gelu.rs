//! `Gelu`: x · Φ(x) with Φ the normal distribution function, or its approximation by a tanh.
//!
//! <https://onnx.ai/onnx/operators/onnx__Gelu.html>

use std::sync::Arc;

use lissom_graph::{OpError, OpSpec};

use crate::erf::erf;
use crate::expression::Expr;
use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Gelu",
    domain: "",
    since: 20,
    read: |node| match node.string_or("approximate", "none")?.as_str() {
        "none" => Ok(Arc::new(Gelu { approximate: false })),
        "tanh" => Ok(Arc::new(Gelu { approximate: true })),
        other => Err(OpError::attribute("approximate", format!("`{other}` is not none or tanh"))),
    },
    samples: || samples().into_iter().flat_map(|sample| [sample.clone(), sample.with("approximate", "tanh")]).collect(),
};

/// `Gelu`.
#[derive(Debug, Clone, Copy)]
pub struct Gelu {
    /// 1/2 x (1 + tanh(√(2/π) (x + 0.044715 x³))) instead of the exact function.
    pub approximate: bool,
}

impl Gelu {
    fn apply(self, x: f64) -> f64 {
        let inner = if self.approximate {
            ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()
        } else {
            erf(x * std::f64::consts::FRAC_1_SQRT_2)
        };
        0.5 * x * (1.0 + inner)
    }
}

float_unary!(
    Gelu,
    gradient = |op, dy, x, _| Expr::microsoft(if op.approximate { "FastGeluGrad" } else { "GeluGrad" }, [dy, x])
);
