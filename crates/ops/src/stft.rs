//! `STFT`: Fourier transforms of overlapping pieces of a signal.
//!
//! <https://onnx.ai/onnx/operators/onnx__STFT.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::fourier::{Complex, transform};
use crate::numeric::{floats, from_f64};
use crate::sample_data::{positive, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "STFT",
    domain: "",
    since: 17,
    read: |node| Ok(Arc::new(Stft { is_onesided: node.flag_or("onesided", true)? })),
    samples: || {
        vec![
            Sample::new([ramp(&[2, 20, 1]), Tensor::scalar(3i64), positive(&[8])]),
            Sample {
                inputs: vec![Some(ramp(&[1, 12, 2])), Some(Tensor::scalar(4i64)), None, Some(Tensor::scalar(6i64))],
                n_outputs: 1,
                attributes: Vec::new(),
            }
            .with("onesided", 0i64),
        ]
    },
};

/// `STFT`: inputs signal `[n, length, 1 or 2]`, step, window, frame length; output `[n, frames, bins, 2]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stft {
    /// Only the first half of each spectrum is given.
    pub is_onesided: bool,
}

/// Step and length of the frames, and how many there are.
struct Frames {
    step: usize,
    length: usize,
    count: usize,
    bins: usize,
}

impl Stft {
    fn frames(&self, signal: usize, step: i64, length: i64) -> Result<Frames, OpError> {
        let positive = |value: i64| usize::try_from(value).ok().filter(|&value| value > 0);
        let (Some(step), Some(length)) = (positive(step), positive(length)) else {
            return Err(OpError::value(format!("frames of {length} every {step}")));
        };
        let count = signal.checked_sub(length).map_or(0, |room| room / step + 1);
        Ok(Frames { step, length, count, bins: if self.is_onesided { length / 2 + 1 } else { length } })
    }
}

impl Op for Stft {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let first = |index: usize| inputs.get(index).i64s().and_then(|values| values.first().copied());
        let window = inputs.optional(2).and_then(|window| window.shape.as_ref()?.first()?.known());
        let length = first(3).or(window.map(|length| length as i64));
        let (Some(x), Some(step), Some(length)) = (inputs.shape(0), first(1), length) else {
            return Ok(vec![Fact::maybe(inputs.dtype(0), None)]);
        };
        let [batch, signal, ..] = x else {
            return Err(OpError::value(format!("expected a signal of at least 2 axes, found {}", x.len())));
        };
        let frames = self.frames(signal.known().unwrap_or(0), step, length)?;
        let count = match signal.known() {
            Some(_) => frames.count.into(),
            None => {
                let room = signal.sub(&frames.length.into()).div(&frames.step.into());
                room.map_or_else(|| Dim::symbol("frames"), |room| room.add(&Dim::Known(1)))
            }
        };
        let shape = vec![batch.clone(), count, frames.bins.into(), Dim::Known(2)];
        Ok(vec![Fact::maybe(inputs.dtype(0), Some(shape))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, step, window) = (inputs.required(0)?, inputs.required(1)?.to_i64()?, inputs.optional(2));
        let (batch, signal, parts) = match *x.shape() {
            [batch, signal] => (batch, signal, 1),
            [batch, signal, parts @ 1..=2] => (batch, signal, parts),
            _ => return Err(OpError::shape(0, x.shape(), "expected [n, length, 1 or 2]")),
        };
        let length = match (inputs.optional(3), window) {
            (Some(length), _) => length.to_i64()?,
            (None, Some(window)) => window.len() as i64,
            (None, None) => return Err(OpError::MissingInput { index: 3 }),
        };
        let frames = self.frames(signal, step, length)?;
        let weights = match window {
            Some(window) if window.len() == frames.length => floats(2, window)?,
            Some(window) => {
                return Err(OpError::shape(2, window.shape(), format!("expected a window of {length}")));
            }
            None => vec![1.0; checked_len(DType::F64, &[frames.length])?],
        };
        let shape = vec![batch, frames.count, frames.bins, 2];
        let mut out = Vec::with_capacity(checked_len(DType::F64, &shape)?);
        let values = floats(0, x)?;
        for item in 0..if frames.count == 0 { 0 } else { batch } {
            for frame in 0..frames.count {
                let read = |(i, weight): (usize, &f64)| -> Complex {
                    let at = (item * signal + frame * frames.step + i) * parts;
                    (values[at] * weight, if parts == 2 { values[at + 1] * weight } else { 0.0 })
                };
                let piece: Vec<Complex> = weights.iter().enumerate().map(read).collect();
                out.extend(transform(&piece, false).into_iter().take(frames.bins).flat_map(|(re, im)| [re, im]));
            }
        }
        Ok(vec![from_f64(x.dtype(), shape, out)?])
    }
}
