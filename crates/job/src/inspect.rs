//! `lissom inspect`: what is in a file.

use std::collections::BTreeMap;
use std::path::Path;

use lissom_graph::{Graph, Model, to_text};
use lissom_onnx::ReadOptions;
use serde::{Deserialize, Serialize};

use crate::cost::{Cost, cost};
use crate::{JobError, SCHEMA_VERSION, model_file};

/// What `inspect` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The file.
    pub path: String,
    /// Size on disk, external data included.
    pub size_bytes: u64,
    /// blake3 of the file.
    pub blake3: String,
    /// Who wrote it.
    pub producer: String,
    /// Operator sets by domain; the empty domain is ONNX's own.
    pub opsets: BTreeMap<String, u32>,
    /// Inputs with their facts.
    pub inputs: Vec<NamedFact>,
    /// Outputs with their facts.
    pub outputs: Vec<NamedFact>,
    /// Number of nodes by operator, subgraphs included.
    pub operators: BTreeMap<String, usize>,
    /// Nodes that cannot run: name, operator, why.
    pub unsupported: Vec<(String, String, String)>,
    /// Parameters, zeros, bits, multiply-accumulates, layer by layer.
    pub cost: Cost,
    /// `metadata_props`.
    pub metadata: BTreeMap<String, String>,
    /// What is worth knowing about the file.
    pub warnings: Vec<String>,
    /// The graph as text.
    pub graph: String,
}

/// A value's name and fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedFact {
    /// Name in the graph.
    pub name: String,
    /// Type and shape, as `f32[N,3,32,32]`.
    pub fact: String,
}

/// Looks into a file. Axes that are not known, the batch aside, count as `other_axes` for multiply-accumulates.
///
/// # Errors
/// [`JobError::Read`], [`JobError::Load`].
pub fn inspect(path: &Path, other_axes: usize, options: &ReadOptions) -> Result<Inspection, JobError> {
    let file = model_file::load(path, options)?;
    let model = &file.model;
    let (name, version) = model.producer();
    // Weights in `Constant` nodes count like any other; what does not simplify is counted as it is.
    let mut simplified = model.clone();
    let counted = if lissom_passes::simplify(&mut simplified).is_ok() { &simplified } else { model };
    Ok(Inspection {
        schema_version: SCHEMA_VERSION,
        path: path.display().to_string(),
        size_bytes: file.size_bytes,
        blake3: file.digest.to_string(),
        producer: format!("{name} {version}").trim().to_owned(),
        opsets: model.opsets().map(|(domain, version)| (domain.to_owned(), version)).collect(),
        inputs: named(model, model.graph.inputs()),
        outputs: named(model, model.graph.outputs()),
        operators: operators(&model.graph),
        unsupported: model.unsupported_nodes(),
        cost: cost(counted, other_axes)?,
        metadata: model.metadata().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        warnings: file.warnings,
        graph: to_text(&model.graph),
    })
}

fn named(model: &Model, ids: &[lissom_graph::ValueId]) -> Vec<NamedFact> {
    let values = ids.iter().map(|&id| model.graph.value(id));
    values.map(|value| NamedFact { name: value.name.clone(), fact: value.fact.to_string() }).collect()
}

fn operators(graph: &Graph) -> BTreeMap<String, usize> {
    fn count(graph: &Graph, counts: &mut BTreeMap<String, usize>) {
        for node in graph.nodes() {
            let name = match node.domain.as_str() {
                "" => node.op_type.clone(),
                domain => format!("{domain}.{}", node.op_type),
            };
            *counts.entry(name).or_default() += 1;
            node.attributes.graphs().for_each(|subgraph| count(subgraph, counts));
        }
    }
    let mut counts = BTreeMap::new();
    count(graph, &mut counts);
    counts
}
