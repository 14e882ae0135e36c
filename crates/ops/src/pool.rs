//! What the pooling operators share: a [`Window`] that slides over each channel.

use lissom_graph::{Dim, Fact, Facts, NodeReader, OpError};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::Window;
use crate::window::{View, for_each_view};

/// Reads the window of a pool, which must say its kernel.
///
/// # Errors
/// [`OpError::BadAttribute`].
pub(crate) fn read_window(node: &NodeReader<'_>) -> Result<Window, OpError> {
    let window = Window::read(node)?;
    if window.kernel.is_empty() {
        return Err(OpError::attribute("kernel_shape", "is required"));
    }
    Ok(window)
}

/// Fact of the output of a pool over input 0.
///
/// # Errors
/// As [`Window::output_dims`].
pub(crate) fn infer_pool(window: &Window, inputs: &Facts<'_>) -> Result<Fact, OpError> {
    let Some(x) = inputs.shape(0) else { return Ok(Fact::maybe(inputs.dtype(0), None)) };
    if x.len() < 3 {
        return Err(OpError::value(format!("expected at least 3 axes, found {}", x.len())));
    }
    let spatial = window.output_dims(&x[2..], &window.kernel)?;
    let shape: Vec<Dim> = x[..2].iter().cloned().chain(spatial).collect();
    Ok(Fact::maybe(inputs.dtype(0), Some(shape)))
}

/// Runs `reduce` for each position of the window over each channel: it gets the values of the channel, the position of
/// the channel's first value in `x`, and what the window sees. Gives the shape and the results.
///
/// # Errors
/// [`OpError::BadShape`]; as [`Window::resolve`].
pub(crate) fn pool<T: Copy + Default, U: Copy + Default>(
    window: &Window,
    x: &Tensor,
    values: &[T],
    reduce: impl Fn(&[T], usize, View<'_>) -> U,
) -> Result<(Vec<usize>, Vec<U>), OpError> {
    let shape = x.shape();
    if shape.len() < 3 {
        return Err(OpError::shape(0, shape, "expected at least 3 axes"));
    }
    let windows = window.resolve(&shape[2..], &window.kernel)?;
    let out_shape: Vec<usize> = shape[..2].iter().copied().chain(windows.iter().map(|window| window.out)).collect();
    let len = checked_len(DType::F64, &out_shape)?;
    let mut out = vec![U::default(); len];
    if len == 0 {
        return Ok((out_shape, out));
    }
    let n_channels = shape[0] * shape[1];
    let (image_len, out_len) = (values.len() / n_channels, len / n_channels);
    for_each_view(&windows, &shape[2..], |view| {
        for channel in 0..n_channels {
            let first = channel * image_len;
            out[channel * out_len + view.pixel] = reduce(&values[first..][..image_len], first, view);
        }
    });
    Ok((out_shape, out))
}

/// Fact of an operator that reduces all axes after the second of input 0 to length 1.
///
/// # Errors
/// [`OpError::BadValue`] if the rank is below 2.
pub(crate) fn infer_global(inputs: &Facts<'_>) -> Result<Fact, OpError> {
    let Some(x) = inputs.shape(0) else { return Ok(Fact::maybe(inputs.dtype(0), None)) };
    if x.len() < 2 {
        return Err(OpError::value(format!("expected at least 2 axes, found {}", x.len())));
    }
    let ones = std::iter::repeat_n(Dim::Known(1), x.len() - 2);
    Ok(Fact::maybe(inputs.dtype(0), Some(x[..2].iter().cloned().chain(ones).collect())))
}

/// Shape and one result of `reduce` for each channel of `x`, whose values are given.
///
/// # Errors
/// [`OpError::BadShape`] if the rank is below 2; a result that is too large.
pub(crate) fn global_pool(
    x: &Tensor,
    values: &[f64],
    reduce: impl Fn(&[f64]) -> f64,
) -> Result<(Vec<usize>, Vec<f64>), OpError> {
    let shape = x.shape();
    if shape.len() < 2 {
        return Err(OpError::shape(0, shape, "expected at least 2 axes"));
    }
    let out_shape: Vec<usize> = shape.iter().enumerate().map(|(axis, &d)| if axis < 2 { d } else { 1 }).collect();
    let n_channels = checked_len(DType::F64, &out_shape)?;
    let out = match values.len().checked_div(n_channels) {
        None => Vec::new(),
        Some(0) => vec![reduce(&[]); n_channels],
        Some(image_len) => values.chunks_exact(image_len).map(reduce).collect(),
    };
    Ok((out_shape, out))
}
