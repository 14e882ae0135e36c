//! Images in bf16 between convolutions and batch norms, where a session may round: two channels to an f32 word, channels last.

use lissom_graph::ValueId;
use lissom_kernels::{Threads, bgemm};

use super::epilogue::Chain;
use super::{Builder, Forms, Layout, Record, is_clamp};
use crate::EngineError;
use crate::plan::operands::Operands;
use crate::plan::step::{Compute, Source, StepInfo};
use crate::plan::work::Op;

/// Operators that read images as pairs.
const READERS: [&str; 5] = ["Conv", "ConvGrad", "BatchNormInternal", "BatchNormalizationGrad", "ReluGrad"];

impl Builder<'_, '_> {
    /// True if products of computed matrices round their operands to bf16.
    pub fn rounds(&self) -> bool {
        self.network.cache.may_round
    }

    /// True if the value is there as pairs, so that reading it so costs nothing.
    pub fn has_pairs(&self, id: ValueId) -> bool {
        self.record(id).is_some_and(|record| record.pairs.is_some())
    }

    /// True if the value had better be pairs: convolutions, batch norms and their gradients read it, and additions at most.
    pub fn wants_pairs(&self, id: ValueId) -> bool {
        let network = self.network;
        let is_reader =
            |&user: &usize| matches!(network.works[user].op, Op::Training(by) if READERS.contains(&by.op_type));
        let is_sum =
            |&user: &usize| matches!(network.works[user].op, Op::Binary(lissom_kernels::elementwise::Binary::Add));
        let users = &network.consumers[id.index()];
        !network.is_output[id.index()]
            && users.iter().any(is_reader)
            && users.iter().all(|user| is_reader(user) || is_sum(user))
    }

    /// An image as pairs, rounded if it is not there so yet.
    pub fn pairs(&mut self, id: ValueId) -> Result<Source, EngineError> {
        if let Some(Record { pairs: Some(source), .. }) = self.record(id) {
            return Ok(source.clone());
        }
        let (shape, source) = (self.shape(id)?, self.source(id, Layout::Last)?);
        let (channels, len) = (shape[1], shape.iter().product());
        let len = bgemm::pairs_len(len, channels).map_err(|_| self.internal(id, "has no channels"))?;
        let made = self.compute(self.info_of(id, "to bf16"), Round { channels }, vec![source], len);
        if let Some(record) = &mut self.records[id.index()] {
            record.pairs = Some(made.clone());
        }
        Ok(made)
    }

    /// The numbers of an image that is pairs.
    pub(super) fn widened(&mut self, id: ValueId, pairs: Source) -> Result<Forms, EngineError> {
        let shape = self.shape(id)?;
        let (channels, len) = (shape[1], shape.iter().product());
        let made = self.compute(self.info_of(id, "from bf16"), Widen { channels }, vec![pairs], len);
        Ok(Forms::at(Layout::Last, made))
    }

    fn info_of(&self, id: ValueId, op: &str) -> StepInfo {
        let name = self.network.graph.value(id).name.clone();
        StepInfo { name, op: op.to_owned(), kernel: "round", ..StepInfo::default() }
    }

    pub fn set_pairs(&mut self, id: ValueId, source: Source) {
        self.set_record(id, Record { pairs: Some(source), ..Record::default() });
    }

    /// What the end of a chain is, if it should be pairs: a bound is all they can end in.
    pub fn ends_in_pairs(&self, chain: &Chain) -> bool {
        is_clamp(chain.activation) && self.wants_pairs(chain.output)
    }

    /// As `end`, with pairs.
    pub fn end_pairs(&mut self, chain: &Chain, source: Source) {
        for &index in &chain.works {
            self.is_done[index] = true;
        }
        self.set_pairs(chain.output, source);
    }
}

/// x.
#[derive(Debug)]
struct Round {
    channels: usize,
}

impl Compute for Round {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        bgemm::round_into(threads, operands.f32(0)?, self.channels, out).map_err(|error| operands.kernel_error(error))
    }
}

/// Pairs.
#[derive(Debug)]
struct Widen {
    channels: usize,
}

impl Compute for Widen {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        bgemm::widen_into(threads, operands.f32(0)?, self.channels, out).map_err(|error| operands.kernel_error(error))
    }
}
