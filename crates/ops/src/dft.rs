//! `DFT`: discrete Fourier transform along an axis, and its inverse.
//!
//! <https://onnx.ai/onnx/operators/onnx__DFT.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::axes::{axis, split_at};
use crate::fourier::{Complex, transform};
use crate::numeric::{floats, from_f64};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "DFT",
    domain: "",
    since: 17,
    read: |node| {
        let has_axis_input = node.opset() >= 20;
        Ok(Arc::new(Dft {
            axis: if has_axis_input { -2 } else { node.int_or("axis", 1)? },
            is_inverse: node.flag_or("inverse", false)?,
            is_onesided: node.flag_or("onesided", false)?,
        }))
    },
    samples: || {
        let axis = || Tensor::scalar(1i64);
        let with_axis =
            |x: Tensor| Sample { inputs: vec![Some(x), None, Some(axis())], n_outputs: 1, attributes: Vec::new() };
        vec![
            with_axis(ramp(&[1, 6, 2, 1])),
            with_axis(ramp(&[2, 5, 2])).with("inverse", 1i64),
            Sample::new([ramp(&[2, 5, 1]), Tensor::scalar(8i64)]).with("onesided", 1i64),
            Sample::new([ramp(&[2, 4, 2])]).with("onesided", 1i64).with("inverse", 1i64),
        ]
    },
};

/// `DFT`: inputs `[…, 1]` (real) or `[…, 2]`, length of the transform, axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dft {
    /// The axis unless input 2 says it; may be negative.
    pub axis: i64,
    /// The inverse.
    pub is_inverse: bool,
    /// Only the half of the spectrum that determines a real signal is given, or taken by the inverse.
    pub is_onesided: bool,
}

impl Dft {
    fn length(&self, given: Option<i64>, signal: usize) -> Result<usize, OpError> {
        let default = if self.is_inverse && self.is_onesided { 2 * signal.saturating_sub(1) } else { signal };
        let length = given.map_or(Some(default), |given| usize::try_from(given).ok());
        length.ok_or_else(|| OpError::value(format!("a transform of length {given:?}")))
    }

    /// Lengths of the transformed axis and of the last axis.
    fn out_lengths(&self, length: usize) -> (usize, usize) {
        match (self.is_onesided, self.is_inverse) {
            (true, false) => (length / 2 + 1, 2),
            (true, true) => (length, 1),
            (false, _) => (length, 2),
        }
    }

    /// The transform of one signal.
    fn run(&self, signal: &[Complex], length: usize) -> Vec<Complex> {
        let mut signal: Vec<Complex> = signal.iter().copied().take(length).collect();
        if self.is_inverse && self.is_onesided {
            signal.truncate(length / 2 + 1);
            signal.resize(length, (0.0, 0.0));
            for k in length / 2 + 1..length {
                let (real, imaginary) = signal[length - k];
                signal[k] = (real, -imaginary);
            }
        }
        signal.resize(length, (0.0, 0.0));
        let mut out = transform(&signal, self.is_inverse);
        if self.is_inverse {
            out.iter_mut().for_each(|x| *x = (x.0 / length as f64, x.1 / length as f64));
        }
        out
    }
}

impl Op for Dft {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let unknown = Ok(vec![Fact::maybe(inputs.dtype(0), None)]);
        let Some(x) = inputs.shape(0) else { return unknown };
        let Some(given_axis) = (match inputs.optional(2) {
            Some(fact) => fact.i64s().and_then(|values| values.first().copied()),
            None => Some(self.axis),
        }) else {
            return unknown;
        };
        let at = axis(given_axis, x.len())?;
        let length = match inputs.optional(1) {
            Some(fact) => fact.i64s().and_then(|values| values.first().copied()).map(Some),
            None => Some(None),
        };
        let (Some(length), Some(signal)) = (length, x[at].known().or(inputs.optional(1).map(|_| 0))) else {
            return unknown;
        };
        let (out, parts) = self.out_lengths(self.length(length, signal)?);
        let mut shape = x.to_vec();
        shape[at] = out.into();
        if let Some(last) = shape.last_mut() {
            *last = Dim::from(parts);
        }
        Ok(vec![Fact::maybe(inputs.dtype(0), Some(shape))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let given_axis = inputs.optional(2).map_or(Ok(self.axis), Tensor::to_i64)?;
        let at = axis(given_axis, x.rank())?;
        let (parts, signal_shape) = match x.shape() {
            [shape @ .., parts] if (1..3).contains(parts) && at < shape.len() => (*parts, shape),
            _ => {
                return Err(OpError::shape(
                    0,
                    x.shape(),
                    "expected a last axis of length 1 or 2 that is not transformed",
                ));
            }
        };
        let length = self.length(inputs.optional(1).map(Tensor::to_i64).transpose()?, signal_shape[at])?;
        let (out_length, out_parts) = self.out_lengths(length);
        let mut shape = signal_shape.to_vec();
        shape[at] = out_length;
        shape.push(out_parts);
        let mut out = vec![0.0; checked_len(DType::F64, &shape)?];
        checked_len(DType::C128, &[length])?;
        let values = floats(0, x)?;
        if out.is_empty() || values.is_empty() {
            return Ok(vec![from_f64(x.dtype(), shape, out)?]);
        }
        let (outer, n, inner) = split_at(signal_shape, at);
        for block in 0..outer {
            for lane in 0..inner {
                let read = |i: usize| {
                    let first = ((block * n + i) * inner + lane) * parts;
                    (values[first], if parts == 2 { values[first + 1] } else { 0.0 })
                };
                let signal: Vec<Complex> = (0..n).map(read).collect();
                for (k, bin) in self.run(&signal, length).into_iter().take(out_length).enumerate() {
                    let first = ((block * out_length + k) * inner + lane) * out_parts;
                    out[first] = bin.0;
                    if out_parts == 2 {
                        out[first + 1] = bin.1;
                    }
                }
            }
        }
        Ok(vec![from_f64(x.dtype(), shape, out)?])
    }
}
