//! ONNX structs to a graph.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lissom_onnx::messages::tensor_shape_proto::dimension::Value as DimValue;
use lissom_onnx::messages::type_proto::Value as TypeValue;
use lissom_onnx::{
    AttributeProto, AttributeType, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TypeProto, ValueInfoProto,
};
use lissom_tensor::{Affine, DType, Tensor, Weight};

use crate::functions::{InlineBudget, MAX_CALL_DEPTH, expand};
use crate::graph::Names;
use crate::model::{OPSETS, Opsets};
use crate::{
    Attribute, Attributes, Dim, Fact, Graph, LoadError, Model, Node, NodeReader, Op, OpError, Operators, Unsupported,
    Value, ValueId, infer, verify,
};

/// Subgraphs within subgraphs, those of inlined functions included: every step of reading and running goes down as deep.
const MAX_GRAPH_DEPTH: usize = 32;
/// Attributes of one node; no operator has a tenth of it.
const MAX_ATTRIBUTES: usize = 256;
/// Axes of a tensor. Facts hold a length for each, so every node after a tensor pays for its axes.
pub(crate) const MAX_RANK: usize = 64;

pub(crate) fn read(mut proto: ModelProto, operators: Operators) -> Result<Model, LoadError> {
    let budget = InlineBudget::of(&proto);
    let mut graph_proto = proto.graph.take().ok_or(LoadError::NoGraph)?;
    let functions = std::mem::take(&mut proto.functions);
    let opsets = read_opsets(&proto.opset_import);
    if let Some(&version) = opsets.get("")
        && !OPSETS.contains(&version)
    {
        let (oldest, newest) = (*OPSETS.start(), *OPSETS.end());
        return Err(LoadError::UnsupportedOpset { domain: String::new(), version: version.into(), oldest, newest });
    }
    let functions = functions.iter().map(|f| ((f.domain().to_owned(), f.name().to_owned()), f)).collect();
    let mut reader = Reader { operators, functions, scopes: Vec::new(), budget: &budget };
    let constants =
        initializers(std::mem::take(&mut graph_proto.initializer).into_iter().map(Cow::Owned), &graph_proto)?;
    let mut graph = reader.graph(&graph_proto, constants, &opsets, 0)?;
    verify(&graph)?;
    infer(&mut graph)?;
    Ok(Model { graph, operators, opsets, header: proto })
}

fn read_opsets(imports: &[OperatorSetIdProto]) -> Opsets {
    let domain = |import: &OperatorSetIdProto| match import.domain() {
        "ai.onnx" => String::new(),
        other => other.to_owned(),
    };
    imports.iter().map(|import| (domain(import), import.version().clamp(0, u32::MAX.into()) as u32)).collect()
}

struct Reader<'a> {
    operators: Operators,
    functions: HashMap<(String, String), &'a FunctionProto>,
    /// The graphs being read, outermost first.
    scopes: Vec<Scope>,
    budget: &'a InlineBudget,
}

#[derive(Default)]
struct Scope {
    graph: Graph,
    names: HashMap<String, ValueId>,
    node_names: Names,
    declared: HashMap<String, ValueInfoProto>,
}

impl Scope {
    fn add(&mut self, name: &str) -> ValueId {
        let id = ValueId(self.graph.values.len() as u32);
        let declared = self.declared.remove(name);
        let fact = declared.as_ref().map(declared_fact).unwrap_or_default();
        self.graph.values.push(Value { name: name.to_owned(), fact, declared: declared.map(Box::new) });
        self.names.insert(name.to_owned(), id);
        id
    }
}

impl Reader<'_> {
    fn graph(
        &mut self,
        proto: &GraphProto,
        constants: Vec<(String, Tensor)>,
        opsets: &Opsets,
        depth: usize,
    ) -> Result<Graph, LoadError> {
        let mut scope = Scope { graph: Graph::new(proto.name()), ..Scope::default() };
        for value in proto.value_info.iter().chain(&proto.output).chain(&proto.input) {
            scope.declared.insert(value.name().to_owned(), value.clone());
        }
        scope.graph.declared = Some(Box::new(GraphProto {
            doc_string: proto.doc_string.clone(),
            quantization_annotation: proto.quantization_annotation.clone(),
            metadata_props: proto.metadata_props.clone(),
            ..GraphProto::default()
        }));
        for (name, tensor) in constants {
            let id = scope.add(&name);
            scope.graph.set_constant(id, Weight::Dense(tensor));
        }
        for input in &proto.input {
            // An initializer of the same name is a default nobody overrides here.
            if !scope.names.contains_key(input.name()) {
                let id = scope.add(input.name());
                scope.graph.inputs.push(id);
            }
        }
        self.scopes.push(scope);
        for node in &proto.node {
            self.node(node, opsets, depth)?;
        }
        let level = self.scopes.len() - 1;
        for output in &proto.output {
            let id = self
                .resolve(level, output.name())
                .ok_or_else(|| LoadError::UnknownOutput { value: output.name().to_owned() })?;
            self.scopes[level].graph.outputs.push(id);
        }
        let mut graph = self.scopes.pop().map(|scope| scope.graph).unwrap_or_default();
        absorb_dequantized_constants(&mut graph);
        Ok(graph)
    }

    /// The value of this name at a level; a value of a surrounding graph is captured on the way.
    fn resolve(&mut self, level: usize, name: &str) -> Option<ValueId> {
        if let Some(&id) = self.scopes[level].names.get(name) {
            return Some(id);
        }
        let outer = self.resolve(level.checked_sub(1)?, name)?;
        let fact = self.scopes[level - 1].graph.value(outer).fact.clone();
        let scope = &mut self.scopes[level];
        let id = scope.add(name);
        scope.graph.values[id.index()].fact = fact;
        scope.graph.captures.push((name.to_owned(), id));
        Some(id)
    }

    fn node(&mut self, proto: &NodeProto, opsets: &Opsets, depth: usize) -> Result<(), LoadError> {
        let domain = if proto.domain() == "ai.onnx" { "" } else { proto.domain() };
        if let Some(&function) = self.functions.get(&(domain.to_owned(), proto.op_type().to_owned())) {
            return self.call(proto, function, opsets, depth);
        }
        let level = self.scopes.len() - 1;
        let scope = &mut self.scopes[level];
        let proposed = match proto.name() {
            "" => format!("{}_{}", proto.op_type(), scope.graph.nodes.len()),
            name => name.to_owned(),
        };
        let name = scope.node_names.take(&proposed);
        let op = || proto.op_type().to_owned();
        let mut inputs = Vec::with_capacity(proto.input.len());
        for input in &proto.input {
            inputs.push(match input.as_str() {
                "" => None,
                used => Some(self.resolve(level, used).ok_or_else(|| LoadError::UnknownValue {
                    node: name.clone(),
                    op: op(),
                    value: used.to_owned(),
                })?),
            });
        }
        let (attributes, captures) = self.attributes(proto, &name, opsets, depth)?;
        let mut outputs = Vec::with_capacity(proto.output.len());
        for output in &proto.output {
            outputs.push(match output.as_str() {
                "" => None,
                made if self.scopes[level].names.contains_key(made) => {
                    return Err(LoadError::DuplicateValue { node: name, value: made.to_owned() });
                }
                made => Some(self.scopes[level].add(made)),
            });
        }
        // Which version of ONNX's own operators is meant must be said; other domains have few versions, if any.
        let opset = match opsets.get(domain) {
            None if domain.is_empty() => {
                return Err(LoadError::MissingOpset { node: name, domain: "ai.onnx".to_owned() });
            }
            found => found.copied().unwrap_or(1),
        };
        let op = self
            .op(domain, proto.op_type(), opset, &inputs, &outputs, &attributes)
            .map_err(|source| LoadError::Operator { node: name.clone(), op: op(), source })?;
        self.scopes[level].graph.nodes.push(Node {
            name,
            op_type: proto.op_type().to_owned(),
            domain: domain.to_owned(),
            inputs,
            outputs,
            captures,
            opset,
            attributes,
            op,
            declared: declared_node(proto),
        });
        Ok(())
    }

    fn op(
        &self,
        domain: &str,
        op_type: &str,
        opset: u32,
        inputs: &[Option<ValueId>],
        outputs: &[Option<ValueId>],
        attributes: &Attributes,
    ) -> Result<Arc<dyn Op>, OpError> {
        if self.operators.find(domain, op_type).is_none_or(|spec| opset < spec.since) {
            let reason = match domain {
                "" => format!("operator `{op_type}` at opset {opset}"),
                domain => format!("operator `{op_type}` of domain `{domain}`"),
            };
            return Ok(Arc::new(Unsupported { reason, n_outputs: outputs.len() }));
        }
        NodeReader::read_op(&self.operators, domain, op_type, opset, inputs, outputs, attributes)
    }

    fn call(
        &mut self,
        call: &NodeProto,
        function: &FunctionProto,
        opsets: &Opsets,
        depth: usize,
    ) -> Result<(), LoadError> {
        if depth >= MAX_CALL_DEPTH {
            return Err(LoadError::Function {
                name: function.name().to_owned(),
                reason: format!("calls are nested more than {MAX_CALL_DEPTH} deep; recursion is not allowed"),
            });
        }
        let scope = &self.scopes[self.scopes.len() - 1];
        let label = if call.name().is_empty() { call.op_type() } else { call.name() };
        let prefix = format!("{label}_{}/", scope.graph.values.len());
        let mut own_opsets = read_opsets(&function.opset_import);
        for (domain, version) in opsets {
            own_opsets.entry(domain.clone()).or_insert(*version);
        }
        let budget = self.budget;
        for node in expand(call, function, &prefix, budget)? {
            self.node(&node, &own_opsets, depth + 1)?;
        }
        if budget.is_spent() {
            return Err(LoadError::Function {
                name: function.name().to_owned(),
                reason: "inlining its calls takes far more memory than the file".to_owned(),
            });
        }
        Ok(())
    }

    fn attributes(
        &mut self,
        proto: &NodeProto,
        node: &str,
        opsets: &Opsets,
        depth: usize,
    ) -> Result<(Attributes, Vec<ValueId>), LoadError> {
        let (actual, limit) = (proto.attribute.len(), MAX_ATTRIBUTES);
        if actual > limit {
            let op = proto.op_type().to_owned();
            return Err(LoadError::TooManyAttributes { node: node.to_owned(), op, actual, limit });
        }
        let mut attributes = Attributes::new();
        let mut captures = Vec::new();
        for attribute in &proto.attribute {
            let value = match (&attribute.g, attribute_type(attribute)) {
                (Some(subgraph), AttributeType::Graph) => {
                    if self.scopes.len() >= MAX_GRAPH_DEPTH {
                        return Err(LoadError::TooDeep { node: node.to_owned(), limit: MAX_GRAPH_DEPTH });
                    }
                    let constants = initializers(subgraph.initializer.iter().map(Cow::Borrowed), subgraph)?;
                    let graph = self.graph(subgraph, constants, opsets, depth)?;
                    let level = self.scopes.len() - 1;
                    for (name, _) in &graph.captures {
                        captures.extend(self.resolve(level, name));
                    }
                    Attribute::Graph(Arc::new(graph))
                }
                _ => read_attribute(attribute, node)?,
            };
            attributes.set(attribute.name(), value);
        }
        Ok((attributes, captures))
    }
}

/// The constants of a graph: its dense initializers, each let go once it is read, and its sparse ones.
fn initializers<'a>(
    dense: impl Iterator<Item = Cow<'a, TensorProto>>,
    proto: &GraphProto,
) -> Result<Vec<(String, Tensor)>, LoadError> {
    let bad = |name: &str, error: &dyn std::fmt::Display| LoadError::Tensor {
        name: name.to_owned(),
        reason: error.to_string(),
    };
    let mut tensors = Vec::new();
    for initializer in dense {
        let name = initializer.name().to_owned();
        let tensor = match initializer {
            Cow::Owned(own) => lissom_onnx::tensor_from_own_proto(own),
            Cow::Borrowed(shared) => lissom_onnx::tensor_from_proto(shared),
        };
        let tensor = tensor.map_err(|error| bad(&name, &error))?;
        tensors.push((name, tensor));
    }
    for sparse in &proto.sparse_initializer {
        let name = sparse.values.as_ref().map_or("", |values| values.name());
        let tensor = lissom_onnx::sparse_tensor_from_proto(sparse).map_err(|error| bad(name, &error))?;
        tensors.push((name.to_owned(), tensor));
    }
    if let Some((name, tensor)) = tensors.iter().find(|(_, tensor)| tensor.rank() > MAX_RANK) {
        return Err(bad(name, &format!("it has {} axes, at most {MAX_RANK} are allowed", tensor.rank())));
    }
    let mut seen = HashSet::new();
    if let Some((name, _)) = tensors.iter().find(|(name, _)| !seen.insert(name.clone())) {
        return Err(LoadError::Tensor { name: name.clone(), reason: "two initializers have this name".to_owned() });
    }
    Ok(tensors)
}

/// Old files leave the kind out; the field that is set says it.
fn attribute_type(attribute: &AttributeProto) -> AttributeType {
    match attribute.r#type() {
        AttributeType::Undefined if attribute.g.is_some() => AttributeType::Graph,
        AttributeType::Undefined if attribute.t.is_some() => AttributeType::Tensor,
        AttributeType::Undefined if attribute.s.is_some() => AttributeType::String,
        AttributeType::Undefined if attribute.f.is_some() => AttributeType::Float,
        AttributeType::Undefined if attribute.i.is_some() => AttributeType::Int,
        AttributeType::Undefined if !attribute.floats.is_empty() => AttributeType::Floats,
        AttributeType::Undefined if !attribute.ints.is_empty() => AttributeType::Ints,
        AttributeType::Undefined if !attribute.strings.is_empty() => AttributeType::Strings,
        other => other,
    }
}

fn read_attribute(attribute: &AttributeProto, node: &str) -> Result<Attribute, LoadError> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let raw = || Attribute::Raw(Box::new(attribute.clone()));
    let tensor = |proto: &lissom_onnx::TensorProto| {
        lissom_onnx::tensor_from_proto(proto).map_err(|error| LoadError::Tensor {
            name: format!("{node}.{}", attribute.name()),
            reason: error.to_string(),
        })
    };
    Ok(match attribute_type(attribute) {
        AttributeType::Float => Attribute::Float(attribute.f()),
        AttributeType::Int => Attribute::Int(attribute.i()),
        AttributeType::String => text(attribute.s()).map_or_else(raw, Attribute::Str),
        AttributeType::Floats => Attribute::Floats(attribute.floats.clone()),
        AttributeType::Ints => Attribute::Ints(attribute.ints.clone()),
        AttributeType::Strings => {
            attribute.strings.iter().map(|bytes| text(bytes)).collect::<Option<_>>().map_or_else(raw, Attribute::Strs)
        }
        AttributeType::Tensor => match &attribute.t {
            Some(proto) => Attribute::Tensor(tensor(proto)?),
            None => raw(),
        },
        AttributeType::Tensors => Attribute::Tensors(attribute.tensors.iter().map(tensor).collect::<Result<_, _>>()?),
        AttributeType::SparseTensor => match &attribute.sparse_tensor {
            Some(sparse) => lissom_onnx::sparse_tensor_from_proto(sparse).map_or_else(|_| raw(), Attribute::Tensor),
            None => raw(),
        },
        _ => raw(),
    })
}

/// What is left of a node's fields once the graph holds the rest.
fn declared_node(proto: &NodeProto) -> Option<Box<NodeProto>> {
    let rest = NodeProto {
        overload: proto.overload.clone(),
        doc_string: proto.doc_string.clone(),
        metadata_props: proto.metadata_props.clone(),
        device_configurations: proto.device_configurations.clone(),
        ..NodeProto::default()
    };
    (rest != NodeProto::default()).then(|| Box::new(rest))
}

/// The fact a declaration states.
pub(crate) fn declared_fact(value: &ValueInfoProto) -> Fact {
    value.r#type.as_ref().map(|declared| type_fact(declared, value.name())).unwrap_or_default()
}

/// An axis without a length or name gets a symbol of its own: two such axes need not be of one length.
fn type_fact(proto: &TypeProto, value: &str) -> Fact {
    match &proto.value {
        Some(TypeValue::TensorType(tensor)) => {
            let dim = |dim: &lissom_onnx::messages::tensor_shape_proto::Dimension| match &dim.value {
                Some(DimValue::DimValue(length)) if *length >= 0 => Some(Dim::Known(*length)),
                Some(DimValue::DimParam(name)) if !name.is_empty() => Some(Dim::symbol(name)),
                _ => None,
            };
            let unnamed = |axis| Dim::symbol(format!("?{value}.{axis}"));
            let shape = tensor.shape.as_ref().filter(|shape| shape.dim.len() <= MAX_RANK).map(|shape| {
                shape.dim.iter().enumerate().map(|(axis, d)| dim(d).unwrap_or_else(|| unnamed(axis))).collect()
            });
            Fact::maybe(tensor.elem_type.and_then(DType::from_onnx), shape)
        }
        Some(TypeValue::SequenceType(_)) => Fact::maybe(Some(DType::Sequence), None),
        Some(TypeValue::OptionalType(_)) => Fact::maybe(Some(DType::Optional), None),
        _ => Fact::unknown(),
    }
}

/// `DequantizeLinear` over constants is how a file says "affine weight".
fn absorb_dequantized_constants(graph: &mut Graph) {
    let mut absorbed = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        if let Some((output, affine)) = dequantized_constant(graph, node) {
            absorbed.push((index, output, affine));
        }
    }
    if absorbed.is_empty() {
        return;
    }
    let positions: HashSet<usize> = absorbed.iter().map(|(index, ..)| *index).collect();
    let mut index = 0..;
    graph.nodes.retain(|_| index.next().is_some_and(|index| !positions.contains(&index)));
    for (_, output, affine) in absorbed {
        graph.set_constant(output, Weight::Affine(affine));
    }
    graph.drop_unused_constants();
}

fn dequantized_constant(graph: &Graph, node: &Node) -> Option<(ValueId, Affine)> {
    if node.op_type != "DequantizeLinear" || !node.domain.is_empty() {
        return None;
    }
    let constant = |input: usize| graph.dense_constant((*node.inputs.get(input)?)?).cloned();
    let (codes, scale) = (constant(0)?, constant(1)?);
    let zero_point = match node.inputs.get(2).copied().flatten() {
        Some(_) => Some(constant(2)?),
        None => None,
    };
    let int = |name: &str, default: i64| match node.attributes.get(name) {
        Some(Attribute::Int(value)) => *value,
        _ => default,
    };
    let axis = int("axis", 1);
    let rank = codes.rank() as i64;
    let per_tensor = scale.rank() == 0 || (scale.len() == 1 && rank <= 1);
    let axis = if per_tensor { 0 } else { if axis < 0 { axis + rank } else { axis } };
    let affine = Affine {
        scale: if per_tensor { scale.reshape([]).ok()? } else { scale },
        zero_point: match zero_point {
            Some(zero) if per_tensor => Some(zero.reshape([]).ok()?),
            other => other,
        },
        axis: usize::try_from(axis).ok()?,
        block_size: usize::try_from(int("block_size", 0)).ok()?,
        codes,
    };
    let is_int = affine.codes.dtype().is_int() && node.attributes.get("output_dtype").is_none();
    (is_int && affine.scale.dtype() == DType::F32 && affine.scale_indices().is_ok()).then_some((node.output()?, affine))
}
