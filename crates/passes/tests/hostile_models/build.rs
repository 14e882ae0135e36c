//! Models in a few lines.

use lissom_onnx::messages::tensor_shape_proto::{Dimension, dimension};
use lissom_onnx::messages::type_proto;
use lissom_onnx::{
    AttributeProto, AttributeType, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
};
use lissom_tensor::Tensor;

pub fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    NodeProto { op_type: text(op), input: owned(inputs), output: owned(outputs), ..NodeProto::default() }
}

pub fn with(mut node: NodeProto, attribute: AttributeProto) -> NodeProto {
    node.attribute.push(attribute);
    node
}

pub fn subgraph(name: &str, graph: GraphProto) -> AttributeProto {
    let kind = Some(AttributeType::Graph as i32);
    AttributeProto { name: text(name), g: Some(Box::new(graph)), r#type: kind, ..AttributeProto::default() }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    let kind = Some(AttributeType::Int as i32);
    AttributeProto { name: text(name), i: Some(value), r#type: kind, ..AttributeProto::default() }
}

/// A value of f32 (type 1), i64 (7) or bool (9); a negative length stands for the symbol `N`.
pub fn value(name: &str, elem_type: i32, shape: &[i64]) -> ValueInfoProto {
    let dim = |&length: &i64| Dimension {
        value: Some(match length {
            0.. => dimension::Value::DimValue(length),
            _ => dimension::Value::DimParam("N".to_owned()),
        }),
        ..Dimension::default()
    };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(elem_type), shape: Some(shape) };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: text(name), r#type: Some(kind), ..ValueInfoProto::default() }
}

/// A graph with input `x: f32[N,2]`, and the outputs named.
pub fn graph(nodes: Vec<NodeProto>, outputs: &[&str]) -> GraphProto {
    GraphProto {
        name: text("g"),
        node: nodes,
        input: vec![value("x", 1, &[-1, 2])],
        output: outputs.iter().map(|name| ValueInfoProto { name: text(name), ..ValueInfoProto::default() }).collect(),
        ..GraphProto::default()
    }
}

/// A subgraph without inputs.
pub fn branch(nodes: Vec<NodeProto>, outputs: &[&str]) -> GraphProto {
    GraphProto { input: Vec::new(), ..graph(nodes, outputs) }
}

pub fn constant(graph: &mut GraphProto, name: &str, tensor: &Tensor) {
    graph.initializer.push(lissom_onnx::tensor_to_proto(name, tensor));
}

pub fn model(graph: GraphProto) -> ModelProto {
    let import = |domain: &str, version| OperatorSetIdProto { domain: text(domain), version: Some(version) };
    ModelProto {
        ir_version: Some(10),
        opset_import: vec![import("", 21), import("local", 1)],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// A function of domain `local` from `a` to `b`.
pub fn function(name: &str, nodes: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: text(name),
        domain: text("local"),
        input: vec!["a".to_owned()],
        output: vec!["b".to_owned()],
        node: nodes,
        ..FunctionProto::default()
    }
}

pub fn call(name: &str, input: &str, output: &str) -> NodeProto {
    NodeProto { domain: text("local"), ..node(name, &[input], &[output]) }
}
