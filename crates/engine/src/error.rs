//! What can go wrong.

use lissom_graph::{EvaluateError, LoadError};
use lissom_kernels::ShapeError;

/// Why a network could not be loaded or run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum EngineError {
    #[error("node `{node}`: {reason} is not supported")]
    Unsupported { node: String, reason: String },
    #[error("input `{name}` is missing; the model's inputs are {expected}")]
    MissingInput { name: String, expected: String },
    #[error("the model has no input `{name}`; its inputs are {expected}")]
    UnknownInput { name: String, expected: String },
    #[error("input `{name}`: the model wants {expected}, found {actual}")]
    InputMismatch { name: String, expected: String, actual: String },
    #[error("the model has no output `{name}`; its outputs are {expected}")]
    UnknownOutput { name: String, expected: String },
    #[error("output `{name}`: the model gives {expected}, the slice holds {actual}")]
    OutputMismatch { name: String, expected: String, actual: String },
    #[error("output `{name}` is wanted twice")]
    RepeatedOutput { name: String },
    #[error("node `{node}`: a kernel refused: {source}")]
    Kernel { node: String, source: ShapeError },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}

impl EngineError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unsupported { .. } => Some("`lissom ops` lists what is supported"),
            Self::MissingInput { .. } | Self::UnknownInput { .. } => Some("`inputs()` says what the model wants"),
            Self::InputMismatch { .. } => Some("give elements of this type under this shape; `?` is any length"),
            Self::UnknownOutput { .. } => Some("`output_names()` says what the model gives"),
            Self::OutputMismatch { .. } => Some("give a slice of this type and of as many elements as the shape has"),
            Self::RepeatedOutput { .. } => Some("copy the output afterwards"),
            Self::Load(error) => Some(error.hint()),
            Self::Kernel { .. } | Self::Evaluate(_) => None,
        }
    }
}
