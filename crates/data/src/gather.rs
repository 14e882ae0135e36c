//! Rows of an array along its first axis.

use lissom_tensor::{Storage, Tensor, TensorError};

/// `array[rows]`, as numpy writes it.
///
/// # Errors
/// [`TensorError::IndexOutOfRange`]; [`TensorError::NotNumeric`] for types no numpy file holds.
pub(crate) fn rows(array: &Tensor, rows: &[usize]) -> Result<Tensor, TensorError> {
    let (n, rest) = array.shape().split_first().ok_or(TensorError::NotScalar { shape: Vec::new() })?;
    let row_len: usize = rest.iter().product();
    if let Some(&index) = rows.iter().find(|&&row| row >= *n) {
        return Err(TensorError::IndexOutOfRange { index, len: *n });
    }
    macro_rules! gather {
        ($($variant:ident)*) => {
            match array.storage() {
                $(Storage::$variant(values) => Storage::$variant(
                    rows.iter().flat_map(|row| &values[row * row_len..(row + 1) * row_len]).cloned().collect(),
                ),)*
                _ => return Err(TensorError::NotNumeric { dtype: array.dtype() }),
            }
        };
    }
    let storage = gather!(F32 F64 F16 BF16 I8 I16 I32 I64 U8 U16 U32 U64 Bool C64 C128 Str);
    let shape = [rows.len()].into_iter().chain(rest.iter().copied()).collect();
    Tensor::from_storage(shape, storage)
}

/// Feeds type, shape and elements of `tensor` to `hasher`.
pub(crate) fn hash(tensor: &Tensor, hasher: &mut blake3::Hasher) {
    // Types numpy lacks never come out of a file read here.
    hasher.update(&crate::npy::encode(tensor).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_the_order_asked_for() {
        let array = Tensor::new([3, 2], vec![1i64, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(rows(&array, &[2, 0, 2]).unwrap(), Tensor::new([3, 2], vec![5i64, 6, 1, 2, 5, 6]).unwrap());
        assert_eq!(rows(&array, &[]).unwrap().shape(), [0, 2]);
        assert!(matches!(rows(&array, &[3]), Err(TensorError::IndexOutOfRange { index: 3, len: 3 })));
        assert!(rows(&Tensor::scalar(1f32), &[0]).is_err());
    }
}
