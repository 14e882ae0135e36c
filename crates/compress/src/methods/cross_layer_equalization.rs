//! Cross-layer equalization: evens out the ranges of neighbouring channels without changing what the network computes.
//!
//! Channel `i` between two layers is scaled down by `S_i = √(r1_i / r2_i)` in the first and up in the second, where `r1_i`
//! is the largest weight that makes the channel and `r2_i` the largest that uses it. What lies between must commute with
//! positive factors (`Relu`, `PRelu`, `LeakyRelu`, pools). Pairs are swept until nothing moves by more than 0.1 %; for a
//! convolution, a depthwise and a pointwise one in a row that ends where the published formula for triples does.

use std::collections::HashMap;

use lissom_graph::{Graph, Layer, Model, Node, ValueId};
use lissom_recipe::{LayerFilter, Settings, SettingsError};
use lissom_tensor::{DType, Tensor, Weight, strides};
use serde::Deserialize;

use crate::{Changes, Job, LayerChange, Method, MethodError, MethodSpec, Skipped, WeightState};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "cross_layer_equalization",
    summary: "even out the ranges of channels between neighbouring layers, before quantizing",
    source: "Nagel et al. 2019, arXiv:1906.04721",
    example: "",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        Ok(Box::new(settings.parse::<CrossLayerEqualization>()?))
    },
};

/// Settings of `cross_layer_equalization`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CrossLayerEqualization {
    /// Read by the recipe; named here so that it is no unknown key.
    #[serde(default, rename = "layers")]
    _layers: LayerFilter,
}

/// Sweeps end when no factor moves by more than this share.
const TOLERANCE: f64 = 1e-3;

/// More sweeps than any chain of layers needs.
const MAX_SWEEPS: usize = 100;

/// Operators that commute with a positive factor for each channel.
const HOMOGENEOUS: [&str; 7] =
    ["Relu", "PRelu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"];

impl Method for CrossLayerEqualization {
    fn apply(&self, model: &mut Model, job: &Job<'_>) -> Result<Changes, MethodError> {
        let mut changes = Changes::default();
        let layers = equalizable(model, job)?;
        let pairs = pairs(&model.graph, &layers, &mut changes);
        if pairs.is_empty() {
            changes.notes.push("no two layers follow each other so that their channels can be evened out".to_owned());
            return Ok(changes);
        }
        let mut ranges: Vec<Ranges> =
            layers.iter().map(|layer| Ranges::of(&model.graph, layer)).collect::<Result<_, MethodError>>()?;
        let mut n_sweeps = 0;
        while n_sweeps < MAX_SWEEPS {
            job.interrupt.check()?;
            n_sweeps += 1;
            let moved = pairs.iter().fold(0.0, |most: f64, &(a, b)| most.max(equalize(&mut ranges, a, b)));
            if moved < TOLERANCE {
                break;
            }
        }
        for (layer, ranges) in layers.iter().zip(&ranges) {
            if let Some(change) = ranges.scale(&mut model.graph, layer)? {
                changes.layers.push(change);
            }
        }
        changes.notes.push(format!("{} pairs of layers evened out in {n_sweeps} sweeps", pairs.len()));
        Ok(changes)
    }
}

/// Layers whose weight and bias may be scaled: plain f32, used once.
fn equalizable(model: &Model, job: &Job<'_>) -> Result<Vec<Layer>, MethodError> {
    let uses = model.graph.use_counts();
    let is_own = |id: ValueId| {
        let tensor = model.graph.dense_constant(id);
        uses[id.index()] == 1 && tensor.is_some_and(|tensor| tensor.dtype() == DType::F32)
    };
    let mut layers = Vec::new();
    for layer in job.layers(model)? {
        let node = &model.graph.nodes()[layer.node];
        let has_bias = layer.axes.bias_input.is_some_and(|input| node.inputs.get(input).copied().flatten().is_some());
        let is_linear = matches!(node.op_type.as_str(), "Conv" | "Gemm");
        let bias_fits = !has_bias || layer.bias.is_some_and(|bias| is_own(bias) && is_vector(&model.graph, bias));
        if is_linear && is_own(layer.weight) && bias_fits {
            let weight =
                model.graph.dense_constant(layer.weight).map(Tensor::to_f32_vec).transpose()?.unwrap_or_default();
            if weight.iter().any(|w| !w.is_finite()) {
                return Err(MethodError::NotFinite { layer: layer.name, what: "NaN or infinity" });
            }
            layers.push(layer);
        }
    }
    Ok(layers)
}

fn is_vector(graph: &Graph, id: ValueId) -> bool {
    graph.dense_constant(id).is_some_and(|tensor| tensor.rank() == 1)
}

/// Positions of layers that follow each other with nothing between them that a factor would not pass.
fn pairs(graph: &Graph, layers: &[Layer], changes: &mut Changes) -> Vec<(usize, usize)> {
    let consumers = graph.consumers();
    let by_node: HashMap<usize, usize> = layers.iter().enumerate().map(|(i, layer)| (layer.node, i)).collect();
    let mut pairs = Vec::new();
    for (i, layer) in layers.iter().enumerate() {
        match next_layer(graph, &consumers, layer.output) {
            Next::Node(node) => {
                if let Some(&j) = by_node.get(&node)
                    && channels_fit(graph, layer, &layers[j])
                {
                    pairs.push((i, j));
                }
            }
            Next::Stopped(reason) => changes.skipped.push(Skipped { layer: layer.name.clone(), reason }),
            Next::None => {}
        }
    }
    pairs
}

enum Next {
    /// The node that takes the channels in.
    Node(usize),
    /// Something lies between that a person may want to know of.
    Stopped(String),
    /// Several use the channels, or none.
    None,
}

fn next_layer(graph: &Graph, consumers: &HashMap<ValueId, Vec<usize>>, output: ValueId) -> Next {
    let mut value = output;
    for _ in 0..graph.nodes().len() {
        let Some([user]) = consumers.get(&value).map(Vec::as_slice) else { return Next::None };
        let node = &graph.nodes()[*user];
        if graph.outputs().contains(&value) || node.inputs.first() != Some(&Some(value)) {
            return Next::None;
        }
        if node.op_type == "Conv" || node.op_type == "Gemm" {
            return Next::Node(*user);
        }
        if node.op_type == "Clip" {
            return Next::Stopped(format!(
                "`{}` cuts its output off at fixed values, which factors would move",
                node.name
            ));
        }
        if node.op_type == "BatchNormalization" {
            return Next::Stopped(format!("`{}` follows it; fold batch normalisation first", node.name));
        }
        match node.output().filter(|_| is_homogeneous(graph, node)) {
            Some(next) => value = next,
            None => return Next::None,
        }
    }
    Next::None
}

fn is_homogeneous(graph: &Graph, node: &Node) -> bool {
    let has_constant_slope =
        node.op_type != "PRelu" || node.inputs.get(1).copied().flatten().is_some_and(|id| graph.constant(id).is_some());
    node.domain.is_empty() && HOMOGENEOUS.contains(&node.op_type.as_str()) && has_constant_slope
}

/// Whether the output channels of one are the input channels of the other.
fn channels_fit(graph: &Graph, first: &Layer, second: &Layer) -> bool {
    let shape = |layer: &Layer| graph.dense_constant(layer.weight).map(|weight| weight.shape().to_vec());
    let (Some(a), Some(b)) = (shape(first), shape(second)) else { return false };
    let n_in = b.get(second.axes.c_in).map_or(0, |&c_in| c_in * second.axes.groups);
    // A matrix product works on the last axis, a convolution on the second: the two do not meet without a reshape.
    let same_kind = graph.nodes()[first.node].op_type == graph.nodes()[second.node].op_type;
    let n_out = b.get(second.axes.c_out).copied().unwrap_or(0);
    same_kind && a.get(first.axes.c_out) == Some(&n_in) && n_out.is_multiple_of(second.axes.groups.max(1))
}

/// Largest magnitudes of a layer's weights, and the factors they are to be multiplied by.
struct Ranges {
    /// `[output channels, input channels of a group]`, row-major: the largest over the kernel.
    largest: Vec<f64>,
    n_in: usize,
    /// Output channels that share a group's input channels.
    outs_of_group: usize,
    output_factors: Vec<f64>,
    input_factors: Vec<f64>,
}

impl Ranges {
    fn of(graph: &Graph, layer: &Layer) -> Result<Self, MethodError> {
        let missing =
            || MethodError::Layer { layer: layer.name.clone(), reason: "its weight is no constant".to_owned() };
        let weight = graph.dense_constant(layer.weight).ok_or_else(missing)?;
        let (n_out, n_in) = (weight.shape()[layer.axes.c_out], weight.shape()[layer.axes.c_in]);
        let mut largest = vec![0f64; n_out * n_in];
        for (w, (out, input)) in weight.to_f32_vec()?.into_iter().zip(positions(weight.shape(), layer)) {
            let slot = &mut largest[out * n_in + input];
            *slot = slot.max(f64::from(w.abs()));
        }
        let groups = layer.axes.groups.max(1);
        Ok(Self {
            largest,
            n_in,
            outs_of_group: (n_out / groups).max(1),
            output_factors: vec![1.0; n_out],
            input_factors: vec![1.0; n_in * groups],
        })
    }

    /// Factor of the weight at an output channel and an input channel of its group.
    fn factor(&self, out: usize, input: usize) -> f64 {
        self.output_factors[out] * self.input_factors[out / self.outs_of_group * self.n_in + input]
    }

    fn of_output(&self, out: usize) -> f64 {
        (0..self.n_in).map(|i| self.largest[out * self.n_in + i] * self.factor(out, i)).fold(0.0, f64::max)
    }

    fn of_input(&self, channel: usize) -> f64 {
        let (group, input) = (channel / self.n_in, channel % self.n_in);
        let outs = group * self.outs_of_group..(group + 1) * self.outs_of_group;
        outs.map(|out| self.largest[out * self.n_in + input] * self.factor(out, input)).fold(0.0, f64::max)
    }

    /// Multiplies weight and bias by their factors, each rounded once.
    fn scale(&self, graph: &mut Graph, layer: &Layer) -> Result<Option<LayerChange>, MethodError> {
        if self.output_factors.iter().chain(&self.input_factors).all(|&factor| factor == 1.0) {
            return Ok(None);
        }
        let Some(weight) = graph.dense_constant(layer.weight).cloned() else { return Ok(None) };
        let scaled: Vec<f32> = weight
            .to_f32_vec()?
            .into_iter()
            .zip(positions(weight.shape(), layer))
            .map(|(w, (out, input))| (f64::from(w) * self.factor(out, input)) as f32)
            .collect();
        let scaled = Weight::Dense(Tensor::new(weight.shape(), scaled)?);
        let (before, after) = (WeightState::of(&Weight::Dense(weight))?, WeightState::of(&scaled)?);
        graph.set_constant(layer.weight, scaled);
        if let Some((id, bias)) = layer.bias.and_then(|id| Some((id, graph.dense_constant(id)?.to_f64_vec()))) {
            let factors = self.output_factors.iter();
            let bias: Vec<f32> = bias?.iter().zip(factors).map(|(b, factor)| (b * factor) as f32).collect();
            graph.set_constant(id, Weight::Dense(Tensor::vector(bias)));
        }
        Ok(Some(LayerChange { layer: layer.name.clone(), before, after }))
    }
}

/// Output channel and input channel (within its group) of each element.
fn positions(shape: &[usize], layer: &Layer) -> impl Iterator<Item = (usize, usize)> + use<> {
    let steps = strides(shape);
    let (out, input) = (layer.axes.c_out, layer.axes.c_in);
    let (out_step, in_step, n_out, n_in) = (steps[out].max(1), steps[input].max(1), shape[out], shape[input]);
    (0..shape.iter().product()).map(move |i: usize| (i / out_step % n_out.max(1), i / in_step % n_in.max(1)))
}

/// Evens out the channels between two layers; how far the largest factor was from 1.
fn equalize(ranges: &mut [Ranges], first: usize, second: usize) -> f64 {
    let mut moved: f64 = 0.0;
    for channel in 0..ranges[first].output_factors.len() {
        let (r1, r2) = (ranges[first].of_output(channel), ranges[second].of_input(channel));
        // A channel that is all zeros, or nearly, has no range to even out.
        if r1 < f64::from(f32::MIN_POSITIVE) || r2 < f64::from(f32::MIN_POSITIVE) {
            continue;
        }
        let scale = (r1 / r2).sqrt();
        ranges[first].output_factors[channel] /= scale;
        ranges[second].input_factors[channel] *= scale;
        moved = moved.max((scale - 1.0).abs());
    }
    moved
}
