//! Why an operator or a graph could not be read, typed or run.

use lissom_tensor::{BroadcastError, DType, TensorError};

/// Why one operator refused. The caller adds the node's name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum OpError {
    #[error("input {index} is missing")]
    MissingInput { index: usize },
    #[error("input {index}: element type {actual} is not supported here")]
    UnsupportedType { index: usize, actual: DType },
    #[error("input {index}: expected element type {expected}, found {actual}")]
    TypeMismatch { index: usize, expected: DType, actual: DType },
    #[error("input {index}: {reason}, found shape {shape:?}")]
    BadShape { index: usize, shape: Vec<usize>, reason: String },
    #[error("attribute `{name}`: {reason}")]
    BadAttribute { name: String, reason: String },
    #[error("bad value: {reason}")]
    BadValue { reason: String },
    #[error("not supported: {what}")]
    Unsupported { what: String },
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Broadcast(#[from] BroadcastError),
    #[error("in a subgraph: {0}")]
    Subgraph(Box<crate::EvaluateError>),
}

impl OpError {
    /// Shorthand for [`OpError::BadShape`].
    pub fn shape(index: usize, shape: &[usize], reason: impl Into<String>) -> Self {
        Self::BadShape { index, shape: shape.to_vec(), reason: reason.into() }
    }

    /// Shorthand for [`OpError::BadAttribute`].
    pub fn attribute(name: &str, reason: impl Into<String>) -> Self {
        Self::BadAttribute { name: name.to_owned(), reason: reason.into() }
    }

    /// Shorthand for [`OpError::BadValue`].
    pub fn value(reason: impl Into<String>) -> Self {
        Self::BadValue { reason: reason.into() }
    }

    /// Shorthand for [`OpError::Unsupported`].
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }
}

/// Why a model's content is not a graph that can be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum LoadError {
    #[error("the file holds no graph")]
    NoGraph,
    #[error("opset {version} of domain `{domain}` is not supported; lissom reads {oldest} to {newest}")]
    UnsupportedOpset { domain: String, version: i64, oldest: u32, newest: u32 },
    #[error("the model does not say which opset of domain `{domain}` its node `{node}` uses")]
    MissingOpset { node: String, domain: String },
    #[error("node `{node}` ({op}): input `{value}` is made by no earlier node, initializer or graph input")]
    UnknownValue { node: String, op: String, value: String },
    #[error("graph output `{value}` is made by no node")]
    UnknownOutput { value: String },
    #[error("value `{value}` is made twice, the second time by node `{node}`")]
    DuplicateValue { node: String, value: String },
    #[error("node `{node}` ({op}): {source}")]
    Operator { node: String, op: String, source: OpError },
    #[error("node `{node}` ({op}): attributes {names:?} are not understood; ignoring them could change results")]
    UnreadAttributes { node: String, op: String, names: Vec<String> },
    #[error("node `{node}` ({op}): has {actual} inputs, at most {limit} are allowed")]
    TooManyInputs { node: String, op: String, actual: usize, limit: usize },
    #[error("node `{node}` ({op}): has {actual} attributes, at most {limit} are allowed")]
    TooManyAttributes { node: String, op: String, actual: usize, limit: usize },
    #[error("node `{node}`: subgraphs are nested more than {limit} deep")]
    TooDeep { node: String, limit: usize },
    #[error("tensor `{name}`: {reason}")]
    Tensor { name: String, reason: String },
    #[error("function `{name}`: {reason}")]
    Function { name: String, reason: String },
    #[error("the graph is not sound: {0}")]
    Verify(#[from] crate::VerifyError),
}

impl LoadError {
    /// What to do about it, in a sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::UnsupportedOpset { .. } => "export the model again at an opset lissom reads (17 is a safe choice)",
            Self::Operator { source: OpError::Unsupported { .. } | OpError::UnsupportedType { .. }, .. } => {
                "`lissom ops` lists what is supported"
            }
            Self::UnreadAttributes { .. } => {
                "check the exporter's version, or remove the attribute if it has no effect"
            }
            _ => "the file breaks the ONNX format; check it with `onnx.checker` or export it again",
        }
    }
}
