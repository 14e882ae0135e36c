//! The loops of this family for every CPU.

use super::lanes::{self, Part, Quads};
use crate::simd::Lanes;

/// # Safety
/// As `lanes::part`.
pub(super) unsafe fn part(part: &Part<'_>) {
    // SAFETY: the caller's.
    unsafe { lanes::part::<f32>(part) }
}

// SAFETY of all the blocks below: the contract of `Quads`.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one contract, stated at the trait")]
impl Quads for f32 {
    const PANEL: usize = 16;
    type Sums = i32;

    #[inline(always)]
    unsafe fn load_sums(from: *const i32, shift: i32) -> i32 {
        unsafe { from.read() }.wrapping_add(shift)
    }
    #[inline(always)]
    unsafe fn store_sums(sums: i32, to: *mut i32) {
        unsafe { to.write(sums) }
    }
    #[inline(always)]
    unsafe fn dot(sums: i32, quad: *const u8, columns: *const i8) -> i32 {
        let mut sums = sums;
        for i in 0..4 {
            let product = unsafe { i32::from(*quad.add(i)) * i32::from(*columns.add(i)) };
            sums = sums.wrapping_add(product);
        }
        sums
    }
    #[inline(always)]
    unsafe fn to_f32(sums: i32) -> Self {
        sums as f32
    }
    #[inline(always)]
    unsafe fn high_bits(self) -> Self {
        Self::from_bits(self.to_bits() >> 4)
    }
    #[inline(always)]
    unsafe fn fraction(self) -> Self {
        self - self.floor()
    }
    #[inline(always)]
    unsafe fn raise(self, by: Self) -> Self {
        unsafe { self.ldexp(by.floor()) }
    }
    #[inline(always)]
    unsafe fn store_code(self, to: *mut u8) {
        unsafe { self.store_u8(to) }
    }
}
