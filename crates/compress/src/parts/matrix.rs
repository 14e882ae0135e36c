//! A weight seen as a matrix `[c_out, c_in · kernel]`, whatever its layout in the graph.
//!
//! Columns run kernel-position-major with the input channels fastest, so that neighbouring columns are neighbouring input
//! channels: N:M groups and blocks lie along the reduction axis, where kernels can use them.

use lissom_graph::WeightAxes;
use lissom_tensor::{TensorError, strides};

/// How the elements of a weight are laid out as a matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixLayout {
    /// Output channels.
    pub n_rows: usize,
    /// Input channels of one group times kernel positions.
    pub n_cols: usize,
    /// Input channels of one group: the length of a run of neighbouring columns.
    pub c_in: usize,
    /// Kernel positions.
    pub n_taps: usize,
    /// Lengths of the kernel axes.
    pub kernel: Vec<usize>,
    /// Flat index in the weight for each element of the matrix, row-major.
    pub indices: Vec<usize>,
}

impl MatrixLayout {
    /// The layout of a weight of this shape.
    ///
    /// A transposed convolution of several groups stores `[c_in, c_out / groups, kernel…]`; its rows are the output
    /// channels of one group, each seeing the input channels of all groups.
    ///
    /// # Errors
    /// [`TensorError::Encoding`] if the axes do not fit the shape.
    pub fn new(shape: &[usize], axes: &WeightAxes) -> Result<Self, TensorError> {
        if axes.c_out >= shape.len() || axes.c_in >= shape.len() || axes.c_out == axes.c_in {
            let reason = format!("axes {} and {} of a weight {shape:?}", axes.c_out, axes.c_in);
            return Err(TensorError::Encoding { reason });
        }
        let steps = strides(shape);
        let kernel_axes: Vec<usize> =
            (0..shape.len()).filter(|&axis| axis != axes.c_out && axis != axes.c_in).collect();
        let kernel: Vec<usize> = kernel_axes.iter().map(|&axis| shape[axis]).collect();
        let n_taps: usize = kernel.iter().product();
        let (n_rows, c_in) = (shape[axes.c_out], shape[axes.c_in]);
        let tap_offsets: Vec<usize> = (0..n_taps)
            .map(|tap| {
                let mut rest = tap;
                kernel_axes.iter().rev().fold(0, |offset, &axis| {
                    let position = rest % shape[axis];
                    rest /= shape[axis];
                    offset + position * steps[axis]
                })
            })
            .collect();
        let mut indices = Vec::with_capacity(n_rows * c_in * n_taps);
        for row in 0..n_rows {
            for offset in &tap_offsets {
                indices.extend((0..c_in).map(|i| row * steps[axes.c_out] + offset + i * steps[axes.c_in]));
            }
        }
        Ok(Self { n_rows, n_cols: c_in * n_taps, c_in, n_taps, kernel, indices })
    }

    /// The matrix, row-major.
    pub fn gather<T: Copy>(&self, values: &[T]) -> Vec<T> {
        self.indices.iter().map(|&index| values[index]).collect()
    }

    /// Writes a matrix back into the weight's own order.
    pub fn scatter<T: Copy>(&self, matrix: &[T], values: &mut [T]) {
        for (&index, &value) in self.indices.iter().zip(matrix) {
            values[index] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONV: WeightAxes = WeightAxes { weight_input: 1, bias_input: Some(2), c_out: 0, c_in: 1, groups: 1 };

    #[test]
    fn columns_of_a_convolution_have_input_channels_fastest() {
        let layout = MatrixLayout::new(&[2, 3, 1, 2], &CONV).unwrap();
        let values: Vec<usize> = (0..12).collect();
        assert_eq!(layout.gather(&values), [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
        let mut back = vec![0; 12];
        layout.scatter(&layout.gather(&values), &mut back);
        assert_eq!(back, values);
    }

    #[test]
    fn a_matmul_weight_is_transposed() {
        let axes = WeightAxes { weight_input: 1, bias_input: None, c_out: 1, c_in: 0, groups: 1 };
        let layout = MatrixLayout::new(&[2, 3], &axes).unwrap();
        assert_eq!((layout.n_rows, layout.n_cols), (3, 2));
        assert_eq!(layout.gather(&[0, 1, 2, 3, 4, 5]), [0, 3, 1, 4, 2, 5]);
    }
}
