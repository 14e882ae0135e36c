//! The trailing axes that `LayerNormalization` and `RMSNormalization` normalize over.

use lissom_graph::{NodeReader, OpError};
use lissom_tensor::{DType, Tensor, broadcast_shapes, checked_len, flat_indices};

use crate::axes::axis;
use crate::numeric::floats;

/// A tensor as rows that are normalized each by itself.
#[derive(Debug, Clone)]
pub(crate) struct NormalizedAxes {
    /// The axes of one row.
    pub row_shape: Vec<usize>,
    /// Shape of a statistic: normalized axes have length 1.
    pub statistic_shape: Vec<usize>,
    /// Elements of a row.
    pub length: usize,
    /// Number of rows.
    pub n_rows: usize,
}

impl NormalizedAxes {
    /// Rows of all axes from `first` on.
    ///
    /// # Errors
    /// [`OpError::BadValue`] for an axis outside the rank.
    pub fn from(shape: &[usize], first: i64) -> Result<Self, OpError> {
        let first = axis(first, shape.len())?;
        let row_shape = shape[first..].to_vec();
        let ones = std::iter::repeat_n(1, row_shape.len());
        let statistic_shape: Vec<usize> = shape[..first].iter().copied().chain(ones).collect();
        let length = checked_len(DType::F64, &row_shape)?;
        let n_rows = checked_len(DType::F64, &statistic_shape)?;
        Ok(Self { row_shape, statistic_shape, length, n_rows })
    }
}

/// Input `index`, broadcast to the shape of a row.
///
/// # Errors
/// [`OpError::BadShape`] if it does not broadcast to it; [`OpError::UnsupportedType`].
pub(crate) fn spread(index: usize, x: &Tensor, axes: &NormalizedAxes) -> Result<Vec<f64>, OpError> {
    let values = floats(index, x)?;
    // Leading axes of length 1 are as good as none.
    let extra = x.rank().saturating_sub(axes.row_shape.len());
    let (leading, shape) = x.shape().split_at(extra);
    if leading.iter().any(|&length| length != 1) || broadcast_shapes(shape, &axes.row_shape)? != axes.row_shape {
        return Err(OpError::shape(index, x.shape(), format!("does not broadcast to {:?}", axes.row_shape)));
    }
    if axes.length == 0 {
        return Ok(Vec::new());
    }
    Ok(flat_indices(shape, &axes.row_shape).map(|i| values[i]).collect())
}

/// The attribute `stash_type`: the type statistics are computed in, f32 unless said otherwise.
///
/// # Errors
/// [`OpError::BadAttribute`].
pub(crate) fn read_stash_type(node: &NodeReader<'_>) -> Result<DType, OpError> {
    let number = node.int_or("stash_type", 1)?;
    let dtype = i32::try_from(number).ok().and_then(DType::from_onnx).filter(|&d| crate::numeric::is_wide_float(d));
    dtype.ok_or_else(|| OpError::attribute("stash_type", format!("{number} is not a floating point type")))
}
