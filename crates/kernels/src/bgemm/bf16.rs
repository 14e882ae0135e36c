//! What bf16 is: the upper half of an f32.

/// The nearest bf16, ties to even; subnormal numbers become zeros of their sign, NaN stays NaN. As `vcvtneps2bf16`.
#[inline(always)]
pub fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    if bits & 0x7f80_0000 == 0 {
        return (bits >> 16) as u16 & 0x8000;
    }
    // Half of the last place, less one if it is even; a carry into the exponent is right, up to infinity.
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The number that `bits` stand for.
#[inline(always)]
pub fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Two numbers in the bits of one, the first in the lower half.
pub(crate) fn pair(first: f32, second: f32) -> f32 {
    f32::from_bits(u32::from(round(first)) | u32::from(round(second)) << 16)
}

/// Rounds `from`, two to each element of `to`; a missing last one is 0.
pub(super) fn round_pairs(from: &[f32], to: &mut [f32]) {
    for (from, to) in from.chunks(2).zip(to) {
        *to = pair(from[0], from.get(1).copied().unwrap_or(0.0));
    }
}
