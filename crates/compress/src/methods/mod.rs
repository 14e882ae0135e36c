//! The methods, one file each.

mod magnitude;

use crate::MethodSpec;

/// All methods, alphabetically.
pub static METHODS: &[MethodSpec] = &[magnitude::SPEC];
