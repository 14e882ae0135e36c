//! The loops of this family for any instruction set.

use super::lanes::{self, End, Grid, Places, Run};
use std::ops::Range;

/// # Safety
/// As `lanes::products`, on a CPU with any instruction set.
pub(super) unsafe fn products(run: &Run<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::products::<f32, 2, 4>(run) }
}

/// # Safety
/// As `lanes::dots`, on a CPU with any instruction set.
pub(super) unsafe fn dots(run: &Run<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::dots::<f32, 2, 4>(run) }
}

/// # Safety
/// As `lanes::gather`, on a CPU with any instruction set.
pub(super) unsafe fn gather(
    grid: Grid,
    from: *const f32,
    at: (&Places, &Places),
    channels: Range<usize>,
    to: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe { lanes::gather::<f32>(grid, from, at, channels, to) }
}

/// # Safety
/// As `lanes::scatter`, on a CPU with any instruction set.
pub(super) unsafe fn scatter(grid: Grid, from: *const f32, at: (&Places, &Places), to: *mut f32, end: &End) {
    // SAFETY: the caller's.
    unsafe { lanes::scatter::<f32>(grid, from, at, to, end) }
}
