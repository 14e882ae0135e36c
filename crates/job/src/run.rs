//! `lissom run`: a model on the arrays of an npz file.

use std::path::Path;

use lissom_engine::{Session, SessionOptions};
use lissom_onnx::ReadOptions;
use lissom_recipe::run::write_atomic;
use lissom_tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{JobError, SCHEMA_VERSION, model_file};

/// What `run` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The outputs, in the model's order.
    pub outputs: Vec<OutputInfo>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// One output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputInfo {
    /// Its name in the graph, and of the array in the file.
    pub name: String,
    /// Element type.
    pub dtype: String,
    /// Shape.
    pub shape: Vec<usize>,
}

/// Runs a model once on the arrays of `input` and writes its outputs to `output`.
///
/// # Errors
/// [`JobError`] with place, cause and hint.
pub fn run(
    model: &Path,
    input: &Path,
    output: &Path,
    threads: usize,
    options: &ReadOptions,
) -> Result<RunResult, JobError> {
    let in_file = |path: &Path| {
        let path = path.to_owned();
        move |source| JobError::Data { path, source }
    };
    let file = model_file::load(model, options)?;
    let session = Session::from_model(file.model, &SessionOptions { threads, ..SessionOptions::default() })?;
    let arrays = lissom_data::read_npz(input).map_err(in_file(input))?;
    let inputs: Vec<(&str, &Tensor)> = arrays.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let outputs = session.run(&inputs)?;
    let named: Vec<(String, Tensor)> = session.output_names().iter().cloned().zip(outputs).collect();
    write_atomic(output, &lissom_data::npz_bytes(&named).map_err(in_file(output))?)?;
    let info = |(name, tensor): &(String, Tensor)| OutputInfo {
        name: name.clone(),
        dtype: tensor.dtype().to_string(),
        shape: tensor.shape().to_vec(),
    };
    Ok(RunResult { schema_version: SCHEMA_VERSION, outputs: named.iter().map(info).collect(), notes: file.warnings })
}
