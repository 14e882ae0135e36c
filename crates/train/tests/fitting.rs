//! The loop: it goes on after an interruption at any step, in the same bytes, and says where numbers break.

mod support;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use lissom_graph::Model;
use lissom_recipe::{ExitCode, Interrupt};
use lissom_tensor::Tensor;
use lissom_train::{
    Checkpoints, Due, FitData, FitOptions, Fitted, InMemory, Kept, Moment, Objective, Plain, Samples, Technique,
    TrainError, Trainer, TrainerOptions, Unwatched, Watch, WatchError, fit,
};
use support::{all, architecture, clouds, loss, optimizer, schedule};

fn perceptron() -> Model {
    architecture("mlp", "shape = [4]\nhidden = [16]\nclasses = 3")
}

fn batches(n: u64, seed: u64) -> InMemory {
    let batch = |index| {
        let (x, labels) = clouds(16, 4, 3, seed + index);
        Samples { tensors: vec![("input".into(), x), ("labels".into(), labels)], n: 16 }
    };
    InMemory { batches: (0..n).map(batch).collect() }
}

fn options(threads: usize) -> TrainerOptions {
    let adamw = optimizer("adamw", "learning_rate = 0.02");
    let options = TrainerOptions::new(loss("cross_entropy", ""), adamw, schedule("linear", ""), 0);
    TrainerOptions { threads, average: Some(0.9), noise: Some(0.01), seed: 3, ..options }
}

const EPOCHS: u64 = 4;
const STEPS: u64 = 5;

fn plan(folder: Option<&Path>, interrupt: &Interrupt) -> FitOptions {
    let checkpoints = folder.map(|folder| Checkpoints {
        path: folder.join("checkpoint"),
        every: Duration::ZERO,
        identity: "test".into(),
    });
    FitOptions { epochs: EPOCHS, evaluate_every: 1, checkpoints, interrupt: interrupt.clone() }
}

/// A step, and what was told of it.
type Told = (u64, Vec<(String, f64)>);

/// Stops before the step `at`.
#[derive(Debug)]
struct StopAt {
    at: u64,
    interrupt: Interrupt,
    seen: Mutex<Vec<Told>>,
}

impl Watch for StopAt {
    fn step(&self, at: &Moment, metrics: &[(String, f64)]) -> Result<(), WatchError> {
        self.seen.lock().unwrap().push((at.step, metrics.to_vec()));
        if at.step == self.at {
            self.interrupt.raise(ExitCode::Interrupted);
        }
        Ok(())
    }
}

/// Leaves out every third step, and remembers something from each.
#[derive(Debug, Default)]
struct Counting {
    calls: u64,
    begun: u64,
}

impl Technique for Counting {
    fn begin(&mut self, _: &mut Trainer, batch: &[(&str, &Tensor)]) -> Result<(), TrainError> {
        assert_eq!(batch.len(), 2);
        self.begun += 1;
        Ok(())
    }

    fn before_step(&mut self, _: &mut Trainer, at: &Moment, _: &[(&str, &Tensor)]) -> Result<Due, TrainError> {
        self.calls += 1;
        Ok(if at.step % 3 == 2 { Due::Skip } else { Due::Train })
    }

    fn metrics(&self, _: &Trainer) -> Vec<(String, f64)> {
        vec![("calls".into(), self.calls as f64)]
    }

    fn save(&self) -> Kept {
        let values = [("calls", self.calls), ("begun", self.begun)].map(|(name, n)| (name.to_owned(), n.to_string()));
        Kept { values: values.into(), tensors: [("t".to_owned(), Tensor::scalar(self.calls as i64))].into() }
    }

    fn load(&mut self, kept: &Kept) -> Result<(), TrainError> {
        self.calls = kept.tensors["t"].to_i64_vec()?[0] as u64;
        self.begun = kept.values["begun"].parse().unwrap();
        Ok(())
    }
}

fn trained(folder: Option<&Path>, threads: usize, stop: Option<u64>) -> (Result<Fitted, TrainError>, Counting, StopAt) {
    let interrupt = Interrupt::new();
    let watch = StopAt { at: stop.unwrap_or(u64::MAX), interrupt: interrupt.clone(), seen: Mutex::default() };
    let (training, validation) = (batches(STEPS, 1), batches(2, 100));
    let judge = Objective::from(loss("cross_entropy", ""));
    let data = FitData { training: &training, validation: Some((&validation, judge)) };
    let mut technique = Counting::default();
    let fitted = fit(perceptron(), options(threads), all, &mut technique, &data, &plan(folder, &interrupt), &watch);
    (fitted, technique, watch)
}

fn bytes(model: &Model) -> Vec<(String, Vec<u32>)> {
    let constants = model.graph.constants().map(|(id, weight)| {
        let values = weight.decode().unwrap().to_f32_vec().unwrap().into_iter().map(f32::to_bits).collect();
        (model.graph.value(id).name.clone(), values)
    });
    constants.collect()
}

#[test]
fn a_training_stopped_before_any_step_ends_in_the_same_bytes() {
    let (whole, technique, watch) = trained(None, 1, None);
    let whole = whole.unwrap();
    assert_eq!((whole.steps, technique.calls, technique.begun), (EPOCHS * STEPS, EPOCHS * STEPS, 1));
    let seen = watch.seen.into_inner().unwrap();
    for stop in [0, 1, 4, 5, 11, 19] {
        let folder = tempfile::tempdir().unwrap();
        let (stopped, ..) = trained(Some(folder.path()), 1, Some(stop));
        assert!(matches!(stopped, Err(TrainError::Interrupted(_))), "{stop}: {stopped:?}");
        let (resumed, technique, watch) = trained(Some(folder.path()), 2, None);
        let resumed = resumed.unwrap();
        assert_eq!(bytes(&resumed.model), bytes(&whole.model), "{stop}");
        assert_eq!((technique.calls, technique.begun), (EPOCHS * STEPS, 1), "{stop}");
        assert_eq!((resumed.last, resumed.best), (whole.last, whole.best), "{stop}");
        let told = watch.seen.into_inner().unwrap();
        let after: Vec<_> = seen.iter().filter(|(step, _)| *step > stop).cloned().collect();
        assert_eq!(told, after, "{stop}");
        // Once more answers from the checkpoint alone.
        let (again, ..) = trained(Some(folder.path()), 1, None);
        assert_eq!(bytes(&again.unwrap().model), bytes(&whole.model));
    }
}

#[test]
fn a_training_learns_and_tells_how() {
    let (fitted, _, watch) = trained(None, 1, None);
    let last = fitted.unwrap().last.unwrap();
    assert!(last.loss < 0.6 && last.accuracy.unwrap() > 0.9, "{last:?}");
    let seen = watch.seen.into_inner().unwrap();
    assert_eq!(seen.len() as u64, EPOCHS * STEPS + 1);
    let names = |step: usize| seen[step].1.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    assert_eq!(names(0), ["sparsity", "calls"]);
    assert_eq!(names(1), ["loss/training", "accuracy/training", "learning_rate"]);
    assert_eq!(names(5)[3..], ["sparsity", "calls", "loss/validation", "accuracy/validation"]);
}

#[test]
fn a_checkpoint_of_another_training_or_none_at_all_begins_anew() {
    let (whole, ..) = trained(None, 1, None);
    let expected = bytes(&whole.unwrap().model);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("checkpoint"), "torn").unwrap();
    assert_eq!(bytes(&trained(Some(folder.path()), 1, None).0.unwrap().model), expected);
    let interrupt = Interrupt::new();
    let mut other = plan(Some(folder.path()), &interrupt);
    other.checkpoints.as_mut().unwrap().identity = "other".into();
    let training = batches(STEPS, 1);
    let data = FitData { training: &training, validation: None };
    let fitted = fit(perceptron(), options(1), all, &mut Plain, &data, &other, &Unwatched).unwrap();
    assert_eq!(fitted.steps, EPOCHS * STEPS);
    assert!(bytes(&fitted.model) != expected, "nothing is left out here");
}

#[test]
fn a_loss_that_is_not_finite_stops_with_its_step() {
    let mut training = batches(STEPS, 1);
    training.batches[3].tensors[0].1.as_mut_slice::<f32>().unwrap()[2] = f32::NAN;
    let data = FitData { training: &training, validation: None };
    let interrupt = Interrupt::new();
    let error = fit(perceptron(), options(1), all, &mut Plain, &data, &plan(None, &interrupt), &Unwatched).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { step: 4, .. }), "{error}");
}
