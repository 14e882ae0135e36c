//! `Cast`: the same values in another type. Floats are cut towards zero on their way to integers, integers wrap around.
//!
//! <https://onnx.ai/onnx/operators/onnx__Cast.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{
    Attribute, Fact, Facts, Inputs, KnownValue, NoGradient, NodeReader, Op, OpError, OpSpec, Sample, Vjp,
};
use lissom_tensor::{DType, Tensor};

use crate::convert::{Conversion, convert};
use crate::gradient::{Gradients, of_output};
use crate::small_float::PowerRounding;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Cast",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Cast { to: read_type(node, "to")?, conversion: read_conversion(node)? })),
    samples: || {
        vec![
            Sample::new([Tensor::vector(vec![-1.75f32, 0.0, 2.5])]).with("to", 7i64),
            Sample::new([Tensor::vector(vec![-1.75f32, 2.5])]).with("to", 11i64),
            Sample::new([Tensor::vector(vec![i64::MAX, -1])]).with("to", 1i64),
            Sample::new([Tensor::vector(vec![1i32, 300, -2])]).with("to", 2i64),
            Sample::new([Tensor::vector(vec![0.1f32, 500.0, f32::NAN])]).with("to", 17i64),
        ]
    },
};

/// `Cast`.
#[derive(Debug, Clone, Copy)]
pub struct Cast {
    /// The type of the output.
    pub to: DType,
    /// What happens to values the type does not have.
    pub(crate) conversion: Conversion,
}

/// The element type an attribute names, by ONNX's number or (opset 1) name.
///
/// # Errors
/// [`OpError::BadAttribute`].
pub(crate) fn read_type(node: &NodeReader<'_>, name: &'static str) -> Result<DType, OpError> {
    optional_type(node, name)?.ok_or_else(|| OpError::attribute(name, "is missing"))
}

/// Like [`read_type`], `None` if the attribute is left out.
///
/// # Errors
/// As [`read_type`].
pub(crate) fn optional_type(node: &NodeReader<'_>, name: &'static str) -> Result<Option<DType>, OpError> {
    let found = match node.get(name) {
        None => return Ok(None),
        Some(Attribute::Int(number)) => i32::try_from(*number).ok().and_then(DType::from_onnx),
        Some(Attribute::Str(text)) => by_name(text),
        Some(_) => None,
    };
    found.map(Some).ok_or_else(|| OpError::attribute(name, "is not an element type"))
}

fn by_name(text: &str) -> Option<DType> {
    Some(match text {
        "FLOAT" => DType::F32,
        "DOUBLE" => DType::F64,
        "FLOAT16" => DType::F16,
        "INT8" => DType::I8,
        "INT16" => DType::I16,
        "INT32" => DType::I32,
        "INT64" => DType::I64,
        "UINT8" => DType::U8,
        "UINT16" => DType::U16,
        "UINT32" => DType::U32,
        "UINT64" => DType::U64,
        "BOOL" => DType::Bool,
        "STRING" => DType::Str,
        _ => return None,
    })
}

/// The attributes `saturate` and `round_mode`.
///
/// # Errors
/// [`OpError::BadAttribute`].
pub(crate) fn read_conversion(node: &NodeReader<'_>) -> Result<Conversion, OpError> {
    let saturate = node.flag_or("saturate", true)?;
    let rounding = match node.string_or("round_mode", "up")?.as_str() {
        "up" => PowerRounding::Up,
        "down" => PowerRounding::Down,
        "nearest" => PowerRounding::Nearest,
        other => return Err(OpError::attribute("round_mode", format!("`{other}` is not up, down or nearest"))),
    };
    Ok(Conversion { saturate, rounding })
}

/// The fact of `input` in another type; lengths that are known symbolically stay known.
pub(crate) fn infer_cast(input: &Fact, to: DType) -> Fact {
    let value = match &input.value {
        Some(KnownValue::Dims(dims)) if matches!(to, DType::I32 | DType::I64) => Some(KnownValue::Dims(dims.clone())),
        _ => None,
    };
    Fact { dtype: Some(to), shape: input.shape.clone(), value }
}

impl Op for Cast {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_cast(inputs.get(0), self.to)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![convert(inputs.required(0)?, self.to, self.conversion)?])
    }

    /// None for what was no real.
    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let from = vjp.facts.dtype(0).ok_or(NoGradient)?;
        of_output(vjp, |_, dy| Ok(vec![from.is_float().then(|| dy.cast(from))]))
    }
}
