//! `FusedConv`: convolution, a summand, an activation.

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NodeReader, Op, OpError, OpSpec, Sample, WeightAxes};
use lissom_tensor::Tensor;

use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::ramp;
use crate::{Conv, GateActivation};

pub(crate) const OP: OpSpec = OpSpec {
    name: "FusedConv",
    domain: "com.microsoft",
    since: 1,
    read: |node| Ok(Arc::new(FusedConv { conv: Conv::read(node)?, activation: read_activation(node)? })),
    samples: || {
        let inputs = || [ramp(&[1, 2, 4, 4]), ramp(&[3, 2, 2, 2]), ramp(&[3])];
        vec![
            Sample::new(inputs()).with("activation", "Relu"),
            Sample::new(inputs().into_iter().chain([ramp(&[1, 3, 3, 3])]))
                .with("activation", "Clip")
                .with("activation_params", vec![-1f32, 6.0]),
        ]
    },
};

/// What is applied to the result.
#[derive(Debug, Clone, Copy)]
enum Activation {
    None,
    Clip { low: f32, high: f32 },
    Function(GateActivation),
}

fn read_activation(node: &NodeReader<'_>) -> Result<Activation, OpError> {
    let parameters = node.floats("activation_params")?.unwrap_or_default();
    let parameter = |index: usize, default: f32| parameters.get(index).copied().unwrap_or(default);
    Ok(match node.string_or("activation", "")?.as_str() {
        "" => Activation::None,
        "Clip" => Activation::Clip { low: parameter(0, f32::MIN), high: parameter(1, f32::MAX) },
        "Relu" => Activation::Function(GateActivation::Relu),
        "Tanh" => Activation::Function(GateActivation::Tanh),
        "Sigmoid" => Activation::Function(GateActivation::Sigmoid),
        "LeakyRelu" => Activation::Function(GateActivation::LeakyRelu { alpha: parameter(0, 0.01) }),
        "HardSigmoid" => {
            Activation::Function(GateActivation::HardSigmoid { alpha: parameter(0, 0.2), beta: parameter(1, 0.5) })
        }
        other => return Err(OpError::attribute("activation", format!("unknown function `{other}`"))),
    })
}

/// `FusedConv`: inputs x, weight, bias, summand.
#[derive(Debug, Clone)]
struct FusedConv {
    conv: Conv,
    activation: Activation,
}

impl Op for FusedConv {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        self.conv.infer(inputs)
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, weight, bias) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(2));
        let bias_values = bias.map(|bias| floats(2, bias)).transpose()?;
        let (shape, mut values) =
            self.conv.convolve(x, &floats(0, x)?, weight, &floats(1, weight)?, bias, bias_values.as_deref())?;
        if let Some(summand) = inputs.optional(3) {
            expect_shape(3, summand, &shape)?;
            values.iter_mut().zip(floats(3, summand)?).for_each(|(x, summand)| *x += summand);
        }
        match self.activation {
            Activation::None => {}
            Activation::Clip { low, high } => values.iter_mut().for_each(|x| *x = x.max(low.into()).min(high.into())),
            Activation::Function(f) => values.iter_mut().for_each(|x| *x = f.apply(*x)),
        }
        Ok(vec![from_f64(x.dtype(), shape, values)?])
    }

    fn weight_axes(&self, inputs: &Facts<'_>) -> Option<WeightAxes> {
        self.conv.weight_axes(inputs)
    }

    fn macs(&self, inputs: &[Option<Vec<usize>>], outputs: &[Vec<usize>]) -> u64 {
        self.conv.macs(inputs, outputs)
    }
}
