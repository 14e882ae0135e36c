//! Sparse tensors, read as dense ones: a graph computes with dense values, the file keeps its own form.

use lissom_tensor::{Storage, Tensor, checked_len};

use crate::dense::{self, TensorCause, TensorProtoError};
use crate::messages::SparseTensorProto;

/// The dense tensor a sparse one stands for; every place without a value is zero. Its name is that of `values`.
///
/// # Errors
/// [`TensorProtoError`] if values, indices and shape do not fit together, if indices are out of range, repeated or not in
/// ascending order, or if the dense tensor would be too large.
pub fn sparse_tensor_from_proto(proto: &SparseTensorProto) -> Result<Tensor, TensorProtoError> {
    let name = proto.values.as_ref().map(|values| values.name().to_owned()).unwrap_or_default();
    read(proto).map_err(|cause| TensorProtoError { tensor: name, cause })
}

fn read(proto: &SparseTensorProto) -> Result<Tensor, TensorCause> {
    let shape = dense::shape(&proto.dims)?;
    let values = dense::read(&proto.values.clone().unwrap_or_default())?;
    let indices = dense::read(&proto.indices.clone().unwrap_or_default())?;
    if values.rank() != 1 {
        return Err(TensorCause::SparseValues { shape: values.shape().to_vec() });
    }
    let len = checked_len(values.dtype(), &shape)?;
    let places = places(&indices, values.len(), &shape, len)?;
    let mut storage = Storage::zeros(values.dtype(), len);
    scatter(values.storage(), &places, &mut storage);
    Ok(Tensor::from_storage(shape, storage)?)
}

/// Flat position of each value: indices are flat already, or one row of coordinates per value.
fn places(indices: &Tensor, n_values: usize, shape: &[usize], len: usize) -> Result<Vec<usize>, TensorCause> {
    let wrong_indices = || TensorCause::SparseIndices {
        dtype: indices.dtype(),
        shape: indices.shape().to_vec(),
        n_values,
        rank: shape.len(),
    };
    let numbers = indices.as_slice::<i64>().map_err(|_| wrong_indices())?;
    let (width, bounds) = match *indices.shape() {
        [rows] if rows == n_values => (1, &[len][..]),
        [rows, width] if rows == n_values && width == shape.len() && width > 0 => (width, shape),
        _ => return Err(wrong_indices()),
    };
    let mut places = Vec::with_capacity(n_values);
    for (position, row) in numbers.chunks_exact(width).enumerate() {
        let place = flat_place(row, bounds).ok_or_else(|| TensorCause::SparseIndexRange {
            position,
            index: row.to_vec(),
            shape: shape.to_vec(),
        })?;
        if places.last().is_some_and(|&before| before >= place) {
            return Err(TensorCause::SparseOrder { position });
        }
        places.push(place);
    }
    Ok(places)
}

fn flat_place(row: &[i64], bounds: &[usize]) -> Option<usize> {
    row.iter().zip(bounds).try_fold(0usize, |place, (&index, &bound)| {
        let index = usize::try_from(index).ok().filter(|&index| index < bound)?;
        place.checked_mul(bound)?.checked_add(index)
    })
}

/// Writes `values[i]` to `dense[places[i]]`; both are of the same type.
fn scatter(values: &Storage, places: &[usize], dense: &mut Storage) {
    macro_rules! scatter_as {
        ($($variant:ident)*) => {
            match (values, dense) {
                $((Storage::$variant(values), Storage::$variant(dense)) => put(values, places, dense),)*
                (Storage::SmallInt(_, values), Storage::SmallInt(_, dense)) => put(values, places, dense),
                (Storage::SmallUint(_, values), Storage::SmallUint(_, dense)) => put(values, places, dense),
                (Storage::SmallFloat(_, values), Storage::SmallFloat(_, dense)) => put(values, places, dense),
                _ => {}
            }
        };
    }
    scatter_as!(F32 F64 F16 BF16 I8 I16 I32 I64 U8 U16 U32 U64 Bool C64 C128 Str);
}

fn put<T: Clone>(values: &[T], places: &[usize], dense: &mut [T]) {
    for (value, &place) in values.iter().zip(places) {
        dense[place] = value.clone();
    }
}
