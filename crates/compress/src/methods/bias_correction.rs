//! Bias correction: takes off each layer the mean error that quantization gave its outputs.
//!
//! Layer by layer in order, `b -= mean(y_quantized − y_float)` per output channel over calibration data, with all earlier
//! layers quantized and corrected already; outputs are measured before they are quantized themselves.
//!
//! One pass is enough for all layers: the quantized network is run in segments that end behind a layer, with what later
//! nodes need kept in memory between them. A correction is a shift of the kept output, so nothing is run twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lissom_engine::{Session, SessionOptions};
use lissom_graph::{Attribute, Graph, Layer, Model, Node, Patch, ValueId, infer};
use lissom_recipe::{LayerFilter, Settings, SettingsError};
use lissom_tensor::{Affine, DType, Tensor, Weight};
use serde::Deserialize;

use crate::{Changes, Job, Method, MethodError, MethodSpec, Skipped};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "bias_correction",
    summary: "take the mean error of quantization off each layer's bias",
    source: "Nagel et al. 2019, arXiv:1906.04721, empirical form",
    example: "samples = 256",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let method: BiasCorrection = settings.parse()?;
        match method.samples {
            0 => Err(settings.error_at("samples", "at least one sample must be looked at")),
            _ => Ok(Box::new(method)),
        }
    },
};

/// Settings of `bias_correction`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct BiasCorrection {
    /// Calibration samples; fewer are taken where their activations would not fit into [`MEMORY`].
    #[serde(default = "default_samples")]
    samples: usize,
    /// Read by the recipe; named here so that it is no unknown key.
    #[serde(default, rename = "layers")]
    _layers: LayerFilter,
}

fn default_samples() -> usize {
    256
}

/// Bytes of activations that are kept between segments.
const MEMORY: usize = 512 << 20;

/// Samples run at once.
const BATCH: usize = 16;

impl Method for BiasCorrection {
    fn needs_calibration(&self) -> bool {
        true
    }

    fn apply(&self, model: &mut Model, job: &Job<'_>) -> Result<Changes, MethodError> {
        let mut changes = Changes::default();
        let nothing = |reason: &str| MethodError::NothingToDo { method: SPEC.name, reason: reason.to_owned() };
        let reference = job.reference.ok_or_else(|| nothing("no step before it quantizes anything"))?;
        let targets = targets(model, reference, job, &mut changes)?;
        if targets.is_empty() {
            return Err(nothing("no selected layer is quantized and has a place for a bias"));
        }
        let lives = Lives::new(&model.graph);
        let fitting = (MEMORY / lives.peak_bytes(&model.graph, &targets).max(1)).max(1);
        let n_samples = job.n_samples(SPEC.name, self.samples.min(fitting))?;
        if n_samples < job.n_samples(SPEC.name, self.samples)? {
            changes.notes.push(format!("{n_samples} samples instead of {}, to keep memory bounded", self.samples));
        }
        let expected = reference_means(reference, &targets, n_samples, job)?;
        let mut walk = Walk::start(model, &lives, n_samples, job)?;
        let mut corrected = Vec::new();
        let mut largest: f64 = 0.0;
        for (i, (target, expected)) in targets.iter().zip(&expected).enumerate() {
            job.interrupt.check()?;
            job.progress.report(i, targets.len(), &target.name);
            walk.run_to(target.end + 1, target.output)?;
            let actual = walk.means(target)?;
            let errors: Vec<f64> = actual.iter().zip(expected).map(|(a, e)| a - e).collect();
            let (bias, shifts) = target.corrected(&errors);
            largest = errors.iter().fold(largest, |most, error| most.max(error.abs()));
            walk.shift(target, &shifts)?;
            corrected.push(bias);
        }
        apply_biases(model, &targets, corrected)?;
        changes.notes.push(format!("biases of {} layers corrected, by at most {largest:.3e}", targets.len()));
        Ok(changes)
    }
}

/// A layer whose bias is corrected.
#[derive(Debug, Clone)]
struct Target {
    name: String,
    /// The node that adds the bias, and the position among its inputs.
    end: usize,
    position: usize,
    /// The bias as it is.
    bias: Option<ValueId>,
    bias_values: Vec<f32>,
    encoding: Encoding,
    /// What is measured.
    output: ValueId,
    output_name: String,
    /// Axis of the output's channels; from behind if `None`.
    channel_axis: Option<usize>,
}

/// How the new bias is written.
#[derive(Debug, Clone)]
enum Encoding {
    Float,
    /// In steps, one for all or one a channel.
    Steps(Tensor),
}

impl Target {
    /// The new bias, and how far it really moved.
    fn corrected(&self, errors: &[f64]) -> (Weight, Vec<f32>) {
        let wanted = self.bias_values.iter().zip(errors).map(|(&bias, error)| f64::from(bias) - error);
        let weight = match &self.encoding {
            Encoding::Float => Weight::Dense(Tensor::vector(wanted.map(|bias| bias as f32).collect::<Vec<f32>>())),
            Encoding::Steps(scale) => {
                let steps = scale.to_f64_vec().unwrap_or_default();
                let code = |(i, bias): (usize, f64)| (bias / steps[i % steps.len()]).round_ties_even() as i32;
                let codes = Tensor::vector(wanted.enumerate().map(code).collect::<Vec<i32>>());
                Weight::Affine(Affine { codes, scale: scale.clone(), zero_point: None, axis: 0, block_size: 0 })
            }
        };
        let decoded = weight.decode().and_then(|bias| bias.to_f32_vec()).unwrap_or_else(|_| self.bias_values.clone());
        let shifts = decoded.iter().zip(&self.bias_values).map(|(new, old)| new - old).collect();
        (weight, shifts)
    }

    /// Channels and the elements of each run of equal channel in a tensor of this shape.
    fn channels(&self, shape: &[usize]) -> (usize, usize) {
        let axis = self.channel_axis.unwrap_or(shape.len().saturating_sub(1));
        (shape.get(axis).copied().unwrap_or(1), shape.iter().skip(axis + 1).product())
    }
}

fn targets(model: &Model, reference: &Model, job: &Job<'_>, changes: &mut Changes) -> Result<Vec<Target>, MethodError> {
    let graph = &model.graph;
    let consumers = graph.consumers();
    let producers = graph.producers();
    let mut targets = Vec::new();
    for layer in job.layers(model)? {
        if !matches!(graph.constant(layer.weight), Some(Weight::Affine(_))) {
            continue;
        }
        let name = layer.name.clone();
        match target(graph, &layer, &consumers, &producers)? {
            Some(target) if reference.graph.find_value(&target.output_name).is_some() => targets.push(target),
            Some(_) => {
                changes.skipped.push(Skipped { layer: name, reason: "the float model has no such layer".into() })
            }
            None => changes.skipped.push(Skipped { layer: name, reason: "it has no place for a bias".into() }),
        }
    }
    targets.sort_by_key(|target| target.end);
    Ok(targets)
}

fn target(
    graph: &Graph,
    layer: &Layer,
    consumers: &HashMap<ValueId, Vec<usize>>,
    producers: &HashMap<ValueId, usize>,
) -> Result<Option<Target>, MethodError> {
    let Some(Weight::Affine(weight)) = graph.constant(layer.weight) else { return Ok(None) };
    let node = &graph.nodes()[layer.node];
    let is_image = node.op_type.starts_with("Conv");
    let scaled = |name: &str| matches!(node.attributes.get(name), Some(Attribute::Float(v)) if *v != 1.0);
    if scaled("alpha") || scaled("beta") || (layer.axes.groups > 1 && layer.axes.c_out != 0) {
        return Ok(None);
    }
    let n_out = weight.codes.shape().get(layer.axes.c_out).copied().unwrap_or(0);
    // A product of matrices has its bias in the addition that follows.
    let (end, position) = match layer.axes.bias_input {
        Some(position) => (layer.node, position),
        None => match added_constant(graph, layer, consumers) {
            Some(place) => place,
            None => return Ok(None),
        },
    };
    let bias = graph.nodes()[end].inputs.get(position).copied().flatten();
    let bias_values = match bias.map(|id| graph.constant(id)) {
        None => vec![0.0; n_out],
        Some(None) => return Ok(None),
        Some(Some(bias)) if bias.shape() == [n_out] && bias.dtype() == DType::F32 => bias.decode()?.to_f32_vec()?,
        Some(Some(_)) => return Ok(None),
    };
    let Some(output) = graph.nodes()[end].output() else { return Ok(None) };
    let encoding = match bias.and_then(|id| graph.constant(id)) {
        Some(Weight::Affine(affine)) if affine.codes.dtype() == DType::I32 => Encoding::Steps(affine.scale.clone()),
        None if end == layer.node => {
            new_steps(graph, layer, weight, producers)?.map_or(Encoding::Float, Encoding::Steps)
        }
        _ => Encoding::Float,
    };
    Ok(Some(Target {
        name: layer.name.clone(),
        end,
        position,
        bias,
        bias_values,
        encoding,
        output,
        output_name: graph.value(output).name.clone(),
        channel_axis: is_image.then_some(1),
    }))
}

/// The addition of a constant vector that alone follows the layer: node and position of the constant.
fn added_constant(graph: &Graph, layer: &Layer, consumers: &HashMap<ValueId, Vec<usize>>) -> Option<(usize, usize)> {
    let [user] = consumers.get(&layer.output)?[..] else { return None };
    let node = &graph.nodes()[user];
    let other = node.inputs.iter().position(|input| *input != Some(layer.output))?;
    (node.op_type == "Add" && node.inputs.len() == 2 && !graph.outputs().contains(&layer.output))
        .then_some((user, other))
}

/// Steps of a new integer bias: scale of the input times scales of the weight.
fn new_steps(
    graph: &Graph,
    layer: &Layer,
    weight: &Affine,
    producers: &HashMap<ValueId, usize>,
) -> Result<Option<Tensor>, MethodError> {
    let input: Option<&Node> = producers.get(&layer.input).map(|&index| &graph.nodes()[index]);
    let Some(input) = input.filter(|node| node.op_type == "DequantizeLinear") else { return Ok(None) };
    let scale = input.inputs.get(1).copied().flatten().and_then(|id| graph.dense_constant(id));
    let (Some(scale), 0) = (scale.filter(|scale| scale.len() == 1), weight.block_size) else { return Ok(None) };
    let scale = scale.to_f32_vec()?[0];
    let steps: Vec<f32> = weight.scale.to_f32_vec()?.into_iter().map(|step| step * scale).collect();
    Ok(Some(if weight.scale.rank() == 0 { Tensor::scalar(steps[0]) } else { Tensor::vector(steps) }))
}

/// Sums per channel.
#[derive(Debug, Clone, Default)]
struct Sums {
    sums: Vec<f64>,
    n: usize,
}

impl Sums {
    fn add(&mut self, target: &Target, tensor: &Tensor) -> Result<(), MethodError> {
        let (n_channels, run) = target.channels(tensor.shape());
        self.sums.resize(n_channels, 0.0);
        let values = tensor.as_slice::<f32>()?;
        if run == 0 || n_channels == 0 {
            return Ok(());
        }
        for (i, chunk) in values.chunks(run).enumerate() {
            self.sums[i % n_channels] += chunk.iter().map(|&x| f64::from(x)).sum::<f64>();
        }
        self.n += values.len() / n_channels;
        Ok(())
    }

    fn means(&self) -> Vec<f64> {
        self.sums.iter().map(|sum| sum / self.n.max(1) as f64).collect()
    }
}

fn reference_means(
    reference: &Model,
    targets: &[Target],
    n_samples: usize,
    job: &Job<'_>,
) -> Result<Vec<Vec<f64>>, MethodError> {
    let values: Vec<ValueId> =
        targets.iter().filter_map(|target| reference.graph.find_value(&target.output_name)).collect();
    let mut sums = vec![Sums::default(); targets.len()];
    job.observe(SPEC.name, reference, &values, n_samples, |_, tensors| {
        sums.iter_mut().zip(targets).zip(tensors).try_for_each(|((sums, target), tensor)| sums.add(target, tensor))
    })?;
    Ok(sums.iter().map(Sums::means).collect())
}

/// Until which node each value is needed.
#[derive(Debug)]
struct Lives {
    last_use: HashMap<ValueId, usize>,
}

impl Lives {
    fn new(graph: &Graph) -> Self {
        let mut last_use = HashMap::new();
        for (index, node) in graph.nodes().iter().enumerate() {
            last_use.extend(node.uses().map(|id| (id, index)));
        }
        Self { last_use }
    }

    fn is_needed(&self, id: ValueId, from: usize) -> bool {
        self.last_use.get(&id).is_some_and(|&last| last >= from)
    }

    /// Bytes a sample that are kept at the largest cut behind a target. Axes of unknown length count once.
    fn peak_bytes(&self, graph: &Graph, targets: &[Target]) -> usize {
        let size = |id: ValueId| -> usize {
            let fact = &graph.value(id).fact;
            let lengths = fact.shape.iter().flatten().skip(1).map(|dim| dim.known().unwrap_or(1));
            lengths.fold(4, usize::saturating_mul)
        };
        let cuts = targets.iter().map(|target| target.end + 1);
        let kept = |cut: usize| -> usize {
            let made = graph.nodes()[..cut].iter().flat_map(|node| node.outputs.iter().flatten()).copied();
            made.filter(|&id| self.is_needed(id, cut)).map(size).fold(0, usize::saturating_add)
        };
        cuts.map(kept).max().unwrap_or(0)
    }
}

/// The quantized network, run up to some node, with what is needed from there on.
struct Walk<'a> {
    model: &'a Model,
    lives: &'a Lives,
    threads: usize,
    /// Nodes that have run.
    at: usize,
    /// Live values of each batch.
    batches: Vec<BTreeMap<ValueId, Tensor>>,
}

impl<'a> Walk<'a> {
    fn start(model: &'a Model, lives: &'a Lives, n_samples: usize, job: &Job<'_>) -> Result<Self, MethodError> {
        let data = job.calibration(SPEC.name)?;
        let size = data.fixed_batch().unwrap_or(BATCH).max(1);
        let total = job.n_samples(SPEC.name, n_samples)?;
        let mut batches = Vec::new();
        let mut start = 0;
        while start < total {
            let n = size.min(total - start);
            let inputs: HashMap<String, Tensor> = data.batch(start, n)?.into_iter().collect();
            let by_id = |&id: &ValueId| Some((id, inputs.get(&model.graph.value(id).name)?.clone()));
            batches.push(model.graph.inputs().iter().filter_map(by_id).collect());
            start += n;
        }
        Ok(Self { model, lives, threads: job.threads, at: 0, batches })
    }

    /// Runs all nodes before `end`.
    fn run_to(&mut self, end: usize, wanted: ValueId) -> Result<(), MethodError> {
        if end <= self.at {
            return Ok(());
        }
        let (segment, inputs, outputs) = self.segment(end, wanted);
        let session = Session::new(&segment, &SessionOptions { threads: self.threads, ..SessionOptions::default() })?;
        let names: Vec<String> = session.inputs().iter().map(|input| input.name.clone()).collect();
        for batch in &mut self.batches {
            let given: Vec<(&str, &Tensor)> =
                names.iter().zip(&inputs).filter_map(|(name, id)| Some((name.as_str(), batch.get(id)?))).collect();
            let made = session.run(&given)?;
            batch.retain(|&id, _| self.lives.is_needed(id, end));
            batch.extend(outputs.iter().copied().zip(made));
        }
        self.at = end;
        Ok(())
    }

    /// The nodes from here to `end` as a model: its inputs and outputs as values of the whole.
    fn segment(&self, end: usize, wanted: ValueId) -> (Model, Vec<ValueId>, Vec<ValueId>) {
        let whole = &self.model.graph;
        let nodes = &whole.nodes()[self.at..end];
        let made: BTreeSet<ValueId> = nodes.iter().flat_map(|node| node.outputs.iter().flatten()).copied().collect();
        let mut graph = Graph::new("segment");
        let mut ids: HashMap<ValueId, ValueId> = HashMap::new();
        let mut inputs = Vec::new();
        for id in nodes.iter().flat_map(Node::uses) {
            if made.contains(&id) || ids.contains_key(&id) {
                continue;
            }
            let value = whole.value(id);
            let own = match whole.constant(id) {
                Some(weight) => graph.add_constant(&value.name, weight.clone()),
                None => {
                    inputs.push(id);
                    graph.add_input(&value.name, value.fact.clone())
                }
            };
            ids.insert(id, own);
        }
        for &id in &made {
            ids.insert(id, graph.add_value(&whole.value(id).name, whole.value(id).fact.clone()));
        }
        for node in nodes {
            let mut node = node.clone();
            let mapped = |id: &mut ValueId| *id = ids.get(id).copied().unwrap_or(*id);
            node.inputs.iter_mut().flatten().for_each(mapped);
            node.outputs.iter_mut().flatten().for_each(mapped);
            node.captures.iter_mut().for_each(mapped);
            graph.push_node(node);
        }
        let outputs: Vec<ValueId> =
            made.into_iter().filter(|&id| id == wanted || self.lives.is_needed(id, end)).collect();
        graph.set_outputs(outputs.iter().filter_map(|id| ids.get(id).copied()).collect());
        (Model::new(graph, self.model.operators, self.model.opset()), inputs, outputs)
    }

    fn means(&self, target: &Target) -> Result<Vec<f64>, MethodError> {
        let mut sums = Sums::default();
        for tensor in self.batches.iter().filter_map(|batch| batch.get(&target.output)) {
            sums.add(target, tensor)?;
        }
        Ok(sums.means())
    }

    /// Moves the kept output of a layer as its new bias would.
    fn shift(&mut self, target: &Target, shifts: &[f32]) -> Result<(), MethodError> {
        for tensor in self.batches.iter_mut().filter_map(|batch| batch.get_mut(&target.output)) {
            let (n_channels, run) = target.channels(tensor.shape());
            if n_channels != shifts.len() || run == 0 {
                continue;
            }
            for (i, chunk) in tensor.as_mut_slice::<f32>()?.chunks_mut(run).enumerate() {
                chunk.iter_mut().for_each(|x| *x += shifts[i % n_channels]);
            }
        }
        Ok(())
    }
}

fn apply_biases(model: &mut Model, targets: &[Target], biases: Vec<Weight>) -> Result<(), MethodError> {
    let uses = model.graph.use_counts();
    let mut patch = Patch::new(&model.graph, model.opset());
    for (target, bias) in targets.iter().zip(biases) {
        match target.bias.filter(|id| uses[id.index()] == 1) {
            Some(id) => patch.set_constant(id, bias),
            None => {
                let mut node = model.graph.nodes()[target.end].clone();
                let id = patch.constant(&format!("{}_bias", target.name), bias);
                node.inputs.resize(node.inputs.len().max(target.position + 1), None);
                node.inputs[target.position] = Some(id);
                patch.remove_node(target.end);
                patch.push_node(node);
            }
        }
    }
    model.graph.apply(patch)?;
    infer(&mut model.graph)?;
    Ok(())
}
