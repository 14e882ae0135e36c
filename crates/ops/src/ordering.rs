//! The order of elements, whatever their type.

use lissom_graph::OpError;
use lissom_tensor::{Storage, Tensor};

/// An integer for each element of a numeric or boolean tensor, ordered as the elements are. Both zeros are equal, NaN
/// comes after everything else.
///
/// # Errors
/// [`OpError::UnsupportedType`] for strings, complex numbers, small floats and containers.
pub(crate) fn keys(index: usize, x: &Tensor) -> Result<Vec<i64>, OpError> {
    match x.storage() {
        Storage::U64(values) => Ok(values.iter().map(|&x| (x ^ (1 << 63)) as i64).collect()),
        Storage::F32(_) | Storage::F64(_) | Storage::F16(_) | Storage::BF16(_) => {
            Ok(x.to_f64_vec()?.into_iter().map(float_key).collect())
        }
        _ => x.to_i64_vec().map_err(|_| OpError::UnsupportedType { index, actual: x.dtype() }),
    }
}

fn float_key(x: f64) -> i64 {
    if x.is_nan() {
        return i64::MAX;
    }
    // Adding zero turns −0 into 0. The bits of negative numbers grow away from zero, so they are flipped.
    let bits = (x + 0.0).to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_the_values_are() {
        let values = [f64::NEG_INFINITY, -2.0, -1e-300, 0.0, 1e-300, 3.0, f64::INFINITY, f64::NAN];
        let keys = values.map(float_key);
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        assert_eq!(float_key(-0.0), float_key(0.0));
    }

    #[test]
    fn large_unsigned_values_come_last() {
        assert!(keys(0, &Tensor::vector(vec![0u64, 1, 1 << 63, u64::MAX])).unwrap().is_sorted());
    }
}
