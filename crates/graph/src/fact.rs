//! What is known of a value before the graph runs.

use std::fmt;

use lissom_tensor::{DType, Tensor};

use crate::Dim;

/// Type, shape and perhaps the value. Anything unknown is `None`; nothing here is a guess.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fact {
    /// Element type.
    pub dtype: Option<DType>,
    /// Length of each axis; `None` if even the rank is unknown.
    pub shape: Option<Vec<Dim>>,
    /// The value itself, where it does not depend on the inputs or is a shape.
    pub value: Option<KnownValue>,
}

/// A value known before running.
#[derive(Debug, Clone, PartialEq)]
pub enum KnownValue {
    /// All of it.
    Tensor(Tensor),
    /// An i64 or i32 scalar or vector of lengths, some of them symbolic: what `Shape` gives and exporters compute with.
    Dims(Vec<Dim>),
}

impl Fact {
    /// Nothing is known.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// A type and a symbolic shape.
    pub fn new(dtype: DType, shape: Vec<Dim>) -> Self {
        Self { dtype: Some(dtype), shape: Some(shape), value: None }
    }

    /// A type and a shape of numbers.
    pub fn known(dtype: DType, shape: &[usize]) -> Self {
        Self::new(dtype, shape.iter().map(|&length| length.into()).collect())
    }

    /// A type, with the shape perhaps unknown.
    pub fn maybe(dtype: Option<DType>, shape: Option<Vec<Dim>>) -> Self {
        Self { dtype, shape, value: None }
    }

    /// A constant.
    pub fn constant(tensor: &Tensor) -> Self {
        Self { value: Some(KnownValue::Tensor(tensor.clone())), ..Self::known(tensor.dtype(), tensor.shape()) }
    }

    /// An i64 vector of lengths.
    pub fn dims(dims: Vec<Dim>) -> Self {
        Self { shape: Some(vec![dims.len().into()]), dtype: Some(DType::I64), value: Some(KnownValue::Dims(dims)) }
            .simplified()
    }

    /// Number of axes, if known.
    pub fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(Vec::len)
    }

    /// The shape, if every axis is a number.
    pub fn known_shape(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(Dim::known).collect()
    }

    /// The value, if all of it is known.
    pub fn tensor(&self) -> Option<&Tensor> {
        match &self.value {
            Some(KnownValue::Tensor(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// The value as integers, if all of it is known and it is of an integer type.
    pub fn i64s(&self) -> Option<Vec<i64>> {
        self.tensor()?.to_i64_vec().ok()
    }

    /// The value as lengths, if it is an integer scalar or vector that is known at least symbolically.
    pub fn as_dims(&self) -> Option<Vec<Dim>> {
        match self.value.as_ref()? {
            KnownValue::Dims(dims) => Some(dims.clone()),
            KnownValue::Tensor(tensor) if tensor.rank() <= 1 => {
                Some(tensor.to_i64_vec().ok()?.into_iter().map(Dim::Known).collect())
            }
            KnownValue::Tensor(_) => None,
        }
    }

    /// Lengths that are all numbers become a tensor.
    #[must_use]
    pub fn simplified(mut self) -> Self {
        if let Some(KnownValue::Dims(dims)) = &self.value {
            let numbers: Option<Vec<i64>> =
                dims.iter().map(|dim| if let Dim::Known(n) = dim { Some(*n) } else { None }).collect();
            let shape: Vec<usize> = if self.rank() == Some(0) { Vec::new() } else { vec![dims.len()] };
            let narrow = |n: &i64| i32::try_from(*n).ok();
            let tensor = numbers.and_then(|numbers| match self.dtype {
                Some(DType::I32) => Tensor::new(shape, numbers.iter().map(narrow).collect::<Option<Vec<i32>>>()?).ok(),
                _ => Tensor::new(shape, numbers).ok(),
            });
            if let Some(tensor) = tensor {
                self.value = Some(KnownValue::Tensor(tensor));
            }
        }
        self
    }

    /// Keeps what both facts say and fills the holes of one with the other; numbers win over symbols, and where both are
    /// symbols this fact's stays.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let shape = match (&self.shape, &other.shape) {
            (Some(a), Some(b)) if a.len() == b.len() => Some(
                a.iter().zip(b).map(|(a, b)| if matches!(b, Dim::Known(_)) { b.clone() } else { a.clone() }).collect(),
            ),
            (a, b) => a.clone().or_else(|| b.clone()),
        };
        Self { dtype: self.dtype.or(other.dtype), shape, value: self.value.clone().or_else(|| other.value.clone()) }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            Some(dtype) => write!(f, "{dtype}")?,
            None => f.write_str("?")?,
        }
        match &self.shape {
            Some(shape) => {
                let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", dims.join(","))
            }
            None => f.write_str("[..]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_lengths_become_a_tensor() {
        let fact = Fact::dims(vec![Dim::Known(2), Dim::Known(3)]);
        assert_eq!(fact.i64s(), Some(vec![2, 3]));
        let partly = Fact::dims(vec![Dim::symbol("N"), Dim::Known(3)]);
        assert_eq!(partly.i64s(), None);
        assert_eq!(partly.as_dims().unwrap()[1], Dim::Known(3));
    }

    #[test]
    fn merging_prefers_numbers() {
        let symbolic = Fact::new(DType::F32, vec![Dim::symbol("N"), Dim::Known(3)]);
        let merged = symbolic.merged(&Fact::known(DType::F32, &[8, 3]));
        assert_eq!(merged.to_string(), "f32[8,3]");
    }
}
