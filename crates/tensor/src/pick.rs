//! Moving elements without knowing their type: what transposing, slicing, gathering, padding and joining are made of.

use crate::storage::{each_storage, map_storage};
use crate::{DType, Element, Storage, Tensor, TensorError, checked_len, max_tensor_bytes};

impl Tensor {
    /// A tensor of `shape` whose element `i` is this tensor's element `indices[i]` (flat, row-major).
    ///
    /// # Errors
    /// [`TensorError::IndexOutOfRange`], or [`TensorError::LengthMismatch`] if the indices do not fill the shape.
    pub fn pick(
        &self,
        shape: impl Into<Vec<usize>>,
        indices: impl IntoIterator<Item = usize>,
    ) -> Result<Self, TensorError> {
        let mut indices = indices.into_iter();
        self.pick_batches(shape.into(), &mut |batch, at_most| batch.extend(indices.by_ref().take(at_most)))
    }

    /// [`pick`](Self::pick), compiled once and not for every kind of iterator times every type.
    fn pick_batches(&self, shape: Vec<usize>, next: &mut Batches<'_>) -> Result<Self, TensorError> {
        let len = checked_len(self.dtype(), &shape)?;
        if let Storage::Str(texts) = self.storage() {
            return pick_texts(texts, shape, len, next);
        }
        let mut bad_index = None;
        let storage = map_storage!(self.storage(), v => collect(v, len, next, &mut bad_index));
        if let Some(index) = bad_index {
            return Err(TensorError::IndexOutOfRange { index, len: self.len() });
        }
        Self::from_storage(shape, storage)
    }

    /// Like [`pick`](Self::pick), where `None` takes the only element of `fill`.
    ///
    /// # Errors
    /// As [`pick`](Self::pick); [`TensorError::TypeMismatch`] or [`TensorError::NotScalar`] for a bad `fill`.
    pub fn pick_or(
        &self,
        fill: &Tensor,
        shape: impl Into<Vec<usize>>,
        indices: impl IntoIterator<Item = Option<usize>>,
    ) -> Result<Self, TensorError> {
        if fill.len() != 1 {
            return Err(TensorError::NotScalar { shape: fill.shape().to_vec() });
        }
        let joined = Self::concat_flat(&[self, fill])?;
        let fill_index = self.len();
        joined.pick(shape, indices.into_iter().map(|index| index.unwrap_or(fill_index)))
    }

    /// The elements of all `parts`, one after the other, as a rank-1 tensor.
    ///
    /// # Errors
    /// [`TensorError::TypeMismatch`] if the types differ, [`TensorError::TooLarge`].
    pub fn concat_flat(parts: &[&Tensor]) -> Result<Self, TensorError> {
        let Some((first, rest)) = parts.split_first() else { return Ok(Self::vector(Vec::<f32>::new())) };
        let text_bytes = |part: &Tensor| if part.dtype() == DType::Str { part.bits() / 8 } else { 0 };
        if parts.iter().fold(0u64, |sum, part| sum.saturating_add(text_bytes(part))) > max_tensor_bytes() {
            let shape = vec![parts.iter().map(|part| part.len()).sum()];
            return Err(TensorError::TooLarge { shape, dtype: DType::Str, limit_bytes: max_tensor_bytes() });
        }
        let mut storage = first.storage().clone();
        for part in rest {
            append(&mut storage, part.storage())?;
        }
        Self::from_storage(vec![storage.len()], storage)
    }

    /// `count` copies of the only element of this tensor, under `shape`.
    ///
    /// # Errors
    /// [`TensorError::NotScalar`], [`TensorError::TooLarge`].
    pub fn fill(&self, shape: impl Into<Vec<usize>>) -> Result<Self, TensorError> {
        if self.len() != 1 {
            return Err(TensorError::NotScalar { shape: self.shape().to_vec() });
        }
        self.pick(shape, std::iter::repeat(0))
    }
}

/// Appends the next indices to an empty list: at most as many as are asked for, none at the end.
type Batches<'a> = dyn FnMut(&mut Vec<usize>, usize) + 'a;

/// Indices that are looked up between two calls of [`Batches`].
const BATCH: usize = 256;

/// Texts are copied with what they hold, so the limit is for their bytes.
fn pick_texts(texts: &[String], shape: Vec<usize>, len: usize, next: &mut Batches<'_>) -> Result<Tensor, TensorError> {
    let mut picked = Vec::new();
    let mut n_bytes = 0u64;
    let mut batch = Vec::new();
    while picked.len() < len {
        batch.clear();
        next(&mut batch, (len - picked.len()).min(BATCH));
        if batch.is_empty() {
            break;
        }
        for &index in &batch {
            let text = texts.get(index).ok_or(TensorError::IndexOutOfRange { index, len: texts.len() })?;
            n_bytes = n_bytes.saturating_add(text.len() as u64);
            if n_bytes > max_tensor_bytes() {
                return Err(TensorError::TooLarge { shape, dtype: DType::Str, limit_bytes: max_tensor_bytes() });
            }
            picked.push(text.clone());
        }
    }
    Tensor::new(shape, picked)
}

fn collect<T: Clone>(from: &[T], len: usize, next: &mut Batches<'_>, bad_index: &mut Option<usize>) -> Vec<T> {
    let mut values = Vec::with_capacity(len);
    let mut batch = Vec::with_capacity(len.min(BATCH));
    while values.len() < len {
        batch.clear();
        next(&mut batch, (len - values.len()).min(BATCH));
        if batch.is_empty() {
            break;
        }
        if let Some(&index) = batch.iter().find(|&&index| index >= from.len()) {
            *bad_index = Some(index);
            break;
        }
        values.extend(batch.iter().map(|&index| from[index].clone()));
    }
    values
}

fn append(to: &mut Storage, from: &Storage) -> Result<(), TensorError> {
    let mismatch = TensorError::TypeMismatch { expected: to.dtype(), actual: from.dtype() };
    if to.dtype() != from.dtype() {
        return Err(mismatch);
    }
    macro_rules! extend {
        ($($variant:ident),*) => {
            match (to, from) {
                $((Storage::$variant(to), Storage::$variant(from)) => to.extend_from_slice(from),)*
                (Storage::SmallInt(_, to), Storage::SmallInt(_, from)) => to.extend_from_slice(from),
                (Storage::SmallUint(_, to), Storage::SmallUint(_, from))
                | (Storage::SmallFloat(_, to), Storage::SmallFloat(_, from)) => to.extend_from_slice(from),
                (Storage::Container(_, to), Storage::Container(_, from)) => to.extend_from_slice(from),
                (_, from) => return each_storage!(from, _v => Err(mismatch)),
            }
        };
    }
    extend!(F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool, C64, C128, Str);
    Ok(())
}

/// Reads one element of a tensor of `T` by its position on each axis; for tests and examples.
impl Tensor {
    /// The element at `position`, if the type is `T` and the position is inside.
    pub fn get<T: Element>(&self, position: &[usize]) -> Option<T> {
        if position.len() != self.rank() {
            return None;
        }
        let mut flat = 0;
        for (&index, &dim) in position.iter().zip(self.shape()) {
            if index >= dim {
                return None;
            }
            flat = flat * dim + index;
        }
        self.as_slice::<T>().ok()?.get(flat).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn pick_moves_elements_of_any_type() {
        let strings = Tensor::vector(vec!["a".to_owned(), "b".to_owned()]);
        let picked = strings.pick([3], [1, 1, 0]).unwrap();
        assert_eq!(picked.as_slice::<String>().unwrap(), ["b", "b", "a"]);
        let error = strings.pick([1], [2]).unwrap_err();
        assert_eq!(error, TensorError::IndexOutOfRange { index: 2, len: 2 });
        assert!(matches!(strings.pick([3], [0]), Err(TensorError::LengthMismatch { .. })));
    }

    #[test]
    fn pick_or_fills_the_holes() {
        let values = Tensor::vector(vec![1u8, 2]);
        let padded = values.pick_or(&Tensor::scalar(7u8), [4], [None, Some(0), Some(1), None]).unwrap();
        assert_eq!(padded.as_slice::<u8>().unwrap(), [7, 1, 2, 7]);
    }

    #[test]
    fn joining_different_types_is_an_error() {
        let error = Tensor::concat_flat(&[&Tensor::scalar(1u8), &Tensor::scalar(1i8)]).unwrap_err();
        assert_eq!(error, TensorError::TypeMismatch { expected: DType::U8, actual: DType::I8 });
    }
}
