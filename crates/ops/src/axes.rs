//! Axis arithmetic: negative axes count from the end.

use lissom_graph::OpError;

/// Brings an axis of a tensor of `rank` axes into `0..rank`.
///
/// # Errors
/// [`OpError::BadValue`] if it is outside `-rank..rank`.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    let signed = rank as i64;
    let positive = if axis < 0 { axis + signed } else { axis };
    if (0..signed).contains(&positive) {
        Ok(positive as usize)
    } else {
        Err(OpError::value(format!("axis {axis} of a tensor of rank {rank}")))
    }
}

/// Like [`axis`], for several, sorted and without repeats.
///
/// # Errors
/// As [`axis`], and if one comes twice.
pub(crate) fn axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    let mut all = axes.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    all.sort_unstable();
    match all.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(OpError::value(format!("axis {} is given twice", pair[0]))),
        None => Ok(all),
    }
}

/// The lengths before, at and after an axis: a contiguous tensor is `[outer, length, inner]` around it.
pub(crate) fn split_at(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product())
}
