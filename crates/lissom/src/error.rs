//! What can go wrong.

use lissom_engine::EngineError;
use lissom_graph::LoadError;
use lissom_onnx::ReadError;
use lissom_tensor::TensorError;

/// Why a network could not be opened or run. [`Error::hint`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// They are no network that makes sense.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It cannot run, or not on these inputs.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A tensor or view could not be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl Error {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Read(error) => Some(error.hint()),
            Self::Load(error) => Some(error.hint()),
            Self::Engine(error) => error.hint(),
            Self::Tensor(TensorError::LengthMismatch { .. }) => Some("the length is the product of the shape"),
            Self::Tensor(_) => None,
        }
    }
}
