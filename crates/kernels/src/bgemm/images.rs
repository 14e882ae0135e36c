//! Images and matrices in bf16: the numbers of each row in pairs, an odd one with a partner of 0.

use super::Kernel;
use crate::error::ShapeError;
use crate::threads::Threads;

/// Numbers worth a task.
const TASK: usize = 1 << 14;

/// f32 words that hold `len` numbers in bf16, in rows of `row`: pixels of as many channels.
///
/// # Errors
/// [`ShapeError`] if the rows are not whole.
pub fn pairs_len(len: usize, row: usize) -> Result<usize, ShapeError> {
    ShapeError::require(row > 0 && len.is_multiple_of(row), "the length of a row", row, "a divisor of all")?;
    Ok(len / row * row.div_ceil(2))
}

/// Rounds `from`, rows of `row` numbers, to pairs ([`super::round`]); `to` is [`pairs_len`] long.
///
/// # Errors
/// [`ShapeError`] if a length does not fit.
pub fn round_into(threads: &Threads, from: &[f32], row: usize, to: &mut [f32]) -> Result<(), ShapeError> {
    ShapeError::expect("to", to.len(), pairs_len(from.len(), row)?)?;
    round_all(threads, Kernel::best(), from, row, to);
    Ok(())
}

/// The numbers of the pairs `from`, which are [`pairs_len`] of `to`, rows of `row` numbers.
///
/// # Errors
/// [`ShapeError`] if a length does not fit.
pub fn widen_into(threads: &Threads, from: &[f32], row: usize, to: &mut [f32]) -> Result<(), ShapeError> {
    ShapeError::expect("from", from.len(), pairs_len(to.len(), row)?)?;
    widen_all(threads, Kernel::best(), from, row, to);
    Ok(())
}

/// [`round_into`] with a variant that this CPU supports, lengths that fit.
pub(super) fn round_all(threads: &Threads, kernel: &Kernel, from: &[f32], row: usize, to: &mut [f32]) {
    let pairs = row.div_ceil(2);
    let rows = (TASK / row.max(1)).max(1);
    threads.run_chunks(to, rows * pairs, |index, to| {
        let from = &from[index * rows * row..][..to.len() / pairs * row];
        // SAFETY: this CPU supports the kernel.
        unsafe {
            if row.is_multiple_of(2) {
                (kernel.round)(from, to);
            } else {
                from.chunks_exact(row).zip(to.chunks_exact_mut(pairs)).for_each(|(from, to)| (kernel.round)(from, to));
            }
        }
    });
}

/// [`widen_into`] with a variant that this CPU supports, lengths that fit.
pub(super) fn widen_all(threads: &Threads, kernel: &Kernel, from: &[f32], row: usize, to: &mut [f32]) {
    let pairs = row.div_ceil(2);
    let rows = (TASK / row.max(1)).max(1);
    threads.run_chunks(to, rows * row, |index, to| {
        let from = &from[index * rows * pairs..][..to.len() / row * pairs];
        // SAFETY: this CPU supports the kernel.
        unsafe {
            if row.is_multiple_of(2) {
                (kernel.widen)(from, to);
            } else {
                from.chunks_exact(pairs).zip(to.chunks_exact_mut(row)).for_each(|(from, to)| (kernel.widen)(from, to));
            }
        }
    });
}
