//! What the quantizing operators share: which scale belongs to which element, codes as numbers, numbers as codes.
//!
//! `value = scale · (code − zero point)`; `code = saturate(round(value / scale) + zero point)`, ties to even.

use lissom_graph::{NodeReader, OpError};
use lissom_tensor::{DType, Storage, Tensor, bf16, broadcast_shapes, f16, flat_indices};

use crate::axes::{axis, split_at};
use crate::numeric::from_i64;
use crate::small_float;

/// Axis and block length of scales, as the attributes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granularity {
    /// Axis of a vector of scales or of the blocks; may be negative.
    pub axis: i64,
    /// Elements along the axis that share a scale; 0 if there are no blocks.
    pub block_size: usize,
}

impl Granularity {
    pub(crate) fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let block_size = node.int_or("block_size", 0)?;
        let block_size = usize::try_from(block_size)
            .map_err(|_| OpError::attribute("block_size", format!("{block_size} is not a length")))?;
        Ok(Self { axis: node.int_or("axis", 1)?, block_size })
    }

    /// Gives, for each element of a tensor of `shape` in order, the position of its scale.
    ///
    /// # Errors
    /// [`OpError::BadShape`] if scales of this shape do not fit.
    pub(crate) fn positions(self, shape: &[usize], scale: &Tensor) -> Result<Positions, OpError> {
        let unfit = |reason: String| OpError::shape(1, scale.shape(), reason);
        if scale.len() == 1 && (scale.rank() <= 1 || self.block_size == 0) {
            return Ok(Positions { length: 1, inner: usize::MAX, block: 1, n_blocks: 1, per_inner: false });
        }
        let position = axis(self.axis, shape.len())?;
        if shape.contains(&0) {
            return Ok(Positions { length: 1, inner: 1, block: 1, n_blocks: 1, per_inner: false });
        }
        let (_, length, inner) = split_at(shape, position);
        if self.block_size == 0 {
            if scale.shape() != [length] {
                return Err(unfit(format!("expected one scale, or {length} along axis {position}")));
            }
            return Ok(Positions { length, inner, block: 1, n_blocks: length, per_inner: false });
        }
        let mut expected = shape.to_vec();
        expected[position] = length.div_ceil(self.block_size);
        if scale.shape() != expected {
            return Err(unfit(format!("blocks of {} want scales of shape {expected:?}", self.block_size)));
        }
        Ok(Positions { length, inner, block: self.block_size, n_blocks: expected[position], per_inner: true })
    }
}

/// Where the scale of each element stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Positions {
    length: usize,
    inner: usize,
    block: usize,
    n_blocks: usize,
    per_inner: bool,
}

impl Positions {
    /// Position of the scale of element `i`.
    pub fn of(&self, i: usize) -> usize {
        let along = i / self.inner % self.length / self.block;
        if self.per_inner {
            (i / self.inner / self.length * self.n_blocks + along) * self.inner + i % self.inner
        } else {
            along
        }
    }
}

/// The numbers codes stand for: integers and small floats alike.
///
/// # Errors
/// [`OpError::UnsupportedType`] for types that hold no codes.
pub(crate) fn code_values(index: usize, codes: &Tensor) -> Result<Vec<f64>, OpError> {
    match codes.storage() {
        Storage::SmallFloat(dtype, codes) => {
            Ok(codes.iter().map(|&code| small_float::decode(*dtype, code).into()).collect())
        }
        _ if codes.dtype().is_int() => Ok(codes.to_f64_vec()?),
        _ => Err(OpError::UnsupportedType { index, actual: codes.dtype() }),
    }
}

/// The scales as numbers.
///
/// # Errors
/// [`OpError::UnsupportedType`].
pub(crate) fn scale_values(index: usize, scale: &Tensor) -> Result<Vec<f64>, OpError> {
    match scale.storage() {
        Storage::SmallFloat(DType::F8E8M0, _) => code_values(index, scale),
        Storage::F32(_) | Storage::F64(_) | Storage::F16(_) | Storage::BF16(_) | Storage::I32(_) => {
            Ok(scale.to_f64_vec()?)
        }
        _ => Err(OpError::UnsupportedType { index, actual: scale.dtype() }),
    }
}

/// The zero points of `len` scales as numbers; zeros if there are none.
///
/// # Errors
/// [`OpError::BadShape`] if their number is another.
pub(crate) fn zero_points(index: usize, given: Option<&Tensor>, len: usize) -> Result<Vec<f64>, OpError> {
    match given {
        None => Ok(vec![0.0; len]),
        Some(given) if given.len() == len => code_values(index, given),
        Some(given) => Err(OpError::shape(index, given.shape(), format!("expected {len} zero points"))),
    }
}

/// Codes of `dtype` nearest to `values`, which are already divided by the scale, plus zero points already added for
/// small floats. `values` yields the quotient and the zero point.
///
/// # Errors
/// [`OpError::UnsupportedType`] if `dtype` holds no codes.
pub(crate) fn encode(
    dtype: DType,
    shape: Vec<usize>,
    saturate: bool,
    values: impl Iterator<Item = (f64, f64)>,
) -> Result<Tensor, OpError> {
    if let Some((low, high)) = dtype.int_range() {
        let (low, high) = (low as f64, high as f64);
        // NaN becomes 0, as a cast makes it.
        let codes = values.map(|(value, zero)| (value.round_ties_even() + zero).clamp(low, high) as i64);
        return from_i64(dtype, shape, codes.collect());
    }
    match dtype {
        DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ | DType::F4E2M1 => {
            let saturate = saturate || dtype == DType::F4E2M1;
            let codes = values.map(|(value, zero)| small_float::encode(dtype, (value + zero) as f32, saturate));
            Ok(Tensor::from_storage(shape, Storage::SmallFloat(dtype, codes.collect()))?)
        }
        actual => Err(OpError::UnsupportedType { index: 2, actual }),
    }
}

/// `a / b` rounded to `precision`.
pub(crate) fn divide(a: f64, b: f64, precision: DType) -> f64 {
    match precision {
        DType::F64 => a / b,
        DType::F16 => f16::from_f32(a as f32 / b as f32).into(),
        DType::BF16 => bf16::from_f32(a as f32 / b as f32).into(),
        _ => (a as f32 / b as f32).into(),
    }
}

/// The value of `parameter` (a scale or zero points) for each element of a matrix, or stack of matrices, of `shape`: one
/// for all, one a row (`per_row`) or one a column, or anything that broadcasts.
///
/// # Errors
/// [`OpError::BadShape`] if it does not fit.
pub(crate) fn spread_matrix(
    index: usize,
    parameter: &Tensor,
    values: &[f64],
    shape: &[usize],
    per_row: bool,
) -> Result<Vec<f64>, OpError> {
    let own = match *parameter.shape() {
        [1] => vec![],
        [rows] if per_row => vec![rows, 1],
        _ => parameter.shape().to_vec(),
    };
    if broadcast_shapes(&own, shape)? != shape {
        return Err(OpError::shape(index, parameter.shape(), format!("does not broadcast to {shape:?}")));
    }
    if shape.contains(&0) {
        return Ok(Vec::new());
    }
    Ok(flat_indices(&own, shape).map(|i| values[i]).collect())
}

/// The only value of input `index`, which is a scalar or has one element.
///
/// # Errors
/// [`OpError::BadShape`], [`OpError::UnsupportedType`].
pub(crate) fn only_scale(index: usize, scale: &Tensor) -> Result<f64, OpError> {
    match scale_values(index, scale)?[..] {
        [value] => Ok(value),
        _ => Err(OpError::shape(index, scale.shape(), "expected a single scale")),
    }
}

/// Like [`only_scale`], for a zero point, which may be left out.
///
/// # Errors
/// As [`only_scale`].
pub(crate) fn only_zero_point(index: usize, given: Option<&Tensor>) -> Result<f64, OpError> {
    Ok(zero_points(index, given, 1)?[0])
}
