//! Networks that a training makes beside its result, such as the dense one of AC/DC: written, read back, and judged beside that result.

use lissom_recipe::Run;
use lissom_report::Pair;

use super::steps::DoneStep;
use super::training::folder_name;
use super::{Context, compared, judged, stored_answers};
use crate::JobError;
use crate::model_file::{from_bytes, to_one_piece};

/// A network beside the result of a step, as it was written.
pub(crate) struct Written {
    /// What the report says of it.
    pub(crate) pair: Pair,
    /// The bytes of the file.
    pub(crate) bytes: Vec<u8>,
}

/// Writes what the steps made beside their results, each whole or not at all, and compares it with them.
pub(super) fn write(context: &Context<'_>, run: &Run, steps: &[DoneStep]) -> Result<Vec<Written>, JobError> {
    let mut written = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let Some(result) = &step.result else { continue };
        let answers = stored_answers(context, run, &from_bytes(result.clone())?, &step.method)?;
        for (name, model) in &step.changes.others {
            let path = format!("{}/{name}.onnx", folder_name(index, &step.method));
            let bytes = to_one_piece(model)?;
            run.write(&path, &bytes)?;
            let file = run.path(&path)?;
            let read = std::fs::read(&file).map_err(|e| lissom_recipe::run::FileError::of("read", &file, e))?;
            let others = stored_answers(context, run, &from_bytes(read)?, name)?;
            let pair = Pair {
                step: index as u64 + 1,
                method: step.method.clone(),
                name: name.clone(),
                path,
                size_bytes: bytes.len() as u64,
                judgement: judged(context, others.as_ref())?,
                result: judged(context, answers.as_ref())?,
                comparison: compared(context, others.as_ref(), answers.as_ref())?,
            };
            written.push(Written { pair, bytes });
        }
    }
    Ok(written)
}
