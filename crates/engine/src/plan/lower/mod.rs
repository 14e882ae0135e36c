//! Work becomes steps.
//!
//! Each value is kept in the forms somebody needed so far ([`Forms`]): plain (row-major as the graph says), channels last
//! (images as `[n, spatial.., c]`), or a tensor outside of the arena. A form that is missing is converted once, where it is
//! first needed. Permutations and dequantizations are put off until a step needs their result: often none does.

mod attention;
mod elementwise;
mod epilogue;
mod few_rows;
mod linear;
mod map;
mod movement;
mod pairs;
mod products;
mod qlinear;
mod quantized;
mod reduction;
mod values;

use std::collections::HashMap;
use std::sync::Arc;

use lissom_graph::{EvaluateError, OpError, ValueId};
use lissom_kernels::conv;
use lissom_kernels::{Activation, ShapeError, Threads};
use lissom_tensor::{DType, checked_len};

use super::binding;
use super::composite;
use super::memory;
use super::node_form::NodeForm;
use super::step::{Buffer, Compute, Elem, Grid, Kind, Plan, Source, Step, StepInfo, Target};
use super::training::Forward;
use super::work::{Network, Op};
use crate::EngineError;

pub(super) use epilogue::Channels;
pub(crate) use epilogue::unary_of;
pub(super) use linear::images;
pub(super) use products::Seen;

/// Plans a network. Forms of products are timed on `threads`, if they are measured.
pub(crate) fn compile(mut network: Network<'_>, threads: &Threads) -> Result<Plan, EngineError> {
    composite::recognise(&mut network);
    let mut builder = Builder::new(&network, threads);
    for index in 0..network.works.len() {
        if !builder.is_done[index] {
            builder.work(index)?;
        }
    }
    let outputs = network.outputs.iter().map(|&id| builder.tensor(id)).collect::<Result<Vec<_>, _>>()?;
    builder.finish(network.graph.inputs().len(), outputs)
}

/// The order of a value's axes in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// As in the graph.
    Plain,
    /// Axis 1 moved to the end.
    Last,
}

/// Where a value can be read.
#[derive(Debug, Clone, Default)]
pub(super) struct Forms {
    pub plain: Option<Source>,
    pub last: Option<Source>,
    /// A slot or a constant.
    pub tensor: Option<Source>,
}

impl Layout {
    /// The same of images.
    pub fn channels(self) -> conv::Channels {
        match self {
            Self::Plain => conv::Channels::First,
            Self::Last => conv::Channels::Last,
        }
    }
}

impl Forms {
    pub fn at(layout: Layout, source: Source) -> Self {
        match layout {
            Layout::Plain => Self { plain: Some(source), ..Self::default() },
            Layout::Last => Self { last: Some(source), ..Self::default() },
        }
    }

    fn is_empty(&self) -> bool {
        self.plain.is_none() && self.last.is_none() && self.tensor.is_none()
    }

    /// The layout that needs no conversion, plain if both do.
    fn layout(&self) -> Layout {
        if self.plain.is_none() && self.last.is_some() { Layout::Last } else { Layout::Plain }
    }
}

/// What is known of a value's whereabouts.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub forms: Forms,
    /// The value is this one with its axes in another order, not made yet.
    pub permuted: Option<(ValueId, Vec<usize>)>,
    /// The value is these codes on a grid, not dequantized yet, or dequantized too.
    pub codes: Option<(Forms, Grid)>,
    /// The value is this one with zeros around its images (`[top, left, bottom, right]`), not made yet; only
    /// convolutions use it.
    pub padded: Option<(ValueId, [usize; 4])>,
    /// The value is an image in bf16, two channels to a word, channels last; numbers, if somebody needs them, follow from these.
    pub pairs: Option<Source>,
    /// The value is the first where the second, what a ReLU gave, is above zero, and 0 elsewhere; not made yet.
    pub masked: Option<(ValueId, ValueId)>,
}

/// True if both layouts have the same bytes.
pub(super) fn is_same_bytes(shape: &[usize]) -> bool {
    shape.len() < 3 || shape[1] == 1 || shape[2..].iter().product::<usize>() == 1
}

/// The shape in memory.
pub(in crate::plan) fn in_memory(shape: &[usize], layout: Layout) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if layout == Layout::Last && shape.len() >= 3 {
        shape[1..].rotate_left(1);
    }
    shape
}

pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    lissom_tensor::strides(shape)
}

pub(in crate::plan) struct Builder<'n, 'a> {
    pub network: &'n Network<'a>,
    pub threads: &'n Threads,
    records: Vec<Option<Record>>,
    pub is_done: Vec<bool>,
    buffers: Vec<Buffer>,
    steps: Vec<Step>,
    n_slots: usize,
    notes: Vec<String>,
    /// Forward passes of batch norms while training, by the inverse deviation that they give.
    pub batch_norms: HashMap<ValueId, Forward>,
}

impl<'n, 'a> Builder<'n, 'a> {
    fn new(network: &'n Network<'a>, threads: &'n Threads) -> Self {
        let mut builder = Self {
            network,
            threads,
            records: vec![None; network.facts.len()],
            is_done: vec![false; network.works.len()],
            buffers: Vec::new(),
            steps: Vec::new(),
            n_slots: 0,
            notes: Vec::new(),
            batch_norms: HashMap::new(),
        };
        for &id in network.graph.inputs() {
            let slot = builder.slot();
            builder.record_slot(id, slot);
        }
        builder
    }

    fn work(&mut self, index: usize) -> Result<(), EngineError> {
        let network = self.network;
        self.is_done[index] = true;
        let is_lowered = match &network.works[index].op {
            Op::Conv { window, groups } => self.conv(index, *window, *groups)?,
            Op::Linear { is_transposed, alpha, beta } => self.linear(index, *is_transposed, *alpha, *beta)?,
            Op::MatMul => self.products(index)?,
            Op::Attention(scaling) => self.attention(index, scaling)?,
            Op::Unary(op) => self.unary(index, *op)?,
            Op::Binary(op) => self.binary(index, *op)?,
            Op::BatchNorm { epsilon } => self.batch_norm(index, *epsilon)?,
            Op::LayerNorm { n, epsilon } => self.layer_norm(index, *n, *epsilon)?,
            Op::Softmax { n, is_channels } => self.softmax(index, *n, *is_channels)?,
            Op::Pool { op, window, is_ceil } => self.pool(index, *op, *window, *is_ceil)?,
            Op::Reduce { op, axes } => self.reduce(index, *op, axes)?,
            Op::View => self.view(index)?,
            Op::Transpose { perm } => self.transpose(index, perm)?,
            Op::Concat { axis } => self.concat(index, *axis)?,
            Op::Slice { starts, steps } => self.slice(index, starts, steps)?,
            Op::Split { axis } => self.split(index, *axis)?,
            Op::Pad { begin, value } => self.pad(index, begin, *value)?,
            Op::Expand => self.expand(index)?,
            Op::Gather { axis } => self.gather(index, *axis)?,
            Op::Quantize { grid } => self.quantize(index, *grid)?,
            Op::Dequantize { grid } => self.dequantize(index, *grid)?,
            Op::QConv { window, groups, from, to } => self.qlinear_conv(index, *window, *groups, [*from, *to])?,
            Op::QLinear { from, to } => self.qlinear_matmul(index, [*from, *to])?,
            Op::ConvInteger { .. } => false,
            Op::DynamicConv { window, groups } => self.dynamic_conv(index, *window, *groups)?,
            Op::DynamicLinear { is_transposed } => self.dynamic_linear(index, *is_transposed)?,
            Op::Training(lowering) => (lowering.lower)(self, index)?,
            Op::Other(reason) => {
                self.evaluate(index, reason)?;
                true
            }
        };
        if !is_lowered {
            self.evaluate(index, "no kernel for these shapes")?;
        }
        Ok(())
    }

    /// The node evaluates itself.
    fn evaluate(&mut self, index: usize, reason: &str) -> Result<(), EngineError> {
        let network = self.network;
        let work = &network.works[index];
        let node = &network.graph.nodes()[work.node];
        self.notes.push(format!("node `{}` ({}) runs its plain evaluation: {reason}", node.name, node.op_type));
        let mut sources = Vec::new();
        let mut positions = Vec::new();
        let captures = node.captures.iter().map(|&id| Some(network.resolve(id)));
        for id in node.inputs.iter().map(|id| id.map(|id| network.resolve(id))).chain(captures) {
            positions.push(match id {
                None => None,
                Some(id) => {
                    sources.push(self.tensor(id)?);
                    Some(sources.len() - 1)
                }
            });
        }
        let mut slots = Vec::new();
        for id in &node.outputs {
            slots.push(id.map(|_| self.slot()));
        }
        for (id, slot) in node.outputs.iter().zip(&slots) {
            if let (Some(id), Some(slot)) = (id, slot) {
                self.record_slot(*id, *slot);
            }
        }
        let kind = Kind::Evaluate { op: Arc::clone(&node.op), inputs: positions };
        let info =
            StepInfo { name: node.name.clone(), op: node.op_type.clone(), kernel: "evaluate", ..StepInfo::default() };
        self.push(info, kind, sources, Target::Slots(slots));
        Ok(())
    }

    fn finish(mut self, n_inputs: usize, outputs: Vec<Source>) -> Result<Plan, EngineError> {
        let mut last: Vec<Option<usize>> = vec![None; self.n_slots];
        for (index, step) in self.steps.iter().enumerate() {
            for source in &step.inputs {
                if let Source::Slot(slot) = source {
                    last[*slot] = Some(index);
                }
            }
        }
        for output in &outputs {
            if let Source::Slot(slot) = output {
                last[*slot] = None;
            }
        }
        for (slot, index) in last.iter().enumerate() {
            if let Some(index) = index {
                self.steps[*index].frees.push(slot);
            }
        }
        for step in &mut self.steps {
            step.info.bytes = step.bytes(&self.buffers) as u64;
        }
        let needs_tensor = binding::needs_tensor(&self.steps, &outputs, n_inputs);
        let outputs = binding::outputs(&mut self.steps, outputs);
        let (places, arena_words) = memory::place(&mut self.steps, &self.buffers);
        // The plain evaluation holds fewer values at a time, and says which one is too large.
        checked_len(DType::F32, &[arena_words]).map_err(|source| self.refused(source.into()))?;
        let Self { steps, n_slots, notes, .. } = self;
        Ok(Plan { steps, places, arena_words, n_slots, n_inputs, needs_tensor, outputs, notes })
    }

    fn slot(&mut self) -> usize {
        self.n_slots += 1;
        self.n_slots - 1
    }

    /// The value is the tensor in a slot; if its shape is known, kernels read it there.
    fn record_slot(&mut self, id: ValueId, slot: usize) {
        let source = Source::Slot(slot);
        let is_readable = self.network.shape(id).is_some() && self.elem(id).is_some();
        let forms = Forms { plain: is_readable.then(|| source.clone()), last: None, tensor: Some(source) };
        self.records[id.index()] = Some(Record { forms, ..Record::default() });
    }

    pub fn set(&mut self, id: ValueId, layout: Layout, source: Source) {
        self.records[id.index()] = Some(Record { forms: Forms::at(layout, source), ..Record::default() });
    }

    pub fn set_record(&mut self, id: ValueId, record: Record) {
        self.records[id.index()] = Some(record);
    }

    pub fn record(&self, id: ValueId) -> Option<&Record> {
        self.records[id.index()].as_ref()
    }

    /// True if the value can be read by a step added now.
    pub fn is_ready(&self, id: ValueId) -> bool {
        self.records[id.index()].is_some() || self.network.is_constant(id)
    }

    /// The element type, if it lives in the arena.
    pub fn elem(&self, id: ValueId) -> Option<Elem> {
        match self.network.dtype(id)? {
            DType::F32 => Some(Elem::F32),
            DType::U8 => Some(Elem::U8),
            DType::I8 => Some(Elem::I8),
            _ => None,
        }
    }

    /// The layout in which the value can be read without conversion.
    pub fn layout(&self, id: ValueId) -> Layout {
        match self.record(id) {
            Some(record) if !record.forms.is_empty() => record.forms.layout(),
            Some(Record { codes: Some((forms, _)), .. }) => forms.layout(),
            Some(Record { pairs: Some(_), .. }) => Layout::Last,
            Some(Record { masked: Some((from, _)), .. }) => self.layout(*from),
            _ => Layout::Plain,
        }
    }

    /// Shape of a value that is known to have one.
    pub fn shape(&self, id: ValueId) -> Result<Vec<usize>, EngineError> {
        self.network.shape(id).ok_or_else(|| self.internal(id, "has no shape"))
    }

    /// What only a mistake in this crate can cause.
    pub fn internal(&self, id: ValueId, what: &str) -> EngineError {
        self.refused(OpError::value(format!("value `{}` {what}", self.network.graph.value(id).name)))
    }

    fn refused(&self, source: OpError) -> EngineError {
        let node = self.network.graph.name.clone();
        EngineError::Evaluate(EvaluateError::Node { node, op: "plan".to_owned(), source })
    }

    pub fn kernel_error(&self, index: usize, source: ShapeError) -> EngineError {
        EngineError::Kernel { node: self.node_name(index), source }
    }

    pub fn node_name(&self, index: usize) -> String {
        self.network.graph.nodes()[self.network.works[index].node].name.clone()
    }

    /// What a step made of this work, and of `more` that follows it, is called.
    pub fn info(&self, index: usize, more: &[usize], kernel: &'static str) -> StepInfo {
        let graph = self.network.graph;
        let types: Vec<&str> = std::iter::once(&index)
            .chain(more)
            .map(|&index| graph.nodes()[self.network.works[index].node].op_type.as_str())
            .collect();
        let macs = self.macs(index);
        let (name, op) = (self.node_name(index), types.join("+"));
        StepInfo { name, op, kernel, macs, nonzero_macs: macs, ..StepInfo::default() }
    }

    fn macs(&self, index: usize) -> u64 {
        let work = &self.network.works[index];
        let node = &self.network.graph.nodes()[work.node];
        let shapes = |id: &Option<ValueId>| id.and_then(|id| self.network.shape(id));
        let inputs: Vec<_> = node.inputs.iter().map(shapes).collect();
        let outputs: Option<Vec<_>> = node.outputs.iter().map(shapes).collect();
        outputs.map_or(0, |outputs| node.op.macs(&inputs, &outputs))
    }

    /// Adds a step that runs a kernel of its own file and writes a new f32 buffer.
    pub fn compute(
        &mut self,
        info: StepInfo,
        compute: impl Compute + 'static,
        inputs: Vec<Source>,
        len: usize,
    ) -> Source {
        self.emit(info, Kind::Compute(Arc::new(compute)), inputs, len, Elem::F32)
    }

    pub fn push(&mut self, info: StepInfo, kind: Kind, inputs: Vec<Source>, target: Target) {
        self.steps.push(Step { info, kind, inputs, target, is_in_place: false, frees: Vec::new(), output: None });
    }

    /// Adds a step that writes a new buffer.
    pub fn emit(&mut self, info: StepInfo, kind: Kind, inputs: Vec<Source>, len: usize, elem: Elem) -> Source {
        self.buffers.push(Buffer { len, elem });
        let id = self.buffers.len() - 1;
        self.push(info, kind, inputs, Target::Buffer(id));
        Source::Buffer(id)
    }

    /// The only output of work that has one.
    pub fn output(&self, index: usize) -> Option<ValueId> {
        match self.network.works[index].outputs[..] {
            [Some(id)] => Some(id),
            [Some(id), ref rest @ ..] if rest.iter().all(Option::is_none) => Some(id),
            _ => None,
        }
    }

    /// All inputs of work that has `N`.
    pub fn inputs<const N: usize>(&self, index: usize) -> Option<[ValueId; N]> {
        let inputs: Option<Vec<ValueId>> = self.network.works[index].inputs.iter().copied().collect();
        inputs?.try_into().ok()
    }

    /// The first outputs of work, those left out included.
    pub fn outputs<const N: usize>(&self, index: usize) -> Option<[Option<ValueId>; N]> {
        let own = &self.network.works[index].outputs;
        (own.len() <= N).then(|| std::array::from_fn(|at| own.get(at).copied().flatten()))
    }

    /// True if somebody reads the value.
    pub fn is_used(&self, id: ValueId) -> bool {
        self.network.is_output[id.index()] || !self.network.consumers[id.index()].is_empty()
    }

    /// The node of work with its attributes.
    pub fn form(&self, index: usize) -> NodeForm<'n, 'a> {
        let work = &self.network.works[index];
        NodeForm { network: self.network, node: &self.network.graph.nodes()[work.node], inputs: &work.inputs }
    }

    pub fn input(&self, index: usize, position: usize) -> Option<ValueId> {
        self.network.works[index].inputs.get(position).copied().flatten()
    }
}

/// True if the activation is one that bounds express.
pub(in crate::plan) fn is_clamp(activation: Activation) -> bool {
    matches!(activation, Activation::None | Activation::Relu | Activation::Clip { .. })
}
