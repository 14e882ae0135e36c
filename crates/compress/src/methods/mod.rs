//! The methods, one file each.

mod acdc;
mod bias_correction;
mod cram;
mod cross_layer_equalization;
mod fold_batch_norm;
mod gradual_magnitude;
mod magnitude;
mod quantize;
mod reestimate_batch_norm;
mod trained;

use crate::MethodSpec;

/// All methods, alphabetically.
pub static METHODS: &[MethodSpec] = &[
    acdc::SPEC,
    bias_correction::SPEC,
    cram::SPEC,
    cross_layer_equalization::SPEC,
    fold_batch_norm::SPEC,
    gradual_magnitude::SPEC,
    magnitude::SPEC,
    quantize::SPEC,
    reestimate_batch_norm::SPEC,
];

#[cfg(test)]
mod training_tests;
