//! Which activations become integers, and over which range.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lissom_graph::{Attribute, Graph, Model, Node, ValueId};
use lissom_tensor::{DType, Tensor};
use rayon::prelude::*;

use super::SPEC;
use super::insert::{Grid, Pair, Pairs};
use super::layers::Target;
use super::settings::{Operators, Quantize};
use crate::parts::histogram::Histogram;
use crate::{Job, MethodError};

/// Operators that only move or pick values: what goes in and what comes out share a scale.
const MOVES: [&str; 9] =
    ["Flatten", "Identity", "MaxPool", "Pad", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"];

/// The activations that become integers.
#[derive(Debug)]
pub(in crate::methods) struct Activations {
    /// Each with the first value of its group: values of a group share scale and zero point.
    pub(in crate::methods) groups: BTreeMap<ValueId, ValueId>,
    /// Values whose range follows from others of the group.
    pub(in crate::methods) derived: BTreeSet<ValueId>,
    /// Values an integer operator makes: everybody uses their quantized form.
    pub(in crate::methods) produced: BTreeSet<ValueId>,
    /// Nodes that take integers in.
    pub(in crate::methods) takers: BTreeSet<usize>,
}

impl Activations {
    /// Decides from the graph alone.
    pub(in crate::methods) fn place(graph: &Graph, targets: &[Target], operators: &Operators) -> Self {
        let consumers = graph.consumers();
        let linear: HashMap<usize, &Target> = targets.iter().map(|target| (target.layer.node, target)).collect();
        let produced = produced(graph, &consumers, &linear, operators);
        let mut wanted: BTreeSet<ValueId> = BTreeSet::new();
        let mut takers = BTreeSet::new();
        let mut joined: Vec<(ValueId, ValueId)> = Vec::new();
        let mut derived = BTreeSet::new();
        for (index, node) in graph.nodes().iter().enumerate().rev() {
            if let Some(target) = linear.get(&index) {
                if target.is_integer {
                    wanted.insert(target.layer.input);
                    takers.insert(index);
                }
                let output = after_activation(graph, &consumers, target.layer.output);
                if produced.contains(&output) {
                    wanted.insert(output);
                }
                continue;
            }
            let Some(output) = node.output() else { continue };
            let end = after_activation(graph, &consumers, output);
            let inputs = integer_inputs(graph, node, operators);
            let is_kept = wanted.contains(&end)
                && produced.contains(&end)
                && !inputs.is_empty()
                && inputs.iter().all(|input| produced.contains(input));
            if is_kept {
                takers.insert(index);
                wanted.extend(&inputs);
                if end == output && shares_scale(node) {
                    derived.insert(output);
                    joined.extend(inputs.iter().map(|&input| (output, input)));
                }
            }
        }
        let produced = produced.intersection(&wanted).copied().collect();
        Self { groups: groups(&wanted, &joined), derived, produced, takers }
    }

    /// Looks at the values on calibration data and fixes their ranges.
    pub(in crate::methods) fn calibrate(
        &self,
        settings: &Quantize,
        model: &Model,
        job: &Job<'_>,
    ) -> Result<Pairs, MethodError> {
        let observed: Vec<ValueId> = self.groups.keys().copied().filter(|id| !self.derived.contains(id)).collect();
        let mut seen: Vec<Seen> = vec![Seen::default(); observed.len()];
        job.observe(SPEC.name, model, &observed, settings.samples, |start, tensors| {
            seen.par_iter_mut().zip(tensors).enumerate().try_for_each(|(i, (seen, tensor))| {
                seen.add(tensor, settings.momentum).map_err(|position| {
                    let per_sample = tensor.len() / tensor.shape().first().copied().unwrap_or(1).max(1);
                    let value = model.graph.value(observed[i]).name.clone();
                    MethodError::ActivationNotFinite { value, sample: start + position / per_sample.max(1) }
                })
            })
        })?;
        let ranges: Vec<(f32, f32)> = seen.par_iter().map(|seen| seen.range(settings)).collect();
        let mut group_ranges: BTreeMap<ValueId, (f32, f32)> = BTreeMap::new();
        for (id, (lo, hi)) in observed.iter().zip(ranges) {
            let range = group_ranges.entry(self.groups[id]).or_insert((lo, hi));
            *range = (range.0.min(lo), range.1.max(hi));
        }
        let pairs = self.groups.iter().map(|(&id, root)| {
            let quantizer = settings.rule.quantizer(group_ranges.get(root).copied().unwrap_or_default());
            (id, Pair { grid: Grid::Static(quantizer), is_for_all: self.produced.contains(&id) })
        });
        Ok(Pairs { pairs: pairs.collect(), takers: self.takers.clone() })
    }
}

/// What was seen of one value.
#[derive(Debug, Clone, Default)]
struct Seen {
    histogram: Histogram,
    /// Moving averages of the batches' extremes.
    average: Option<(f64, f64)>,
}

impl Seen {
    fn add(&mut self, tensor: &Tensor, momentum: Option<f64>) -> Result<(), usize> {
        let Ok(values) = tensor.as_slice::<f32>() else { return Ok(()) };
        let mut batch = Histogram::default();
        let counted = if momentum.is_some() { &mut batch } else { &mut self.histogram };
        counted.add(values).map_err(|error| error.position)?;
        if let Some(momentum) = momentum {
            let (lo, hi) = batch.range();
            let (lo, hi) = (f64::from(lo), f64::from(hi));
            let mix = |old: f64, new: f64| momentum * old + (1.0 - momentum) * new;
            self.average = Some(self.average.map_or((lo, hi), |old| (mix(old.0, lo), mix(old.1, hi))));
        }
        Ok(())
    }

    fn range(&self, settings: &Quantize) -> (f32, f32) {
        match self.average {
            Some((lo, hi)) => (lo.min(0.0) as f32, hi.max(0.0) as f32),
            None => settings.rule.range(&self.histogram),
        }
    }
}

/// Values that integer operators make, given that their inputs are integers too. A product of matrices is not among
/// them: what follows it is mostly float, and runtimes scale its sums to f32 at no cost.
fn produced(
    graph: &Graph,
    consumers: &HashMap<ValueId, Vec<usize>>,
    linear: &HashMap<usize, &Target>,
    operators: &Operators,
) -> BTreeSet<ValueId> {
    let mut produced = BTreeSet::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        let Some(output) = node.output() else { continue };
        let is_integer = match linear.get(&index) {
            Some(target) => target.is_integer && target.op_type == "Conv",
            None => {
                let inputs = integer_inputs(graph, node, operators);
                !inputs.is_empty() && inputs.iter().all(|input| produced.contains(input))
            }
        };
        let end = after_activation(graph, consumers, output);
        if is_integer && !graph.outputs().contains(&end) && graph.value(end).fact.dtype.is_none_or(|d| d == DType::F32)
        {
            produced.insert(end);
        }
    }
    produced
}

/// The data inputs of an operator that can run on integers without a weight; none if it cannot.
fn integer_inputs(graph: &Graph, node: &Node, operators: &Operators) -> Vec<ValueId> {
    if !node.domain.is_empty() {
        return Vec::new();
    }
    let first = node.inputs.first().copied().flatten();
    match node.op_type.as_str() {
        "Add" | "Concat" if operators.holds(&node.op_type) => node.inputs.iter().copied().flatten().collect(),
        "AveragePool" | "GlobalAveragePool" if operators.holds(&node.op_type) => first.into_iter().collect(),
        "Pad" if !pads_with_zero(graph, node) => Vec::new(),
        op if MOVES.contains(&op) => first.into_iter().collect(),
        _ => Vec::new(),
    }
}

fn shares_scale(node: &Node) -> bool {
    node.op_type == "Concat" || MOVES.contains(&node.op_type.as_str())
}

/// Other modes and values pad with what may lie outside of the range.
fn pads_with_zero(graph: &Graph, node: &Node) -> bool {
    let is_constant = match node.attributes.get("mode") {
        Some(Attribute::Str(mode)) => mode == "constant",
        _ => true,
    };
    let attribute_is_zero = !matches!(node.attributes.get("value"), Some(Attribute::Float(value)) if *value != 0.0);
    let input_is_zero = match node.inputs.get(2).copied().flatten() {
        Some(id) => graph.dense_constant(id).is_some_and(|value| value.count_zeros() == value.len()),
        None => true,
    };
    is_constant && attribute_is_zero && input_is_zero
}

/// The output of the activation that follows alone, or the value itself: ranges are those after the activation, which
/// runtimes fuse into what makes the value.
fn after_activation(graph: &Graph, consumers: &HashMap<ValueId, Vec<usize>>, value: ValueId) -> ValueId {
    let Some([user]) = consumers.get(&value).map(Vec::as_slice) else { return value };
    let node = &graph.nodes()[*user];
    let is_clamp = node.op_type == "Relu"
        || node.op_type == "Clip" && node.inputs.iter().skip(1).flatten().all(|&id| graph.constant(id).is_some());
    match node.output() {
        Some(output) if is_clamp && node.domain.is_empty() && !graph.outputs().contains(&value) => output,
        _ => value,
    }
}

/// The first value of each value's group.
fn groups(wanted: &BTreeSet<ValueId>, joined: &[(ValueId, ValueId)]) -> BTreeMap<ValueId, ValueId> {
    let mut roots: BTreeMap<ValueId, ValueId> = wanted.iter().map(|&id| (id, id)).collect();
    let find = |roots: &BTreeMap<ValueId, ValueId>, mut id: ValueId| {
        while let Some(&next) = roots.get(&id).filter(|&&next| next != id) {
            id = next;
        }
        id
    };
    for &(a, b) in joined {
        let (a, b) = (find(&roots, a), find(&roots, b));
        roots.insert(a.max(b), a.min(b));
    }
    wanted.iter().map(|&id| (id, find(&roots, id))).collect()
}
