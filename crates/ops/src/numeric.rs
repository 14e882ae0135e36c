//! Between element types and the wide types operators compute in: values go in exactly and are rounded once on the way
//! out.

use half::{bf16, f16};
use lissom_graph::OpError;
use lissom_tensor::{DType, Storage, Tensor};

/// The values of input `index`, which must be of a floating point type of 16 bits or more.
///
/// # Errors
/// [`OpError::UnsupportedType`].
pub(crate) fn floats(index: usize, x: &Tensor) -> Result<Vec<f64>, OpError> {
    if is_wide_float(x.dtype()) {
        Ok(x.to_f64_vec()?)
    } else {
        Err(OpError::UnsupportedType { index, actual: x.dtype() })
    }
}

/// Floating point of 16 bits or more.
pub(crate) fn is_wide_float(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
}

/// A tensor of `dtype` from reals: floats are rounded to nearest, integers are cut towards zero and saturate.
///
/// # Errors
/// [`OpError::UnsupportedType`] if `dtype` is not a number type of at least 8 bits; a wrong length.
pub(crate) fn from_f64(dtype: DType, shape: Vec<usize>, values: Vec<f64>) -> Result<Tensor, OpError> {
    let storage = match dtype {
        DType::F32 => Storage::F32(values.into_iter().map(|v| v as f32).collect()),
        DType::F64 => Storage::F64(values),
        DType::F16 => Storage::F16(values.into_iter().map(f16::from_f64).collect()),
        DType::BF16 => Storage::BF16(values.into_iter().map(bf16::from_f64).collect()),
        DType::U64 => Storage::U64(values.into_iter().map(|v| v as u64).collect()),
        _ => {
            let integers = values.into_iter().map(|v| v as i64);
            let (low, high) = dtype.int_range().unwrap_or_default();
            let clamped = integers.map(|v| i128::from(v).clamp(low, high) as i64).collect();
            return from_i64(dtype, shape, clamped);
        }
    };
    Ok(Tensor::from_storage(shape, storage)?)
}

/// A tensor of the integer (or boolean) type `dtype`; values that do not fit wrap around.
///
/// # Errors
/// [`OpError::UnsupportedType`] if `dtype` is not such a type; a wrong length.
pub(crate) fn from_i64(dtype: DType, shape: Vec<usize>, values: Vec<i64>) -> Result<Tensor, OpError> {
    let storage = match dtype {
        DType::I8 => Storage::I8(values.into_iter().map(|v| v as i8).collect()),
        DType::I16 => Storage::I16(values.into_iter().map(|v| v as i16).collect()),
        DType::I32 => Storage::I32(values.into_iter().map(|v| v as i32).collect()),
        DType::I64 => Storage::I64(values),
        DType::U8 => Storage::U8(values.into_iter().map(|v| v as u8).collect()),
        DType::U16 => Storage::U16(values.into_iter().map(|v| v as u16).collect()),
        DType::U32 => Storage::U32(values.into_iter().map(|v| v as u32).collect()),
        DType::U64 => Storage::U64(values.into_iter().map(|v| v as u64).collect()),
        DType::Bool => Storage::Bool(values.into_iter().map(|v| v != 0).collect()),
        DType::I4 | DType::I2 => Storage::SmallInt(dtype, values.into_iter().map(|v| v as i8).collect()),
        DType::U4 | DType::U2 => Storage::SmallUint(dtype, values.into_iter().map(|v| v as u8).collect()),
        actual => return Err(OpError::UnsupportedType { index: 0, actual }),
    };
    Ok(Tensor::from_storage(shape, storage)?)
}

/// Checks that the length of input `index` on every axis is as `expected`.
///
/// # Errors
/// [`OpError::BadShape`].
pub(crate) fn expect_shape(index: usize, x: &Tensor, expected: &[usize]) -> Result<(), OpError> {
    if x.shape() == expected {
        return Ok(());
    }
    Err(OpError::shape(index, x.shape(), format!("expected shape {expected:?}")))
}
