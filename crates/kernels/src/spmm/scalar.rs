//! The loops of this family for any CPU.

use super::driver::{Block, Call};
use super::lanes;

/// # Safety
/// As `lanes::run`.
pub(super) unsafe fn pairs<const IS_BANDED: bool>(call: &Call<'_>, block: &mut Block<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::run::<f32, lanes::Pairs, IS_BANDED>(call, block) }
}

/// # Safety
/// As `lanes::run`.
pub(super) unsafe fn inputs<const IS_BANDED: bool>(call: &Call<'_>, block: &mut Block<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::run::<f32, lanes::Inputs, IS_BANDED>(call, block) }
}

/// # Safety
/// As `lanes::run`.
pub(super) unsafe fn quads<const IS_BANDED: bool>(call: &Call<'_>, block: &mut Block<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::run::<f32, lanes::Quads, IS_BANDED>(call, block) }
}
