//! `lissom train`: the way of `compress`, begun with an architecture where no model is given.

use lissom_job::JobError;
use lissom_job::compress::CompressRequest;
use lissom_recipe::{Budget, ExitCode, RecipeText};

use super::compress::{default_folder, job, now};
use super::{Context, with_out};
use crate::arguments::Train;

/// Runs the verb.
pub(crate) fn train(arguments: &Train, context: &Context) -> Result<ExitCode, JobError> {
    let recipe = RecipeText::load(&arguments.recipe)?;
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None => {
            let stem = arguments.model.as_ref().and_then(|model| model.file_stem()).map(|stem| stem.to_string_lossy());
            default_folder(stem.as_deref(), &arguments.recipe, context)?
        }
    };
    let request = CompressRequest {
        model: arguments.model.clone(),
        recipe,
        budget: Budget::default(),
        data: Some(arguments.data.clone()),
        data_settings: arguments.data_settings.clone(),
        eval_data: arguments.eval_data.clone(),
        eval_data_settings: arguments.eval_data_settings.clone(),
        eval_samples: arguments.eval_samples,
        out: out.clone(),
        start_over: arguments.force,
        sensitivity: false,
        bench_seconds: arguments.bench_seconds,
        seed: arguments.seed,
        threads: context.common.threads,
        read: context.read_options(),
        command: with_out(&context.command, &out),
        date: now(),
    };
    let result = job(&request, context);
    if result.is_err() && arguments.out.is_none() {
        // As with `compress`: a folder chosen here in which nothing began is only in the way.
        let _ = std::fs::remove_dir(&out).and_then(|()| std::fs::remove_dir("runs"));
    }
    result
}
