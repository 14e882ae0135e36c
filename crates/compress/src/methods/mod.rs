//! The methods, one file each.

mod acdc;
mod bdwp;
mod bias_correction;
mod binary_relax;
mod class_dependent;
mod cram;
mod cross_layer_equalization;
mod distill;
mod early_bird;
mod fine_tune;
mod fold_batch_norm;
mod gradual_magnitude;
mod grasp;
mod lottery_ticket;
mod magnitude;
mod pq_index;
mod qat;
mod quantize;
mod quantized_distillation;
mod reestimate_batch_norm;
mod rigl;
mod set;
mod snip;
mod sr_ste;
mod synflow;
mod trained;
mod transfer;

use crate::MethodSpec;

/// All methods, alphabetically.
pub static METHODS: &[MethodSpec] = &[
    acdc::SPEC,
    bdwp::SPEC,
    bias_correction::SPEC,
    binary_relax::SPEC,
    class_dependent::SPEC,
    cram::SPEC,
    cross_layer_equalization::SPEC,
    distill::SPEC,
    early_bird::SPEC,
    fine_tune::SPEC,
    fold_batch_norm::SPEC,
    gradual_magnitude::SPEC,
    grasp::SPEC,
    lottery_ticket::SPEC,
    magnitude::SPEC,
    pq_index::SPEC,
    qat::SPEC,
    quantize::SPEC,
    quantized_distillation::SPEC,
    reestimate_batch_norm::SPEC,
    rigl::SPEC,
    set::SPEC,
    snip::SPEC,
    sr_ste::SPEC,
    synflow::SPEC,
    transfer::SPEC,
];

#[cfg(test)]
mod training_tests;
