//! A training in rounds that begin where the first one was at some step, learning rate and optimizer included.

use lissom_graph::{OpError, ValueId};
use lissom_train::{
    Kept, Moment, Named, Nodes, Optimizer, Perturbation, Schedule, Slot, TrainError, Trainer, TrainerOptions, Updated,
};

use super::masks::{Masks, Targets};

/// Rounds of a training: the first runs from step 0, the later ones from the step they go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rounds {
    /// Steps of the first round; the last takes what is left over too.
    pub first: u64,
    /// The step later rounds begin at.
    pub rewind: u64,
    /// How many rounds there are.
    pub rounds: u64,
}

impl Rounds {
    /// Shares the steps of a training out over rounds.
    ///
    /// # Errors
    /// [`TrainError::Technique`] if that leaves a round without a step.
    pub fn new(method: &'static str, total: u64, rounds: u64, rewind: u64) -> Result<Self, TrainError> {
        let first = (total + rounds.saturating_sub(1) * rewind) / rounds.max(1);
        if first <= rewind {
            let reason = format!("{rounds} rounds that go back to step {rewind} do not fit into {total} steps");
            return Err(TrainError::Technique { method, reason });
        }
        Ok(Self { first, rewind, rounds })
    }

    /// The round of a step, from 0, and where in a first round it would be.
    pub fn at(&self, step: u64) -> (u64, u64) {
        if step < self.first {
            return (0, step);
        }
        let (since, length) = (step - self.first, self.first - self.rewind);
        let round = (since / length).min(self.rounds.saturating_sub(2));
        (round + 1, self.rewind + since - round * length)
    }

    /// The round that begins with this step, if one but the first does.
    pub fn begins(&self, step: u64) -> Option<u64> {
        let (round, position) = self.at(step);
        (round > 0 && position == self.rewind).then_some(round)
    }
}

/// Rounds, and the network that later ones go back to.
#[derive(Debug, Clone, Default)]
pub struct Rewinding {
    rounds: Rounds,
    /// The network at the step that is gone back to.
    pub early: Named,
}

impl Rewinding {
    /// Cuts a training into rounds: one more than there are prunings, those after the first from step `rewind` on.
    ///
    /// # Errors
    /// As [`Rounds::new`].
    pub fn new(
        method: &'static str,
        options: &mut TrainerOptions,
        prunings: u32,
        rewind: u64,
    ) -> Result<Self, TrainError> {
        let rounds = Rounds::new(method, options.total_steps, u64::from(prunings) + 1, rewind)?;
        restart(options, rounds);
        Ok(Self { rounds, early: Named::new() })
    }

    /// Before each step: keeps the network where later rounds go back to, and says which of them begins, if one does.
    pub fn begins(&mut self, trainer: &Trainer, at: &Moment) -> Option<u64> {
        if at.step == self.rounds.rewind {
            self.early = trainer.network();
        }
        self.rounds.begins(at.step)
    }

    /// Puts the network back to what it was, under masks, with an optimizer that begins anew.
    ///
    /// # Errors
    /// [`TrainError`] if the training keeps no masks.
    pub fn rewind(&self, targets: &Targets, trainer: &mut Trainer, masks: &Masks) -> Result<(), TrainError> {
        for (name, tensor) in &self.early {
            trainer.set_tensor(name, tensor.clone())?;
        }
        trainer.clear_states()?;
        targets.set_masks(trainer, masks)
    }

    /// What it needs to go on after an interruption.
    pub fn save(&self) -> Kept {
        Kept { tensors: self.early.clone(), ..Kept::default() }
    }

    /// Goes on with what [`save`](Self::save) gave.
    pub fn load(&mut self, kept: &Kept) {
        self.early = kept.tensors.clone();
    }
}

#[derive(Debug)]
struct Restarted<T: ?Sized> {
    rounds: Rounds,
    inner: Box<T>,
}

impl Schedule for Restarted<dyn Schedule> {
    fn share(&self, step: u64, _total: u64) -> f64 {
        self.inner.share(self.rounds.at(step).1, self.rounds.first)
    }
}

impl Optimizer for Restarted<dyn Optimizer> {
    fn learning_rate(&self) -> f64 {
        self.inner.learning_rate()
    }

    fn states(&self) -> &'static [&'static str] {
        self.inner.states()
    }

    fn scalars(&self) -> &'static [&'static str] {
        self.inner.scalars()
    }

    fn values(&self, step: u64, learning_rate: f64) -> Vec<f64> {
        // States are zero again when a round begins, so their corrections count from there.
        let (round, position) = self.rounds.at(step.saturating_sub(1));
        let begin = if round == 0 { 0 } else { self.rounds.rewind };
        self.inner.values(position - begin + 1, learning_rate)
    }

    fn prepare(&self, nodes: &mut Nodes<'_>, gradients: Vec<ValueId>) -> Result<Vec<ValueId>, OpError> {
        self.inner.prepare(nodes, gradients)
    }

    fn update(&self, nodes: &mut Nodes<'_>, slot: &Slot<'_>, scalars: &[ValueId]) -> Result<Updated, OpError> {
        self.inner.update(nodes, slot, scalars)
    }

    fn perturbation(&self) -> Option<Perturbation> {
        self.inner.perturbation()
    }
}

#[derive(Debug)]
struct Nothing;

impl Schedule for Nothing {
    fn share(&self, _step: u64, _total: u64) -> f64 {
        1.0
    }
}

impl Optimizer for Nothing {
    fn learning_rate(&self) -> f64 {
        0.0
    }

    fn states(&self) -> &'static [&'static str] {
        &[]
    }

    fn update(&self, _: &mut Nodes<'_>, slot: &Slot<'_>, _: &[ValueId]) -> Result<Updated, OpError> {
        Ok(Updated { weight: slot.weight, states: Vec::new() })
    }
}

/// Lets the schedule and the optimizer begin anew with each round.
fn restart(options: &mut TrainerOptions, rounds: Rounds) {
    let inner = std::mem::replace(&mut options.schedule, Box::new(Nothing));
    options.schedule = Box::new(Restarted::<dyn Schedule> { rounds, inner });
    let inner = std::mem::replace(&mut options.optimizer, Box::new(Nothing));
    options.optimizer = Box::new(Restarted::<dyn Optimizer> { rounds, inner });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_rounds_begin_where_they_go_back_to() {
        let rounds = Rounds::new("test", 26, 3, 2).unwrap();
        assert_eq!(rounds.first, 10);
        let positions: Vec<u64> = (0..26).map(|step| rounds.at(step).1).collect();
        let expected: Vec<u64> = (0..10).chain(2..10).chain(2..10).collect();
        assert_eq!(positions, expected);
        let begins: Vec<u64> = (0..26).filter(|&step| rounds.begins(step).is_some()).collect();
        assert_eq!(begins, [10, 18]);
        assert!(Rounds::new("test", 10, 3, 9).is_err());
    }
}
