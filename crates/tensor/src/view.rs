//! Tensors in somebody else's memory.

use std::ops::Range;
use std::sync::Arc;

use crate::{DType, Element, Storage, Tensor, TensorError, checked_len};

/// Elements of a [`View`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)] // one variant per type
#[non_exhaustive]
pub enum Values<'a> {
    F32(&'a [f32]),
    U8(&'a [u8]),
    I8(&'a [i8]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    Bool(&'a [bool]),
}

/// Elements of a [`ViewMut`].
#[derive(Debug, PartialEq)]
#[allow(missing_docs)] // one variant per type
#[non_exhaustive]
pub enum ValuesMut<'a> {
    F32(&'a mut [f32]),
    U8(&'a mut [u8]),
    I8(&'a mut [i8]),
    I32(&'a mut [i32]),
    I64(&'a mut [i64]),
    Bool(&'a mut [bool]),
}

/// A type whose slices can be viewed: f32, u8, i8, i32, i64 and bool.
pub trait Viewed: Element + Copy {
    /// Wraps values to read.
    fn values(values: &[Self]) -> Values<'_>;
    /// Wraps values to write.
    fn values_mut(values: &mut [Self]) -> ValuesMut<'_>;
}

/// A dense row-major array that is borrowed: an input that need not be copied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View<'a> {
    shape: &'a [usize],
    values: Values<'a>,
}

/// A slice that takes the elements of a result, row-major.
#[derive(Debug, PartialEq)]
pub struct ViewMut<'a> {
    values: ValuesMut<'a>,
}

macro_rules! viewed {
    ($($rust:ty => $variant:ident),* $(,)?) => {
        $(impl Viewed for $rust {
            fn values(values: &[Self]) -> Values<'_> {
                Values::$variant(values)
            }
            fn values_mut(values: &mut [Self]) -> ValuesMut<'_> {
                ValuesMut::$variant(values)
            }
        })*

        impl Values<'_> {
            /// Type of the elements.
            pub fn dtype(&self) -> DType {
                match self { $(Self::$variant(_) => DType::$variant,)* }
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(values) => values.len(),)* }
            }

            fn to_storage(self) -> Storage {
                match self { $(Self::$variant(values) => Storage::$variant(values.to_vec()),)* }
            }
        }

        impl<'a> Values<'a> {
            fn part(self, range: Range<usize>) -> Option<Self> {
                match self { $(Self::$variant(values) => values.get(range).map(Self::$variant),)* }
            }
        }

        impl<'a> View<'a> {
            /// A tensor's elements; `None` if there are no views of its type.
            pub fn of(tensor: &'a Tensor) -> Option<Self> {
                let values = match tensor.storage() {
                    $(Storage::$variant(values) => Values::$variant(values),)*
                    _ => return None,
                };
                Some(Self { shape: tensor.shape(), values })
            }
        }

        impl<'a> ViewMut<'a> {
            /// A tensor's elements, which are copied first if they are shared; `None` if there are no views of its type.
            pub fn of(tensor: &'a mut Tensor) -> Option<Self> {
                let values = match tensor.storage_mut() {
                    $(Storage::$variant(values) => ValuesMut::$variant(values),)*
                    _ => return None,
                };
                Some(Self { values })
            }
        }

        impl ViewMut<'_> {
            /// The same elements, for a shorter time.
            pub fn reborrow(&mut self) -> ViewMut<'_> {
                match &mut self.values { $(ValuesMut::$variant(values) => ViewMut::new(values),)* }
            }

            /// Some of the elements, for a shorter time; `None` if there are fewer.
            pub fn part(&mut self, range: Range<usize>) -> Option<ViewMut<'_>> {
                match &mut self.values { $(ValuesMut::$variant(values) => values.get_mut(range).map(ViewMut::new),)* }
            }

            /// Type of the elements.
            pub fn dtype(&self) -> DType {
                match &self.values { $(ValuesMut::$variant(_) => DType::$variant,)* }
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match &self.values { $(ValuesMut::$variant(values) => values.len(),)* }
            }

            /// Copies all elements of a tensor of the same type and length.
            ///
            /// # Errors
            /// [`TensorError::TypeMismatch`], [`TensorError::LengthMismatch`]; then nothing is written.
            pub fn copy_from(&mut self, tensor: &Tensor) -> Result<(), TensorError> {
                let (expected, actual, len) = (self.dtype(), tensor.dtype(), self.len());
                if expected == actual && len != tensor.len() {
                    let shape = tensor.shape().to_vec();
                    return Err(TensorError::LengthMismatch { shape, expected: tensor.len(), actual: len });
                }
                match (&mut self.values, tensor.storage()) {
                    $((ValuesMut::$variant(to), Storage::$variant(from)) => to.copy_from_slice(from),)*
                    _ => return Err(TensorError::TypeMismatch { expected, actual }),
                }
                Ok(())
            }
        }
    };
}

viewed! { f32 => F32, u8 => U8, i8 => I8, i32 => I32, i64 => I64, bool => Bool }

impl Values<'_> {
    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> View<'a> {
    /// `values` under `shape`, row-major.
    ///
    /// # Errors
    /// [`TensorError::LengthMismatch`] if the number of values is not the product of the shape.
    pub fn new<T: Viewed>(shape: &'a [usize], values: &'a [T]) -> Result<Self, TensorError> {
        let expected = checked_len(T::DTYPE, shape)?;
        if expected != values.len() {
            return Err(TensorError::LengthMismatch { shape: shape.to_vec(), expected, actual: values.len() });
        }
        Ok(Self { shape, values: T::values(values) })
    }

    /// Elements from `start` on under another shape.
    ///
    /// # Errors
    /// [`TensorError::LengthMismatch`] if there are not as many.
    pub fn part(&self, start: usize, shape: &'a [usize]) -> Result<Self, TensorError> {
        let expected = checked_len(self.dtype(), shape)?;
        let part = start.checked_add(expected).and_then(|end| self.values.part(start..end));
        let actual = self.values.len().saturating_sub(start);
        let values = part.ok_or_else(|| TensorError::LengthMismatch { shape: shape.to_vec(), expected, actual })?;
        Ok(Self { shape, values })
    }

    /// Length of each axis.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.values.dtype()
    }

    /// The elements.
    pub fn values(&self) -> Values<'a> {
        self.values
    }

    /// A copy.
    pub fn to_tensor(&self) -> Tensor {
        Tensor::of_parts(self.shape.to_vec(), Arc::new(self.values.to_storage()))
    }
}

impl<'a> ViewMut<'a> {
    /// All of `values`.
    pub fn new<T: Viewed>(values: &'a mut [T]) -> Self {
        Self { values: T::values_mut(values) }
    }

    /// The elements.
    pub fn values_mut(&mut self) -> &mut ValuesMut<'a> {
        &mut self.values
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_views_are_the_elements_there() {
        let mut values = [1f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let part = View::new(&[3, 2], &values).unwrap().part(2, &[1, 2]).unwrap();
        assert_eq!((part.shape(), part.values()), (&[1usize, 2][..], Values::F32(&[3.0, 4.0])));
        let beyond = View::new(&[3, 2], &values).unwrap();
        assert!(matches!(beyond.part(4, &[2, 2]), Err(TensorError::LengthMismatch { expected: 4, actual: 2, .. })));
        assert!(beyond.part(usize::MAX, &[2, 2]).is_err());
        let mut whole = ViewMut::new(&mut values);
        assert_eq!(whole.part(4..6), Some(ViewMut::new(&mut [5.0f32, 6.0])));
        assert_eq!(whole.part(4..7), None);
    }

    #[test]
    fn a_view_fits_its_shape_and_copies_to_an_equal_tensor() {
        let values = [1i64, 2, 3, 4, 5, 6];
        assert!(matches!(View::new(&[2, 2], &values), Err(TensorError::LengthMismatch { expected: 4, actual: 6, .. })));
        let view = View::new(&[2, 3], &values).unwrap();
        let tensor = view.to_tensor();
        assert_eq!(tensor, Tensor::new([2, 3], values.to_vec()).unwrap());
        assert_eq!(View::of(&tensor), Some(view));
        assert_eq!(View::of(&Tensor::scalar(1.0f64)), None);
    }

    #[test]
    fn results_are_copied_only_if_type_and_length_fit() {
        let mut values = [0u8; 3];
        let mut view = ViewMut::new(&mut values);
        let mismatch = view.copy_from(&Tensor::vector(vec![1i8, 2, 3])).unwrap_err();
        assert_eq!(mismatch, TensorError::TypeMismatch { expected: DType::U8, actual: DType::I8 });
        assert!(matches!(view.copy_from(&Tensor::vector(vec![1u8])), Err(TensorError::LengthMismatch { .. })));
        view.copy_from(&Tensor::vector(vec![1u8, 2, 3])).unwrap();
        assert_eq!(values, [1, 2, 3]);
    }
}
