//! Strides and NumPy-style broadcasting.

/// Two shapes that cannot be brought to one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shapes {lhs:?} and {rhs:?} do not broadcast")]
#[allow(missing_docs)]
pub struct BroadcastError {
    pub lhs: Vec<usize>,
    pub rhs: Vec<usize>,
}

/// Elements to step over on each axis of a contiguous row-major array.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// The shape both broadcast to.
///
/// # Errors
/// [`BroadcastError`] where two lengths differ and neither is 1.
pub fn broadcast_shapes(lhs: &[usize], rhs: &[usize]) -> Result<Vec<usize>, BroadcastError> {
    let rank = lhs.len().max(rhs.len());
    let dim =
        |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |own_axis| shape[own_axis]);
    (0..rank)
        .map(|axis| match (dim(lhs, axis), dim(rhs, axis)) {
            (a, b) if a == b => Ok(a),
            (1, b) => Ok(b),
            (a, 1) => Ok(a),
            _ => Err(BroadcastError { lhs: lhs.to_vec(), rhs: rhs.to_vec() }),
        })
        .collect()
}

/// Flat source index for each element of `out_shape`, row-major, when a contiguous array of `shape` is broadcast to it.
/// `shape` must broadcast to `out_shape`.
pub fn flat_indices(shape: &[usize], out_shape: &[usize]) -> Strided {
    let missing = out_shape.len() - shape.len();
    let own = strides(shape);
    let steps = (0..out_shape.len())
        .map(|axis| if axis < missing || shape[axis - missing] == 1 { 0 } else { own[axis - missing] as isize })
        .collect();
    Strided::new(out_shape.to_vec(), steps, 0)
}

/// Walks `shape` row-major and yields `start + Σ position · steps`: any view of a contiguous array (transposed, sliced,
/// reversed, broadcast) as a stream of flat indices.
#[derive(Debug, Clone)]
pub struct Strided {
    shape: Vec<usize>,
    steps: Vec<isize>,
    position: Vec<usize>,
    index: isize,
    left: usize,
}

impl Strided {
    /// `shape` and `steps` have one entry an axis. The caller keeps every index non-negative.
    pub fn new(shape: Vec<usize>, steps: Vec<isize>, start: isize) -> Self {
        debug_assert_eq!(shape.len(), steps.len());
        let left = shape.iter().product();
        let position = vec![0; shape.len()];
        Self { shape, steps, position, index: start, left }
    }
}

impl Iterator for Strided {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let current = self.index;
        for axis in (0..self.shape.len()).rev() {
            self.position[axis] += 1;
            self.index += self.steps[axis];
            if self.position[axis] < self.shape[axis] {
                break;
            }
            self.index -= self.steps[axis] * self.shape[axis] as isize;
            self.position[axis] = 0;
        }
        Some(current as usize)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strided {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_as_in_numpy() {
        assert_eq!(broadcast_shapes(&[2, 1, 3], &[4, 1]).unwrap(), [2, 4, 3]);
        assert_eq!(broadcast_shapes(&[], &[5]).unwrap(), [5]);
        assert_eq!(broadcast_shapes(&[0], &[1]).unwrap(), [0]);
        assert!(broadcast_shapes(&[2], &[3]).is_err());
    }

    #[test]
    fn indices_repeat_along_broadcast_axes() {
        assert_eq!(flat_indices(&[2, 1], &[2, 2, 3]).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]);
        assert_eq!(flat_indices(&[], &[2]).collect::<Vec<_>>(), [0, 0]);
        assert_eq!(flat_indices(&[3], &[0, 3]).count(), 0);
    }

    #[test]
    fn a_reversed_view_walks_backwards() {
        assert_eq!(Strided::new(vec![3], vec![-1], 2).collect::<Vec<_>>(), [2, 1, 0]);
    }
}
