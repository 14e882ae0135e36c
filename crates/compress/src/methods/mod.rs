//! The methods, one file each.

mod fold_batch_norm;
mod magnitude;
mod reestimate_batch_norm;

use crate::MethodSpec;

/// All methods, alphabetically.
pub static METHODS: &[MethodSpec] = &[fold_batch_norm::SPEC, magnitude::SPEC, reestimate_batch_norm::SPEC];
