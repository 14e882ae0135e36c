//! One lane: plain f32, for every CPU. The compiler makes vectors of it where it can.

use super::Lanes;

impl Lanes for f32 {
    const N: usize = 1;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        x
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the contract of `Lanes`.
        unsafe { from.read() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the contract of `Lanes`.
        unsafe { to.write(self) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        // SAFETY: the contract of `Lanes`.
        if n == 0 { 0.0 } else { unsafe { from.read() } }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        if n > 0 {
            // SAFETY: the contract of `Lanes`.
            unsafe { to.write(self) }
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self - other
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self / other
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // Not `f32::mul_add`: without the instruction that is a slow library call.
        self * b + c
    }
    #[inline(always)]
    unsafe fn at_least(self, limit: Self) -> Self {
        if limit > self { limit } else { self }
    }
    #[inline(always)]
    unsafe fn at_most(self, limit: Self) -> Self {
        if limit < self { limit } else { self }
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        f32::abs(self)
    }
    #[inline(always)]
    unsafe fn copysign(self, sign: Self) -> Self {
        f32::copysign(self, sign)
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        self.round_ties_even()
    }
    #[inline(always)]
    unsafe fn ldexp(self, n: Self) -> Self {
        let power = |n: i32| f32::from_bits(((n + 127) as u32) << 23);
        let n = (n as i32).clamp(-300, 300);
        let third = n / 3;
        self * power(third) * power(third) * power(n - 2 * third)
    }
    #[inline(always)]
    unsafe fn if_less(self, limit: Self, yes: Self, no: Self) -> Self {
        if self < limit { yes } else { no }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        self
    }
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        self
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}
    #[inline(always)]
    unsafe fn lookup(self, table: &[f32; 16]) -> Self {
        table[(self.to_bits() & 15) as usize]
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, _: usize, to: *mut f32, _: usize) {
        // SAFETY: the contract of `Lanes`.
        unsafe { to.write(from.read()) }
    }
    #[inline(always)]
    unsafe fn store_u8(self, to: *mut u8) {
        // SAFETY: the contract of `Lanes`. `as` saturates and turns NaN into 0.
        unsafe { to.write(self.round_ties_even() as u8) }
    }
    #[inline(always)]
    unsafe fn load_i32_sum(a: *const i32, b: *const i32) -> Self {
        // SAFETY: the contract of `Lanes`.
        unsafe { a.read().wrapping_add(b.read()) as f32 }
    }
    #[inline(always)]
    unsafe fn load_halves(from: *const u8) -> [Self; 2] {
        // SAFETY: the contract of `Lanes`.
        let byte = unsafe { from.read() };
        [f32::from(byte & 15) - 8.0, f32::from(byte >> 4) - 8.0]
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self {
        // SAFETY: the contract of `Lanes`.
        f32::from(unsafe { from.read() })
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: the contract of `Lanes`.
        f32::from(unsafe { from.read() })
    }
    #[inline(always)]
    unsafe fn load_where(self, from: *const f32, mask: u32) -> Self {
        // SAFETY: the contract of `Lanes`.
        if mask & 1 == 0 { self } else { unsafe { from.read() } }
    }
    #[inline(always)]
    unsafe fn store_where(self, to: *mut f32, mask: u32) {
        if mask & 1 != 0 {
            // SAFETY: the contract of `Lanes`.
            unsafe { to.write(self) }
        }
    }
    #[inline(always)]
    unsafe fn load_even_where(self, from: *const f32, mask: u32) -> Self {
        // SAFETY: the contract of `Lanes`.
        unsafe { self.load_where(from, mask) }
    }
    #[inline(always)]
    unsafe fn pick(table: *const f32, picks: *const u8) -> Self {
        // SAFETY: the contract of `Lanes`.
        unsafe { table.add(usize::from(*picks)).read() }
    }
    #[inline(always)]
    unsafe fn transpose_square(_: &mut [Self]) {}
}
