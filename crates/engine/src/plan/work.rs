//! What each node is to the engine.

use std::collections::HashMap;

use lissom_graph::{Fact, Graph, LoadError, Node, ValueId, infer_with_inputs};
use lissom_kernels::conv::Window;
use lissom_kernels::elementwise::{Binary, Unary};
use lissom_kernels::pool::Pool;
use lissom_kernels::rows::Reduction;
use lissom_tensor::{Affine, DType, Tensor, Weight};

use super::node_form::NodeForm;
use super::step::Grid;
use super::training::Lowering;
use super::weights::WeightCache;

/// Elements that nodes over constants may make in all while planning.
const MAX_FOLDED: usize = 1 << 24;

/// An operator in the engine's terms. Comments name the inputs.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// x, constant weight, constant bias?; images of one or two axes.
    Conv {
        window: Window,
        groups: usize,
    },
    /// x, constant weight `[k, n]` or `[n, k]`, constant bias? that spreads over a row.
    Linear {
        is_transposed: bool,
        alpha: f32,
        beta: f32,
    },
    /// a, b, neither a plain weight.
    MatMul,
    /// q, k, v, mask?: `softmax(scale · q · k + mask) · v`, `k` being `[.., d, keys]`. The mask spreads over the scores.
    Attention(Scaling),
    Unary(Unary),
    Binary(Binary),
    /// x, then constants scale, bias, mean, variance.
    BatchNorm {
        epsilon: f32,
    },
    /// x, constant scale?, constant bias?; over rows of `n`.
    LayerNorm {
        n: usize,
        epsilon: f32,
    },
    /// Over rows of `n`, or over the channels of an image.
    Softmax {
        n: usize,
        is_channels: bool,
    },
    Pool {
        op: Pool,
        window: Window,
        is_ceil: bool,
    },
    Reduce {
        op: Reduction,
        axes: Vec<usize>,
    },
    /// The same elements in the same order under another shape.
    View,
    Transpose {
        perm: Vec<usize>,
    },
    Concat {
        axis: usize,
    },
    /// Every `step`-th element from `start` along each axis; the output's shape says how many.
    Slice {
        starts: Vec<usize>,
        steps: Vec<usize>,
    },
    /// The parts of a split axis, one an output.
    Split {
        axis: usize,
    },
    /// `begin` elements of `value` before each axis; the output's shape says how many after.
    Pad {
        begin: Vec<usize>,
        value: f32,
    },
    Expand,
    /// data, indices.
    Gather {
        axis: usize,
    },
    /// x, constant scale and zero point for the whole tensor.
    Quantize {
        grid: Grid,
    },
    /// x, constant scale and zero point for the whole tensor.
    Dequantize {
        grid: Grid,
    },
    /// codes, then constants; integer images with codes out.
    QConv {
        window: Window,
        groups: usize,
        from: Grid,
        to: Grid,
    },
    /// codes, then constants; an integer product with codes out.
    QLinear {
        from: Grid,
        to: Grid,
    },
    /// codes, their zero point?, constant weight, its zero point? in another order; runs its plain evaluation unless it is a
    /// part of [`Op::DynamicConv`].
    ConvInteger {
        window: Window,
        groups: usize,
    },
    /// x, constant weight, then constants scale, zero point?; x is quantized while running.
    DynamicConv {
        window: Window,
        groups: usize,
    },
    /// x, constant weight, then constants scale?, zero point?, bias?; x is quantized while running. The weight is either
    /// codes with scale and zero point beside them, or affine with its own.
    DynamicLinear {
        is_transposed: bool,
    },
    /// An operator of training.
    Training(&'static Lowering),
    /// Runs its plain evaluation; why.
    Other(&'static str),
}

/// How attention scales its scores, and where a quantized network rounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scaling {
    pub scale: f32,
    /// q, k and v are rounded to these before anything else.
    pub sides: [Option<Grid>; 3],
    /// The scores are rounded to this grid, and then times this factor.
    pub scores: Option<(Grid, f32)>,
    /// What softmax gives is rounded to this one.
    pub weights: Option<Grid>,
}

/// A node, read.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// Position of the node in the graph; of the last one, if several became one.
    pub node: usize,
    pub op: Op,
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<Option<ValueId>>,
}

/// All that is known while planning.
pub(crate) struct Network<'a> {
    pub graph: &'a Graph,
    pub cache: &'a WeightCache,
    pub facts: Vec<Fact>,
    /// Values known now.
    known: HashMap<ValueId, Tensor>,
    /// What is left of [`MAX_FOLDED`].
    folding_left: usize,
    /// Values that are another value under a new name.
    alias: HashMap<ValueId, ValueId>,
    pub works: Vec<Work>,
    pub outputs: Vec<ValueId>,
    /// Positions in `works` of the users of each value, each once.
    pub consumers: Vec<Vec<usize>>,
    /// Position in `works` of the maker of each value.
    pub producers: Vec<Option<usize>>,
    pub is_output: Vec<bool>,
}

impl<'a> Network<'a> {
    /// Reads all nodes that an output depends on, for inputs with these facts.
    ///
    /// # Errors
    /// If no run with such inputs can succeed.
    pub fn read(graph: &'a Graph, cache: &'a WeightCache, inputs: &[Fact]) -> Result<Self, LoadError> {
        let facts = infer_with_inputs(graph, inputs)?;
        let n_values = facts.len();
        let mut network = Self {
            graph,
            cache,
            facts,
            known: HashMap::new(),
            folding_left: MAX_FOLDED,
            alias: HashMap::new(),
            works: Vec::new(),
            outputs: Vec::new(),
            consumers: vec![Vec::new(); n_values],
            producers: vec![None; n_values],
            is_output: vec![false; n_values],
        };
        for (index, node) in graph.nodes().iter().enumerate() {
            if !network.fold(node) {
                network.read_node(index, node);
            }
        }
        network.outputs = graph.outputs().iter().map(|&id| network.resolve(id)).collect();
        for &id in &network.outputs {
            network.is_output[id.index()] = true;
        }
        network.refresh();
        Ok(network)
    }

    /// The value that stands for `id`.
    pub fn resolve(&self, id: ValueId) -> ValueId {
        self.alias.get(&id).copied().unwrap_or(id)
    }

    /// Drops work nobody needs and finds producers and consumers again.
    pub fn refresh(&mut self) {
        let mut is_live = self.is_output.clone();
        let mut keep = vec![false; self.works.len()];
        for (index, work) in self.works.iter().enumerate().rev() {
            keep[index] = work.outputs.iter().flatten().any(|id| is_live[id.index()]);
            if keep[index] {
                let captures = match work.op {
                    Op::Other(_) => self.graph.nodes()[work.node].captures.as_slice(),
                    _ => &[],
                };
                for id in work.inputs.iter().flatten().chain(captures) {
                    is_live[self.resolve(*id).index()] = true;
                }
            }
        }
        let mut keep = keep.into_iter();
        self.works.retain(|_| keep.next().unwrap_or(true));
        self.consumers.iter_mut().for_each(Vec::clear);
        self.producers.fill(None);
        for index in 0..self.works.len() {
            for id in self.uses(index) {
                let users = &mut self.consumers[id.index()];
                if users.last() != Some(&index) {
                    users.push(index);
                }
            }
            for id in self.works[index].outputs.iter().flatten() {
                self.producers[id.index()] = Some(index);
            }
        }
    }

    /// Values that work uses, captures of its subgraphs included.
    pub fn uses(&self, index: usize) -> Vec<ValueId> {
        let work = &self.works[index];
        let captures = match work.op {
            Op::Other(_) => self.graph.nodes()[work.node].captures.as_slice(),
            _ => &[],
        };
        work.inputs.iter().flatten().copied().chain(captures.iter().map(|&id| self.resolve(id))).collect()
    }

    /// The value, if it is known now.
    pub fn constant(&self, id: ValueId) -> Option<Tensor> {
        if let Some(tensor) = self.known.get(&id).or_else(|| self.facts[id.index()].tensor()) {
            return Some(tensor.clone());
        }
        match self.graph.constant(id) {
            Some(weight) => self.cache.decoded(id, weight),
            None => self.cache.originals.tensor(id),
        }
    }

    /// True if the value is known now.
    pub fn is_constant(&self, id: ValueId) -> bool {
        self.known.contains_key(&id) || self.facts[id.index()].tensor().is_some() || self.is_weight(id)
    }

    /// True if the value is a constant of the model, the same in every plan.
    pub fn is_weight(&self, id: ValueId) -> bool {
        self.graph.constant(id).is_some() || self.cache.originals.has(id)
    }

    /// The parts of a constant that is held as codes.
    pub fn affine(&self, id: ValueId) -> Option<&'a Affine> {
        match self.graph.constant(id)? {
            Weight::Affine(affine) => Some(affine),
            Weight::Dense(_) => None,
        }
    }

    /// The elements of a constant f32 tensor.
    pub fn floats(&self, id: ValueId) -> Option<Vec<f32>> {
        if self.dtype(id) != Some(DType::F32) {
            return None;
        }
        self.constant(id)?.as_slice::<f32>().ok().map(<[f32]>::to_vec)
    }

    /// The only element of a constant f32 tensor.
    pub fn scalar(&self, id: ValueId) -> Option<f32> {
        let is_small = self.shape(id)?.iter().all(|&length| length == 1);
        if !is_small {
            return None;
        }
        self.floats(id)?.first().copied()
    }

    /// The integers of a constant, wrapped to 32 bits.
    pub fn ints(&self, id: ValueId) -> Option<Vec<i32>> {
        Some(self.constant(id)?.to_i64_vec().ok()?.into_iter().map(|value| value as i32).collect())
    }

    /// Shape, if all of it is known.
    pub fn shape(&self, id: ValueId) -> Option<Vec<usize>> {
        self.facts[id.index()].known_shape()
    }

    pub fn dtype(&self, id: ValueId) -> Option<DType> {
        self.facts[id.index()].dtype
    }

    pub fn is_f32(&self, id: ValueId) -> bool {
        self.dtype(id) == Some(DType::F32) && self.shape(id).is_some()
    }

    /// The only work that uses the value, if it is no output.
    pub fn only_consumer(&self, id: ValueId) -> Option<usize> {
        match self.consumers[id.index()][..] {
            [index] if !self.is_output[id.index()] => Some(index),
            _ => None,
        }
    }

    /// True if the node was computed, its inputs being constants.
    fn fold(&mut self, node: &Node) -> bool {
        if node.outputs.iter().flatten().all(|id| self.is_constant(*id)) {
            return true;
        }
        let len = |id: &ValueId| self.shape(*id)?.iter().try_fold(1usize, |len, &n| len.checked_mul(n));
        let needed = node.outputs.iter().flatten().try_fold(0usize, |sum, id| sum.checked_add(len(id)?));
        let Some(needed) = needed.filter(|&needed| needed <= self.folding_left) else { return false };
        let is_pure =
            node.op.is_deterministic() && node.captures.is_empty() && node.attributes.graphs().next().is_none();
        let inputs: Vec<_> = node.inputs.iter().map(|id| id.map(|id| self.resolve(id))).collect();
        if !is_pure || !inputs.iter().flatten().all(|&id| self.is_constant(id)) {
            return false;
        }
        let tensors: Option<Vec<_>> =
            inputs.iter().map(|id| id.map_or(Some(None), |id| self.constant(id).map(Some))).collect();
        let Some(tensors) = tensors else { return false };
        let tensors: Vec<Option<&Tensor>> = tensors.iter().map(Option::as_ref).collect();
        let Ok(values) = node.op.evaluate(&lissom_graph::Inputs(&tensors)) else { return false };
        self.folding_left -= needed;
        for (id, value) in node.outputs.iter().zip(values) {
            if let Some(id) = id {
                self.facts[id.index()] = Fact::known(value.dtype(), value.shape());
                self.known.insert(*id, value);
            }
        }
        true
    }

    fn read_node(&mut self, index: usize, node: &Node) {
        let inputs: Vec<_> = node.inputs.iter().map(|id| id.map(|id| self.resolve(id))).collect();
        if let Some(source) = self.same_as(node, &inputs) {
            if let Some(output) = node.output() {
                self.alias.insert(output, source);
            }
            return;
        }
        let op = NodeForm { network: self, node, inputs: &inputs }.read();
        let op = op.unwrap_or(Op::Other("no kernel for this form of it"));
        self.works.push(Work { node: index, op, inputs, outputs: node.outputs.clone() });
    }

    /// The input that the only output equals, if there is one.
    fn same_as(&self, node: &Node, inputs: &[Option<ValueId>]) -> Option<ValueId> {
        if !node.domain.is_empty() {
            return None;
        }
        node.output()?;
        let input = (*inputs.first()?)?;
        let is_same = match node.op_type.as_str() {
            "Identity" => true,
            "Dropout" => {
                let is_training = inputs.get(2).copied().flatten().map(|id| self.constant(id));
                node.opset >= 7 && is_training.is_none_or(|value| value.is_some_and(|value| value.count_zeros() == 1))
            }
            "Cast" => self.dtype(input).is_some() && self.dtype(input) == self.dtype(node.output()?),
            _ => false,
        };
        is_same.then_some(input)
    }
}
