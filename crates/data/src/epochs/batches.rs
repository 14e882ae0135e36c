//! The batches of training in order, prepared by a thread while the last one is learnt from.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::{Epochs, TrainingBatch};
use crate::DataError;

/// Iterator over [`TrainingBatch`]es; see [`Epochs::start`]. The first error ends it. Dropping it waits for the batch that is being
/// prepared, and no longer.
#[derive(Debug)]
pub struct TrainingBatches {
    source: Source,
    remaining: usize,
}

#[derive(Debug)]
enum Source {
    Here(Walk),
    Thread { batches: Option<Receiver<Result<TrainingBatch, DataError>>>, thread: Option<JoinHandle<()>> },
}

/// The place in training, and the order of the epoch there.
#[derive(Debug)]
struct Walk {
    epochs: Epochs,
    epoch: u64,
    step: usize,
    order: Option<Vec<usize>>,
}

impl Walk {
    fn remaining(&self) -> usize {
        let (steps, epochs) = (self.epochs.steps(), self.epochs.settings().epochs);
        let whole = usize::try_from(epochs.saturating_sub(self.epoch)).unwrap_or(usize::MAX).saturating_mul(steps);
        whole.saturating_sub(self.step)
    }
}

impl Iterator for Walk {
    type Item = Result<TrainingBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.epoch >= self.epochs.settings().epochs {
            return None;
        }
        let order = self.order.get_or_insert_with(|| self.epochs.order(self.epoch));
        let batch = self.epochs.batch_in(order, self.epoch, self.step);
        self.step += 1;
        if self.step == self.epochs.steps() {
            (self.epoch, self.step, self.order) = (self.epoch + 1, 0, None);
        }
        Some(batch)
    }
}

impl TrainingBatches {
    pub(super) fn new(epochs: Epochs, epoch: u64, step: usize) -> Self {
        let (epoch, step) = if step < epochs.steps() { (epoch, step) } else { (epoch.saturating_add(1), 0) };
        let ahead = epochs.settings().ahead;
        let walk = Walk { epochs, epoch, step, order: None };
        let remaining = walk.remaining();
        if ahead == 0 || remaining == 0 {
            return Self { source: Source::Here(walk), remaining };
        }
        // One batch is in the hands of the thread, the others wait in the channel.
        let (sender, batches) = sync_channel(ahead - 1);
        let here = Walk { epochs: walk.epochs.clone(), order: None, ..walk };
        let work = move || {
            for batch in walk {
                let is_error = batch.is_err();
                if sender.send(batch).is_err() || is_error {
                    break;
                }
            }
        };
        let source = match Builder::new().name("lissom-data".into()).spawn(work) {
            Ok(thread) => Source::Thread { batches: Some(batches), thread: Some(thread) },
            // No thread to be had: the same batches, prepared when asked for.
            Err(_) => Source::Here(here),
        };
        Self { source, remaining }
    }
}

impl Iterator for TrainingBatches {
    type Item = Result<TrainingBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        let batch = match &mut self.source {
            Source::Here(walk) => walk.next(),
            Source::Thread { batches, thread } => {
                let batch = batches.as_ref().and_then(|batches| batches.recv().ok());
                // The thread ends before its last batch only by a panic, which goes on here.
                if batch.is_none()
                    && let Some(Err(panic)) = thread.take().map(JoinHandle::join)
                {
                    std::panic::resume_unwind(panic);
                }
                batch
            }
        };
        if !matches!(batch, Some(Ok(_))) {
            self.remaining = 0;
        }
        batch
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for TrainingBatches {}

impl Drop for TrainingBatches {
    fn drop(&mut self) {
        if let Source::Thread { batches, thread } = &mut self.source {
            // Without a receiver the thread's next send fails, which ends it.
            drop(batches.take());
            if let Some(thread) = thread.take() {
                // A panic of a thread nobody waits for any more has been printed already.
                let _ = thread.join();
            }
        }
    }
}
