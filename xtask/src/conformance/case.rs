//! One case: a model, inputs and expected outputs.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use lissom_engine::{EngineError, Session, SessionOptions};
use lissom_graph::{EvaluateError, Fact, LoadError, Model, OpError};
use lissom_onnx::{ModelProto, ValueInfoProto};
use lissom_ops::OPERATORS;
use lissom_tensor::{DType, Tensor};
use prost::Message;

use super::{compare, containers};

/// A case of the corpus.
pub(super) struct Case {
    pub(super) suite: &'static str,
    pub(super) model: PathBuf,
    /// The folder with data sets; `None` for the light models, whose input is a ramp.
    pub(super) folder: Option<PathBuf>,
}

/// What came of a case. Anything but `Pass` has a reason that is one of a few kinds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    Pass,
    UnsupportedOperator(String),
    UnsupportedFeature(String),
    /// The expected values come from a random generator that the standard does not fix; types and shapes agree.
    RandomNumbers,
    /// The values agree but for the reference's own rounding: it expects noise where the exact answer is 0.
    ReferenceRounding,
    Wrong(String),
    Refused(String),
    Panic(String),
}

impl Outcome {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::UnsupportedOperator(_) => "unsupported operator",
            Self::UnsupportedFeature(_) => "unsupported feature",
            Self::RandomNumbers => "random numbers",
            Self::ReferenceRounding => "reference rounding",
            Self::Wrong(_) => "wrong",
            Self::Refused(_) => "refused",
            Self::Panic(_) => "panic",
        }
    }

    /// What the manifest holds: the kind, and for what is not supported also the reason.
    pub(super) fn expectation(&self) -> String {
        match self {
            Self::UnsupportedOperator(reason) | Self::UnsupportedFeature(reason) => {
                format!("{}: {reason}", self.kind())
            }
            _ => self.kind().to_owned(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass | Self::RandomNumbers | Self::ReferenceRounding => f.write_str(self.kind()),
            Self::UnsupportedOperator(reason)
            | Self::UnsupportedFeature(reason)
            | Self::Wrong(reason)
            | Self::Refused(reason)
            | Self::Panic(reason) => write!(f, "{}: {reason}", self.kind()),
        }
    }
}

impl Case {
    /// `suite/case`.
    pub(super) fn name(&self) -> String {
        let path = self.folder.as_ref().unwrap_or(&self.model);
        format!("{}/{}", self.suite, path.file_stem().unwrap_or_default().to_string_lossy())
    }

    /// Runs all data sets of the case, plainly and through the engine.
    pub(super) fn run(&self) -> Outcome {
        catch_unwind(AssertUnwindSafe(|| self.run_unguarded())).unwrap_or_else(|payload| {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Outcome::Panic(text.unwrap_or_default())
        })
    }

    fn run_unguarded(&self) -> Outcome {
        match self.check() {
            Ok(()) => Outcome::Pass,
            Err(outcome) => outcome,
        }
    }

    fn check(&self) -> Result<(), Outcome> {
        let bytes = std::fs::read(&self.model).map_err(|error| Outcome::Refused(error.to_string()))?;
        let proto = ModelProto::decode(bytes.as_slice()).map_err(|error| Outcome::Refused(error.to_string()))?;
        let model = Model::from_proto(proto.clone(), OPERATORS).map_err(load_outcome)?;
        if let Some((_, op, _)) = model.unsupported_nodes().first() {
            return Err(Outcome::UnsupportedOperator(op.clone()));
        }
        // The light models are too large for plain evaluation.
        let modes: &[bool] = if self.folder.is_some() { &[false, true] } else { &[true] };
        for &fast in modes {
            let options = SessionOptions { fast, ..SessionOptions::default() };
            let session = Session::new(&model, &options).map_err(engine_outcome)?;
            match &self.folder {
                Some(folder) => {
                    for set in data_sets(folder) {
                        self.check_set(&proto, &model, &session, &set, fast)?;
                    }
                }
                None => self.check_light(&session)?,
            }
        }
        Ok(())
    }

    fn check_set(
        &self,
        proto: &ModelProto,
        model: &Model,
        session: &Session,
        set: &Path,
        fast: bool,
    ) -> Result<(), Outcome> {
        let read = |kind: &str, declared: &[ValueInfoProto]| -> Result<Vec<Tensor>, Outcome> {
            let paths = (0..).map(|i| set.join(format!("{kind}_{i}.pb"))).take_while(|path| path.is_file());
            let declared = declared.iter().map(|value| value.r#type.as_ref()).chain(std::iter::repeat(None));
            let values = paths.zip(declared).map(|(path, declared)| containers::read(&path, declared));
            values.collect::<Result<_, _>>().map_err(Outcome::UnsupportedFeature)
        };
        let graph = proto.graph.clone().unwrap_or_default();
        let tensors = read("input", &graph.input)?;
        let inputs: Vec<(&str, &Tensor)> =
            session.inputs().iter().map(|input| input.name.as_str()).zip(&tensors).collect();
        let outputs = session.run(&inputs).map_err(engine_outcome)?;
        let how = if fast { "engine" } else { "plain" };
        let expected = read("output", &graph.output)?;
        compare::all(&outputs, &expected, self.tolerance()).map_err(|reason| {
            let is_random = !model.graph.nodes().iter().all(|node| node.op.is_deterministic());
            match () {
                () if is_random && compare::same_facts(&outputs, &expected) => Outcome::RandomNumbers,
                () if compare::differ_by_rounding(&outputs, &expected) => Outcome::ReferenceRounding,
                () => Outcome::Wrong(format!("{how}: {reason}")),
            }
        })
    }

    /// The light models get the ramp 0, 1/n, 2/n, …; the expected output lies beside the model.
    fn check_light(&self, session: &Session) -> Result<(), Outcome> {
        let refused = |reason: &str| Outcome::Refused(reason.to_owned());
        let [input] = session.inputs() else { return Err(refused("more than one input")) };
        let shape: Vec<usize> = input.shape.iter().flatten().map(|length| length.unwrap_or(1)).collect();
        let len: usize = shape.iter().product();
        let ramp: Vec<f32> = (0..len).map(|i| (i as f64 / len as f64) as f32).collect();
        let tensor = Tensor::new(shape, ramp).map_err(|error| Outcome::Refused(error.to_string()))?;
        let outputs = session.run(&[(&input.name, &tensor)]).map_err(engine_outcome)?;
        let stem = self.model.file_stem().unwrap_or_default().to_string_lossy();
        let expected = containers::read(&self.model.with_file_name(format!("{stem}_output_0.pb")), None);
        let expected = expected.map_err(Outcome::Refused)?;
        compare::all(&outputs[..1], &[expected], self.tolerance()).map_err(Outcome::Wrong)
    }

    /// Relative and absolute tolerance, as the corpus states them.
    fn tolerance(&self) -> (f64, f64) {
        if self.name() == "light/light_densenet121" { (2e-3, 1e-7) } else { (1e-3, 1e-7) }
    }
}

fn data_sets(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut sets: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    sets.sort();
    sets
}

fn load_outcome(error: LoadError) -> Outcome {
    match error {
        LoadError::Operator { source, op, .. } => op_outcome(&op, source),
        other => Outcome::Refused(other.to_string()),
    }
}

fn engine_outcome(error: EngineError) -> Outcome {
    match error {
        EngineError::Evaluate(EvaluateError::Node { source, op, .. }) => op_outcome(&op, source),
        EngineError::Load(error) => load_outcome(error),
        other => Outcome::Refused(other.to_string()),
    }
}

fn op_outcome(op: &str, error: OpError) -> Outcome {
    match error {
        OpError::Unsupported { what } => Outcome::UnsupportedFeature(format!("{op}: {what}")),
        OpError::UnsupportedType { actual, .. } => Outcome::UnsupportedFeature(format!("{op}: type {actual}")),
        OpError::Subgraph(error) => match *error {
            EvaluateError::Node { source, op, .. } => op_outcome(&op, source),
            other => Outcome::Refused(other.to_string()),
        },
        other => Outcome::Refused(format!("{op}: {other}")),
    }
}

/// A short description of a tensor, for messages.
pub(super) fn describe(tensor: &Tensor) -> String {
    if tensor.dtype() == DType::Sequence {
        return format!("sequence of {}", tensor.len());
    }
    Fact::known(tensor.dtype(), tensor.shape()).to_string()
}
