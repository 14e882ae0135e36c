//! Why a job failed, and how the process should end.

use std::path::PathBuf;

use lissom_compress::MethodError;
use lissom_data::DataError;
use lissom_engine::EngineError;
use lissom_evaluate::EvaluateError;
use lissom_graph::LoadError;
use lissom_passes::PassError;
use lissom_recipe::run::FileError;
use lissom_recipe::{ExitCode, RecipeError, RunError};
use lissom_tensor::TensorError;

/// Why a job failed. [`exit_code`](Self::exit_code) says how the process should end, [`hint`](Self::hint) what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum JobError {
    #[error(transparent)]
    Read(#[from] lissom_onnx::ReadError),
    #[error("`{}`", path.display())]
    Load { path: PathBuf, source: LoadError },
    #[error("data `{}`", path.display())]
    Data { path: PathBuf, source: DataError },
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    #[error("step {step} ({method})")]
    Step { step: usize, method: String, source: MethodError },
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Pass(#[from] PassError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Graph(#[from] lissom_graph::WriteError),
    #[error(transparent)]
    Write(#[from] lissom_onnx::WriteError),
    #[error("the written model differs from the one in memory: {reason}")]
    NotProven { reason: String },
    #[error("{reason}")]
    Usage { reason: String, hint: String },
    #[error("{reason}")]
    Unfit { reason: String, hint: String },
    #[error("stopped on request; the work so far is kept in `{}`", run.display())]
    Interrupted { run: PathBuf, exit_code: ExitCode },
    #[error("cannot make the report")]
    Report(#[from] lissom_report::ReportError),
    #[error("stored work of this run cannot be read: {reason}")]
    Stored { reason: String },
}

impl JobError {
    /// How the process should end.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Read(error) => match error.innermost() {
                lissom_onnx::ReadError::File { .. } => ExitCode::Io,
                _ => ExitCode::BadInput,
            },
            Self::Recipe(error) => error.exit_code(),
            Self::Run(error) => error.exit_code(),
            Self::File(error) => error.exit_code(),
            Self::Step { source: MethodError::Interrupted(interrupted), .. } => interrupted.exit_code,
            Self::Interrupted { exit_code, .. } => *exit_code,
            Self::Data { source: DataError::NotFound { .. } | DataError::Read { .. }, .. } => ExitCode::Io,
            Self::Usage { .. } => ExitCode::Usage,
            Self::NotProven { .. } | Self::Report(_) | Self::Stored { .. } => ExitCode::Bug,
            _ => ExitCode::BadInput,
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read(error) => Some(error.innermost().hint().to_owned()),
            Self::Load { source, .. } => Some(source.hint().to_owned()),
            Self::Data { source, .. } => source.hint(),
            Self::Recipe(error) => error.hint(),
            Self::Step { source, .. } => source.hint(),
            Self::Run(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Write(error) => Some(error.hint().to_owned()),
            Self::Evaluate(error) => Some(error.hint().to_owned()),
            Self::Engine(EngineError::Unsupported { .. }) => Some("`lissom ops` lists what is supported".to_owned()),
            Self::Usage { hint, .. } | Self::Unfit { hint, .. } => Some(hint.clone()),
            Self::Interrupted { run, .. } => Some(format!("`lissom resume {}` goes on from here", run.display())),
            Self::NotProven { .. } => Some("this is a bug in lissom; please report it with the command".to_owned()),
            _ => None,
        }
    }
}
