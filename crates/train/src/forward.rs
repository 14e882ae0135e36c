//! A network as training runs it: parameters and running statistics are inputs, norms use the batch's statistics, dropout drops,
//! and a loss ends it.

use std::collections::{BTreeSet, HashMap};

use lissom_graph::{Attributes, Fact, Graph, Model, Node, OpError, Operators, Patch, ValueId, infer};
use lissom_tensor::{DType, Tensor};
use serde::Deserialize;

use crate::nodes::OPSET;
use crate::{Loss, Network, Nodes, Parameter, TrainError, parameters};

/// ONNX's number of the type i64.
const ONNX_INT64: i64 = 7;

/// What is made small: a sum of losses, each with its weight.
#[derive(Debug)]
pub struct Objective {
    /// Weights and losses.
    pub terms: Vec<(f64, Box<dyn Loss>)>,
}

impl From<Box<dyn Loss>> for Objective {
    fn from(loss: Box<dyn Loss>) -> Self {
        Self { terms: vec![(1.0, loss)] }
    }
}

/// What `BatchNormalization` does while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchNorm {
    /// Normalizes with the batch's statistics and moves the running ones.
    #[default]
    Train,
    /// Keeps to the running statistics, as in inference; scale and bias are trained all the same.
    Frozen,
}

/// What training needs beside the network: fixed for a whole run.
#[derive(Debug, Clone)]
pub struct ForwardOptions {
    /// What `BatchNormalization` does.
    pub batch_norm: BatchNorm,
    /// Whether `Dropout` drops.
    pub dropout: bool,
}

impl Default for ForwardOptions {
    fn default() -> Self {
        Self { batch_norm: BatchNorm::Train, dropout: true }
    }
}

/// A network with its loss, ready to be differentiated.
#[derive(Debug, Clone)]
pub struct Forward {
    /// Outputs are the loss, the number right if there is one, and the new running statistics.
    pub graph: Graph,
    /// The operators it is made of.
    pub operators: Operators,
    /// Opset of new nodes.
    pub opset: u32,
    /// Type of all floats.
    pub dtype: DType,
    /// What is trained; each is an input of the graph.
    pub parameters: Vec<Parameter>,
    /// What the parameters hold at first, in order.
    pub initial: Vec<Tensor>,
    /// Running statistics; each is an input of the graph.
    pub statistics: Vec<Statistic>,
    /// Inputs that hold random numbers.
    pub random: Vec<Dropped>,
    /// Inputs the batch must bring: the network's own, then the losses' targets.
    pub data: Vec<ValueId>,
    /// The loss, without axes.
    pub loss: ValueId,
    /// The losses it is the weighted sum of, if there are several: their names and values.
    pub terms: Vec<(String, ValueId)>,
    /// How many samples (or positions) of the batch are right, i64, if there are targets to tell.
    pub correct: Option<ValueId>,
}

/// A running statistic of a norm.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistic {
    /// Its value before the step, an input.
    pub value: ValueId,
    /// Its value after the step.
    pub updated: ValueId,
    /// What it holds at first.
    pub initial: Tensor,
}

/// An input that says which elements a `Dropout` keeps: 0 with probability `ratio`, else 1 / (1 − ratio).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropped {
    /// The input.
    pub value: ValueId,
    /// The value it is multiplied with, whose shape it has.
    pub like: ValueId,
    /// Share of the elements that become zero.
    pub ratio: f64,
}

impl Forward {
    /// Prepares a network for training by `objective`. `select` says which of its [`parameters`] are trained.
    ///
    /// # Errors
    /// [`TrainError`] if a node cannot run, nothing is left to train, or a loss does not fit.
    pub fn new(
        model: &Model,
        objective: &Objective,
        select: impl Fn(&Parameter) -> bool,
        options: &ForwardOptions,
    ) -> Result<Self, TrainError> {
        let parameters: Vec<Parameter> = parameters(&model.graph).into_iter().filter(select).collect();
        if parameters.is_empty() {
            return Err(TrainError::NoParameters);
        }
        Self::of(model, objective, parameters, options)
    }

    /// The network as it answers, with its loss: nothing is trained, and every constant stays one.
    ///
    /// # Errors
    /// [`TrainError`] if a node cannot run or a loss does not fit.
    pub fn evaluation(model: &Model, objective: &Objective) -> Result<Self, TrainError> {
        let options = ForwardOptions { batch_norm: BatchNorm::Frozen, dropout: false };
        Self::of(model, objective, Vec::new(), &options)
    }

    fn of(
        model: &Model,
        objective: &Objective,
        parameters: Vec<Parameter>,
        options: &ForwardOptions,
    ) -> Result<Self, TrainError> {
        if let Some((node, op, reason)) = model.unsupported_nodes().into_iter().next() {
            return Err(TrainError::Unsupported { node, op, reason });
        }
        let scores_type = || model.graph.outputs().first().and_then(|&output| model.graph.value(output).fact.dtype);
        let dtype = parameters.first().map(|parameter| parameter.dtype).or_else(scores_type).unwrap_or(DType::F32);
        if let Some(other) = parameters.iter().find(|parameter| parameter.dtype != dtype) {
            return Err(TrainError::MixedTypes { first: parameters[0].name.clone(), second: other.name.clone() });
        }
        let mut graph = model.graph.clone();
        let mut data = graph.inputs().to_vec();
        let opset = model.opset().max(OPSET);
        let operators = model.operators;
        let mut initial = Vec::with_capacity(parameters.len());
        for parameter in &parameters {
            let weight = graph.constant_to_input(parameter.value).ok_or(TrainError::NoParameters)?;
            initial.push(weight.decode()?);
        }
        let (statistics, random) = train_mode(&mut graph, &operators, opset, options)?;
        infer(&mut graph)?;
        let scores = scores(&graph)?;
        let targets = add_targets(&mut graph, objective, scores)?;
        data.extend(targets.values.iter().map(|(_, value)| *value));
        let mut patch = Patch::new(&graph, opset);
        let mut nodes = Nodes::new(&mut patch, &operators, dtype);
        let network = Network { graph: &graph, scores };
        let mut losses = Vec::with_capacity(objective.terms.len());
        let mut terms = Vec::new();
        for ((weight, loss), targets) in objective.terms.iter().zip(&targets.of_terms) {
            let value = loss.build(&mut nodes, &network, targets)?;
            if objective.terms.len() > 1 {
                terms.push((loss.name().to_owned(), value));
            }
            losses.push(nodes.scaled(value, *weight)?);
        }
        let loss = nodes.total(&losses)?.ok_or(TrainError::NoLoss)?;
        let correct = targets.count_correct(&mut nodes, scores)?;
        let mut outputs = vec![loss];
        outputs.extend(terms.iter().map(|(_, value)| *value));
        outputs.extend(correct);
        outputs.extend(statistics.iter().map(|statistic| statistic.updated));
        graph.set_outputs(outputs);
        graph.apply(patch)?;
        save_outputs(&mut graph, opset)?;
        infer(&mut graph)?;
        Ok(Self { graph, operators, opset, dtype, parameters, initial, statistics, random, data, loss, terms, correct })
    }

    /// Name of a value.
    pub fn name(&self, value: ValueId) -> &str {
        &self.graph.value(value).name
    }
}

/// The scores (logits) of a network: its first output, before a final softmax if there is one.
///
/// # Errors
/// [`TrainError::NoOutputs`].
pub fn scores(graph: &Graph) -> Result<ValueId, TrainError> {
    let output = *graph.outputs().first().ok_or(TrainError::NoOutputs)?;
    let maker = graph.producers().get(&output).map(|&index| &graph.nodes()[index]);
    Ok(match maker {
        Some(node) if node.op_type == "Softmax" && node.domain.is_empty() => node.inputs.first().copied().flatten(),
        _ => None,
    }
    .unwrap_or(output))
}

/// What the losses compare the network with.
struct Targets {
    /// Each once.
    values: Vec<(String, ValueId)>,
    /// Those of each loss.
    of_terms: Vec<Vec<ValueId>>,
}

fn add_targets(graph: &mut Graph, objective: &Objective, scores: ValueId) -> Result<Targets, TrainError> {
    let mut targets = Targets { values: Vec::new(), of_terms: Vec::new() };
    for (_, loss) in &objective.terms {
        let mut own = Vec::new();
        for target in loss.targets(&Network { graph, scores })? {
            let known = targets.values.iter().find(|(name, _)| *name == target.name).map(|(_, value)| *value);
            let value = known.unwrap_or_else(|| graph.add_input(&target.name, target.fact.clone()));
            if known.is_none() {
                targets.values.push((target.name, value));
            }
            own.push(value);
        }
        targets.of_terms.push(own);
    }
    Ok(targets)
}

impl Targets {
    /// How often the largest score is that of the right class.
    fn count_correct(&self, nodes: &mut Nodes<'_>, scores: ValueId) -> Result<Option<ValueId>, OpError> {
        let target = |wanted: &str| self.values.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        let arg_max = |nodes: &mut Nodes<'_>, x: ValueId| {
            nodes.node("ArgMax", &[x], Attributes::new().with("axis", -1i64).with("keepdims", 0i64))
        };
        let right = match (target("labels"), target("probabilities").or_else(|| target("teacher.scores"))) {
            (Some(labels), _) => labels,
            (None, Some(soft)) => arg_max(nodes, soft)?,
            (None, None) => return Ok(None),
        };
        let said = arg_max(nodes, scores)?;
        let is_right = nodes.node("Equal", &[said, right], Attributes::new())?;
        let is_right = nodes.node("Cast", &[is_right], Attributes::new().with("to", ONNX_INT64))?;
        nodes.reduce("ReduceSum", is_right, &[], false).map(Some)
    }
}

/// Norms use the batch's statistics and dropout drops.
fn train_mode(
    graph: &mut Graph,
    operators: &Operators,
    opset: u32,
    options: &ForwardOptions,
) -> Result<(Vec<Statistic>, Vec<Dropped>), TrainError> {
    let mut random = HashMap::new();
    for (index, value, ratio) in dropouts(graph, options) {
        let fact = Fact { value: None, ..graph.value(value).fact.clone() };
        let name = format!("{}.kept", graph.nodes()[index].name);
        random.insert(index, Dropped { value: graph.add_input(&name, fact), like: value, ratio });
    }
    let norms = norms(graph, options);
    let mut patch = Patch::new(graph, opset);
    let mut statistics: Vec<Statistic> = Vec::new();
    let mut constants = BTreeSet::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        if let Some(dropped) = random.get(&index) {
            let inputs = [Some(dropped.like), Some(dropped.value)];
            patch.remove_node(index);
            patch.node_into(operators, "Mul", &node.name, &inputs, Attributes::new(), &node.outputs[..1])?;
        } else if norms.contains(&index) {
            patch.remove_node(index);
            let mut inputs = node.inputs.clone();
            let mut outputs = vec![node.outputs.first().copied().flatten()];
            for (input, what) in inputs[3..5].iter_mut().zip(["mean", "variance"]) {
                let Some(own) = *input else { continue };
                let updated = patch.value(&format!("{}.running_{what}", node.name), Fact::unknown());
                outputs.push(Some(updated));
                // Norms that share a statistic move it one after the other.
                match statistics.iter_mut().find(|statistic| statistic.value == own) {
                    Some(known) => *input = Some(std::mem::replace(&mut known.updated, updated)),
                    None => {
                        let Some(weight) = graph.constant(own) else { continue };
                        constants.insert(own);
                        statistics.push(Statistic { value: own, updated, initial: weight.decode()? });
                    }
                }
            }
            for what in ["mean", "inv_std"] {
                outputs.push(Some(patch.value(&format!("{}.saved_{what}", node.name), Fact::unknown())));
            }
            let attributes = batch_norm_attributes(node);
            patch.node_of(
                operators,
                ("com.microsoft", "BatchNormInternal"),
                &node.name,
                &inputs,
                attributes,
                &outputs,
            )?;
        } else {
            patch.remove_node(index);
            patch.push_node(node.clone());
        }
    }
    for constant in constants {
        graph.constant_to_input(constant);
    }
    graph.apply(patch)?;
    let mut random: Vec<(usize, Dropped)> = random.into_iter().collect();
    random.sort_by_key(|(index, _)| *index);
    Ok((statistics, random.into_iter().map(|(_, dropped)| dropped).collect()))
}

/// Gives nodes the outputs their gradients read.
fn save_outputs(graph: &mut Graph, opset: u32) -> Result<(), TrainError> {
    let mut patch = Patch::new(graph, opset);
    // All nodes are put again, so that they stay in their order.
    for (index, node) in graph.nodes().iter().enumerate() {
        let mut node = node.clone();
        let wanted = node.op.saved_outputs();
        node.outputs.resize(wanted.max(node.outputs.len()), None);
        for output in node.outputs.iter_mut().take(wanted) {
            *output = output.or_else(|| Some(patch.value(&format!("{}.saved", node.name), Fact::unknown())));
        }
        patch.remove_node(index);
        patch.push_node(node);
    }
    Ok(graph.apply(patch)?)
}

/// Dropouts with a known ratio whose mask nobody uses: position, data, ratio.
fn dropouts(graph: &Graph, options: &ForwardOptions) -> Vec<(usize, ValueId, f64)> {
    let uses = graph.use_counts();
    let ratio = |node: &Node| match node.inputs.get(1).copied().flatten() {
        Some(input) => graph.dense_constant(input).and_then(|ratio| ratio.to_f64().ok()),
        None => match node.attributes.get("ratio") {
            Some(lissom_graph::Attribute::Float(ratio)) => Some(f64::from(*ratio)),
            _ => Some(0.5),
        },
    };
    let has_mask = |node: &Node| node.outputs.iter().skip(1).flatten().any(|mask| uses[mask.index()] > 0);
    let nodes = graph.nodes().iter().enumerate().filter(|(_, node)| options.dropout && node.op_type == "Dropout");
    nodes
        .filter(|(_, node)| !has_mask(node))
        .filter_map(|(index, node)| Some((index, node.inputs.first().copied().flatten()?, ratio(node)?)))
        .filter(|(_, _, ratio)| *ratio > 0.0 && *ratio < 1.0)
        .collect()
}

/// Batch norms whose statistics are constants.
fn norms(graph: &Graph, options: &ForwardOptions) -> BTreeSet<usize> {
    let is_constant = |input: &Option<ValueId>| input.is_some_and(|input| graph.dense_constant(input).is_some());
    let is_trained = |node: &Node| {
        let is_spatial = !matches!(node.attributes.get("spatial"), Some(lissom_graph::Attribute::Int(0)));
        node.op_type == "BatchNormalization"
            && node.domain.is_empty()
            && is_spatial
            && node.inputs.len() == 5
            && node.inputs[3..].iter().all(is_constant)
            && node.outputs.iter().skip(1).all(Option::is_none)
    };
    let nodes = graph.nodes().iter().enumerate().filter(|_| options.batch_norm == BatchNorm::Train);
    nodes.filter(|(_, node)| is_trained(node)).map(|(index, _)| index).collect()
}

fn batch_norm_attributes(node: &Node) -> Attributes {
    let mut attributes = Attributes::new();
    for name in ["epsilon", "momentum"] {
        if let Some(value) = node.attributes.get(name) {
            attributes.set(name, value.clone());
        }
    }
    attributes
}
