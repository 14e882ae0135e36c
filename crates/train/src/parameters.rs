//! What can be trained in a network: constants of its layers and norms.

use std::collections::HashSet;

use lissom_graph::{Fact, Facts, Graph, Node, ValueId};
use lissom_tensor::{DType, Weight};

/// What a parameter is to its layer; optimizers treat the groups differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// A factor of a product, a table of embeddings.
    Weight,
    /// Added to a layer's result.
    Bias,
    /// Scale or bias of a normalization.
    Norm,
    /// Distance of a quantizer's codes; never decays.
    Step,
}

/// A constant that can be trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Name of the value; unique in the graph.
    pub name: String,
    /// The value.
    pub value: ValueId,
    /// What it is to its layer.
    pub group: Group,
    /// Name of the first node that uses it.
    pub node: String,
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Type of its elements: f32 or f64.
    pub dtype: DType,
}

/// Operators with a scale and perhaps a bias after the data: inputs 1 and 2.
const NORMS: &[&str] = &[
    "BatchNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "RMSNormalization",
    "SimplifiedLayerNormalization",
];

/// The parameters of a network, in the order of the nodes that use them.
///
/// Weights and biases of layers; scale and bias of norms; steps of `StepQuantize`; slopes of `PRelu`; tables of `Gather`; vectors that are added to a
/// product's result or multiply it, and larger tensors added to what parameters have touched (embeddings of positions).
/// Constants of other types than f32 and f64 and quantized ones are none.
pub fn parameters(graph: &Graph) -> Vec<Parameter> {
    let (found, known, quantized) = (Vec::new(), HashSet::new(), HashSet::new());
    let mut finder = Finder { graph, found, known, touched: vec![false; graph.values().len()], quantized };
    for node in graph.nodes() {
        finder.look_at_layer(node);
        finder.look_at(node);
        if node.uses().any(|used| finder.touched[used.index()]) {
            node.outputs.iter().flatten().for_each(|output| finder.touched[output.index()] = true);
        }
    }
    finder.found
}

struct Finder<'a> {
    graph: &'a Graph,
    found: Vec<Parameter>,
    known: HashSet<ValueId>,
    /// Values that depend on a parameter.
    touched: Vec<bool>,
    /// Constants behind a quantizer.
    quantized: HashSet<ValueId>,
}

impl Finder<'_> {
    /// Weight and bias; in training the weight may pass a quantizer on its way.
    fn look_at_layer(&mut self, node: &Node) {
        let facts: Vec<Option<&Fact>> = node.inputs.iter().map(|id| id.map(|id| &self.graph.value(id).fact)).collect();
        let Some(axes) = node.op.weight_axes(&Facts(&facts)) else { return };
        let input = |index: usize| node.inputs.get(index).copied().flatten();
        let Some(weight) = input(axes.weight_input) else { return };
        let is_quantized = self.quantized.contains(&weight);
        self.add(weight, Group::Weight, node);
        if let Some(bias) = axes.bias_input.and_then(input)
            && (is_quantized || self.graph.constant(weight).is_some())
        {
            self.add(bias, Group::Bias, node);
        }
    }

    fn look_at(&mut self, node: &Node) {
        let input = |index: usize| node.inputs.get(index).copied().flatten();
        match node.op_type.as_str() {
            op if NORMS.contains(&op) => {
                [1, 2].into_iter().filter_map(input).for_each(|value| self.add(value, Group::Norm, node));
            }
            "SkipLayerNormalization" => {
                [2, 3].into_iter().filter_map(input).for_each(|value| self.add(value, Group::Norm, node));
                input(4).into_iter().for_each(|value| self.add(value, Group::Bias, node));
            }
            "PRelu" | "BiasGelu" => input(1).into_iter().for_each(|value| self.add(value, Group::Bias, node)),
            "StepQuantize" => {
                self.quantized.extend(input(0).and_then(|v| self.graph.constant(v)).and(node.output()));
                input(0).into_iter().for_each(|value| self.add(value, Group::Weight, node));
                input(1).into_iter().for_each(|value| self.add(value, Group::Step, node));
            }
            "Gather" => input(0).into_iter().for_each(|value| self.add(value, Group::Weight, node)),
            "Add" | "Mul" => self.look_at_sum(node),
            _ => {}
        }
    }

    /// A constant beside a value that parameters have touched; beside the network's input it normalizes pixels.
    fn look_at_sum(&mut self, node: &Node) {
        let [Some(a), Some(b)] = node.inputs[..] else { return };
        for (value, other) in [(a, b), (b, a)] {
            let axes = self.graph.constant(value).map_or(0, |weight| weight.shape().iter().filter(|&&n| n > 1).count());
            let group = match (node.op_type.as_str(), axes) {
                ("Add", 1) => Group::Bias,
                ("Add", 2..) => Group::Weight,
                ("Mul", 1) => Group::Norm,
                _ => continue,
            };
            if self.touched[other.index()] {
                self.add(value, group, node);
            }
        }
    }

    fn add(&mut self, value: ValueId, group: Group, node: &Node) {
        let Some(Weight::Dense(tensor)) = self.graph.constant(value) else { return };
        let is_known = self.known.contains(&value);
        if is_known || !matches!(tensor.dtype(), DType::F32 | DType::F64) || tensor.is_empty() {
            return;
        }
        self.known.insert(value);
        self.touched[value.index()] = true;
        self.found.push(Parameter {
            name: self.graph.value(value).name.clone(),
            value,
            group,
            node: node.name.clone(),
            shape: tensor.shape().to_vec(),
            dtype: tensor.dtype(),
        });
    }
}
