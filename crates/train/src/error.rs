//! Why a network could not be trained.

use lissom_data::DataError;
use lissom_engine::EngineError;
use lissom_graph::{EvaluateError, LoadError, OpError, VerifyError};
use lissom_recipe::{Interrupted, SettingsError, UnmatchedPattern, did_you_mean};
use lissom_tensor::TensorError;

use crate::{CheckpointError, GradientError, WatchError};

/// Why a network could not be trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum TrainError {
    #[error("the network has nothing to train: none of its constants is a weight, bias or norm in floats")]
    NoParameters,
    #[error("the network has no outputs")]
    NoOutputs,
    #[error("no loss is given")]
    NoLoss,
    #[error("node `{node}` ({op}) cannot run: {reason}")]
    Unsupported { node: String, op: String, reason: String },
    #[error("parameters `{first}` and `{second}` are of different types; all must be f32 or all f64")]
    MixedTypes { first: String, second: String },
    #[error("`{loss}` needs `{value}` with {expected}; it is {fact}")]
    Shape { loss: &'static str, value: String, expected: &'static str, fact: String },
    #[error("the network has no value `{name}`")]
    UnknownValue { name: String, nearest: Option<String> },
    #[error("the parameters {} get no gradient: the loss does not depend on them", names.join(", "))]
    Unreached { names: Vec<String> },
    #[error("step {step}: the loss is {loss}; the first value that is not finite is {culprit}")]
    NotFinite { step: u64, loss: f64, culprit: Culprit },
    #[error("the batch has no `{name}`")]
    MissingInput { name: String },
    #[error("the batch's `{name}` is of a shape the network refuses: {reason}")]
    BatchShape { name: String, reason: String },
    #[error("the checkpoint is of another training: {reason}")]
    OtherTraining { reason: String },
    #[error("an architecture cannot be built: {reason}")]
    Architecture { reason: String },
    #[error("`{method}` cannot train this network: {reason}")]
    Technique { method: &'static str, reason: String },
    #[error(transparent)]
    Layers(#[from] UnmatchedPattern),
    #[error("the batches: {reason}")]
    Source { reason: String },
    #[error("what looks on at the training failed")]
    Watch { source: WatchError },
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Gradient(#[from] GradientError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Operator(#[from] OpError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl TrainError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Gradient(error) => error.hint().map(str::to_owned),
            Self::Settings(error) => error.hint(),
            Self::Layers(error) => Some(error.hint()),
            Self::Data(error) => error.hint(),
            Self::UnknownValue { nearest, .. } => nearest.as_ref().map(|near| format!("did you mean `{near}`?")),
            Self::Unreached { .. } => Some("leave these parameters out of the training, or choose another loss".into()),
            Self::NotFinite { .. } => {
                Some("lower the learning rate, lengthen the warm-up, or clip the gradients' norm".into())
            }
            Self::OtherTraining { .. } => Some("begin anew in another folder, or ask for what was asked before".into()),
            _ => None,
        }
    }

    /// [`TrainError::UnknownValue`] with the nearest name there is.
    pub(crate) fn unknown_value<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let nearest = did_you_mean(name, known).map(str::to_owned);
        Self::UnknownValue { name: name.to_owned(), nearest }
    }
}

/// Where numbers first stopped being finite.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Culprit {
    /// Something the batch holds.
    Input { name: String },
    /// A parameter or statistic: an earlier update broke it.
    Parameter { name: String },
    /// What a node makes of finite inputs.
    Node { node: String, op: String, value: String },
    /// The same step gives finite values when it is run again, node by node.
    Nothing,
}

impl std::fmt::Display for Culprit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Input { name } => write!(f, "`{name}` of the batch"),
            Self::Parameter { name } => write!(f, "`{name}`, which an earlier step made"),
            Self::Node { node, op, value } => write!(f, "`{value}`, made by node `{node}` ({op})"),
            Self::Nothing => f.write_str("none when the values are computed one by one"),
        }
    }
}
