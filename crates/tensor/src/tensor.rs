//! The tensor: a shape and a shared buffer.

use std::sync::Arc;

use crate::storage::each_storage;
use crate::{DType, Element, Storage, checked_len};

/// Why a tensor could not be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum TensorError {
    #[error("shape {shape:?} needs {expected} elements, the data has {actual}")]
    LengthMismatch { shape: Vec<usize>, expected: usize, actual: usize },
    #[error("expected elements of type {expected}, found {actual}")]
    TypeMismatch { expected: DType, actual: DType },
    #[error(
        "a tensor {dtype}{shape:?} of {} is larger than the limit of {limit_bytes} bytes (`--max-memory` raises it)",
        size(*dtype, shape)
    )]
    TooLarge { shape: Vec<usize>, dtype: DType, limit_bytes: u64 },
    #[error("expected a single element, found shape {shape:?}")]
    NotScalar { shape: Vec<usize> },
    #[error("cannot read {dtype} as a number")]
    NotNumeric { dtype: DType },
    #[error("flat index {index} is outside a tensor of {len} elements")]
    IndexOutOfRange { index: usize, len: usize },
    #[error("bad encoding: {reason}")]
    Encoding { reason: String },
}

/// The size of a tensor that is not made, for messages.
fn size(dtype: DType, shape: &[usize]) -> String {
    let element_bytes = dtype.bits().div_ceil(8).max(1) as u128;
    match shape.iter().try_fold(element_bytes, |bytes, &length| bytes.checked_mul(length as u128)) {
        Some(bytes) => format!("{bytes} bytes"),
        None => "more bytes than can be counted".to_owned(),
    }
}

/// A dense row-major array. Cloning shares the buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    storage: Arc<Storage>,
}

impl Tensor {
    /// A tensor of `shape` holding `values`, row-major.
    ///
    /// # Errors
    /// [`TensorError::LengthMismatch`] if the number of values is not the product of the shape.
    pub fn new<T: Element>(shape: impl Into<Vec<usize>>, values: Vec<T>) -> Result<Self, TensorError> {
        Self::from_storage(shape.into(), T::wrap(values))
    }

    /// Like [`new`](Self::new), for a buffer whose type is known only at run time.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_storage(shape: Vec<usize>, storage: Storage) -> Result<Self, TensorError> {
        let expected = checked_len(storage.dtype(), &shape)?;
        let actual = storage.len();
        if expected != actual {
            return Err(TensorError::LengthMismatch { shape, expected, actual });
        }
        Ok(Self { shape, storage: Arc::new(storage) })
    }

    /// Parts that were checked to fit.
    pub(crate) fn of_parts(shape: Vec<usize>, storage: Arc<Storage>) -> Self {
        Self { shape, storage }
    }

    /// The buffer to write to; copies it first if it is shared.
    pub(crate) fn storage_mut(&mut self) -> &mut Storage {
        Arc::make_mut(&mut self.storage)
    }

    /// A rank-0 tensor.
    pub fn scalar<T: Element>(value: T) -> Self {
        Self { shape: Vec::new(), storage: Arc::new(T::wrap(vec![value])) }
    }

    /// A rank-1 tensor.
    pub fn vector<T: Element>(values: Vec<T>) -> Self {
        Self { shape: vec![values.len()], storage: Arc::new(T::wrap(values)) }
    }

    /// All zero (false, empty).
    ///
    /// # Errors
    /// [`TensorError::TooLarge`].
    pub fn zeros(dtype: DType, shape: impl Into<Vec<usize>>) -> Result<Self, TensorError> {
        let shape = shape.into();
        let len = checked_len(dtype, &shape)?;
        Ok(Self { shape, storage: Arc::new(Storage::zeros(dtype, len)) })
    }

    /// A sequence: a rank-1 tensor whose elements are tensors.
    pub fn sequence(items: Vec<Tensor>) -> Self {
        Self { shape: vec![items.len()], storage: Arc::new(Storage::Container(DType::Sequence, items)) }
    }

    /// An optional value: zero or one tensors.
    pub fn optional(item: Option<Tensor>) -> Self {
        let items: Vec<_> = item.into_iter().collect();
        Self { shape: vec![items.len()], storage: Arc::new(Storage::Container(DType::Optional, items)) }
    }

    /// A sequence of nothing.
    pub fn empty_sequence() -> Self {
        Self::sequence(Vec::new())
    }

    /// Length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.storage.len()
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.storage.dtype()
    }

    /// The buffer.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The buffer, unshared if this is its only owner and copied otherwise.
    pub fn into_storage(self) -> Storage {
        Arc::try_unwrap(self.storage).unwrap_or_else(|shared| (*shared).clone())
    }

    /// The elements as `T`.
    ///
    /// # Errors
    /// [`TensorError::TypeMismatch`] if they are of another type; nothing is converted.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        T::slice(&self.storage).ok_or_else(|| self.type_mismatch(T::DTYPE))
    }

    /// The elements as `T`, to write to; copies the buffer first if it is shared.
    ///
    /// # Errors
    /// As [`as_slice`](Self::as_slice).
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], TensorError> {
        let mismatch = self.type_mismatch(T::DTYPE);
        T::slice_mut(Arc::make_mut(&mut self.storage)).map(Vec::as_mut_slice).ok_or(mismatch)
    }

    /// The elements as `T`, taken out; copies only if the buffer is shared.
    ///
    /// # Errors
    /// As [`as_slice`](Self::as_slice).
    pub fn into_vec<T: Element>(self) -> Result<Vec<T>, TensorError> {
        let mismatch = self.type_mismatch(T::DTYPE);
        T::slice_mut(&mut self.into_storage()).map(std::mem::take).ok_or(mismatch)
    }

    /// The items of a sequence or optional.
    ///
    /// # Errors
    /// [`TensorError::TypeMismatch`] for ordinary tensors.
    pub fn items(&self) -> Result<&[Tensor], TensorError> {
        match &*self.storage {
            Storage::Container(_, items) => Ok(items),
            _ => Err(self.type_mismatch(DType::Sequence)),
        }
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// [`TensorError::LengthMismatch`].
    pub fn reshape(&self, shape: impl Into<Vec<usize>>) -> Result<Self, TensorError> {
        let shape = shape.into();
        let expected = checked_len(self.dtype(), &shape)?;
        if expected != self.len() {
            return Err(TensorError::LengthMismatch { shape, expected, actual: self.len() });
        }
        Ok(Self { shape, storage: Arc::clone(&self.storage) })
    }

    /// Every element as f64. Strings, complex numbers, containers and 8-bit floats are refused.
    ///
    /// # Errors
    /// [`TensorError::NotNumeric`].
    pub fn to_f64_vec(&self) -> Result<Vec<f64>, TensorError> {
        Ok(match &*self.storage {
            Storage::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Storage::F64(v) => v.clone(),
            Storage::F16(v) => v.iter().map(|x| x.to_f64()).collect(),
            Storage::BF16(v) => v.iter().map(|x| x.to_f64()).collect(),
            Storage::U64(v) => v.iter().map(|&x| x as f64).collect(),
            _ => self.to_i64_vec()?.into_iter().map(|x| x as f64).collect(),
        })
    }

    /// Every element as f32; see [`to_f64_vec`](Self::to_f64_vec).
    ///
    /// # Errors
    /// [`TensorError::NotNumeric`].
    pub fn to_f32_vec(&self) -> Result<Vec<f32>, TensorError> {
        Ok(match &*self.storage {
            Storage::F32(v) => v.clone(),
            _ => self.to_f64_vec()?.into_iter().map(|x| x as f32).collect(),
        })
    }

    /// Every element of an integer or boolean tensor as i64.
    ///
    /// # Errors
    /// [`TensorError::NotNumeric`] for floats and the rest: nothing is rounded silently.
    pub fn to_i64_vec(&self) -> Result<Vec<i64>, TensorError> {
        Ok(match &*self.storage {
            Storage::I64(v) => v.clone(),
            Storage::I32(v) => v.iter().map(|&x| x.into()).collect(),
            Storage::I16(v) => v.iter().map(|&x| x.into()).collect(),
            Storage::I8(v) | Storage::SmallInt(_, v) => v.iter().map(|&x| x.into()).collect(),
            Storage::U8(v) | Storage::SmallUint(_, v) => v.iter().map(|&x| x.into()).collect(),
            Storage::U16(v) => v.iter().map(|&x| x.into()).collect(),
            Storage::U32(v) => v.iter().map(|&x| x.into()).collect(),
            Storage::U64(v) => v.iter().map(|&x| x as i64).collect(),
            Storage::Bool(v) => v.iter().map(|&x| x.into()).collect(),
            _ => return Err(TensorError::NotNumeric { dtype: self.dtype() }),
        })
    }

    /// The only element of an integer tensor.
    ///
    /// # Errors
    /// [`TensorError::NotScalar`], [`TensorError::NotNumeric`].
    pub fn to_i64(&self) -> Result<i64, TensorError> {
        match self.to_i64_vec()?[..] {
            [value] => Ok(value),
            _ => Err(TensorError::NotScalar { shape: self.shape.clone() }),
        }
    }

    /// The only element of a numeric tensor.
    ///
    /// # Errors
    /// [`TensorError::NotScalar`], [`TensorError::NotNumeric`].
    pub fn to_f64(&self) -> Result<f64, TensorError> {
        match self.to_f64_vec()?[..] {
            [value] => Ok(value),
            _ => Err(TensorError::NotScalar { shape: self.shape.clone() }),
        }
    }

    /// Elements that are exactly zero (or false, or the empty string); −0.0 counts.
    pub fn count_zeros(&self) -> usize {
        let zeros = Storage::zeros(self.dtype(), 1);
        match &*self.storage {
            // The sign bit of −0.0 makes the pattern differ from the zero pattern.
            Storage::SmallFloat(dtype, v) => {
                let magnitude_bits = 0xff_u8 >> (9 - dtype.bits());
                v.iter().filter(|&&code| code & magnitude_bits == 0).count()
            }
            Storage::Container(..) => 0,
            _ => {
                let zero = Self { shape: vec![1], storage: Arc::new(zeros) };
                count_equal(self, &zero)
            }
        }
    }

    /// Bits the elements take in a file: packed below one byte, bytes for strings.
    pub fn bits(&self) -> u64 {
        match &*self.storage {
            Storage::Str(v) => v.iter().map(|s| 8 * s.len() as u64).sum(),
            Storage::Container(_, v) => v.iter().map(Tensor::bits).sum(),
            _ => self.len() as u64 * self.dtype().bits() as u64,
        }
    }

    fn type_mismatch(&self, expected: DType) -> TensorError {
        TensorError::TypeMismatch { expected, actual: self.dtype() }
    }
}

/// How many elements of `tensor` equal the only element of `value`, which has the same type.
fn count_equal(tensor: &Tensor, value: &Tensor) -> usize {
    macro_rules! count {
        ($($variant:ident),*) => {
            match (&*tensor.storage, &*value.storage) {
                $((Storage::$variant(v), Storage::$variant(x)) => v.iter().filter(|&e| *e == x[0]).count(),)*
                (Storage::SmallInt(_, v), Storage::SmallInt(_, x)) => v.iter().filter(|&e| *e == x[0]).count(),
                (Storage::SmallUint(_, v), Storage::SmallUint(_, x)) => v.iter().filter(|&e| *e == x[0]).count(),
                _ => each_storage!(&*value.storage, _v => 0),
            }
        };
    }
    count!(F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool, C64, C128, Str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_must_match_the_shape() {
        let error = Tensor::new([2, 3], vec![0f32; 5]).unwrap_err();
        assert_eq!(error, TensorError::LengthMismatch { shape: vec![2, 3], expected: 6, actual: 5 });
    }

    #[test]
    fn a_huge_shape_is_refused_before_allocation() {
        for shape in [vec![usize::MAX, 2], vec![1 << 40, 1 << 20], vec![1 << 40, 0]] {
            assert!(matches!(Tensor::zeros(DType::F32, shape), Err(TensorError::TooLarge { .. })));
        }
        assert_eq!(Tensor::zeros(DType::F32, [1 << 20, 0, 2]).unwrap().len(), 0);
    }

    #[test]
    fn writing_to_a_shared_buffer_leaves_the_other_owner_alone() {
        let a = Tensor::vector(vec![1i32, 2]);
        let mut b = a.clone();
        b.as_mut_slice::<i32>().unwrap()[0] = 9;
        assert_eq!(a.as_slice::<i32>().unwrap(), [1, 2]);
        assert_eq!(b.as_slice::<i32>().unwrap(), [9, 2]);
    }

    #[test]
    fn negative_zero_is_a_zero_and_nan_is_not() {
        assert_eq!(Tensor::vector(vec![-0.0f32, 0.0, f32::NAN, 1.0]).count_zeros(), 2);
        let float8 = Tensor::from_storage(vec![3], Storage::SmallFloat(DType::F8E4M3FN, vec![0, 0x80, 1])).unwrap();
        assert_eq!(float8.count_zeros(), 2);
    }

    #[test]
    fn every_type_makes_zeros_of_its_own_type() {
        for dtype in DType::ALL {
            let zeros = Tensor::zeros(dtype, [2, 2]).unwrap();
            assert_eq!((zeros.dtype(), zeros.len()), (dtype, 4));
        }
    }
}
