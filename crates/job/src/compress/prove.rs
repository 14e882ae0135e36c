//! Proof that the written file is the model in memory: it is read back, run, and compared bit by bit.

use lissom_engine::Session;
use lissom_graph::Model;
use lissom_recipe::Run;
use lissom_tensor::Tensor;

use super::{Context, MODEL};
use crate::JobError;
use crate::bench::random_inputs;
use crate::model_file::load;
use lissom_compress::Calibration;

/// Runs the file and the model in memory on the same inputs; any difference is an error.
pub(super) fn prove(context: &Context<'_>, run: &Run, in_memory: &Model) -> Result<String, JobError> {
    context.progress.report(0, 1, "proving the written file");
    let written = load(&run.path(MODEL)?, &context.request.read)?;
    let from_file = Session::new(&written.model, &context.options())?;
    let from_memory = Session::new(in_memory, &context.options())?;
    if from_file.output_names() != from_memory.output_names() {
        return Err(JobError::NotProven { reason: "its outputs have other names".to_owned() });
    }
    let (inputs, what) = inputs(context, in_memory, &from_memory)?;
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let (expected, actual) = (from_memory.run(&inputs)?, from_file.run(&inputs)?);
    for ((name, a), b) in from_memory.output_names().iter().zip(&expected).zip(&actual) {
        if !same(a, b) {
            return Err(JobError::NotProven { reason: format!("output `{name}` differs on {what}") });
        }
    }
    context.progress.report(1, 1, "proving the written file");
    Ok(format!("read back, run on {what}, equal bit by bit"))
}

/// A few real samples where there are any, else random ones.
fn inputs(
    context: &Context<'_>,
    model: &Model,
    session: &Session,
) -> Result<(Vec<(String, Tensor)>, String), JobError> {
    const SAMPLES: usize = 8;
    if let Some(eval) = &context.eval {
        let n = eval.fixed_batch().unwrap_or(SAMPLES).min(eval.len());
        let positions: Vec<usize> = (0..n).collect();
        let in_data = |source| JobError::Data { path: eval.path().to_owned(), source };
        return Ok((eval.batch(&positions).map_err(in_data)?.inputs, format!("{n} evaluation samples")));
    }
    if let Some(data) = &context.calibration {
        let n = data.fixed_batch().unwrap_or(SAMPLES).min(data.len());
        let batch = data.batch(0, n).map_err(|error| JobError::Unfit {
            reason: error.to_string(),
            hint: "check the calibration data".to_owned(),
        })?;
        return Ok((batch, format!("{n} calibration samples")));
    }
    Ok((random_inputs(model, session.inputs(), 1, 128, context.request.seed)?, "random inputs".to_owned()))
}

/// Equal bit by bit; NaN equals NaN.
fn same(a: &Tensor, b: &Tensor) -> bool {
    match (a.as_slice::<f32>(), b.as_slice::<f32>()) {
        (Ok(x), Ok(y)) => a.shape() == b.shape() && x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits()),
        _ => a == b,
    }
}
