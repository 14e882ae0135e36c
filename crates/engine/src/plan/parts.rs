//! A batch in parts that stay in cache.
//!
//! A step reads what the step before it wrote. Where the images of a whole batch do not fit in cache, each step waits for
//! memory, and kernels that leave out zeros wait longest. So a network that never mixes the items of a batch may run on a few
//! of them at a time, all steps for these before the next: the same function, with less memory.

use lissom_graph::{Fact, ValueId, infer_with_inputs};
use lissom_tensor::DType;

use super::work::{Network, Op, Work};

/// How many items of the batch to run at a time, if that is fewer than there are: as many as keep the largest step within
/// `limit_bytes`, unless reading the weights anew for each part costs more than that saves.
pub(super) fn part_len(network: &Network<'_>, inputs: &[Fact], limit_bytes: usize) -> Option<usize> {
    let items = items(network)?;
    let sizes: Vec<usize> = network.works.iter().map(|work| bytes_per_item(network, work, items)).collect();
    let largest = sizes.iter().copied().max().filter(|&largest| largest > 0)?;
    let parts = items.div_ceil((limit_bytes / largest).max(1));
    let len = items.div_ceil(parts);
    let beyond = |bytes: &&usize| bytes.saturating_mul(items) > limit_bytes;
    let saved = sizes.iter().filter(beyond).fold(0, |sum: usize, bytes| sum.saturating_add(bytes * items));
    let pays = saved > weight_bytes(network).saturating_mul(parts - 1);
    (parts > 1 && pays && keeps_apart(network, items) && is_same_but_shorter(network, inputs, items, len))
        .then_some(len)
}

/// The length of axis 0, if all inputs share it.
fn items(network: &Network<'_>) -> Option<usize> {
    let mut lengths = network.graph.inputs().iter().map(|&id| network.shape(id)?.first().copied());
    let first = lengths.next()??;
    (first > 1 && lengths.all(|length| length == Some(first))).then_some(first)
}

/// The facts for inputs of so many items.
pub(super) fn shortened(inputs: &[Fact], len: usize) -> Vec<Fact> {
    let shorter = |fact: &Fact| {
        let mut fact = fact.clone();
        if let Some(first) = fact.shape.as_mut().and_then(|shape| shape.first_mut()) {
            *first = len.into();
        }
        fact
    };
    inputs.iter().map(shorter).collect()
}

/// Bytes of activations that a kernel for this work reads and writes for an item; 0 for what is fused into others.
fn bytes_per_item(network: &Network<'_>, work: &Work, items: usize) -> usize {
    if matches!(work.op, Op::View | Op::Unary(_) | Op::Quantize { .. } | Op::Dequantize { .. }) {
        return 0;
    }
    // A sum is added by the product before it, from registers.
    let fused = usize::from(matches!(work.op, Op::Binary(_)));
    let values = work.inputs.iter().skip(fused).chain(&work.outputs).flatten().filter(|&&id| !network.is_constant(id));
    values.map(|&id| bytes(network, id) / items).sum()
}

/// Values between codes are held as codes.
fn bytes(network: &Network<'_>, id: ValueId) -> usize {
    let op = |at: usize| &network.works[at].op;
    let from_codes = network.producers[id.index()].is_some_and(|at| matches!(op(at), Op::Dequantize { .. }));
    let mut users = network.consumers[id.index()].iter().peekable();
    let to_codes = users.peek().is_some() && users.all(|&at| matches!(op(at), Op::Quantize { .. }));
    let len: usize = network.shape(id).unwrap_or_default().iter().product();
    if from_codes || to_codes { len } else { len * network.dtype(id).map_or(4, |dtype| dtype.bits().div_ceil(8)) }
}

fn weight_bytes(network: &Network<'_>) -> usize {
    let ids = network.works.iter().flat_map(|work| work.inputs.iter().flatten());
    let shapes = ids.filter(|&&id| network.is_weight(id)).filter_map(|&id| network.shape(id));
    shapes.fold(0, |sum: usize, shape| sum.saturating_add(4 * shape.iter().product::<usize>()))
}

/// True if every value has the items along axis 0, each made from the same item of the inputs alone.
fn keeps_apart(network: &Network<'_>, items: usize) -> bool {
    let inputs = network.graph.inputs();
    let viewed = [DType::F32, DType::U8, DType::I8, DType::I32, DType::I64, DType::Bool];
    if !inputs.iter().all(|id| network.dtype(*id).is_some_and(|dtype| viewed.contains(&dtype))) {
        return false;
    }
    let mut carries = vec![false; network.facts.len()];
    inputs.iter().for_each(|id| carries[id.index()] = true);
    for work in &network.works {
        let made = work.outputs.iter().flatten();
        let has_items = made.clone().all(|&id| network.shape(id).is_some_and(|shape| shape.first() == Some(&items)));
        if !(has_items && (Items { network, work, carries: &carries, items }).stay_apart()) {
            return false;
        }
        made.for_each(|id| carries[id.index()] = true);
    }
    let leaves = |id: &ValueId| matches!(network.dtype(*id), Some(DType::F32 | DType::U8 | DType::I8));
    network.outputs.iter().all(|id| carries[id.index()] && leaves(id))
}

/// True if fewer items change nothing but the length of axis 0.
fn is_same_but_shorter(network: &Network<'_>, inputs: &[Fact], items: usize, len: usize) -> bool {
    let is_same = |facts: &[Fact]| {
        let made = network.works.iter().flat_map(|work| work.outputs.iter().flatten());
        made.into_iter().all(|id| {
            let (whole, part) = (network.shape(*id), facts[id.index()].known_shape());
            whole.zip(part).is_some_and(|(whole, part)| whole.get(1..) == part.get(1..))
        })
    };
    let lengths = [Some(len), Some(items % len).filter(|&rest| rest > 0)];
    lengths
        .into_iter()
        .flatten()
        .all(|len| infer_with_inputs(network.graph, &shortened(inputs, len)).is_ok_and(|facts| is_same(&facts)))
}

/// Work whose inputs carry the items of a batch, or are constants.
struct Items<'n, 'a> {
    network: &'n Network<'a>,
    work: &'n Work,
    carries: &'n [bool],
    items: usize,
}

impl Items<'_, '_> {
    fn stay_apart(&self) -> bool {
        let rest = |index: usize| self.shape(index).iter().skip(1).product::<usize>();
        match &self.work.op {
            Op::Conv { .. } | Op::QConv { .. } | Op::Unary(_) | Op::BatchNorm { .. } | Op::Pool { .. } => {
                self.is_first()
            }
            Op::Quantize { .. } | Op::Dequantize { .. } => self.is_first(),
            Op::Linear { .. } | Op::QLinear { .. } => self.is_first() && self.shape(0).len() >= 2,
            Op::LayerNorm { n, .. } | Op::Softmax { n, is_channels: false } => {
                self.is_first() && rest(0).is_multiple_of(*n)
            }
            Op::Softmax { is_channels: true, .. } => self.is_first(),
            // Elements keep their order, so the first axis of both sides is the same.
            Op::View => self.carries(0),
            Op::Expand => self.carries(0) && self.shape(0).len() == self.out_rank(),
            Op::Reduce { axes, .. } => self.is_first() && !axes.contains(&0),
            Op::Transpose { perm } => self.is_first() && perm.first() == Some(&0),
            Op::Slice { starts, steps } => self.is_first() && starts.first() == Some(&0) && steps.first() == Some(&1),
            Op::Pad { begin, .. } => self.is_first() && begin.first() == Some(&0),
            Op::Split { axis } => self.is_first() && *axis != 0,
            Op::Concat { axis } => *axis != 0 && (0..self.work.inputs.len()).all(|index| self.carries(index)),
            Op::Gather { axis } => match (self.carries(0), self.carries(1)) {
                (true, false) => self.is_first() && *axis != 0,
                (false, true) => *axis == 0 && self.is_weight(0),
                _ => false,
            },
            Op::Binary(_) => self.spreads(),
            Op::MatMul => self.out_rank() >= 3 && self.spreads(),
            // Found in what is read later; rounded over the whole batch; unknown.
            Op::Attention(_) | Op::ConvInteger { .. } | Op::DynamicConv { .. } | Op::DynamicLinear { .. } => false,
            Op::Training(_) | Op::Other(_) => false,
        }
    }

    fn id(&self, index: usize) -> Option<ValueId> {
        self.work.inputs.get(index).copied().flatten()
    }

    fn shape(&self, index: usize) -> Vec<usize> {
        self.id(index).and_then(|id| self.network.shape(id)).unwrap_or_default()
    }

    fn out_rank(&self) -> usize {
        let out = self.work.outputs.first().copied().flatten();
        out.and_then(|id| self.network.shape(id)).unwrap_or_default().len()
    }

    fn carries(&self, index: usize) -> bool {
        self.id(index).is_some_and(|id| self.carries[id.index()])
    }

    /// True for a constant that is the same for every batch: others may follow from its size.
    fn is_weight(&self, index: usize) -> bool {
        self.id(index).is_none_or(|id| self.network.is_weight(id))
    }

    /// True if the first input carries the items and all others are constants.
    fn is_first(&self) -> bool {
        self.carries(0) && (1..self.work.inputs.len()).all(|index| !self.carries(index) && self.is_weight(index))
    }

    /// True if broadcasting pairs items with items, and all of them with the same of a constant.
    fn spreads(&self) -> bool {
        let rank = self.out_rank();
        (0..self.work.inputs.len()).all(|index| {
            let shape = self.shape(index);
            let is_whole = shape.len() == rank;
            match self.carries(index) {
                true => is_whole && shape.first() == Some(&self.items),
                false => self.is_weight(index) && (!is_whole || shape.first() == Some(&1)),
            }
        })
    }
}
