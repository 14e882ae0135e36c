//! `lissom compare`.

use lissom_job::JobError;
use lissom_job::compare::{CompareRequest, CompareResult, compare as run_job};
use lissom_recipe::ExitCode;

use super::Context;
use crate::arguments::Compare;
use crate::show::{p_value, percent};

/// Runs the verb.
pub(crate) fn compare(arguments: &Compare, context: &Context) -> Result<ExitCode, JobError> {
    let request = CompareRequest {
        original: arguments.original.clone(),
        other: arguments.other.clone(),
        data: arguments.data.clone(),
        data_settings: arguments.data_settings.clone(),
        samples: arguments.samples,
        tolerance: arguments.tolerance,
        seed: arguments.seed,
        threads: context.common.threads,
        read: context.read_options(),
    };
    let watcher = context.watcher();
    let result = run_job(&request, &watcher, &context.interrupt);
    watcher.finish();
    context.print(&result?, text)?;
    Ok(ExitCode::Done)
}

fn text(result: &CompareResult) -> String {
    let near = &result.agreement;
    let mut text = format!("{} against {} on {}\n\n", result.other, result.original, result.inputs);
    text += &format!("max error      {:.6} (row {})\n", near.max_abs_error, near.worst_row);
    if let Some(relative) = near.relative_error {
        text += &format!("relative error {relative:.6}\n");
    }
    text += &format!("mean cosine    {:.6} (smallest {:.6})\n", near.mean_cosine, near.min_cosine);
    if let Some(kl) = near.mean_kl {
        text += &format!("mean KL        {kl:.6} nats\n");
    }
    if let Some(same) = &near.same_top1 {
        text += &format!("same top1      {} of {} ({})\n", same.count, same.n, percent(same.value));
    }
    if let Some(comparison) = &result.comparison {
        let (metric, drop) = comparison.headline();
        text += &format!(
            "{metric:<14} {:.4} -> {:.4}, drop {:+.2} points, 95 % interval {:+.2} to {:+.2} ({})\n",
            drop.original,
            drop.compressed,
            100.0 * drop.drop,
            100.0 * drop.ci.low,
            100.0 * drop.ci.high,
            p_value(drop.p_value)
        );
    }
    match &result.divergence {
        Some(divergence) => {
            let error = divergence.layer.relative_error.unwrap_or(divergence.layer.max_abs_error);
            text += &format!(
                "\nfirst value beyond {}: {} (relative error {error:.4}, row {})\n",
                divergence.tolerance, divergence.layer.name, divergence.layer.worst_row
            );
        }
        None if result.layers.is_empty() => text += "\nthe models have no value in common to compare layer by layer\n",
        None => text += &format!("\nno value of {} diverges\n", result.layers.len()),
    }
    for note in &result.notes {
        text += &format!("note: {note}\n");
    }
    text
}
