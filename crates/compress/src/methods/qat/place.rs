//! Where the quantizers go, and the network with them in it as training runs it.
//!
//! Places are those of `quantize`: what feeds integer operators, so that the result runs in integers. They are looked up in the network
//! with its batch norms folded, whose values are those of the network in training. What feeds layers of few bits passes a second
//! quantizer, of these layers alone: an addition, a pool and the shortcut of a residual network see 8 bits.

use std::collections::{BTreeMap, BTreeSet};

use lissom_graph::{Attribute, Attributes, Fact, Graph, Model, Node, Patch, ValueId, infer};
use lissom_recipe::LayerFilter;
use lissom_tensor::{Tensor, Weight};
use lissom_train::TrainError;

use super::SPEC;
use crate::methods::quantize::activations::Activations;
use crate::methods::quantize::layers::Target;
use crate::methods::quantize::settings::Operators;
use crate::parts::quantizer::Codes;
use crate::parts::users;

/// Bits of what additions and pools see.
const WIDE: u8 = 8;

/// Bits of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bits {
    pub(super) weights: u8,
    /// More than 8: activations stay float.
    pub(super) activations: u8,
    /// Of the first convolution and the last layer.
    pub(super) ends: u8,
}

/// A layer whose weight is quantized.
#[derive(Debug, Clone)]
pub(super) struct QuantizedLayer {
    pub(super) name: String,
    pub(super) weight: ValueId,
    /// Axis of the output channels.
    pub(super) axis: usize,
    pub(super) codes: Codes,
    /// Name of the steps, one a channel.
    pub(super) steps: String,
    pub(super) input: ValueId,
    /// Bits of what goes in; none if that stays float.
    pub(super) input_bits: Option<u8>,
}

/// A quantizer of activations.
#[derive(Debug, Clone)]
pub(super) struct Quantized {
    pub(super) value: ValueId,
    pub(super) codes: Codes,
    /// Name of the step, which values of one group share.
    pub(super) step: String,
}

/// All quantizers.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    pub(super) layers: Vec<QuantizedLayer>,
    /// What integer operators see, and whether everybody else does, too; values whose codes follow from others' included.
    pub(super) wide: BTreeMap<ValueId, (Quantized, bool)>,
    /// Those of `wide` that need no node: they are on the grid already.
    derived: BTreeSet<ValueId>,
    /// Names of the nodes that take `wide` values in.
    pub(super) takers: BTreeSet<String>,
    /// What layers of few bits see, by value and bits.
    pub(super) narrow: BTreeMap<(ValueId, u8), Quantized>,
}

fn refused(reason: impl Into<String>) -> TrainError {
    TrainError::Technique { method: SPEC.name, reason: reason.into() }
}

/// The layers to quantize, in a network with or without batch norms.
pub(super) fn targets(graph: &Graph, filter: &LayerFilter) -> Result<Vec<Target>, TrainError> {
    let layers = graph.layers();
    let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    let chosen: Vec<_> = filter.select(&names)?.into_iter().map(|index| &layers[index]).collect();
    let mut targets = Vec::new();
    for layer in &chosen {
        let target = Target::new(graph, layer).map_err(|error| refused(error.to_string()))?.ok();
        let is_own = |_: &Target| users::shared(graph, &[layer], layer.weight).is_none();
        targets.extend(target.filter(|target| target.is_integer).filter(is_own));
    }
    if targets.is_empty() {
        return Err(refused("no layer has f32 weights of its own"));
    }
    Ok(targets)
}

/// Codes of activations, in the bytes that integer kernels read.
fn codes(bits: u8, is_unsigned: bool) -> Codes {
    let bytes = if is_unsigned { Codes::unsigned(8) } else { Codes::signed(8) };
    let (min, max) = if is_unsigned { (0, (1 << bits) - 1) } else { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) };
    Codes { min, max, dtype: bytes.dtype }
}

impl Places {
    /// Decides from the network with its batch norms folded.
    pub(super) fn of(folded: &Model, filter: &LayerFilter, bits: Bits) -> Result<Self, TrainError> {
        let graph = &folded.graph;
        let targets = targets(graph, filter)?;
        let all = graph.layers();
        let first = all.iter().find(|layer| graph.value(layer.weight).fact.rank() > Some(2)).map(|layer| layer.node);
        let last = all.last().map(|layer| layer.node);
        let mut places = Self::default();
        for target in &targets {
            let (layer, is_end) = (&target.layer, Some(target.layer.node) == first || Some(target.layer.node) == last);
            let of = |own: u8| if is_end { bits.ends.max(own.min(WIDE)) } else { own };
            places.layers.push(QuantizedLayer {
                name: layer.name.clone(),
                weight: layer.weight,
                axis: layer.axes.c_out,
                codes: Codes::signed(of(bits.weights)),
                steps: format!("{}.step", graph.value(layer.weight).name),
                input: layer.input,
                input_bits: (bits.activations <= WIDE).then(|| of(bits.activations)),
            });
        }
        if bits.activations <= WIDE {
            places.activations(graph, &Activations::place(graph, &targets, &Operators::all()));
        }
        Ok(places)
    }

    fn activations(&mut self, graph: &Graph, placed: &Activations) {
        let nodes = graph.nodes();
        let low: BTreeMap<&str, (ValueId, u8)> = self
            .layers
            .iter()
            .filter_map(|layer| Some((layer.name.as_str(), (layer.input, layer.input_bits.filter(|&b| b < WIDE)?))))
            .collect();
        let is_low =
            |node: &Node, value: ValueId| low.get(node.name.as_str()).is_some_and(|(input, _)| *input == value);
        let consumers = graph.consumers();
        let unsigned = not_negative(graph);
        let sees_wide = |value: &ValueId| {
            let users = consumers.get(value).map(Vec::as_slice).unwrap_or_default();
            let takes = |&&user: &&usize| placed.produced.contains(value) || placed.takers.contains(&user);
            users.iter().filter(takes).any(|&user| !is_low(&nodes[user], *value))
        };
        let wide: BTreeSet<ValueId> =
            placed.groups.iter().filter(|(value, _)| sees_wide(value)).map(|(_, root)| *root).collect();
        for (&value, root) in placed.groups.iter().filter(|(_, root)| wide.contains(root)) {
            let members = placed.groups.iter().filter(|(_, own)| *own == root);
            let codes = codes(WIDE, members.map(|(value, _)| value).all(|value| unsigned.contains(value)));
            let step = format!("{}.step", graph.value(*root).name);
            self.wide.insert(value, (Quantized { value, codes, step }, placed.produced.contains(&value)));
        }
        self.derived = placed.derived.iter().copied().filter(|value| self.wide.contains_key(value)).collect();
        self.takers = placed.takers.iter().map(|&index| nodes[index].name.clone()).collect();
        for &(value, bits) in low.values() {
            let codes = codes(bits, unsigned.contains(&value));
            let step = format!("{}.step{bits}", graph.value(value).name);
            self.narrow.insert((value, bits), Quantized { value, codes, step });
        }
    }

    /// Names weights as the network does that is trained: folding gave those of the other new values.
    pub(super) fn adopt_weights(&mut self, graph: &Graph) {
        for layer in graph.layers() {
            if let Some(own) = self.layers.iter_mut().find(|own| own.name == layer.name) {
                own.weight = layer.weight;
                own.steps = format!("{}.step", graph.value(layer.weight).name);
            }
        }
    }

    /// Every quantizer of activations that has a step, once.
    pub(super) fn quantized(&self) -> impl Iterator<Item = &Quantized> {
        let wide = self.wide.values().map(|(quantized, _)| quantized);
        wide.filter(|quantized| !self.derived.contains(&quantized.value)).chain(self.narrow.values())
    }

    /// The network in training: all quantizers in it, every step 1. Gradients of steps are scaled by 1 / √(n · largest code), with n the
    /// weights that share a step, or the elements of one sample; by 0 where steps stay.
    pub(super) fn insert(&self, model: &Model, is_learned: bool) -> Result<Model, TrainError> {
        let graph = &model.graph;
        let mut writer = Writer {
            places: self,
            graph,
            model,
            patch: Patch::new(graph, model.opset()),
            is_learned,
            steps: BTreeMap::new(),
            wide: BTreeMap::new(),
            narrow: BTreeMap::new(),
        };
        for &input in graph.inputs() {
            writer.made(input)?;
        }
        for (index, node) in graph.nodes().iter().enumerate() {
            writer.patch.remove_node(index);
            let node = writer.rewired(node)?;
            writer.patch.push_node(node.clone());
            for output in node.outputs.iter().flatten() {
                writer.made(*output)?;
            }
        }
        let patch = writer.patch;
        let mut quantized = model.clone();
        quantized.graph.apply(patch)?;
        infer(&mut quantized.graph)?;
        Ok(quantized)
    }
}

struct Writer<'a> {
    places: &'a Places,
    graph: &'a Graph,
    model: &'a Model,
    patch: Patch,
    is_learned: bool,
    steps: BTreeMap<String, ValueId>,
    wide: BTreeMap<ValueId, ValueId>,
    narrow: BTreeMap<(ValueId, u8), ValueId>,
}

impl Writer<'_> {
    /// Puts the quantizers of a value that was just made.
    fn made(&mut self, value: ValueId) -> Result<(), TrainError> {
        let places = self.places;
        let mut from = value;
        if let Some((quantized, _)) = places.wide.get(&value) {
            if !places.derived.contains(&value) {
                from = self.activation(value, quantized)?;
            }
            self.wide.insert(value, from);
        }
        for (&key, quantized) in places.narrow.range((value, 0)..=(value, WIDE)) {
            let made = self.activation(from, quantized)?;
            self.narrow.insert(key, made);
        }
        Ok(())
    }

    fn activation(&mut self, from: ValueId, quantized: &Quantized) -> Result<ValueId, TrainError> {
        let shape = self.graph.value(quantized.value).fact.shape.clone().unwrap_or_default();
        let features: usize = shape.iter().skip(1).filter_map(lissom_graph::Dim::known).product();
        let step = self.step(&quantized.step, &[])?;
        self.node(from, step, quantized.codes, (0, features))
    }

    fn step(&mut self, name: &str, shape: &[usize]) -> Result<ValueId, TrainError> {
        if let Some(&known) = self.steps.get(name) {
            return Ok(known);
        }
        let ones = Tensor::new(shape, vec![1f32; shape.iter().product()])?;
        let step = self.patch.constant(name, Weight::Dense(ones));
        self.steps.insert(name.to_owned(), step);
        Ok(step)
    }

    fn node(
        &mut self,
        from: ValueId,
        step: ValueId,
        codes: Codes,
        (axis, n): (usize, usize),
    ) -> Result<ValueId, TrainError> {
        let scale = 1.0 / (n.max(1) as f64 * f64::from(codes.max)).sqrt();
        let attributes = Attributes::new()
            .with("axis", axis as i64)
            .with("min", i64::from(codes.min))
            .with("max", i64::from(codes.max))
            .with("gradient_scale", if self.is_learned { scale as f32 } else { 0.0 });
        let out = self.patch.value("quantized", Fact::unknown());
        let inputs = [Some(from), Some(step)];
        let operator = ("lissom", "StepQuantize");
        self.patch.node_of(&self.model.operators, operator, "quantize", &inputs, attributes, &[Some(out)])?;
        Ok(out)
    }

    /// The node with what it takes in quantized, weights included.
    fn rewired(&mut self, node: &Node) -> Result<Node, TrainError> {
        let places = self.places;
        let layer = places.layers.iter().find(|layer| layer.name == node.name);
        let mut node = node.clone();
        for input in node.inputs.iter_mut().flatten() {
            let own = layer.filter(|layer| layer.input == *input).and_then(|layer| layer.input_bits);
            let narrow = own.and_then(|bits| self.narrow.get(&(*input, bits)));
            let is_taker = places.takers.contains(&node.name);
            let wide = self.wide.get(input).filter(|_| is_taker || places.wide[&*input].1);
            if let Some(layer) = layer.filter(|layer| layer.weight == *input) {
                let shape = self.graph.value(layer.weight).fact.known_shape().unwrap_or_default();
                let channels = shape.get(layer.axis).copied().unwrap_or(1);
                let n = shape.iter().product::<usize>() / channels.max(1);
                let step = self.step(&layer.steps, &[channels])?;
                *input = self.node(*input, step, layer.codes, (layer.axis, n))?;
            } else if let Some(&quantized) = narrow.or(wide) {
                *input = quantized;
            }
        }
        Ok(node)
    }
}

/// Values that are never below zero, as far as operators alone say.
fn not_negative(graph: &Graph) -> BTreeSet<ValueId> {
    const ALWAYS: [&str; 4] = ["Relu", "Sigmoid", "Softmax", "HardSigmoid"];
    const KEEP_FIRST: [&str; 13] = [
        "AveragePool",
        "Clip",
        "Dropout",
        "Flatten",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Identity",
        "MaxPool",
        "Reshape",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    ];
    const KEEP_ALL: [&str; 4] = ["Add", "Concat", "Max", "Mul"];
    let mut found = BTreeSet::new();
    for node in graph.nodes().iter().filter(|node| node.domain.is_empty()) {
        let op = node.op_type.as_str();
        let number = |index: usize| {
            let value = node.inputs.get(index).copied().flatten()?;
            graph.dense_constant(value)?.to_f64().ok()
        };
        let holds = |value: &ValueId| found.contains(value);
        let is_clipped = op == "Clip" && number(1).is_some_and(|low| low >= 0.0);
        let is_zero_pad = op == "Pad"
            && (node.inputs.get(2).copied().flatten().is_none() || number(2).is_some_and(|fill| fill >= 0.0))
            && !matches!(node.attributes.get("value"), Some(Attribute::Float(fill)) if *fill < 0.0);
        let first = node.inputs.first().copied().flatten();
        let is_kept = KEEP_FIRST.contains(&op) || is_zero_pad;
        let all = KEEP_ALL.contains(&op) && node.inputs.iter().flatten().all(holds);
        if ALWAYS.contains(&op) || is_clipped || is_kept && first.as_ref().is_some_and(holds) || all {
            found.extend(node.outputs.first().copied().flatten());
        }
    }
    found
}
