//! `FastGelu`: the approximation of `Gelu` by tanh, of x + bias.

use std::sync::Arc;

use lissom_graph::{OpSpec, Sample};

use super::gelu::BiasedGelu;
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "FastGelu",
    domain: "com.microsoft",
    since: 1,
    read: |_| Ok(Arc::new(BiasedGelu { f: fast_gelu, gradient: "FastGeluGrad" })),
    samples: || vec![Sample::new([ramp(&[2, 5])]), Sample::new([ramp(&[2, 5]), ramp(&[5])])],
};

/// `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, Hendrycks and Gimpel 2016.
fn fast_gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}
