//! A graph to ONNX structs.

use std::collections::{HashMap, HashSet};

use lissom_onnx::messages::tensor_shape_proto::{Dimension, dimension};
use lissom_onnx::messages::type_proto;
use lissom_onnx::{
    AttributeProto, AttributeType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto,
    ValueInfoProto,
};
use lissom_tensor::{Affine, DType, Tensor, Weight};

use crate::graph::unique;
use crate::model::OPSETS;
use crate::{Attribute, Dim, Fact, Graph, Model, Node, ValueId};

/// Why a graph cannot be said in ONNX.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum WriteError {
    #[error("weight `{name}` ({encoding}) needs opset {needed}, the model is written in {opset}")]
    EncodingNeedsOpset { name: String, encoding: String, needed: u32, opset: u32 },
    #[error("node `{node}` is written in opset {actual} of domain `{domain}`, the model in {expected}")]
    MixedOpsets { node: String, domain: String, expected: u32, actual: u32 },
    #[error("{dtype} exists since IR version {needed}; lissom writes at most {newest}")]
    TypeNeedsIr { dtype: DType, needed: i64, newest: i64 },
}

/// IR versions by the opset they came with: a file that claims less than its opset needs is refused by checkers.
const IR_VERSIONS: [(u32, i64); 9] =
    [(8, 3), (9, 4), (10, 5), (11, 6), (14, 7), (18, 8), (20, 9), (22, 10), (*OPSETS.end(), 12)];

pub(crate) fn write(model: &Model) -> Result<ModelProto, WriteError> {
    let opset = model.opset();
    let writer = Writer { model };
    let graph = writer.graph(&model.graph, &Names::of(&model.graph, &[]))?;
    let oldest_ir = IR_VERSIONS.iter().find(|(newest, _)| opset <= *newest).map_or(12, |(_, ir)| *ir);
    // Since IR 4 an initializer need not be an input too, and none of ours is.
    let ir_version = model.header.ir_version.unwrap_or(0).max(oldest_ir).max(4);
    let opset_import = model
        .opsets
        .iter()
        .map(|(domain, &version)| OperatorSetIdProto { domain: Some(domain.clone()), version: Some(version.into()) })
        .collect();
    Ok(ModelProto { ir_version: Some(ir_version), opset_import, graph: Some(graph), ..model.header.clone() })
}

struct Writer<'a> {
    model: &'a Model,
}

impl Writer<'_> {
    fn graph(&self, graph: &Graph, names: &Names) -> Result<GraphProto, WriteError> {
        let mut proto = graph.declared.as_deref().cloned().unwrap_or_default();
        proto.name = Some(if graph.name.is_empty() { "graph".to_owned() } else { graph.name.clone() });
        for (id, weight) in graph.constants() {
            let name = names.of_value(id);
            match weight {
                Weight::Dense(tensor) => proto.initializer.push(lissom_onnx::tensor_to_proto(name, tensor)),
                Weight::Affine(affine) => self.affine(name, affine, &mut proto)?,
            }
        }
        for node in graph.nodes() {
            proto.node.push(self.node(node, names)?);
        }
        proto.input = graph.inputs().iter().map(|&id| declaration(graph, id, names)).collect();
        proto.output = graph.outputs().iter().map(|&id| declaration(graph, id, names)).collect();
        Ok(proto)
    }

    /// Codes, scale and zero point as initializers, and the `DequantizeLinear` that reads them.
    fn affine(&self, name: &str, affine: &Affine, proto: &mut GraphProto) -> Result<(), WriteError> {
        let dtype = affine.codes.dtype();
        let needed = match (dtype, affine.block_size, affine.scale.rank()) {
            (DType::I2 | DType::U2, ..) => 25,
            (DType::I4 | DType::U4 | DType::I16 | DType::U16, ..) => 21,
            (_, 1.., _) => 21,
            (.., 0) => 10,
            _ => 13,
        };
        let opset = self.model.opset();
        if opset < needed {
            let encoding = Weight::Affine(affine.clone()).describe();
            return Err(WriteError::EncodingNeedsOpset { name: name.to_owned(), encoding, needed, opset });
        }
        let mut inputs = Vec::new();
        let mut add = |suffix: &str, tensor: &Tensor| {
            let part = format!("{name}_{suffix}");
            proto.initializer.push(lissom_onnx::tensor_to_proto(&part, tensor));
            inputs.push(part);
        };
        add("quantized", &affine.codes);
        add("scale", &affine.scale);
        if let Some(zero_point) = &affine.zero_point {
            add("zero_point", zero_point);
        }
        let mut attribute = Vec::new();
        if affine.scale.rank() > 0 {
            attribute.push(int_attribute("axis", affine.axis as i64));
        }
        if affine.block_size > 0 {
            attribute.push(int_attribute("block_size", affine.block_size as i64));
        }
        proto.node.push(NodeProto {
            name: Some(format!("{name}_dequantize")),
            op_type: Some("DequantizeLinear".to_owned()),
            input: inputs,
            output: vec![name.to_owned()],
            attribute,
            ..NodeProto::default()
        });
        Ok(())
    }

    fn node(&self, node: &Node, names: &Names) -> Result<NodeProto, WriteError> {
        if let Some(&expected) = self.model.opsets.get(&node.domain)
            && expected != node.opset
        {
            let (node, domain, actual) = (node.name.clone(), node.domain.clone(), node.opset);
            return Err(WriteError::MixedOpsets { node, domain, expected, actual });
        }
        let named = |ids: &[Option<ValueId>]| {
            ids.iter().map(|id| id.map_or(String::new(), |id| names.of_value(id).to_owned())).collect()
        };
        // A subgraph says the names that captured values have here.
        let mut captures = node.captures.iter().map(|&id| names.of_value(id).to_owned());
        let mut attribute = Vec::new();
        for (name, value) in node.attributes.iter() {
            attribute.push(match value {
                Attribute::Graph(graph) => {
                    let outer: Vec<String> = captures.by_ref().take(graph.captures().len()).collect();
                    let proto = self.graph(graph, &Names::of(graph, &outer))?;
                    AttributeProto {
                        name: Some(name.to_owned()),
                        r#type: Some(AttributeType::Graph as i32),
                        g: Some(Box::new(proto)),
                        ..AttributeProto::default()
                    }
                }
                other => plain_attribute(name, other),
            });
        }
        Ok(NodeProto {
            name: Some(node.name.clone()),
            op_type: Some(node.op_type.clone()),
            domain: (!node.domain.is_empty()).then(|| node.domain.clone()),
            input: named(&node.inputs),
            output: named(&node.outputs),
            attribute,
            ..node.declared.as_deref().cloned().unwrap_or_default()
        })
    }
}

/// The names of a graph's values in the file: captured values have those of the surrounding graph, and what would shadow
/// one of these gets another.
struct Names(Vec<String>);

impl Names {
    /// `captured` are the surrounding graph's names, in the order of the captures.
    fn of(graph: &Graph, captured: &[String]) -> Self {
        let mut names: Vec<String> = graph.values().iter().map(|value| value.name.clone()).collect();
        let own: HashMap<ValueId, &String> =
            graph.captures().iter().zip(captured).map(|((_, id), name)| (*id, name)).collect();
        let captured: HashSet<&String> = captured.iter().collect();
        for (index, name) in names.iter_mut().enumerate() {
            match own.get(&ValueId(index as u32)) {
                Some(outer) => (*outer).clone_into(name),
                None if captured.contains(&*name) => *name = unique(name, |taken| graph.find_value(taken).is_some()),
                None => {}
            }
        }
        Self(names)
    }

    fn of_value(&self, id: ValueId) -> &str {
        &self.0[id.index()]
    }
}

/// An attribute that holds no subgraph of the model.
fn plain_attribute(name: &str, value: &Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let kind = match value {
        Attribute::Int(value) => return int_attribute(name, *value),
        Attribute::Float(value) => {
            proto.f = Some(*value);
            AttributeType::Float
        }
        Attribute::Str(value) => {
            proto.s = Some(value.clone().into());
            AttributeType::String
        }
        Attribute::Tensor(value) => {
            proto.t = Some(Box::new(lissom_onnx::tensor_to_proto("", value)));
            AttributeType::Tensor
        }
        // Subgraphs are written by the caller, which knows their names.
        Attribute::Graph(_) => AttributeType::Undefined,
        Attribute::Ints(values) => {
            proto.ints = values.clone();
            AttributeType::Ints
        }
        Attribute::Floats(values) => {
            proto.floats = values.clone();
            AttributeType::Floats
        }
        Attribute::Strs(values) => {
            proto.strings = values.iter().map(|value| value.clone().into()).collect();
            AttributeType::Strings
        }
        Attribute::Tensors(values) => {
            proto.tensors = values.iter().map(|value| lissom_onnx::tensor_to_proto("", value)).collect();
            AttributeType::Tensors
        }
        Attribute::Raw(raw) => return (**raw).clone(),
    };
    proto.r#type = Some(kind as i32);
    proto
}

fn int_attribute(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..AttributeProto::default()
    }
}

/// What the file declared, with the type and shape now known.
fn declaration(graph: &Graph, id: ValueId, names: &Names) -> ValueInfoProto {
    let value = graph.value(id);
    let declared = value.declared.as_deref().cloned();
    let r#type = match &declared {
        Some(ValueInfoProto { r#type: Some(declared), .. }) => Some(declared.clone()),
        _ => fact_type(&value.fact),
    };
    ValueInfoProto { name: Some(names.of_value(id).to_owned()), r#type, ..declared.unwrap_or_default() }
}

fn fact_type(fact: &Fact) -> Option<TypeProto> {
    let elem_type = fact.dtype.and_then(DType::to_onnx);
    elem_type?;
    let shape = fact.shape.as_ref().map(|shape| TensorShapeProto {
        dim: shape
            .iter()
            .map(|dim| Dimension {
                value: Some(match dim {
                    Dim::Known(length) => dimension::Value::DimValue(*length),
                    Dim::Symbol(name) => dimension::Value::DimParam(name.to_string()),
                }),
                denotation: None,
            })
            .collect(),
    });
    let tensor = type_proto::Tensor { elem_type, shape };
    Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None })
}
