//! `MelWeightMatrix`: triangles that sum the bins of a spectrum into bands of the mel scale.
//!
//! <https://onnx.ai/onnx/operators/onnx__MelWeightMatrix.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::numeric::from_f64;
use crate::quantize_linear::read_dtype;

pub(crate) const OP: OpSpec = OpSpec {
    name: "MelWeightMatrix",
    domain: "",
    since: 17,
    read: |node| Ok(Arc::new(MelWeightMatrix { dtype: read_dtype(node, "output_datatype")?.unwrap_or(DType::F32) })),
    samples: || {
        let sample = |bands: i64, upper: f32| {
            Sample::new([
                Tensor::scalar(bands),
                Tensor::scalar(16i64),
                Tensor::scalar(8192i64),
                Tensor::scalar(0f32),
                Tensor::scalar(upper),
            ])
        };
        vec![sample(8, 4096.0), sample(3, 100.0), sample(0, 4096.0), sample(4, 1e9)]
    },
};

/// `MelWeightMatrix`: inputs bands, length of the transform, sample rate, lowest and highest frequency in hertz; output
/// `[length / 2 + 1, bands]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MelWeightMatrix {
    /// Type of the output.
    pub dtype: DType,
}

impl Op for MelWeightMatrix {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let length = |index: usize| inputs.get(index).as_dims().and_then(|dims| dims.into_iter().next());
        let bins = length(1).and_then(|length| length.div(&Dim::Known(2))).map(|half| half.add(&Dim::Known(1)));
        let shape = vec![
            bins.unwrap_or_else(|| Dim::symbol("spectrogram_bins")),
            length(0).unwrap_or_else(|| Dim::symbol("mel_bins")),
        ];
        Ok(vec![Fact::new(self.dtype, shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let whole = |index: usize| -> Result<usize, OpError> {
            let value = inputs.required(index)?.to_i64()?;
            usize::try_from(value).map_err(|_| OpError::value(format!("input {index} is {value}")))
        };
        let (bands, length, rate) = (whole(0)?, whole(1)?, whole(2)?);
        let (low, high) = (mel(inputs.required(3)?.to_f64()?), mel(inputs.required(4)?.to_f64()?));
        let bins = length / 2 + 1;
        let mut out = vec![0.0; checked_len(DType::F64, &[bins, bands])?];
        let step = (high - low) / (bands as f64 + 2.0);
        let bin = |edge: usize| {
            let hertz = 700.0 * (10f64.powf((low + edge as f64 * step) / 2595.0) - 1.0);
            ((length as f64 + 1.0) * hertz / rate as f64).floor().max(0.0)
        };
        for band in 0..bands {
            let [left, centre, right] = [bin(band), bin(band + 1), bin(band + 2)];
            for row in 0..bins {
                let at = row as f64;
                let value = if left == centre && at == centre {
                    1.0
                } else if at >= left && at <= centre && left < centre {
                    (at - left) / (centre - left)
                } else if at >= centre && at < right {
                    (right - at) / (right - centre)
                } else {
                    continue;
                };
                // Without a right side the centre keeps what the left side gives it, as in the formula.
                out[row * bands + band] = if at == centre && right > centre { 1.0 } else { value };
            }
        }
        Ok(vec![from_f64(self.dtype, vec![bins, bands], out)?])
    }
}

/// A frequency in hertz on the mel scale.
fn mel(hertz: f64) -> f64 {
    2595.0 * (1.0 + hertz / 700.0).log10()
}
