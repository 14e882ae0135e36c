//! Real numbers to integer codes and back: `q = clamp(rne(r / s) + z)`, `r' = s · (q − z)`.

use lissom_tensor::{Affine, DType, Storage, Tensor, TensorError};
use rayon::prelude::*;

/// The codes that may be used, and the type they are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codes {
    /// Smallest code.
    pub min: i32,
    /// Largest code.
    pub max: i32,
    /// Type in the file: the smallest that holds them.
    pub dtype: DType,
}

impl Codes {
    /// Signed codes of 2 to 8 bits without the lowest, so that they are symmetric: `-127..=127` for 8, `-1..=1` for 2.
    pub fn signed(bits: u8) -> Self {
        let max = (1 << (bits.clamp(2, 8) - 1)) - 1;
        let dtype = match bits {
            0..=2 => DType::I2,
            3 | 4 => DType::I4,
            _ => DType::I8,
        };
        Self { min: -max, max, dtype }
    }

    /// Unsigned codes of 2 to 8 bits: `0..=255` for 8.
    pub fn unsigned(bits: u8) -> Self {
        let dtype = match bits {
            0..=2 => DType::U2,
            3 | 4 => DType::U4,
            _ => DType::U8,
        };
        Self { min: 0, max: (1 << bits.clamp(2, 8)) - 1, dtype }
    }

    /// A tensor of such codes.
    ///
    /// # Errors
    /// [`TensorError`] if the shape does not fit.
    pub fn tensor(&self, shape: &[usize], codes: Vec<i32>) -> Result<Tensor, TensorError> {
        let storage = match self.dtype {
            DType::I8 => Storage::I8(codes.into_iter().map(|code| code as i8).collect()),
            DType::U8 => Storage::U8(codes.into_iter().map(|code| code as u8).collect()),
            DType::U4 | DType::U2 => Storage::SmallUint(self.dtype, codes.into_iter().map(|code| code as u8).collect()),
            _ => Storage::SmallInt(self.dtype, codes.into_iter().map(|code| code as i8).collect()),
        };
        Tensor::from_storage(shape.to_vec(), storage)
    }
}

/// Scale, zero point and codes of one tensor, channel or group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantizer {
    /// Distance of neighbouring codes, > 0.
    pub scale: f32,
    /// Code of exactly zero.
    pub zero_point: i32,
    /// The codes.
    pub codes: Codes,
}

impl Quantizer {
    /// Zero is code 0 and `max_abs` the largest code. A tensor of zeros gets scale 1.
    pub fn symmetric(max_abs: f32, codes: Codes) -> Self {
        Self { scale: usable(f64::from(max_abs) / f64::from(codes.max)), zero_point: 0, codes }
    }

    /// Covers `lo..=hi`, widened to hold zero, which gets a code of its own: padding and `Relu` give exact zeros.
    pub fn asymmetric(lo: f32, hi: f32, codes: Codes) -> Self {
        let (lo, hi) = (f64::from(lo.min(0.0)), f64::from(hi.max(0.0)));
        let scale = usable((hi - lo) / f64::from(codes.max - codes.min));
        let zero_point = (f64::from(codes.min) - lo / f64::from(scale)).round_ties_even();
        let zero_point = zero_point.clamp(codes.min.into(), codes.max.into()) as i32;
        Self { scale, zero_point, codes }
    }

    /// The code of a number.
    pub fn code(&self, x: f32) -> i32 {
        let code = f64::from((x / self.scale).round_ties_even()) + f64::from(self.zero_point);
        code.clamp(self.codes.min.into(), self.codes.max.into()) as i32
    }

    /// The number of a code.
    pub fn value(&self, code: i32) -> f32 {
        (code - self.zero_point) as f32 * self.scale
    }

    /// What is left of a number.
    pub fn round_trip(&self, x: f32) -> f32 {
        self.value(self.code(x))
    }
}

/// Zero and what f32 holds only in part become 1: such a tensor is zero in any encoding.
fn usable(scale: f64) -> f32 {
    let scale = scale as f32;
    if scale.is_normal() { scale } else { 1.0 }
}

/// Which elements of a weight share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// All.
    Tensor,
    /// Those at one position of this axis.
    Channel(usize),
    /// `size` neighbours along `axis`.
    Group {
        /// The axis, the one that is summed over.
        axis: usize,
        /// Neighbours that share a scale.
        size: usize,
    },
}

/// How a weight is quantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightGrid {
    /// The codes; unsigned ones are placed with a zero point.
    pub codes: Codes,
    /// Which elements share a scale.
    pub sharing: Sharing,
    /// Whether the range is cut where the squared error is least, instead of holding every weight.
    pub clips: bool,
}

impl WeightGrid {
    /// Quantizes a weight of this shape. `min_scales`, one a channel, are lower bounds: what the bias needs.
    ///
    /// # Errors
    /// [`TensorError`] if the sharing does not fit the shape.
    pub fn quantize(&self, shape: &[usize], values: &[f32], min_scales: &[f32]) -> Result<Affine, TensorError> {
        let mut affine = self.empty(shape)?;
        let n_groups = affine.scale.len();
        let indices: Vec<u32> = affine.scale_indices()?.map(|group| group as u32).collect();
        let mut groups: Vec<Vec<f32>> = vec![Vec::new(); n_groups];
        for (&value, &group) in values.iter().zip(&indices) {
            groups[group as usize].push(value);
        }
        let mut quantizers: Vec<Quantizer> = groups.par_iter().map(|group| self.quantizer(group)).collect();
        for (quantizer, &least) in quantizers.iter_mut().zip(min_scales) {
            quantizer.scale = quantizer.scale.max(least);
        }
        let codes =
            values.iter().zip(&indices).map(|(&value, &group)| quantizers[group as usize].code(value)).collect();
        affine.codes = self.codes.tensor(shape, codes)?;
        let parts_shape = affine.scale.shape().to_vec();
        affine.scale = Tensor::new(parts_shape.clone(), quantizers.iter().map(|q| q.scale).collect::<Vec<f32>>())?;
        if !self.is_symmetric() {
            let zero_points = quantizers.iter().map(|q| q.zero_point).collect();
            affine.zero_point = Some(self.codes.tensor(&parts_shape, zero_points)?);
        }
        Ok(affine)
    }

    fn is_symmetric(&self) -> bool {
        self.codes.min < 0
    }

    fn empty(&self, shape: &[usize]) -> Result<Affine, TensorError> {
        let length = |axis: usize| {
            let missing = || TensorError::Encoding { reason: format!("axis {axis} of a weight {shape:?}") };
            shape.get(axis).copied().ok_or_else(missing)
        };
        let (scale_shape, axis, block_size) = match self.sharing {
            Sharing::Tensor => (Vec::new(), 0, 0),
            Sharing::Channel(axis) => (vec![length(axis)?], axis, 0),
            Sharing::Group { axis, size } => {
                let mut scale_shape = shape.to_vec();
                scale_shape[axis] = length(axis)?.div_ceil(size.max(1));
                (scale_shape, axis, size.max(1))
            }
        };
        let codes = Tensor::zeros(self.codes.dtype, shape)?;
        let scale = Tensor::zeros(DType::F32, scale_shape)?;
        Ok(Affine { codes, scale, zero_point: None, axis, block_size })
    }

    fn quantizer(&self, values: &[f32]) -> Quantizer {
        let lo = values.iter().fold(0f32, |lo, &x| lo.min(x));
        let hi = values.iter().fold(0f32, |hi, &x| hi.max(x));
        let at = |share: f32| match self.is_symmetric() {
            true => Quantizer::symmetric(share * hi.max(-lo), self.codes),
            false => Quantizer::asymmetric(share * lo, share * hi, self.codes),
        };
        if !self.clips {
            return at(1.0);
        }
        /// From a fifth of the range to all of it.
        const SHARES: std::ops::RangeInclusive<u32> = 20..=100;
        let error = |quantizer: &Quantizer| -> f64 {
            values.iter().map(|&x| f64::from(x - quantizer.round_trip(x)).powi(2)).sum()
        };
        let mut best = (f64::INFINITY, at(1.0));
        for percent in SHARES.rev().step_by(2) {
            let quantizer = at(percent as f32 / 100.0);
            let own = error(&quantizer);
            if own < best.0 {
                best = (own, quantizer);
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use lissom_tensor::Weight;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codes_have_the_ranges_of_their_bits() {
        assert_eq!(Codes::signed(8), Codes { min: -127, max: 127, dtype: DType::I8 });
        assert_eq!(Codes::signed(4), Codes { min: -7, max: 7, dtype: DType::I4 });
        assert_eq!(Codes::signed(2), Codes { min: -1, max: 1, dtype: DType::I2 });
        assert_eq!(Codes::unsigned(8), Codes { min: 0, max: 255, dtype: DType::U8 });
        assert_eq!(Codes::signed(7), Codes { min: -63, max: 63, dtype: DType::I8 });
    }

    #[test]
    fn halves_round_to_even() {
        let quantizer = Quantizer { scale: 1.0, zero_point: 0, codes: Codes::signed(8) };
        let codes: Vec<i32> = [0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, -300.0].map(|x| quantizer.code(x)).into();
        assert_eq!(codes, [0, 2, 2, 0, -2, 126, 127, -127]);
    }

    #[test]
    fn the_golden_of_dynamic_quantization_comes_out() {
        // The example of DynamicQuantizeLinear in the ONNX specification.
        let quantizer = Quantizer::asymmetric(-2.5, 2.0, Codes::unsigned(8));
        assert!((quantizer.scale - 4.5 / 255.0).abs() < 1e-9);
        assert_eq!(quantizer.zero_point, 142);
        let codes: Vec<i32> = [0.0, 2.0, -3.0, -2.5, 1.34, 0.5].map(|x| quantizer.code(x)).into();
        assert_eq!(codes, [142, 255, 0, 0, 218, 170]);
    }

    #[test]
    fn a_tensor_of_zeros_and_a_constant_have_usable_scales() {
        assert_eq!(Quantizer::symmetric(0.0, Codes::signed(8)).scale, 1.0);
        assert_eq!(Quantizer::asymmetric(0.0, 0.0, Codes::unsigned(8)).scale, 1.0);
        let constant = Quantizer::asymmetric(3.0, 3.0, Codes::unsigned(8));
        assert_eq!((constant.zero_point, constant.round_trip(3.0)), (0, 3.0));
    }

    fn grid(bits: u8, sharing: Sharing) -> WeightGrid {
        WeightGrid { codes: Codes::signed(bits), sharing, clips: false }
    }

    #[test]
    fn each_channel_and_group_has_its_scale() {
        let values = [1.27f32, -0.5, 127.0, 2.54, 0.0, -12.7];
        let rows = grid(8, Sharing::Channel(0)).quantize(&[2, 3], &values, &[]).unwrap();
        assert_eq!(rows.scale.to_f32_vec().unwrap(), [1.0, 0.1]);
        let columns = grid(8, Sharing::Channel(1)).quantize(&[2, 3], &values, &[]).unwrap();
        assert_eq!(columns.scale.shape(), [3]);
        let groups = grid(8, Sharing::Group { axis: 1, size: 2 }).quantize(&[2, 3], &values, &[]).unwrap();
        assert_eq!(groups.scale.shape(), [2, 2]);
        assert_eq!(groups.scale.to_f32_vec().unwrap(), [0.01, 1.0, 0.02, 0.1]);
        let down = grid(8, Sharing::Group { axis: 0, size: 2 }).quantize(&[2, 3], &values, &[]).unwrap();
        assert_eq!(down.scale.shape(), [1, 3]);
    }

    #[test]
    fn a_lower_bound_widens_the_scale() {
        let affine = grid(8, Sharing::Channel(0)).quantize(&[2, 1], &[1.27, 1.27], &[0.5, 0.0]).unwrap();
        assert_eq!(affine.scale.to_f32_vec().unwrap(), [0.5, 0.01]);
        assert_eq!(affine.codes.to_i64_vec().unwrap(), [3, 127]);
    }

    #[test]
    fn cutting_an_outlier_off_lowers_the_error_at_4_bits() {
        let mut values: Vec<f32> = (0..1024).map(|i| ((i * 37) % 101) as f32 / 101.0 - 0.5).collect();
        values[0] = 2.0;
        let error = |clips: bool| -> f64 {
            let affine = WeightGrid { clips, ..grid(4, Sharing::Tensor) }.quantize(&[1024], &values, &[]).unwrap();
            let decoded = Weight::Affine(affine).decode().unwrap().to_f32_vec().unwrap();
            decoded.iter().zip(&values).map(|(a, b)| f64::from(a - b).powi(2)).sum()
        };
        assert!(error(true) < 0.6 * error(false), "{} {}", error(true), error(false));
    }

    proptest! {
        #[test]
        fn the_error_is_at_most_half_a_step_and_zero_is_exact(lo in -100f32..100.0, width in 0f32..50.0, at in 0f32..=1.0) {
            let hi = lo + width;
            let x = lo + at * width;
            for quantizer in [
                Quantizer::asymmetric(lo, hi, Codes::unsigned(8)),
                Quantizer::symmetric(lo.abs().max(hi.abs()), Codes::signed(8)),
                Quantizer::asymmetric(lo, hi, Codes::unsigned(4)),
                Quantizer::symmetric(lo.abs().max(hi.abs()), Codes::signed(4)),
            ] {
                let error = (x - quantizer.round_trip(x)).abs();
                prop_assert!(error <= 0.5 * quantizer.scale * (1.0 + 1e-4), "{error} {quantizer:?}");
                prop_assert_eq!(quantizer.round_trip(0.0), 0.0);
            }
        }

        #[test]
        fn weights_come_back_within_half_a_step(values in prop::collection::vec(-4f32..4.0, 24), bits in 2u8..=8) {
            for sharing in [Sharing::Tensor, Sharing::Channel(1), Sharing::Group { axis: 0, size: 2 }] {
                for codes in [Codes::signed(bits), Codes::unsigned(bits)] {
                    let grid = WeightGrid { codes, sharing, clips: false };
                    let affine = grid.quantize(&[4, 3, 2], &values, &[]).unwrap();
                    let scales = affine.scale.to_f32_vec().unwrap();
                    let groups: Vec<usize> = affine.scale_indices().unwrap().collect();
                    let decoded = Weight::Affine(affine).decode().unwrap().to_f32_vec().unwrap();
                    for ((a, b), group) in decoded.iter().zip(&values).zip(groups) {
                        prop_assert!((a - b).abs() <= 0.501 * scales[group], "{a} {b} {}", scales[group]);
                    }
                }
            }
        }
    }
}
