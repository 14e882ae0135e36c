//! Proof that the written file is the model in memory: it is read back, run, and compared bit by bit.

use lissom_engine::Session;
use lissom_graph::Model;
use lissom_recipe::Run;
use lissom_tensor::Tensor;

use super::{Context, MODEL};
use crate::JobError;
use crate::bench::{random_inputs, smallest_table};
use crate::model_file::load;
use lissom_compress::Calibration;

/// Inputs the result is looked at with, and what they are in words.
pub(super) struct Probe {
    pub(super) inputs: Vec<(String, Tensor)>,
    pub(super) what: String,
}

/// Runs the file and the model in memory on the same inputs; any difference is an error. Gives the inputs, and the proof
/// in words.
pub(super) fn prove(context: &Context<'_>, run: &Run, in_memory: &Model) -> Result<(Probe, String), JobError> {
    context.progress.report(0, 1, "proving the written file");
    let written = load(&run.path(MODEL)?, &context.request.read)?;
    let from_file = Session::new(&written.model, &context.options())?;
    let from_memory = Session::new(in_memory, &context.options())?;
    if from_file.output_names() != from_memory.output_names() {
        return Err(JobError::NotProven { reason: "its outputs have other names".to_owned() });
    }
    let mut probe = probe(context, in_memory, &from_memory)?;
    let is_made_up = context.eval.is_none() && context.calibration.is_none();
    if is_made_up && !can_run(&Session::new(&context.file.model, &context.options())?, &probe) {
        // The original refuses them too: lengths that its file does not declare have to fit each other.
        return unproven_by_running(written.model, in_memory, &mut probe);
    }
    let inputs: Vec<(&str, &Tensor)> = probe.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let (expected, actual) = (from_memory.run(&inputs)?, from_file.run(&inputs)?);
    for ((name, a), b) in from_memory.output_names().iter().zip(&expected).zip(&actual) {
        if !same(a, b) {
            return Err(JobError::NotProven { reason: format!("output `{name}` differs on {}", probe.what) });
        }
    }
    context.progress.report(1, 1, "proving the written file");
    let proof = format!("read back, run on {}, equal bit by bit", probe.what);
    Ok((probe, proof))
}

fn can_run(session: &Session, probe: &Probe) -> bool {
    let inputs: Vec<(&str, &Tensor)> = probe.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    session.run(&inputs).is_ok()
}

/// Without inputs to run on, the file is held against memory part by part.
fn unproven_by_running(written: Model, in_memory: &Model, probe: &mut Probe) -> Result<(Probe, String), JobError> {
    if written.to_proto()? != in_memory.to_proto()? {
        return Err(JobError::NotProven { reason: "a node or weight differs".to_owned() });
    }
    let proof = "read back and equal part by part; it was NOT run, because inputs that fit the model could not be made up \
                 (give data to change that)";
    Ok((Probe { inputs: Vec::new(), what: std::mem::take(&mut probe.what) }, proof.to_owned()))
}

/// A few real samples where there are any, else random ones.
fn probe(context: &Context<'_>, model: &Model, session: &Session) -> Result<Probe, JobError> {
    const SAMPLES: usize = 8;
    if let Some(eval) = &context.eval {
        let n = eval.fixed_batch().unwrap_or(SAMPLES).min(eval.len());
        let positions: Vec<usize> = (0..n).collect();
        let in_data = |source| JobError::Data { path: eval.path().to_owned(), source };
        let inputs = eval.batch(&positions).map_err(in_data)?.inputs;
        return Ok(Probe { inputs, what: format!("{n} evaluation samples") });
    }
    if let Some(data) = &context.calibration {
        let n = data.fixed_batch().unwrap_or(SAMPLES).min(data.len());
        let inputs = data.batch(0, n).map_err(|error| JobError::Unfit {
            reason: error.to_string(),
            hint: "check the calibration data".to_owned(),
        })?;
        return Ok(Probe { inputs, what: format!("{n} calibration samples") });
    }
    let inputs = random_inputs(smallest_table(model), session.inputs(), 1, 128, context.request.seed)?;
    Ok(Probe { inputs, what: "random inputs".to_owned() })
}

/// Equal bit by bit; NaN equals NaN.
fn same(a: &Tensor, b: &Tensor) -> bool {
    match (a.as_slice::<f32>(), b.as_slice::<f32>()) {
        (Ok(x), Ok(y)) => a.shape() == b.shape() && x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits()),
        _ => a == b,
    }
}
