//! What runs inputs of certain shapes: a plan for the whole batch, or one for each part of it.

use std::iter::once;

use lissom_graph::{Fact, Graph, OpError};
use lissom_kernels::Threads;
use lissom_tensor::{Tensor, View, ViewMut};

use super::binding::{Slot, refused};
use super::lower::compile;
use super::memory::Arena;
use super::parts::{part_len, shortened};
use super::step::{Elem, Plan};
use super::weights::WeightCache;
use super::work::Network;
use crate::EngineError;

/// Type and shape of an output that leaves into the caller's memory.
pub(crate) type Leaving = Option<(Elem, Vec<usize>)>;

#[derive(Debug)]
pub(crate) enum Planned {
    Whole(Plan),
    Parts(Parts),
}

/// A batch of `items`, `len` at a time.
#[derive(Debug)]
pub(crate) struct Parts {
    items: usize,
    len: usize,
    part: Plan,
    /// For the items that are left over.
    rest: Option<Plan>,
}

impl Planned {
    /// Plans `graph` for inputs with these facts; see [`part_len`] for `limit_bytes`.
    pub fn compile(
        graph: &Graph,
        weights: &WeightCache,
        inputs: &[Fact],
        limit_bytes: usize,
        threads: &Threads,
    ) -> Result<Self, EngineError> {
        let network = Network::read(graph, weights, inputs)?;
        if let Some(len) = part_len(&network, inputs, limit_bytes) {
            let plan = |len| compile(Network::read(graph, weights, &shortened(inputs, len))?, threads);
            let items = inputs.first().and_then(Fact::known_shape).map_or(len, |shape| shape[0]);
            let part = plan(len)?;
            let rest = Some(items % len).filter(|&rest| rest > 0).map(plan).transpose()?;
            if once(&part).chain(&rest).flat_map(|plan| &plan.outputs).all(|output| output.leaves.is_some()) {
                return Ok(Self::Parts(Parts { items, len, part, rest }));
            }
        }
        Ok(Self::Whole(compile(network, threads)?))
    }

    /// What does not run in a kernel of its own, and why.
    pub fn notes(&self) -> impl Iterator<Item = &String> {
        let (plan, rest) = match self {
            Self::Whole(plan) => (plan, None),
            Self::Parts(parts) => (&parts.part, parts.rest.as_ref()),
        };
        once(plan).chain(rest).flat_map(|plan| &plan.notes)
    }

    /// How each output leaves.
    pub fn outputs(&self) -> Vec<Leaving> {
        match self {
            Self::Whole(plan) => plan.outputs.iter().map(|output| output.leaves.clone()).collect(),
            Self::Parts(Parts { items, part, .. }) => {
                let mut outputs: Vec<Leaving> = part.outputs.iter().map(|output| output.leaves.clone()).collect();
                outputs.iter_mut().flatten().for_each(|(_, shape)| shape[0] = *items);
                outputs
            }
        }
    }

    /// As [`Plan::run`]; `watch` is also told the plan of the step, once for each part.
    pub fn run(
        &self,
        inputs: Vec<Slot<'_>>,
        results: &mut [Option<ViewMut<'_>>],
        arena: &mut Arena,
        threads: &Threads,
        mut watch: impl FnMut(&Plan, usize),
    ) -> Result<Vec<Option<Tensor>>, EngineError> {
        match self {
            Self::Whole(plan) => plan.run(inputs, results, arena, threads, |index| watch(plan, index)),
            Self::Parts(parts) => {
                parts.run(&inputs, results, arena, threads, &mut watch)?;
                Ok(vec![None; parts.part.outputs.len()])
            }
        }
    }
}

impl Parts {
    fn run(
        &self,
        inputs: &[Slot<'_>],
        results: &mut [Option<ViewMut<'_>>],
        arena: &mut Arena,
        threads: &Threads,
        watch: &mut dyn FnMut(&Plan, usize),
    ) -> Result<(), EngineError> {
        for start in (0..self.items).step_by(self.len) {
            let len = self.len.min(self.items - start);
            let plan = self.rest.as_ref().filter(|_| len < self.len).unwrap_or(&self.part);
            let shapes: Vec<Vec<usize>> = inputs.iter().map(|slot| self.shape(slot, len)).collect();
            let parts = inputs.iter().zip(&shapes).map(|(slot, shape)| self.input(slot, start, shape));
            let parts = parts.collect::<Result<_, _>>()?;
            let mut parts_of_results = Vec::with_capacity(results.len());
            for result in results.iter_mut() {
                parts_of_results.push(result.as_mut().and_then(|result| {
                    let item = result.len() / self.items;
                    result.part(start * item..(start + len) * item)
                }));
            }
            plan.run(parts, &mut parts_of_results, arena, threads, |index| watch(plan, index))?;
        }
        Ok(())
    }

    fn shape(&self, slot: &Slot<'_>, len: usize) -> Vec<usize> {
        let mut shape = slot.fact().map_or_else(Vec::new, |(_, shape)| shape.to_vec());
        shape.iter_mut().take(1).for_each(|first| *first = len);
        shape
    }

    /// The items of an input from `start` on.
    fn input<'s>(&self, slot: &'s Slot<'_>, start: usize, shape: &'s [usize]) -> Result<Slot<'s>, EngineError> {
        let view = match slot {
            Slot::View(view) => Some(*view),
            Slot::Tensor(tensor) => View::of(tensor),
            Slot::Empty => None,
        };
        let item: usize = shape.iter().skip(1).product();
        let part = view.and_then(|view| view.part(start * item, shape).ok());
        part.map(Slot::View).ok_or_else(|| refused(OpError::value("an input that cannot be taken in parts")))
    }
}
