//! Distillation: the network learns from a teacher's answers, and from what the teacher computes on the way to them.
//!
//! The teacher is the model file that `teacher` names, else the network before: that from before the last step that encodes, or the one the recipe
//! began with (of a recipe that begins with an architecture, the one its first training made). It answers as it is, with running statistics and without
//! dropout, to the very batch the student sees.
//!
//! The loss is (1 − a) · cross-entropy with the labels + a · T² · mean KL(softmax(teacher / T) ‖ softmax(student / T)), in place of the losses
//! of `[train]` unless one of those follows a teacher itself. Each of `hints` adds the mean square of the difference between a value of the student and
//! one of the teacher. Where these have other channels a linear map learns with the student to lead from one to the other (a convolution of one
//! pixel, or a product); it is no part of the result.
//!
//! `blocks` are such pairs at the ends of blocks of layers, from bottom to top, and are learnt layer by layer: the training is cut into one stage for each and a
//! last one for the answers. In a stage its own pair and those below count ("Go wide, then narrow": a wide teacher, then its thin student).
//! With `block_inputs = "teacher"` each block sees what the teacher's block before it gives instead of the student's, so that all learn at once, each its own
//! task; the values must then be of the teacher's shape.

mod losses;
mod map;

use std::path::{Path, PathBuf};

use lissom_engine::{Session, SessionOptions};
use lissom_graph::{Attributes, Fact, Graph, Model, Patch, ValueId, infer};
use lissom_recipe::{LayerFilter, Settings, SettingsError, did_you_mean};
use lissom_tensor::{Tensor, Weight};
use lissom_train::{LOSSES, Loss, Moment, Network, Objective, Technique, TrainError, Trainer, TrainerOptions, scores};
use serde::Deserialize;

use losses::{Follow, Followed, Staged};
use map::Map;

use crate::{Changes, Job, Method, MethodError, MethodSpec, training};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "distill",
    summary: "learn from a teacher: its softened answers, values on the way to them, or block by block",
    source: "Hinton et al. 2015, arXiv:1503.02531; hints: Romero et al., ICLR 2015, arXiv:1412.6550; blocks: Zhou et al., ICML 2020, arXiv:2007.00811",
    example: "temperature = 4.0\nteacher_share = 0.9",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let distill: Distill = settings.parse()?;
        if !(distill.temperature > 0.0 && distill.temperature.is_finite()) {
            return Err(settings.error_at("temperature", "must be more than 0"));
        }
        if !(0.0..=1.0).contains(&distill.teacher_share) {
            return Err(settings.error_at("teacher_share", "must be between 0 and 1"));
        }
        if distill.hints.iter().any(|hint| !(hint.weight > 0.0 && hint.weight.is_finite())) {
            return Err(settings.error_at("hints", "a weight must be more than 0"));
        }
        if distill.blocks.iter().any(|block| !(block.weight > 0.0 && block.weight.is_finite())) {
            return Err(settings.error_at("blocks", "a weight must be more than 0"));
        }
        Ok(Box::new(distill))
    },
};

/// Settings of `distill`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Distill {
    /// A model file, relative to the recipe.
    teacher: Option<PathBuf>,
    /// T.
    #[serde(default = "temperature")]
    temperature: f64,
    /// a.
    #[serde(default = "teacher_share")]
    teacher_share: f64,
    #[serde(default)]
    hints: Vec<Pair>,
    /// The last values of the blocks, from bottom to top.
    #[serde(default)]
    blocks: Vec<Pair>,
    #[serde(default)]
    block_inputs: Whose,
    /// Weights that are zero at first stay zero.
    #[serde(default)]
    keep_zeros: bool,
    /// Read by the recipe; named here so that it is no unknown key.
    #[serde(default, rename = "layers")]
    _layers: LayerFilter,
}

fn temperature() -> f64 {
    4.0
}

fn teacher_share() -> f64 {
    0.9
}

/// A value of the student, and the one of the teacher that it follows.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Words")]
struct Pair {
    student: String,
    teacher: String,
    weight: f64,
}

/// One name for both, or two.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Words {
    One(String),
    Two { student: String, teacher: Option<String>, weight: Option<f64> },
}

impl From<Words> for Pair {
    fn from(words: Words) -> Self {
        match words {
            Words::One(name) => Self { student: name.clone(), teacher: name, weight: 1.0 },
            Words::Two { student, teacher, weight } => {
                Self { teacher: teacher.unwrap_or_else(|| student.clone()), student, weight: weight.unwrap_or(1.0) }
            }
        }
    }
}

/// Whose values the student's blocks see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Whose {
    #[default]
    Student,
    Teacher,
}

impl Method for Distill {
    fn is_training(&self) -> bool {
        true
    }

    fn teacher(&self) -> Option<&Path> {
        self.teacher.as_deref()
    }

    fn apply(&self, model: &mut Model, job: &Job<'_>) -> Result<Changes, MethodError> {
        let training = job.training.ok_or(MethodError::NeedsTrainingData { method: SPEC.name })?;
        training::refuse_unmatched(job, model)?;
        let teacher = match (training.teacher, &self.teacher) {
            (Some(teacher), _) => teacher,
            (None, Some(path)) => {
                let reason = format!("the teacher `{}` was not opened", path.display());
                return Err(MethodError::NothingToDo { method: SPEC.name, reason });
            }
            (None, None) => job.reference.ok_or_else(|| MethodError::NothingToDo {
                method: SPEC.name,
                reason: "no network was trained before it that could teach; name one with `teacher`".into(),
            })?,
        };
        let mut student = Student::new(self.clone(), teacher.clone());
        // The maps between student and teacher are trained whatever `layers` says.
        let known: Vec<String> =
            lissom_train::parameters(&model.graph).into_iter().map(|parameter| parameter.name).collect();
        let is_meant = |name: &String, node: &str| !known.contains(name) || job.layers.matches(node);
        let (layers, all) = (LayerFilter::all(), |p: &lissom_train::Parameter| is_meant(&p.name, &p.node));
        training::run_selected(SPEC.name, &mut student, model, &Job { layers: &layers, ..*job }, all)
    }
}

/// The network while it learns.
#[derive(Debug)]
struct Student {
    settings: Distill,
    teacher: Model,
    /// Before anything was added to it.
    original: Option<Model>,
    /// Answers to batches.
    session: Option<Session>,
    /// What the batch is to bring of the teacher, and the value it is.
    asked: Vec<(String, ValueId)>,
    /// Names of what says whether a block counts, bottom first; the answers' last.
    stages: Vec<String>,
}

fn refused(reason: String) -> TrainError {
    TrainError::Technique { method: SPEC.name, reason }
}

/// The value of this name.
fn named(graph: &Graph, name: &str) -> Result<ValueId, TrainError> {
    let names = graph.values().iter().map(|value| value.name.as_str()).filter(|name| !name.is_empty());
    graph.find_value(name).ok_or_else(|| TrainError::UnknownValue {
        name: name.to_owned(),
        nearest: did_you_mean(name, names).map(str::to_owned),
    })
}

/// How the losses call a value of the teacher.
fn of_teacher(name: &str) -> String {
    format!("teacher.{name}")
}

impl Student {
    fn new(settings: Distill, teacher: Model) -> Self {
        Self { settings, teacher, original: None, session: None, asked: Vec::new(), stages: Vec::new() }
    }

    /// The losses: what they were if one of them follows a teacher, else the answers'.
    fn follow_answers(&self, graph: &Graph, objective: &mut Objective) -> Result<(), TrainError> {
        let network = Network { graph, scores: scores(graph)? };
        let mut has_shares = false;
        for (_, loss) in &objective.terms {
            let targets = loss.targets(&network)?;
            if targets.iter().any(|target| target.name.starts_with("teacher.")) {
                return Ok(());
            }
            has_shares |= targets.iter().any(|target| target.name == "probabilities");
        }
        let (temperature, share) = (self.settings.temperature, self.settings.teacher_share);
        let targets = if has_shares { "probabilities" } else { "labels" };
        let text = format!("temperature = {temperature:?}\nteacher_share = {share:?}\ntargets = \"{targets}\"");
        let spec = LOSSES.iter().find(|spec| spec.name == "distillation");
        let spec = spec.ok_or_else(|| refused("there is no loss `distillation`".into()))?;
        objective.terms = vec![(1.0, (spec.parse)(&Settings::from_toml(SPEC.name, &text)?)?)];
        Ok(())
    }

    /// The student's value that is compared with the teacher's: itself, or what a linear map makes of it.
    fn compared(&self, model: &mut Model, pair: &Pair, seed: u64) -> Result<String, TrainError> {
        let value = named(&model.graph, &pair.student)?;
        let teacher = named(&self.teacher.graph, &pair.teacher)?;
        let (own, wanted) = (model.graph.value(value).fact.clone(), self.teacher.graph.value(teacher).fact.clone());
        let unfit = || {
            refused(format!(
                "`{}` of the student is {own}, `{}` of the teacher {wanted}: all but the channels must be of one length",
                pair.student, pair.teacher
            ))
        };
        let (Some(shape), Some(teachers)) = (own.shape.clone(), wanted.shape.clone()) else { return Err(unfit()) };
        let Some(map) = Map::between(&shape, &teachers).ok_or_else(unfit)? else { return Ok(pair.student.clone()) };
        let mut patch = Patch::new(&model.graph, model.opset());
        let weight = patch.constant(&format!("{}.to_teacher", pair.student), Weight::Dense(map.initial(seed)?));
        let name = format!("{}.mapped", pair.student);
        let inputs = [Some(value), Some(weight)];
        let mapped = patch.node(&model.operators, map.op_type(), &name, &inputs, Attributes::new())?;
        // An output, so that it does not count as dead.
        let outputs = model.graph.outputs().iter().copied().chain([mapped]).collect();
        model.graph.set_outputs(outputs);
        model.graph.apply(patch)?;
        infer(&mut model.graph)?;
        Ok(model.graph.value(mapped).name.clone())
    }

    /// Lets what uses the student's value see the teacher's: an input of its name.
    fn fed(&self, model: &mut Model, pair: &Pair) -> Result<(), TrainError> {
        let value = named(&model.graph, &pair.student)?;
        let fact = Fact { value: None, ..model.graph.value(value).fact.clone() };
        let input = model.graph.add_input(&of_teacher(&pair.teacher), fact);
        let mut patch = Patch::new(&model.graph, model.opset());
        for (index, node) in
            model.graph.nodes().iter().enumerate().filter(|(_, node)| node.inputs.contains(&Some(value)))
        {
            let mut node = node.clone();
            node.inputs.iter_mut().filter(|own| **own == Some(value)).for_each(|own| *own = Some(input));
            patch.remove_node(index);
            patch.push_node(node);
        }
        let outputs = model.graph.outputs().iter().copied().chain([value]).collect();
        model.graph.set_outputs(outputs);
        model.graph.apply(patch)?;
        Ok(infer(&mut model.graph)?)
    }
}

impl Technique for Student {
    fn prepare(&mut self, model: &mut Model, options: &mut TrainerOptions) -> Result<(), TrainError> {
        self.original = Some(model.clone());
        options.step.masks |= self.settings.keep_zeros;
        self.follow_answers(&model.graph, &mut options.objective)?;
        let settings = self.settings.clone();
        let (mut hints, mut blocks) = (Vec::new(), Vec::new());
        for (index, pair) in settings.hints.iter().enumerate() {
            let student = self.compared(model, pair, options.seed.wrapping_add(index as u64))?;
            hints.push(Followed::new(student, pair));
        }
        let is_fed = settings.block_inputs == Whose::Teacher;
        for (index, pair) in settings.blocks.iter().enumerate() {
            let seed = options.seed.wrapping_add((settings.hints.len() + index) as u64);
            let mut block = Followed::new(self.compared(model, pair, seed)?, pair);
            if is_fed {
                if block.student != pair.student {
                    let reason = "has other channels than the teacher's, so the block above it cannot see that";
                    return Err(refused(format!("`{}` {reason}", pair.student)));
                }
                self.fed(model, pair)?;
                block.is_fed = true;
                self.asked.push((of_teacher(&pair.teacher), named(&self.teacher.graph, &pair.teacher)?));
            } else {
                self.stages.push(format!("distill.counts.{index}"));
                block.counts = self.stages.last().cloned();
            }
            blocks.push(block);
        }
        if !self.stages.is_empty() {
            let counts = "distill.counts.answers".to_owned();
            let answers = std::mem::take(&mut options.objective.terms).into_iter();
            let staged =
                |(weight, inner)| (weight, Box::new(Staged { inner, counts: counts.clone() }) as Box<dyn Loss>);
            options.objective.terms = answers.map(staged).collect();
            self.stages.push(counts);
        }
        for (name, all) in [("hints", hints), ("blocks", blocks)] {
            let term: Option<Box<dyn Loss>> = if all.is_empty() { None } else { Some(Box::new(Follow { name, all })) };
            options.objective.terms.extend(term.map(|term| (1.0, term)));
        }
        self.ask(&model.graph, options)
    }

    fn begin(&mut self, trainer: &mut Trainer, _: &[(&str, &Tensor)]) -> Result<(), TrainError> {
        if self.settings.keep_zeros { training::keep_zeros(trainer) } else { Ok(()) }
    }

    fn targets(&mut self, at: &Moment, batch: &[(&str, &Tensor)]) -> Result<Vec<(String, Tensor)>, TrainError> {
        let stages = self.stages.iter().enumerate();
        let stage = stage(at.share(), self.stages.len());
        let mut targets: Vec<(String, Tensor)> = stages
            .map(|(index, name)| (name.clone(), Tensor::scalar(if index <= stage { 1f32 } else { 0.0 })))
            .collect();
        let Some(session) = &self.session else { return Ok(targets) };
        let own = self.original.iter().flat_map(|model| {
            model.graph.inputs().iter().map(|&input| model.graph.value(input).name.as_str()).collect::<Vec<_>>()
        });
        let own: Vec<&str> = own.collect();
        let mut inputs: Vec<(&str, &Tensor)> = Vec::new();
        for (index, input) in session.inputs().iter().enumerate() {
            let tensor = |wanted: &str| batch.iter().find(|(name, _)| *name == wanted).map(|(_, tensor)| *tensor);
            // A teacher from elsewhere may call its inputs otherwise.
            let by_place = || own.get(index).filter(|_| own.len() == session.inputs().len());
            let found = tensor(&input.name).or_else(|| by_place().and_then(|name| tensor(name)));
            inputs.push((&input.name, found.ok_or_else(|| TrainError::MissingInput { name: input.name.clone() })?));
        }
        let outputs = session.run(&inputs)?;
        let n_own = outputs.len() - self.asked.len();
        targets.extend(self.asked.iter().map(|(name, _)| name.clone()).zip(outputs.into_iter().skip(n_own)));
        Ok(targets)
    }

    /// Without the maps, and with its blocks one after the other again.
    fn network(&self, trainer: &Trainer) -> Result<Model, TrainError> {
        let trained = trainer.model();
        let mut model = self.original.clone().unwrap_or_else(|| trained.clone());
        let constants: Vec<(ValueId, String)> =
            model.graph.constants().map(|(id, _)| (id, model.graph.value(id).name.clone())).collect();
        for (id, name) in constants {
            let weight = trained.graph.find_value(&name).and_then(|own| trained.graph.constant(own));
            if let Some(weight) = weight {
                model.graph.set_constant(id, weight.clone());
            }
        }
        Ok(model)
    }
}

/// The stage at a share of the training, from 0.
fn stage(share: f64, stages: usize) -> usize {
    ((share * stages as f64 + 1e-9) as usize).min(stages.saturating_sub(1))
}

impl Student {
    /// Finds what the losses ask of the teacher, and prepares it to answer.
    fn ask(&mut self, graph: &Graph, options: &TrainerOptions) -> Result<(), TrainError> {
        let network = Network { graph, scores: scores(graph)? };
        for (_, loss) in &options.objective.terms {
            for target in loss.targets(&network)? {
                let Some(name) = target.name.strip_prefix("teacher.") else { continue };
                if self.asked.iter().any(|(known, _)| *known == target.name) {
                    continue;
                }
                let value =
                    if name == "scores" { scores(&self.teacher.graph)? } else { named(&self.teacher.graph, name)? };
                self.asked.push((target.name.clone(), value));
            }
        }
        let observe = self.asked.iter().map(|(_, value)| *value).collect();
        let session = SessionOptions { threads: options.threads, observe, ..SessionOptions::default() };
        self.session = Some(Session::new(&self.teacher, &session)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
