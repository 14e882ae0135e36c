//! `lissom compress`.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lissom_job::JobError;
use lissom_job::compress::{CompressPlan, CompressRequest, CompressResult, compress as run_job, plan};
use lissom_recipe::{Budget, ExitCode, RecipeText, RunRequest, run};
use lissom_report::{Budget as Contract, ModelCard, NoticeKind, Report, Unit};

use super::{Context, with_out};
use crate::arguments::{Compress, JobOptions};
use crate::show::{bytes, count, milliseconds, p_value, percent, table};

/// Runs the verb.
pub(crate) fn compress(arguments: &Compress, context: &Context) -> Result<ExitCode, JobError> {
    let recipe = RecipeText::load(&arguments.recipe)?;
    let stem = arguments.model.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy());
    // A plan writes nothing.
    let chosen = arguments.dry_run.then(|| PathBuf::from("runs"));
    let out = match arguments.job.out.clone().or(chosen) {
        Some(out) => out,
        None => default_folder(Some(&stem), &arguments.recipe, context)?,
    };
    let budget = Budget {
        target_size: arguments.target_size,
        target_latency: arguments.target_latency,
        target_bits: arguments.target_bits,
        max_drop: arguments.max_drop,
        max_class_drop: arguments.max_class_drop,
    };
    let request = CompressRequest {
        model: Some(arguments.model.clone()),
        budget,
        data: arguments.data.clone(),
        sensitivity: arguments.sensitivity,
        bench_seconds: arguments.bench_seconds,
        ..request(&arguments.job, recipe, out, context)
    };
    if arguments.dry_run {
        let plan = plan(&request, &context.interrupt)?;
        context.print(&plan, plan_text)?;
        return Ok(ExitCode::Done);
    }
    job_in(&request, arguments.job.out.is_none(), context)
}

/// What a verb's options ask for; model, data, budgets and times are for the verb to say.
pub(crate) fn request(options: &JobOptions, recipe: RecipeText, out: PathBuf, context: &Context) -> CompressRequest {
    CompressRequest {
        model: None,
        recipe,
        budget: Budget::default(),
        data: None,
        data_settings: options.data_settings.clone(),
        eval_data: options.eval_data.clone(),
        eval_data_settings: options.eval_data_settings.clone(),
        eval_samples: options.eval_samples,
        start_over: options.force,
        sensitivity: false,
        bench_seconds: 0.0,
        seed: options.seed,
        threads: context.common.threads,
        read: context.read_options(),
        command: with_out(&context.command, &out),
        out,
        date: now(),
    }
}

/// As [`job`], in a folder that perhaps `was_chosen` here: if the job did not even begin, it is empty and only in the way.
pub(crate) fn job_in(request: &CompressRequest, was_chosen: bool, context: &Context) -> Result<ExitCode, JobError> {
    let result = job(request, context);
    if result.is_err() && was_chosen {
        let _ = std::fs::remove_dir(&request.out).and_then(|()| std::fs::remove_dir("runs"));
    }
    result
}

/// Runs a compress job and shows its result; shared with `demo`.
pub(crate) fn job(request: &CompressRequest, context: &Context) -> Result<ExitCode, JobError> {
    let watcher = context.watcher();
    let result = run_job(request, &watcher, &context.interrupt);
    watcher.finish();
    let result = result?;
    context.print(&result, result_text)?;
    Ok(if result.budgets_met { ExitCode::Done } else { ExitCode::BudgetMissed })
}

/// The time, for reports.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// The newest `runs/NAME-NN` of the same command, else the next free one; named by model, if there is one, and recipe.
pub(crate) fn default_folder(model: Option<&str>, recipe: &str, context: &Context) -> Result<PathBuf, JobError> {
    let root = Path::new("runs");
    let recipe = Path::new(recipe).file_stem().map_or_else(|| "recipe".into(), |s| s.to_string_lossy());
    let name = model.map_or_else(|| recipe.to_string(), |model| format!("{model}-{recipe}"));
    let same = (1..100).map(|n| root.join(format!("{name}-{n:02}"))).take_while(|dir| dir.exists()).filter(|dir| {
        RunRequest::read(dir)
            .is_ok_and(|request| request.is_some_and(|request| request.command == with_out(&context.command, dir)))
    });
    match same.last() {
        Some(dir) => Ok(dir),
        None => Ok(run::next_run_dir(root, &name)?),
    }
}

fn plan_text(plan: &CompressPlan) -> String {
    let mut text = String::from("Steps\n");
    for (index, (method, settings)) in plan.steps.iter().enumerate() {
        text += &format!("  {}. {method} {settings}\n", index + 1);
    }
    let share = plan.predicted_bytes as f64 / plan.original_bytes.max(1) as f64;
    text += &format!(
        "\nSize     {} -> {} predicted ({})\n",
        bytes(plan.original_bytes),
        bytes(plan.predicted_bytes),
        percent(share)
    );
    if let (Some(macs), Some(after)) = (plan.cost.macs, plan.predicted_effective_macs) {
        text += &format!("MACs     {} -> {} non-zero\n", count(macs), count(after));
    }
    for reason in &plan.not_tried {
        text += &format!("not in the prediction: {reason}\n");
    }
    let mut layers: Vec<_> = plan.cost.layers.iter().collect();
    layers.sort_by_key(|layer| layer.len);
    text += "\nRiskiest layers (fewest weights, first and last)\n";
    for layer in layers.iter().take(3) {
        text += &format!("  {} {} {:?}\n", layer.operator, layer.name, layer.shape);
    }
    text
}

fn result_text(result: &CompressResult) -> String {
    let report = &result.report;
    let mut text = String::new();
    if result.was_finished {
        text += "This run was finished before; nothing was computed again.\n\n";
    }
    text += &cards(report);
    if let Some(comparison) = &report.comparison {
        let (metric, drop) = comparison.headline();
        let significant = if drop.is_significant { "significant" } else { "not significant" };
        text += &format!(
            "\n{metric} drop {:+.2} points, 95 % interval {:+.2} to {:+.2}, {significant} ({}, {})\n",
            100.0 * drop.drop,
            100.0 * drop.ci.low,
            100.0 * drop.ci.high,
            p_value(drop.p_value),
            drop.test
        );
        if let Some(worst) = comparison.worst_class_drop() {
            text += &format!("worst class drop {:+.2} points\n", 100.0 * worst);
        }
    }
    for pair in &report.pairs {
        let worth = |judgement: &Option<_>| judgement.as_ref().map(lissom_evaluate::Judgement::headline);
        text += &format!("\n{} beside the result of step {} ({}): {}", pair.name, pair.step, pair.method, pair.path);
        if let (Some((metric, own)), Some((_, result))) = (worth(&pair.judgement), worth(&pair.result)) {
            let shown = |x: f64| if metric == "top1" { percent(x) } else { format!("{x:.4}") };
            text += &format!(", {metric} {} (the result {})", shown(own), shown(result));
        }
        text += "\n";
    }
    let notices: Vec<_> = report.notices.iter().filter(|notice| notice.kind != NoticeKind::Note).collect();
    for notice in notices.iter().take(5) {
        let layer = notice.layer.as_ref().map(|layer| format!("{layer}: ")).unwrap_or_default();
        text += &format!("note: {layer}{}\n", notice.message);
    }
    if notices.len() > 5 {
        text += &format!("note: {} more in the report\n", notices.len() - 5);
    }
    for contract in &report.budgets {
        text += &contract_text(contract);
    }
    text + &format!("\nmodel   {}\nreport  {}\n", result.model.display(), result.report_html.display())
}

/// Before and after, side by side.
fn cards(report: &Report) -> String {
    let Some(after) = &report.compressed else { return String::new() };
    let Some(before) = &report.original else { return card(after) };
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, before: Option<String>, after: Option<String>, change: Option<String>| {
        if let (Some(before), Some(after)) = (before, after) {
            rows.push(vec![name.to_owned(), before, after, change.unwrap_or_default()]);
        }
    };
    let share = |a: Option<u64>, b: Option<u64>| Some(format!("{:.1} %", 100.0 * b? as f64 / a?.max(1) as f64));
    let of = |card: &ModelCard, get: fn(&ModelCard) -> Option<u64>| get(card);
    let size = |card: &ModelCard| card.size_bytes;
    row("size", of(before, size).map(bytes), of(after, size).map(bytes), share(of(before, size), of(after, size)));
    let non_zeros = |card: &ModelCard| card.non_zeros;
    row(
        "non-zero parameters",
        of(before, non_zeros).map(count),
        of(after, non_zeros).map(count),
        share(of(before, non_zeros), of(after, non_zeros)),
    );
    let bits = |card: &ModelCard| card.effective_bits.map(|bits| format!("{bits:.2}"));
    row("bits a parameter", bits(before), bits(after), None);
    let macs = |card: &ModelCard| card.effective_macs;
    row(
        "non-zero MACs",
        of(before, macs).map(count),
        of(after, macs).map(count),
        share(of(before, macs), of(after, macs)),
    );
    let time = |card: &ModelCard| card.latency.as_ref().map(|latency| latency.p50_ms);
    let faster = time(before).zip(time(after)).map(|(before, after)| format!("{:.2}x", before / after));
    row("p50, batch 1", time(before).map(milliseconds), time(after).map(milliseconds), faster);
    let value = |card: &ModelCard| card.judgement.as_ref().map(|judgement| judgement.headline());
    if let (Some((metric, a)), Some((_, b))) = (value(before), value(after)) {
        let shown = |x: f64| if metric == "top1" { percent(x) } else { format!("{x:.4}") };
        row(metric, Some(shown(a)), Some(shown(b)), Some(format!("{:+.2} points", 100.0 * (b - a))));
    }
    table(&["", "before", "after", ""], &rows)
}

/// A network there is nothing to compare with.
fn card(card: &ModelCard) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: Option<String>| rows.extend(value.map(|value| vec![name.to_owned(), value]));
    row("size", card.size_bytes.map(bytes));
    row("parameters", card.parameters.map(count));
    row("MACs", card.macs.map(count));
    row("p50, batch 1", card.latency.as_ref().map(|latency| milliseconds(latency.p50_ms)));
    if let Some((metric, value)) = card.judgement.as_ref().map(|judgement| judgement.headline()) {
        row(metric, Some(if metric == "top1" { percent(value) } else { format!("{value:.4}") }));
    }
    table(&["", ""], &rows)
}

fn contract_text(contract: &Contract) -> String {
    let shown = |value: f64| match contract.unit {
        Unit::Bytes => bytes(value as u64),
        Unit::Share => percent(value),
        Unit::Points => format!("{:.2} points", 100.0 * value),
        Unit::Milliseconds => milliseconds(value),
        Unit::Bits => format!("{value:.2} bits"),
        Unit::Number => format!("{value:.4}"),
    };
    let target = shown(contract.target);
    match (contract.actual, contract.missed_by) {
        (Some(actual), Some(missed)) => {
            format!(
                "budget {} NOT MET: {} where {target} was allowed, {} too much\n",
                contract.name,
                shown(actual),
                shown(missed)
            )
        }
        (Some(actual), None) => format!("budget {} met: {} of {target}\n", contract.name, shown(actual)),
        (None, _) => format!("budget {} NOT MET: it could not be measured\n", contract.name),
    }
}
