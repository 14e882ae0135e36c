//! `BiasGelu`: `Gelu` of x + bias.

use std::sync::Arc;

use lissom_graph::{OpSpec, Sample};

use super::gelu::{BiasedGelu, gelu};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "BiasGelu",
    domain: "com.microsoft",
    since: 1,
    read: |_| Ok(Arc::new(BiasedGelu { f: gelu, gradient: "GeluGrad" })),
    samples: || vec![Sample::new([ramp(&[2, 5]), ramp(&[5])])],
};
