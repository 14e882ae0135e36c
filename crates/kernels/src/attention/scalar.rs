//! The loops of this family for every CPU.

use super::lanes::{self, Part};
use crate::gemm::scalar::run;

/// # Safety
/// As `lanes::part`.
pub(super) unsafe fn part(part: &Part<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::part::<f32>(part, run) }
}
