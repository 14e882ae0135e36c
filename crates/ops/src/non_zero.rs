//! `NonZero`: the positions of all elements that are not zero, one column each.
//!
//! <https://onnx.ai/onnx/operators/onnx__NonZero.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Storage, Tensor, strides};

pub(crate) const OP: OpSpec = OpSpec {
    name: "NonZero",
    domain: "",
    since: 9,
    read: |_| Ok(Arc::new(NonZero)),
    samples: || {
        let x = Tensor::new([2, 2], vec![1f32, 0.0, -0.0, 4.0]);
        vec![
            Sample::new(x),
            Sample::new([Tensor::vector(vec![false, true])]),
            Sample::new([Tensor::vector(vec![0i32])]),
        ]
    },
};

/// `NonZero`.
#[derive(Debug, Clone, Copy)]
pub struct NonZero;

impl Op for NonZero {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        match inputs.get(0).tensor().filter(|tensor| tensor.len() <= 4096) {
            Some(tensor) => Ok(vec![Fact::constant(&positions(tensor)?)]),
            None => Ok(vec![Fact::maybe(Some(DType::I64), None)]),
        }
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![positions(inputs.required(0)?)?])
    }
}

fn positions(x: &Tensor) -> Result<Tensor, OpError> {
    let flat: Vec<usize> = match x.storage() {
        Storage::Str(values) => found(values.iter().map(|text| !text.is_empty())),
        _ if x.dtype().is_float() => found(x.to_f64_vec()?.into_iter().map(|value| value != 0.0)),
        _ => found(x.to_i64_vec()?.into_iter().map(|value| value != 0)),
    };
    let columns = x.shape().iter().zip(strides(x.shape()));
    let rows: Vec<i64> =
        columns.flat_map(|(&length, step)| flat.iter().map(move |at| (at / step % length) as i64)).collect();
    Ok(Tensor::new([x.rank(), flat.len()], rows)?)
}

fn found(flags: impl Iterator<Item = bool>) -> Vec<usize> {
    flags.enumerate().filter_map(|(at, flag)| flag.then_some(at)).collect()
}
