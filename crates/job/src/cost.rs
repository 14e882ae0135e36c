//! What a model costs without running it: parameters, zeros, bits, multiply-accumulates.
//!
//! Parameters are the elements of constants that feed the network as numbers: floating point, quantized, or matrices of
//! integers of at most 8 bits. Weights, biases, normalisation and embeddings are parameters; shapes, axes and other
//! integers that steer operators are not. Subgraphs count; layers are those of the main graph.

use lissom_graph::{Fact, Graph, Model, infer_with_inputs};
use lissom_tensor::Weight;
use serde::{Deserialize, Serialize};

use crate::JobError;

/// What a model costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Parameters, zeros included.
    pub parameters: u64,
    /// Parameters that are not exactly zero.
    pub non_zeros: u64,
    /// Bits all parameters take in the file, scales and zero points included.
    pub weight_bits: u64,
    /// Multiply-accumulates for one example, zeros included; `None` if shapes are not known.
    pub macs: Option<u64>,
    /// Multiply-accumulates for one example with a weight that is not zero.
    pub effective_macs: Option<u64>,
    /// Layers with a weight, in order.
    pub layers: Vec<LayerCost>,
}

/// What one layer costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerCost {
    /// Name of the node.
    pub name: String,
    /// Its operator.
    pub operator: String,
    /// Shape of the weight.
    pub shape: Vec<usize>,
    /// How the weight is stored.
    pub encoding: String,
    /// Elements of the weight.
    pub len: u64,
    /// Elements that are exactly zero.
    pub zeros: u64,
    /// Bits in the file.
    pub bits: u64,
    /// Multiply-accumulates for one example.
    pub macs: Option<u64>,
}

/// Counts a model's cost; symbolic axes are taken as `batch` where they are the first axis of an input and as
/// `other_axes` elsewhere.
///
/// # Errors
/// If a weight cannot be decoded.
pub fn cost(model: &Model, other_axes: usize) -> Result<Cost, JobError> {
    let facts = example_facts(&model.graph, other_axes);
    let (mut parameters, mut non_zeros, mut weight_bits) = (0u64, 0u64, 0u64);
    let graphs = std::iter::once(&model.graph).chain(model.graph.subgraphs());
    for (_, weight) in graphs.flat_map(|graph| graph.constants()).filter(|(_, weight)| is_parameter(weight)) {
        parameters += weight.len() as u64;
        non_zeros += (weight.len() - weight.count_zeros()?) as u64;
        weight_bits += weight.bits();
    }
    let mut layers = Vec::new();
    for layer in model.graph.layers() {
        let Some(weight) = model.graph.constant(layer.weight) else { continue };
        let node = &model.graph.nodes()[layer.node];
        layers.push(LayerCost {
            name: layer.name.clone(),
            operator: node.op_type.clone(),
            shape: weight.shape().to_vec(),
            encoding: weight.describe(),
            len: weight.len() as u64,
            zeros: weight.count_zeros()? as u64,
            bits: weight.bits(),
            macs: facts.as_ref().and_then(|facts| node_macs(facts, node)),
        });
    }
    let macs = facts.as_ref().and_then(|facts| {
        model.graph.nodes().iter().map(|node| node_macs(facts, node)).try_fold(0u64, |sum, macs| Some(sum + macs?))
    });
    let saved: Option<u64> = layers
        .iter()
        .map(|layer| Some((layer.macs? as f64 * layer.zeros as f64 / layer.len.max(1) as f64).round() as u64))
        .try_fold(0u64, |sum, saved| Some(sum + saved?));
    let effective_macs = macs.zip(saved).map(|(macs, saved)| macs.saturating_sub(saved));
    Ok(Cost { parameters, non_zeros, weight_bits, macs, effective_macs, layers })
}

fn is_parameter(weight: &Weight) -> bool {
    let dtype = weight.dtype();
    dtype.is_float() || (dtype.is_int() && dtype.bits() <= 8 && weight.shape().len() >= 2)
}

/// Facts of all values for one example.
fn example_facts(graph: &Graph, other_axes: usize) -> Option<Vec<Fact>> {
    let inputs: Option<Vec<Fact>> = graph
        .inputs()
        .iter()
        .map(|&id| {
            let fact = &graph.value(id).fact;
            let shape: Vec<usize> = fact
                .shape
                .as_ref()?
                .iter()
                .enumerate()
                .map(|(axis, dim)| dim.known().unwrap_or(if axis == 0 { 1 } else { other_axes }))
                .collect();
            Some(Fact::known(fact.dtype?, &shape))
        })
        .collect();
    infer_with_inputs(graph, &inputs?).ok()
}

fn node_macs(facts: &[Fact], node: &lissom_graph::Node) -> Option<u64> {
    let inputs: Vec<Option<Vec<usize>>> =
        node.inputs.iter().map(|id| id.and_then(|id| facts[id.index()].known_shape())).collect();
    let outputs: Option<Vec<Vec<usize>>> =
        node.outputs.iter().flatten().map(|id| facts[id.index()].known_shape()).collect();
    match outputs {
        Some(outputs) => Some(node.op.macs(&inputs, &outputs)),
        // Only products count; of any other operator the shapes do not matter.
        None if node.op.weight_axes(&lissom_graph::Facts(&[])).is_none() => Some(0),
        None => None,
    }
}
