//! `Dropout`: the identity, unless training mode is asked for.
//!
//! <https://onnx.ai/onnx/operators/onnx__Dropout.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{DType, Tensor};

use crate::elementwise::infer_same;
use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, optional_x, y};
use crate::numeric::{floats, from_f64};
use crate::sample_data::ramp;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Dropout",
    domain: "",
    since: 1,
    read: |node| {
        // Until opset 11 only what it does in inference is defined; the ratio has no effect there.
        node.ignore(&["consumed_inputs", "is_test"]);
        if node.opset() < 12 {
            node.ignore(&["ratio"]);
        }
        Ok(Arc::new(Dropout {
            seed: node.int_or("seed", 0)?,
            has_training_mode: node.opset() >= 12 && node.has_input(2),
            bool_mask: node.opset() >= 10,
        }))
    },
    samples: || {
        let training = |ratio: f32| Sample::new([ramp(&[3, 4]), Tensor::scalar(ratio), Tensor::scalar(true)]);
        vec![
            Sample::new([ramp(&[2, 3])]).outputs(2),
            training(0.5).with("seed", 7i64).outputs(2),
            training(0.0).outputs(2),
        ]
    },
};

/// `Dropout`: inputs data, ratio, training mode; outputs data and which elements were kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropout {
    /// Which elements are dropped in training mode follows from this and their positions alone.
    pub seed: i64,
    /// Training mode may be asked for.
    pub has_training_mode: bool,
    /// The mask is boolean; until opset 9 it has the type of the data.
    pub bool_mask: bool,
}

impl Op for Dropout {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let data = infer_same(inputs);
        let mask = if self.bool_mask { Some(DType::Bool) } else { data.dtype };
        let mask = Fact::maybe(mask, data.shape.clone());
        Ok(vec![data, mask])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let training = match inputs.optional(2) {
            Some(mode) if self.has_training_mode => mode.to_i64()? != 0,
            _ => false,
        };
        if !training {
            let mask = if self.bool_mask { Tensor::scalar(true) } else { from_f64(x.dtype(), vec![], vec![1.0])? };
            return Ok(vec![x.clone(), mask.fill(x.shape())?]);
        }
        let ratio = inputs.optional(1).map_or(Ok(0.5), Tensor::to_f64)?;
        if !(0.0..1.0).contains(&ratio) {
            return Err(OpError::value(format!("ratio {ratio} is not in [0, 1)")));
        }
        let kept: Vec<bool> = (0..x.len()).map(|i| uniform(self.seed as u64, i as u64) >= ratio).collect();
        let scale = 1.0 / (1.0 - ratio);
        let values = floats(0, x)?.iter().zip(&kept).map(|(x, &kept)| if kept { x * scale } else { 0.0 }).collect();
        Ok(vec![from_f64(x.dtype(), x.shape().to_vec(), values)?, Tensor::new(x.shape(), kept)?])
    }

    fn saved_outputs(&self) -> usize {
        if self.has_training_mode { 2 } else { 0 }
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        of_output(vjp, |vjp, dy| {
            if !self.has_training_mode {
                return Ok(vec![Some(dy)]);
            }
            let inputs = vec![Some(dy), Some(y(vjp, 1)?), optional_x(vjp, 1), optional_x(vjp, 2)];
            Ok(vec![Some(Expr::optional("com.microsoft", "DropoutGrad", inputs))])
        })
    }

    fn is_deterministic(&self) -> bool {
        !self.has_training_mode
    }
}

/// A number in 0..1 from a seed and a position: SplitMix64 (Steele, Lea and Flood 2014), top 53 bits.
fn uniform(seed: u64, position: u64) -> f64 {
    let mut z = seed.wrapping_add((position.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}
