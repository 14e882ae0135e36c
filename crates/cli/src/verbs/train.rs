//! `lissom train`: the way of `compress`, begun with an architecture where no model is given.

use lissom_job::JobError;
use lissom_job::compress::CompressRequest;
use lissom_recipe::{ExitCode, RecipeText};

use super::Context;
use super::compress::{default_folder, job_in, request};
use crate::arguments::Train;

/// Runs the verb.
pub(crate) fn train(arguments: &Train, context: &Context) -> Result<ExitCode, JobError> {
    let recipe = RecipeText::load(&arguments.recipe)?;
    let out = match &arguments.job.out {
        Some(out) => out.clone(),
        None => {
            let stem = arguments.model.as_ref().and_then(|model| model.file_stem()).map(|stem| stem.to_string_lossy());
            default_folder(stem.as_deref(), &arguments.recipe, context)?
        }
    };
    let request = CompressRequest {
        model: arguments.model.clone(),
        data: Some(arguments.data.clone()),
        bench_seconds: arguments.bench_seconds,
        ..request(&arguments.job, recipe, out, context)
    };
    job_in(&request, arguments.job.out.is_none(), context)
}
