//! The caller's memory: inputs are read where they are, outputs written where they are wanted.

use lissom_graph::{EvaluateError, OpError};
use lissom_tensor::{DType, Tensor, Values, View};

use super::step::{Elem, Kind, Output, Plan, Source, Step, Target};
use crate::EngineError;

/// What a slot holds.
#[derive(Debug, Clone)]
pub(crate) enum Slot<'a> {
    Empty,
    Tensor(Tensor),
    /// Memory of the caller.
    View(View<'a>),
}

impl<'a> Slot<'a> {
    pub fn tensor(&self) -> Option<&Tensor> {
        if let Self::Tensor(tensor) = self { Some(tensor) } else { None }
    }

    pub fn view(&self) -> Option<Values<'a>> {
        if let Self::View(view) = self { Some(view.values()) } else { None }
    }

    /// Type and shape, if there is something.
    pub fn fact(&self) -> Option<(DType, &[usize])> {
        match self {
            Self::Empty => None,
            Self::Tensor(tensor) => Some((tensor.dtype(), tensor.shape())),
            Self::View(view) => Some((view.dtype(), view.shape())),
        }
    }

    /// As a tensor of its own: a view is copied.
    pub fn to_tensor(&self) -> Option<Tensor> {
        match self {
            Self::Empty => None,
            Self::Tensor(tensor) => Some(tensor.clone()),
            Self::View(view) => Some(view.to_tensor()),
        }
    }
}

impl Plan {
    /// Slots with these inputs in the first ones.
    pub fn slots<'a>(&self, inputs: Vec<Slot<'a>>) -> Vec<Slot<'a>> {
        let mut slots = vec![Slot::Empty; self.n_slots];
        for ((slot, input), needs_tensor) in slots.iter_mut().zip(inputs).zip(&self.needs_tensor) {
            *slot = match input {
                Slot::View(view) if *needs_tensor => Slot::Tensor(view.to_tensor()),
                input => input,
            };
        }
        slots
    }

    /// The output, unless it leaves into the caller's memory.
    pub fn given_back(&self, output: &Output, slots: &[Slot<'_>]) -> Result<Option<Tensor>, EngineError> {
        let found = match &output.source {
            _ if output.leaves.is_some() => return Ok(None),
            Source::Slot(slot) => slots.get(*slot).and_then(Slot::to_tensor),
            Source::Constant(tensor) => Some(tensor.clone()),
            Source::Buffer(_) | Source::Part(..) => None,
        };
        let missing = EngineError::Evaluate(EvaluateError::InputCount { expected: self.n_inputs, actual: 0 });
        found.map(Some).ok_or(missing)
    }
}

/// What only a shape that is too large can cause.
pub(crate) fn refused(source: OpError) -> EngineError {
    EngineError::Evaluate(EvaluateError::Node { node: String::new(), op: "plan".to_owned(), source })
}

/// Inputs that something reads as a tensor.
pub(super) fn needs_tensor(steps: &[Step], outputs: &[Source], n_inputs: usize) -> Vec<bool> {
    let mut needs = vec![false; n_inputs];
    let readers = steps.iter().filter(|step| matches!(step.kind, Kind::Evaluate { .. }));
    for source in readers.flat_map(|step| &step.inputs).chain(outputs) {
        if let Source::Slot(slot) = source
            && let Some(needs) = needs.get_mut(*slot)
        {
            *needs = true;
        }
    }
    needs
}

/// Finds the outputs that can leave into the caller's memory, and marks the steps that make them.
pub(super) fn outputs(steps: &mut [Step], sources: Vec<Source>) -> Vec<Output> {
    let slots: Vec<Option<usize>> = sources.iter().map(slot_of).collect();
    let leaves = |index: usize| {
        let slot = slots[index]?;
        let is_once = slots.iter().filter(|&&other| other == Some(slot)).count() == 1;
        let is_read = steps.iter().flat_map(|step| &step.inputs).any(|source| slot_of(source) == Some(slot));
        let at =
            steps.iter().position(|step| matches!(&step.target, Target::Slots(slots) if slots[..] == [Some(slot)]))?;
        match &steps[at].kind {
            Kind::Store { shape, elem } if is_once && !is_read => Some((at, *elem, shape.clone())),
            _ => None,
        }
    };
    let found: Vec<_> = (0..sources.len()).map(leaves).collect();
    let mut outputs = Vec::with_capacity(sources.len());
    for (index, (source, found)) in sources.into_iter().zip(found).enumerate() {
        if let Some((at, elem, _)) = &found {
            steps[*at].output = Some(index);
            if let Some(maker) = direct(steps, *at, *elem) {
                steps[maker].output = Some(index);
                // The copy finds the result in its place.
                steps[*at].is_in_place = true;
            }
        }
        outputs.push(Output { source, leaves: found.map(|(_, elem, shape)| (elem, shape)) });
    }
    outputs
}

/// The step that may write the result itself: it makes the f32 buffer that only the copy at `store` reads.
fn direct(steps: &[Step], store: usize, elem: Elem) -> Option<usize> {
    let Some(Source::Buffer(id)) = steps[store].inputs.first() else { return None };
    let reads = steps.iter().flat_map(|step| &step.inputs);
    let n_reads = reads.filter(|source| source.buffer() == Some(*id)).count();
    let mut makers =
        steps.iter().enumerate().filter(|(_, step)| matches!(&step.target, Target::Buffer(to) if to == id));
    let (maker, _) = makers.next()?;
    (elem == Elem::F32 && n_reads == 1 && makers.next().is_none()).then_some(maker)
}

fn slot_of(source: &Source) -> Option<usize> {
    if let Source::Slot(slot) = source { Some(*slot) } else { None }
}
