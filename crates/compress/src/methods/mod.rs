//! The methods, one file each.

mod bias_correction;
mod cross_layer_equalization;
mod fine_tune;
mod fold_batch_norm;
mod magnitude;
mod quantize;
mod reestimate_batch_norm;

use crate::MethodSpec;

/// All methods, alphabetically.
pub static METHODS: &[MethodSpec] = &[
    bias_correction::SPEC,
    cross_layer_equalization::SPEC,
    fine_tune::SPEC,
    fold_batch_norm::SPEC,
    magnitude::SPEC,
    quantize::SPEC,
    reestimate_batch_norm::SPEC,
];
