//! The state of a whole training in one file: trainer, technique, place.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Instant;

use super::{Evaluated, Loop};
use crate::{Checkpoint, CheckpointError, Kept, TrainError};

/// What the names of each part begin with.
const TRAINER: &str = "trainer/";
const TECHNIQUE: &str = "technique/";
const FIT: &str = "fit/";

fn prefixed<T>(prefix: &str, entries: BTreeMap<String, T>) -> impl Iterator<Item = (String, T)> {
    entries.into_iter().map(move |(name, value)| (format!("{prefix}{name}"), value))
}

/// Takes the entries of a part, under the names they had there.
fn taken<T>(prefix: &str, entries: &mut BTreeMap<String, T>) -> BTreeMap<String, T> {
    let (own, others) = std::mem::take(entries).into_iter().partition(|(name, _)| name.starts_with(prefix));
    *entries = others;
    let own: BTreeMap<String, T> = own;
    own.into_iter().map(|(name, value)| (name[prefix.len()..].to_owned(), value)).collect()
}

impl Loop<'_> {
    /// Writes everything a later process needs to go on.
    pub(super) fn keep(&mut self) -> Result<(), TrainError> {
        let Some(checkpoints) = &self.plan.checkpoints else { return Ok(()) };
        self.watch.keep(&self.at).map_err(|source| TrainError::Watch { source })?;
        let mut state = Checkpoint::default();
        let trainer = self.trainer.state();
        state.metadata.extend(prefixed(TRAINER, trainer.metadata));
        state.tensors.extend(prefixed(TRAINER, trainer.tensors));
        let technique = self.technique.save();
        state.metadata.extend(prefixed(TECHNIQUE, technique.values));
        state.tensors.extend(prefixed(TECHNIQUE, technique.tensors));
        let mut own = BTreeMap::from([
            ("identity".to_owned(), checkpoints.identity.clone()),
            ("step".to_owned(), self.at.step.to_string()),
        ]);
        for (name, evaluated) in [("last", self.last), ("best", self.best)] {
            own.extend(evaluated.map(|evaluated| (name.to_owned(), written(&evaluated))));
        }
        state.metadata.extend(prefixed(FIT, own));
        state.save(&checkpoints.path)?;
        self.kept = Instant::now();
        Ok(())
    }

    /// Goes on from the checkpoint, if there is one of this training. A file that is none counts as absent.
    pub(super) fn resume(&mut self) -> Result<bool, TrainError> {
        let Some(checkpoints) = &self.plan.checkpoints else { return Ok(false) };
        let mut state = match Checkpoint::load(&checkpoints.path) {
            Ok(state) => state,
            Err(CheckpointError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(false),
            Err(CheckpointError::Malformed { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let own = taken(FIT, &mut state.metadata);
        if own.get("identity") != Some(&checkpoints.identity) {
            return Ok(false);
        }
        let no_step = || TrainError::OtherTraining { reason: "it does not say after which step".into() };
        self.at.step = own.get("step").and_then(|step| step.parse().ok()).ok_or_else(no_step)?;
        self.at.epoch = self.at.step / self.at.steps_an_epoch.max(1);
        self.last = own.get("last").and_then(|text| read(text));
        self.best = own.get("best").and_then(|text| read(text));
        self.trainer.restore(Checkpoint {
            metadata: taken(TRAINER, &mut state.metadata),
            tensors: taken(TRAINER, &mut state.tensors),
        })?;
        self.technique.load(&Kept {
            values: taken(TECHNIQUE, &mut state.metadata),
            tensors: taken(TECHNIQUE, &mut state.tensors),
        })?;
        Ok(true)
    }
}

/// Step, loss and accuracy; numbers as the shortest text that gives them back.
fn written(evaluated: &Evaluated) -> String {
    let accuracy = evaluated.accuracy.map(|accuracy| format!(" {accuracy:?}")).unwrap_or_default();
    format!("{} {:?}{accuracy}", evaluated.step, evaluated.loss)
}

fn read(text: &str) -> Option<Evaluated> {
    let mut words = text.split(' ');
    let (step, loss) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Evaluated { step, loss, accuracy: words.next().and_then(|word| word.parse().ok()) })
}
