//! Memory in whole cache lines, so that vectors never straddle two of them.

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line<T, const N: usize>(pub [T; N]);

/// At least `len` elements of `lines`, which grow to hold them.
pub(super) fn grow<T: Copy + Default, const N: usize>(lines: &mut Vec<Line<T, N>>, len: usize) -> &mut [T] {
    let n_lines = len.div_ceil(N).max(lines.len());
    lines.resize(n_lines, Line([T::default(); N]));
    const { assert!(size_of::<Line<T, N>>() == N * size_of::<T>()) };
    // SAFETY: a line is `N` elements and nothing else, as its size says, and all lines are initialised.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), n_lines * N) }
}
