//! Vectors of f32 as one trait, so that a loop is written once and compiled for each instruction set.
//!
//! Every function of [`Lanes`] is `unsafe` for the same two reasons: the CPU must have the instruction set of the
//! type (the kernel lists check it), and pointers must be valid for the lanes that are read or written.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bf16;
pub(crate) mod math;
mod one;
pub(crate) mod quads;
pub(crate) mod rows;
pub(crate) mod slopes;

pub(crate) use bf16::Bf16;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::F32x8;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::F32x16;

/// `[body(0), .., body(n - 1)]` for a constant `n` of at least 1. Not `array::from_fn`: its closure is compiled for the CPU that
/// every machine has, and where it is not inlined, each intrinsic in it becomes a call.
macro_rules! each_vector {
    ($n:expr, |$v:ident| $body:expr) => {{
        let mut all = [{
            let $v = 0usize;
            $body
        }; $n];
        let mut $v = 1usize;
        while $v < $n {
            all[$v] = $body;
            $v += 1;
        }
        all
    }};
}
pub(crate) use each_vector;

/// The body for `0`, .., `n - 1`, for a constant `n` of at most 16, or less if it says so. Not a loop: one that the compiler leaves a loop keeps an
/// array of sums in memory instead of registers.
macro_rules! unrolled {
    ($n:expr, |$i:ident| $body:expr) => {
        $crate::simd::unrolled!(@ $n, $i, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($n:expr, at most 4, |$i:ident| $body:expr) => {
        $crate::simd::unrolled!(@ $n, $i, $body, 0 1 2 3)
    };
    ($n:expr, at most 8, |$i:ident| $body:expr) => {
        $crate::simd::unrolled!(@ $n, $i, $body, 0 1 2 3 4 5 6 7)
    };
    (@ $n:expr, $i:ident, $body:expr, $($at:literal)*) => {
        $(if $at < $n {
            let $i: usize = $at;
            $body;
        })*
    };
}
pub(crate) use unrolled;

/// A vector of `N` lanes of f32.
///
/// # Safety
/// Of all its functions: this CPU has the instruction set of the implementing type; loads and stores are inside an
/// allocation (all `N` lanes, or the first `n` of the `_first` forms, `n <= N`). No alignment is needed.
pub(crate) trait Lanes: Copy {
    /// Number of lanes.
    const N: usize;

    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// Loads the first `n` lanes; the others are 0.
    unsafe fn load_first(from: *const f32, n: usize) -> Self;
    unsafe fn store_first(self, to: *mut f32, n: usize);

    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    unsafe fn sqrt(self) -> Self;
    /// `self · b + c`, rounded once where the instruction set can.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
    /// The larger of `limit` and `self`; `self` if either is NaN.
    unsafe fn at_least(self, limit: Self) -> Self;
    /// The smaller of `limit` and `self`; `self` if either is NaN.
    unsafe fn at_most(self, limit: Self) -> Self;
    unsafe fn abs(self) -> Self;
    /// `self` with the sign of `sign`.
    unsafe fn copysign(self, sign: Self) -> Self;
    /// The nearest integer, ties to even.
    unsafe fn round(self) -> Self;
    /// `self · 2^n` for integral `n` in -300..=300, overflowing to infinity and underflowing to 0.
    unsafe fn ldexp(self, n: Self) -> Self;
    /// Lane by lane, `yes` where `self < limit`, else `no` (also for NaN).
    unsafe fn if_less(self, limit: Self, yes: Self, no: Self) -> Self;
    /// Sum of all lanes, in a fixed order.
    unsafe fn sum(self) -> f32;
    /// The largest lane; any lane if one is NaN.
    unsafe fn largest(self) -> f32;
    /// Asks for the cache line of `at`, which may be any address.
    unsafe fn prefetch(at: *const f32);
    /// The elements of `table` at the lowest four bits of each lane.
    unsafe fn lookup(self, table: &[f32; 16]) -> Self;
    /// Writes the transpose of a square of `N` rows of `N` floats, rows `from_stride` and `to_stride` apart.
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize);
    /// Rounds to nearest even, saturates to `0..=255` and stores `N` bytes.
    unsafe fn store_u8(self, to: *mut u8);
    /// Adds `N` pairs of integers, wrapping, and converts the sums, rounding to nearest even.
    unsafe fn load_i32_sum(a: *const i32, b: *const i32) -> Self;
    /// The low, then the high halves of `N` bytes, less 8.
    unsafe fn load_halves(from: *const u8) -> [Self; 2];
    /// Converts `N` bytes.
    unsafe fn load_u8(from: *const u8) -> Self;
    /// Converts `N` signed bytes.
    unsafe fn load_i8(from: *const i8) -> Self;
    /// Reads lane `i` from `from + i` where bit `i` of `mask` is set; the others stay. Only read addresses need be valid.
    unsafe fn load_where(self, from: *const f32, mask: u32) -> Self;
    /// Writes lane `i` to `to + i` where bit `i` of `mask` is set. Only written addresses need be valid.
    unsafe fn store_where(self, to: *mut f32, mask: u32);
    /// [`Self::load_where`] from `from + 2 i`.
    unsafe fn load_even_where(self, from: *const f32, mask: u32) -> Self;
    /// Lane `i` is `table[picks[i]]`; picks are below `2 N`, and as many floats can be read (for one lane, any pick).
    unsafe fn pick(table: *const f32, picks: *const u8) -> Self;
    /// Lane `j` of vector `i` and lane `i` of vector `j` change places; `square` has `N` vectors.
    unsafe fn transpose_square(square: &mut [Self]);
}
