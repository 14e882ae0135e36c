//! Weights and their encodings. A compressed network is the same graph with its weights in other encodings.

use crate::{DType, Storage, Tensor, TensorError};

/// A constant tensor of a graph in some encoding. Zeros (unstructured, N:M, blocks) are found in the values; they need
/// no encoding of their own to be standard ONNX.
#[derive(Debug, Clone, PartialEq)]
pub enum Weight {
    /// The values themselves, of any type.
    Dense(Tensor),
    /// Integer codes with scale and zero point; written as an initializer and a `DequantizeLinear` node.
    Affine(Affine),
}

/// `value = scale · (code − zero_point)`.
///
/// | granularity | `scale` shape                                       | `axis` | `block_size` |
/// |-------------|-----------------------------------------------------|--------|--------------|
/// | per tensor  | `[]`                                                | 0      | 0            |
/// | per channel | `[codes.shape[axis]]`                               | axis   | 0            |
/// | per group   | shape of codes, `axis` replaced by `ceil(d / block)`| axis   | block        |
#[derive(Debug, Clone, PartialEq)]
pub struct Affine {
    /// Integer codes in the shape of the weight.
    pub codes: Tensor,
    /// f32, > 0.
    pub scale: Tensor,
    /// Same type as the codes and same shape as the scale; absent means 0.
    pub zero_point: Option<Tensor>,
    /// Axis of the scales.
    pub axis: usize,
    /// Elements along `axis` that share a scale; 0 unless per group.
    pub block_size: usize,
}

impl Weight {
    /// Shape of the decoded tensor.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Dense(tensor) => tensor.shape(),
            Self::Affine(affine) => affine.codes.shape(),
        }
    }

    /// Type of the decoded tensor.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Dense(tensor) => tensor.dtype(),
            Self::Affine(affine) => affine.scale.dtype(),
        }
    }

    /// Number of elements of the decoded tensor.
    pub fn len(&self) -> usize {
        match self {
            Self::Dense(tensor) => tensor.len(),
            Self::Affine(affine) => affine.codes.len(),
        }
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values.
    ///
    /// # Errors
    /// [`TensorError::Encoding`] if the parts of the encoding do not fit together.
    pub fn decode(&self) -> Result<Tensor, TensorError> {
        match self {
            Self::Dense(tensor) => Ok(tensor.clone()),
            Self::Affine(affine) => affine.decode(),
        }
    }

    /// Bits all parts take in a file: codes, scales and zero points.
    pub fn bits(&self) -> u64 {
        match self {
            Self::Dense(tensor) => tensor.bits(),
            Self::Affine(affine) => {
                affine.codes.bits() + affine.scale.bits() + affine.zero_point.as_ref().map_or(0, Tensor::bits)
            }
        }
    }

    /// Elements whose decoded value is exactly zero.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn count_zeros(&self) -> Result<usize, TensorError> {
        match self {
            Self::Dense(tensor) => Ok(tensor.count_zeros()),
            Self::Affine(affine) => Ok(affine.decode()?.count_zeros()),
        }
    }

    /// Short name for reports: `f32`, `i8 per channel`, `i4 per 32`.
    pub fn describe(&self) -> String {
        match self {
            Self::Dense(tensor) => tensor.dtype().to_string(),
            Self::Affine(affine) => {
                let granularity = match (affine.block_size, affine.scale.len()) {
                    (0, 1) => "per tensor".to_owned(),
                    (0, _) => "per channel".to_owned(),
                    (block, _) => format!("per {block}"),
                };
                format!("{} {granularity}", affine.codes.dtype())
            }
        }
    }
}

impl Affine {
    /// Flat index into the scales for each element of the codes, row-major.
    ///
    /// # Errors
    /// [`TensorError::Encoding`] if the scale has neither of the three shapes.
    pub fn scale_indices(&self) -> Result<impl Iterator<Item = usize> + use<>, TensorError> {
        let shape = self.codes.shape();
        let (outer, dim, inner, block) = if self.scale.len() == 1 && self.block_size == 0 {
            // One scale: every element belongs to the only group.
            (1, 1, self.codes.len(), 1)
        } else {
            let Some(&dim) = shape.get(self.axis) else {
                return Err(encoding(format!("axis {} of a weight of rank {}", self.axis, shape.len())));
            };
            let outer = shape[..self.axis].iter().product();
            let inner: usize = shape[self.axis + 1..].iter().product();
            (outer, dim, inner, self.block_size.max(1))
        };
        let n_groups = dim.div_ceil(block);
        let per_channel = self.block_size == 0;
        let expected = if per_channel { n_groups } else { outer * n_groups * inner };
        if self.scale.len() != expected {
            return Err(encoding(format!("{} scales where {expected} are needed", self.scale.len())));
        }
        Ok((0..outer).flat_map(move |o| {
            (0..dim).flat_map(move |d| {
                let group = d / block;
                (0..inner).map(move |i| if per_channel { group } else { (o * n_groups + group) * inner + i })
            })
        }))
    }

    fn decode(&self) -> Result<Tensor, TensorError> {
        let scale = self.scale.to_f32_vec()?;
        let zero = match &self.zero_point {
            Some(zero) if zero.shape() != self.scale.shape() => {
                return Err(encoding(format!("zero point {:?}, scale {:?}", zero.shape(), self.scale.shape())));
            }
            Some(zero) => zero.to_i64_vec()?,
            None => vec![0; scale.len()],
        };
        let indices = self.scale_indices()?;
        let decode = |(code, group): (i64, usize)| (code - zero[group]) as f32 * scale[group];
        let values: Vec<f32> = self.codes.to_i64_vec()?.into_iter().zip(indices).map(decode).collect();
        let storage = match self.scale.dtype() {
            DType::F16 => Storage::F16(values.into_iter().map(crate::f16::from_f32).collect()),
            DType::BF16 => Storage::BF16(values.into_iter().map(crate::bf16::from_f32).collect()),
            _ => Storage::F32(values),
        };
        Tensor::from_storage(self.codes.shape().to_vec(), storage)
    }
}

fn encoding(reason: String) -> TensorError {
    TensorError::Encoding { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn affine(scale: Tensor, axis: usize, block_size: usize) -> Affine {
        let codes = Tensor::new([2, 4], vec![1i8, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        Affine { codes, scale, zero_point: None, axis, block_size }
    }

    fn decoded(affine: Affine) -> Vec<f32> {
        Weight::Affine(affine).decode().unwrap().into_vec().unwrap()
    }

    #[test]
    fn each_granularity_finds_its_scale() {
        assert_eq!(decoded(affine(Tensor::scalar(0.5f32), 0, 0)), [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]);
        let per_row = affine(Tensor::vector(vec![1f32, 10.0]), 0, 0);
        assert_eq!(decoded(per_row), [1.0, 2.0, 3.0, 4.0, 50.0, 60.0, 70.0, 80.0]);
        let scales = Tensor::new([2, 2], vec![1f32, 10.0, 100.0, 1000.0]).unwrap();
        assert_eq!(decoded(affine(scales, 1, 2)), [1.0, 2.0, 30.0, 40.0, 500.0, 600.0, 7000.0, 8000.0]);
    }

    #[test]
    fn a_zero_point_moves_zero() {
        let mut weight = affine(Tensor::scalar(2f32), 0, 0);
        weight.zero_point = Some(Tensor::scalar(3i8));
        assert_eq!(Weight::Affine(weight).count_zeros().unwrap(), 1);
    }

    #[test]
    fn scales_of_the_wrong_number_are_an_error() {
        let wrong = affine(Tensor::vector(vec![1f32; 3]), 0, 0);
        assert!(matches!(Weight::Affine(wrong).decode(), Err(TensorError::Encoding { .. })));
    }

    #[test]
    fn bits_count_codes_and_scales() {
        let weight = Weight::Affine(affine(Tensor::vector(vec![1f32, 1.0]), 0, 0));
        assert_eq!(weight.bits(), 8 * 8 + 2 * 32);
        assert_eq!(weight.describe(), "i8 per channel");
    }
}
