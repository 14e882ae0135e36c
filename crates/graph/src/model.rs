//! A model: a graph with what its file says around it.

use std::collections::BTreeMap;

use lissom_onnx::ModelProto;

use crate::{Graph, LoadError, Operators, WriteError, read, write};

/// Oldest and newest version of ONNX's own operator set that is read.
pub(crate) const OPSETS: std::ops::RangeInclusive<u32> = 1..=27;

/// Version of each operator set a model uses, by domain.
pub(crate) type Opsets = BTreeMap<String, u32>;

/// An ONNX graph with its weights, typed. It comes from a file and goes back to a file.
#[derive(Debug, Clone)]
pub struct Model {
    /// The network.
    pub graph: Graph,
    /// The operators its nodes may be of.
    pub operators: Operators,
    pub(crate) opsets: Opsets,
    /// The file's other fields; graph and functions are taken out.
    pub(crate) header: ModelProto,
}

impl Model {
    /// Reads the content of a file: calls of model-local functions are inlined, constants behind a `DequantizeLinear`
    /// become affine weights, and the facts of all values are inferred.
    ///
    /// A node of an unknown operator is kept as [`Unsupported`](crate::Unsupported), so that the model can be inspected.
    ///
    /// # Errors
    /// [`LoadError`] with the place.
    pub fn from_proto(proto: ModelProto, operators: Operators) -> Result<Self, LoadError> {
        read::read(proto, operators)
    }

    /// A model around a graph made in memory, at one version of ONNX's operator set.
    pub fn new(graph: Graph, operators: Operators, opset: u32) -> Self {
        let header = ModelProto { producer_name: Some("lissom".to_owned()), ..ModelProto::default() };
        Self { graph, operators, opsets: BTreeMap::from([(String::new(), opset)]), header }
    }

    /// The content of a file. Deterministic; nothing but this model decides the bytes.
    ///
    /// # Errors
    /// [`WriteError`] if something cannot be said in ONNX at the model's opset.
    pub fn to_proto(&self) -> Result<ModelProto, WriteError> {
        write::write(self)
    }

    /// Version of ONNX's own operator set.
    pub fn opset(&self) -> u32 {
        self.opsets.get("").copied().unwrap_or(1)
    }

    /// Version of each operator set, by domain; the empty domain is ONNX's own.
    pub fn opsets(&self) -> impl Iterator<Item = (&str, u32)> {
        self.opsets.iter().map(|(domain, &version)| (domain.as_str(), version))
    }

    /// Declares another version of ONNX's own operator set. The caller has converted the nodes.
    pub fn set_opset(&mut self, version: u32) {
        self.opsets.insert(String::new(), version);
    }

    /// Who wrote the file: producer name and version.
    pub fn producer(&self) -> (&str, &str) {
        (self.header.producer_name(), self.header.producer_version())
    }

    /// `metadata_props` of the model, by key.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.header.metadata_props.iter().map(|entry| (entry.key(), entry.value()))
    }

    /// Sets an entry of `metadata_props`.
    pub fn set_metadata(&mut self, key: &str, value: &str) {
        let entries = &mut self.header.metadata_props;
        match entries.iter_mut().find(|entry| entry.key() == key) {
            Some(entry) => entry.value = Some(value.to_owned()),
            None => entries
                .push(lissom_onnx::StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) }),
        }
    }

    /// Nodes, subgraphs included, whose operator is not known: node name, operator, why.
    pub fn unsupported_nodes(&self) -> Vec<(String, String, String)> {
        fn collect(graph: &Graph, found: &mut Vec<(String, String, String)>) {
            for node in graph.nodes() {
                if let Some(op) = node.op_as::<crate::Unsupported>() {
                    found.push((node.name.clone(), node.op_type.clone(), op.reason.clone()));
                }
                node.attributes.graphs().for_each(|subgraph| collect(subgraph, found));
            }
        }
        let mut found = Vec::new();
        collect(&self.graph, &mut found);
        found
    }
}
