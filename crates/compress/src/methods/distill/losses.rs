//! What distillation adds to a training's losses: pairs of values, and losses that count in some stages only.

use lissom_graph::{Fact, ValueId};
use lissom_tensor::DType;
use lissom_train::{Loss, Network, Nodes, Target, TrainError};

use super::{Pair, named, of_teacher};

/// The sum over pairs of values of the mean of their squared difference, each times its weight.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) name: &'static str,
    pub(super) all: Vec<Followed>,
}

/// A value of the student that follows one of the teacher.
#[derive(Debug)]
pub(super) struct Followed {
    /// What is compared: the student's value, or what a map makes of it.
    pub(super) student: String,
    teacher: String,
    weight: f64,
    /// Whether the teacher's value is an input of the network already.
    pub(super) is_fed: bool,
    /// What says whether it counts.
    pub(super) counts: Option<String>,
}

impl Followed {
    pub(super) fn new(student: String, pair: &Pair) -> Self {
        Self { student, teacher: pair.teacher.clone(), weight: pair.weight, is_fed: false, counts: None }
    }
}

impl Loss for Follow {
    fn name(&self) -> &'static str {
        self.name
    }

    fn targets(&self, network: &Network<'_>) -> Result<Vec<Target>, TrainError> {
        let mut targets = Vec::new();
        for own in &self.all {
            let fact = Fact { value: None, ..network.graph.value(named(network.graph, &own.student)?).fact.clone() };
            targets.extend((!own.is_fed).then(|| Target { name: of_teacher(&own.teacher), fact }));
            targets.extend(own.counts.as_deref().map(counting));
        }
        Ok(targets)
    }

    fn build(&self, nodes: &mut Nodes<'_>, network: &Network<'_>, targets: &[ValueId]) -> Result<ValueId, TrainError> {
        let mut targets = targets.iter().copied();
        let mut terms = Vec::with_capacity(self.all.len());
        for own in &self.all {
            let value = named(network.graph, &own.student)?;
            let teacher = match own.is_fed {
                true => named(network.graph, &of_teacher(&own.teacher))?,
                false => targets.next().ok_or(TrainError::NoLoss)?,
            };
            let difference = nodes.sub(value, teacher)?;
            let squares = nodes.mul(difference, difference)?;
            let mean = nodes.reduce("ReduceMean", squares, &[], false)?;
            let mut term = nodes.scaled(mean, own.weight)?;
            if own.counts.is_some() {
                term = nodes.mul(term, targets.next().ok_or(TrainError::NoLoss)?)?;
            }
            terms.push(term);
        }
        nodes.total(&terms)?.ok_or(TrainError::NoLoss)
    }
}

/// A loss that counts in some stages only.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) inner: Box<dyn Loss>,
    pub(super) counts: String,
}

impl Loss for Staged {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn targets(&self, network: &Network<'_>) -> Result<Vec<Target>, TrainError> {
        Ok(self.inner.targets(network)?.into_iter().chain([counting(&self.counts)]).collect())
    }

    fn build(&self, nodes: &mut Nodes<'_>, network: &Network<'_>, targets: &[ValueId]) -> Result<ValueId, TrainError> {
        let [own @ .., counts] = targets else { return Err(TrainError::NoLoss) };
        let loss = self.inner.build(nodes, network, own)?;
        Ok(nodes.mul(loss, *counts)?)
    }
}

/// 1 where a loss counts, else 0.
fn counting(name: &str) -> Target {
    Target { name: name.to_owned(), fact: Fact::known(DType::F32, &[]) }
}
