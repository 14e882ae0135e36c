//! Tensors for the samples of operators.

use lissom_tensor::{Element, Tensor};

/// f32 values in −2.5..2.55, no two of 101 neighbours alike, under `shape`.
pub(crate) fn ramp(shape: &[usize]) -> Tensor {
    let len = shape.iter().product::<usize>();
    filled(shape, (0..len).map(|i| (i * 37 % 101) as f32 / 20.0 - 2.5).collect())
}

/// Like [`ramp`], in 0.05..5.1.
pub(crate) fn positive(shape: &[usize]) -> Tensor {
    let len = shape.iter().product::<usize>();
    filled(shape, (0..len).map(|i| (i * 37 % 101) as f32 / 20.0 + 0.05).collect())
}

/// `values` under `shape`. The samples keep the number of values right; a wrong one gives a vector.
pub(crate) fn filled<T: Element>(shape: &[usize], values: Vec<T>) -> Tensor {
    Tensor::new(shape, values.clone()).unwrap_or_else(|_| Tensor::vector(values))
}
