//! `Constant`: a tensor the node itself holds.
//!
//! <https://onnx.ai/onnx/operators/onnx__Constant.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Attribute, Fact, Facts, Inputs, NodeReader, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Constant",
    domain: "",
    since: 1,
    read: |node| Ok(Arc::new(Constant { value: read_value(node)? })),
    samples: || {
        vec![
            Sample::new([]).with("value", Tensor::vector(vec![1.5f32, -2.0])),
            Sample::new([]).with("value_ints", vec![1i64, 2, 3]),
            Sample::new([]).with("value_float", 0.5f32),
            Sample::new([]).with("value_strings", vec!["a".to_owned(), String::new()]),
        ]
    },
};

/// `Constant`.
#[derive(Debug, Clone)]
pub struct Constant {
    /// What it gives.
    pub value: Tensor,
}

fn read_value(node: &NodeReader<'_>) -> Result<Tensor, OpError> {
    const NAMES: [&str; 8] = [
        "value",
        "sparse_value",
        "value_int",
        "value_ints",
        "value_float",
        "value_floats",
        "value_string",
        "value_strings",
    ];
    let mut given = NAMES.into_iter().filter_map(|name| Some((name, node.get(name)?)));
    let Some((name, attribute)) = given.next() else { return Err(OpError::attribute("value", "is missing")) };
    if let Some((other, _)) = given.next() {
        return Err(OpError::attribute(other, format!("is given together with `{name}`")));
    }
    Ok(match attribute {
        Attribute::Tensor(tensor) => tensor.clone(),
        Attribute::Int(value) => Tensor::scalar(*value),
        Attribute::Ints(values) => Tensor::vector(values.clone()),
        Attribute::Float(value) => Tensor::scalar(*value),
        Attribute::Floats(values) => Tensor::vector(values.clone()),
        Attribute::Str(value) => Tensor::scalar(value.clone()),
        Attribute::Strs(values) => Tensor::vector(values.clone()),
        _ => return Err(OpError::attribute(name, "is not a tensor, number, text or list of them")),
    })
}

impl Op for Constant {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, _inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::constant(&self.value)])
    }

    fn evaluate(&self, _inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![self.value.clone()])
    }
}
