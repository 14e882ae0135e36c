//! A network whose answers another one follows.

use std::sync::Arc;

use lissom_engine::{Session, SessionOptions};
use lissom_graph::Model;
use lissom_recipe::Settings;
use lissom_tensor::Tensor;
use lissom_train::{LOSSES, TrainError, TrainerOptions};

/// What losses that follow a teacher call its scores.
const SCORES: &str = "teacher.scores";

/// A network that answers batches; clones share it.
#[derive(Debug, Clone)]
pub struct Teacher {
    session: Arc<Session>,
}

impl Teacher {
    /// Prepares a network; its scores are its first output, before a final softmax.
    ///
    /// # Errors
    /// [`TrainError`] if it cannot run.
    pub fn new(model: &Model, threads: usize) -> Result<Self, TrainError> {
        let mut model = model.clone();
        let output = *model.graph.outputs().first().ok_or(TrainError::NoOutputs)?;
        let maker = model.graph.producers().get(&output).map(|&index| &model.graph.nodes()[index]);
        let softmax = maker.filter(|node| node.op_type == "Softmax" && node.domain.is_empty());
        let scores = softmax.and_then(|node| node.inputs.first().copied().flatten()).unwrap_or(output);
        model.graph.set_outputs(vec![scores]);
        model.graph.drop_dead();
        let session = Session::new(&model, &SessionOptions { threads, ..SessionOptions::default() })?;
        Ok(Self { session: Arc::new(session) })
    }

    /// Its scores of a batch, as the target that losses ask for.
    ///
    /// # Errors
    /// What the engine says.
    pub fn targets(&self, batch: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, TrainError> {
        let inputs = self.session.inputs();
        let own = batch.iter().filter(|(name, _)| inputs.iter().any(|input| input.name == *name));
        let scores = self.session.run(&own.copied().collect::<Vec<_>>())?;
        Ok(scores.into_iter().take(1).map(|scores| (SCORES.to_owned(), scores)).collect())
    }
}

/// Adds distillation at this temperature, with this share of the whole objective; nothing at 0, or if the recipe's own losses have one.
///
/// # Errors
/// [`TrainError`] if the loss refuses the settings.
pub fn follow(options: &mut TrainerOptions, share: f64, temperature: f64) -> Result<(), TrainError> {
    let has_own = options.objective.terms.iter().any(|(_, loss)| loss.name() == "distillation");
    let Some(spec) = LOSSES.iter().find(|spec| spec.name == "distillation").filter(|_| share > 0.0 && !has_own) else {
        return Ok(());
    };
    let settings = format!("temperature = {temperature:?}\nteacher_share = 1.0");
    let loss = (spec.parse)(&Settings::from_toml("teacher", &settings)?)?;
    options.objective.terms.iter_mut().for_each(|(weight, _)| *weight *= 1.0 - share);
    options.objective.terms.retain(|(weight, _)| *weight > 0.0);
    options.objective.terms.push((share, loss));
    Ok(())
}

/// Whether some loss of the objective follows a teacher's scores.
pub fn is_followed(options: &TrainerOptions) -> bool {
    options.objective.terms.iter().any(|(_, loss)| loss.name() == "distillation")
}
