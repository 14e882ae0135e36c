//! The training loop: epochs of batches, a technique around each step, evaluation, checkpoints.
//!
//! Everything that decides the result is in the checkpoint, and every random number follows from the seed and the step, so that a
//! training that was killed, at any moment, and goes on ends in the same bytes.

mod source;
mod store;
mod watch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lissom_engine::SessionOptions;
use lissom_graph::Model;
use lissom_recipe::Interrupt;
use lissom_tensor::Tensor;

pub use source::{InMemory, Samples, Source};
pub use watch::{Unwatched, Watch, WatchError};

use crate::{
    Culprit, Due, Evaluator, Group, Moment, Objective, Parameter, Progress, Technique, TrainError, Trainer,
    TrainerOptions,
};

/// What a network is trained on.
#[derive(Debug)]
pub struct FitData<'a> {
    /// Batches to learn from.
    pub training: &'a dyn Source,
    /// Batches to watch progress on, and by what; nothing is decided by them. The objective needs no more than they bring.
    pub validation: Option<(&'a dyn Source, Objective)>,
}

/// How long a network is trained, and what is kept on the way.
#[derive(Debug)]
pub struct FitOptions {
    /// How often the data is gone through.
    pub epochs: u64,
    /// Epochs from one evaluation to the next; 0 evaluates after the last one only.
    pub evaluate_every: u64,
    /// Where the training is kept, to go on from after an interruption.
    pub checkpoints: Option<Checkpoints>,
    /// Asked before each step; what is done is kept first.
    pub interrupt: Interrupt,
}

/// Where and how often a training is kept.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    /// The file; at any moment it is whole.
    pub path: PathBuf,
    /// Time from one to the next; there is one after each epoch anyhow.
    pub every: Duration,
    /// Names everything that decides the training: a checkpoint with another identity is not gone on from.
    pub identity: String,
}

/// What the network was worth on the validation batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluated {
    /// After this many steps.
    pub step: u64,
    /// Mean over the samples.
    pub loss: f64,
    /// Share that is right, 0..1, if there are targets to tell.
    pub accuracy: Option<f64>,
}

impl Evaluated {
    fn is_better_than(&self, other: &Self) -> bool {
        match (self.accuracy, other.accuracy) {
            (Some(own), Some(other)) => own > other,
            _ => self.loss < other.loss,
        }
    }
}

/// A trained network.
#[derive(Debug)]
pub struct Fitted {
    /// The network; with the moving average of its parameters, if one was kept.
    pub model: Model,
    /// Networks beside it that the technique made.
    pub others: Vec<(String, Model)>,
    /// The last evaluation.
    pub last: Option<Evaluated>,
    /// The best one, for the record: the last network is the result.
    pub best: Option<Evaluated>,
    /// Steps done, those before an interruption too.
    pub steps: u64,
    /// What did not run in a kernel of its own.
    pub notes: Vec<String>,
}

/// Trains a network. `select` says which of its parameters; `options.total_steps` is set here.
///
/// # Errors
/// [`TrainError::NotFinite`] with the step and the first value that is not finite; [`TrainError::Interrupted`] once the state is
/// kept; whatever the data, the technique, the engine and the watch say.
pub fn fit(
    mut model: Model,
    mut options: TrainerOptions,
    select: impl Fn(&Parameter) -> bool,
    technique: &mut dyn Technique,
    data: &FitData<'_>,
    plan: &FitOptions,
    watch: &dyn Watch,
) -> Result<Fitted, TrainError> {
    let steps_an_epoch = data.training.steps();
    options.total_steps = plan.epochs.saturating_mul(steps_an_epoch);
    technique.prepare(&mut model, &mut options)?;
    let (threads, has_average, end) = (options.threads, options.average.is_some(), options.total_steps);
    let trainer = Trainer::new(&model, options, select)?;
    let at = Moment { epoch: 0, step: 0, steps_an_epoch, epochs: plan.epochs };
    let (last, best) = (None, None);
    let mut run =
        Loop { trainer, technique, data, plan, watch, at, last, best, threads, has_average, kept: Instant::now() };
    run.to(end)?;
    run.finish()
}

/// A training under way.
struct Loop<'a> {
    trainer: Trainer,
    technique: &'a mut dyn Technique,
    data: &'a FitData<'a>,
    plan: &'a FitOptions,
    watch: &'a dyn Watch,
    at: Moment,
    last: Option<Evaluated>,
    best: Option<Evaluated>,
    threads: usize,
    has_average: bool,
    /// When the last checkpoint was written.
    kept: Instant,
}

/// Names and numbers of one step.
type Metrics = Vec<(String, f64)>;

impl Loop<'_> {
    fn to(&mut self, end: u64) -> Result<(), TrainError> {
        let is_resumed = self.resume()?;
        let told = |source| TrainError::Watch { source };
        self.watch.begin(&self.at).map_err(told)?;
        if self.at.step >= end {
            return Ok(());
        }
        let first_step = self.at.step % self.at.steps_an_epoch.max(1);
        let mut batches = self.data.training.start(self.at.epoch, first_step).peekable();
        if !is_resumed {
            if let Some(Ok(first)) = batches.peek() {
                let targets = self.technique.targets(&self.at, &first.named())?;
                let targets = targets.iter().map(|(name, tensor)| (name.as_str(), tensor));
                let batch: Vec<(&str, &Tensor)> = first.named().into_iter().chain(targets).collect();
                self.technique.begin(&mut self.trainer, &batch)?;
            }
            self.watch.step(&self.at, &self.state_metrics()).map_err(told)?;
        }
        while self.at.step < end {
            if let Err(interrupted) = self.plan.interrupt.check() {
                self.keep()?;
                return Err(interrupted.into());
            }
            let ended = || TrainError::Source { reason: "it ended before its last epoch".into() };
            let mut batch = batches.next().ok_or_else(ended)??;
            let targets = self.technique.targets(&self.at, &batch.named())?;
            batch.tensors.extend(targets);
            let mut metrics = self.step(&batch)?;
            let is_epoch_over = self.at.begins_epoch();
            if is_epoch_over {
                metrics.extend(self.state_metrics());
                metrics.extend(self.evaluation_if_due(end)?);
                self.refuse_not_finite()?;
            }
            self.watch.step(&self.at, &metrics).map_err(told)?;
            let every = self.plan.checkpoints.as_ref().map_or(Duration::MAX, |checkpoints| checkpoints.every);
            if is_epoch_over || self.kept.elapsed() >= every {
                self.keep()?;
            }
        }
        Ok(())
    }

    fn step(&mut self, batch: &Samples) -> Result<Metrics, TrainError> {
        let named = batch.named();
        let progress = match self.technique.before_step(&mut self.trainer, &self.at, &named)? {
            Due::Train => Some(self.trainer.step(&named)?),
            Due::Skip => {
                self.trainer.skip_step();
                None
            }
        };
        self.at.step += 1;
        self.at.epoch = self.at.step / self.at.steps_an_epoch.max(1);
        self.technique.after_step(&mut self.trainer, &self.at)?;
        Ok(progress.map(|progress| step_metrics(&progress, batch)).unwrap_or_default())
    }

    /// What the parameters are like, and what the technique has to tell.
    fn state_metrics(&self) -> Metrics {
        let weights = self.trainer.parameters().iter().filter(|parameter| parameter.group == Group::Weight);
        let tensors = weights.filter_map(|parameter| self.trainer.tensor(&parameter.name));
        let (zeros, len) =
            tensors.fold((0, 0), |(zeros, len), tensor| (zeros + tensor.count_zeros(), len + tensor.len()));
        let mut metrics = vec![("sparsity".to_owned(), zeros as f64 / len.max(1) as f64)];
        metrics.extend(self.technique.metrics(&self.trainer).into_iter().filter(|(name, _)| name != "sparsity"));
        metrics
    }

    fn evaluation_if_due(&mut self, end: u64) -> Result<Metrics, TrainError> {
        let every = self.plan.evaluate_every;
        let is_due = self.at.step >= end || (every > 0 && self.at.epoch.is_multiple_of(every));
        let Some((source, objective)) = self.data.validation.as_ref().filter(|_| is_due) else {
            return Ok(Metrics::new());
        };
        if self.has_average {
            self.trainer.swap_average();
        }
        let network = self.technique.network(&self.trainer);
        let evaluated = network.and_then(|model| evaluated(&model, *source, objective, self.at.step, self.threads));
        if self.has_average {
            self.trainer.swap_average();
        }
        let evaluated = evaluated?;
        self.last = Some(evaluated);
        if self.best.is_none_or(|best| evaluated.is_better_than(&best)) {
            self.best = Some(evaluated);
        }
        let mut metrics = vec![("loss/validation".to_owned(), evaluated.loss)];
        metrics.extend(evaluated.accuracy.map(|accuracy| ("accuracy/validation".to_owned(), accuracy)));
        Ok(metrics)
    }

    /// A loss shows broken parameters one step late; after an epoch, and so at the end, nobody should have to wait.
    fn refuse_not_finite(&self) -> Result<(), TrainError> {
        let is_broken = |tensor: &Tensor| tensor.to_f64_vec().is_ok_and(|values| values.iter().any(|x| !x.is_finite()));
        let parameters = self.trainer.parameters().iter();
        let broken = parameters.map(|own| &own.name).find(|&name| self.trainer.tensor(name).is_some_and(is_broken));
        match broken {
            Some(name) => {
                let culprit = Culprit::Parameter { name: name.clone() };
                Err(TrainError::NotFinite { step: self.at.step, loss: f64::NAN, culprit })
            }
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<Fitted, TrainError> {
        if self.has_average {
            self.trainer.swap_average();
        }
        Ok(Fitted {
            model: self.technique.finish(&self.trainer)?,
            others: self.technique.others(&self.trainer),
            last: self.last,
            best: self.best,
            steps: self.at.step,
            notes: self.trainer.notes(),
        })
    }
}

fn step_metrics(progress: &Progress, batch: &Samples) -> Metrics {
    let mut metrics = vec![("loss/training".to_owned(), progress.loss)];
    metrics.extend(progress.terms.iter().map(|(name, value)| (format!("loss/{name}"), *value)));
    if let Some(correct) = progress.correct {
        metrics.push(("accuracy/training".to_owned(), correct as f64 / batch.n_answers().max(1) as f64));
    }
    metrics.push(("learning_rate".to_owned(), progress.learning_rate));
    metrics.extend(progress.gradient_norm.map(|norm| ("gradient_norm/l2".to_owned(), norm)));
    metrics.extend(progress.gradient_norm_l1.map(|norm| ("gradient_norm/l1".to_owned(), norm)));
    metrics
}

fn evaluated(
    model: &Model,
    source: &dyn Source,
    objective: &Objective,
    step: u64,
    threads: usize,
) -> Result<Evaluated, TrainError> {
    let evaluator = Evaluator::new(model, objective, &SessionOptions { threads, ..SessionOptions::default() })?;
    let (mut loss, mut n, mut correct, mut answers) = (0.0, 0, None, 0);
    for batch in source.start(0, 0).take(usize::try_from(source.steps()).unwrap_or(usize::MAX)) {
        let batch = batch?;
        let evaluation = evaluator.run(&batch.named())?;
        loss += evaluation.loss * batch.n as f64;
        n += batch.n;
        if let Some(right) = evaluation.correct {
            *correct.get_or_insert(0) += right;
            answers += batch.n_answers();
        }
    }
    let accuracy = correct.map(|correct: u64| correct as f64 / answers.max(1) as f64);
    Ok(Evaluated { step, loss: loss / n.max(1) as f64, accuracy })
}
