//! `lissom bench`.

use std::time::Duration;

use lissom_job::bench::{BenchRequest, BenchResult, ModelTimes, bench as run_job};
use lissom_job::{Choosing, JobError};
use lissom_recipe::ExitCode;

use super::Context;
use crate::arguments::Bench;
use crate::show::{bytes, milliseconds, table};

/// Runs the verb.
pub(crate) fn bench(arguments: &Bench, context: &Context) -> Result<ExitCode, JobError> {
    let result = run_job(&BenchRequest {
        models: arguments.models.clone(),
        batch: arguments.batch,
        other_axes: arguments.length,
        threads: context.common.threads,
        seconds: arguments.seconds,
        layers: arguments.layers,
        choosing: Choosing::measured(Duration::from_secs_f64(arguments.choose_seconds)),
        bf16: arguments.bf16,
        seed: arguments.seed,
        read: context.read_options(),
    })?;
    context.print(&result, text)?;
    Ok(ExitCode::Done)
}

fn text(result: &BenchResult) -> String {
    let rows: Vec<Vec<String>> = result
        .models
        .iter()
        .map(|times| {
            vec![
                times.model.clone(),
                milliseconds(times.latency.p50_ms),
                milliseconds(times.latency.p90_ms),
                milliseconds(times.latency.p99_ms),
                format!("{:.1}", times.items_per_second),
                format!("{:.2}x", times.speedup),
                milliseconds(times.load_ms),
                times.peak_memory_bytes.map_or("–".to_owned(), bytes),
            ]
        })
        .collect();
    let mut text = table(&["model", "p50", "p90", "p99", "items/s", "speed", "load", "peak memory"], &rows);
    text += &format!("\nbatch {}, {} threads, {}\n", result.batch, result.threads, result.machine.cpu);
    if let Some(peak) = &result.peak {
        text += &format!(
            "this machine: {:.0} GFLOP/s in f32, {:.0} GOP/s in int8, reads {:.0} GB/s beyond L2\n",
            peak.f32_gflops, peak.int8_gops, peak.read_gb_per_s
        );
    }
    for times in &result.models {
        if times.batch != result.batch {
            text += &format!("note: {} insists on batch {}\n", times.model, times.batch);
        }
        text += &layers(times);
        if let Some(noise) = &times.latency.noise {
            text += &format!("warning: {}: {noise}\n", times.model);
        }
    }
    text
}

/// Steps of a model, slowest first.
fn layers(times: &ModelTimes) -> String {
    if times.layers.is_empty() {
        return String::new();
    }
    let mut steps: Vec<_> = times.layers.iter().collect();
    steps.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    let rows: Vec<Vec<String>> = steps
        .iter()
        .map(|step| {
            let rate = match step.macs {
                0 => "–".to_owned(),
                macs => format!("{:.0}", 2.0 * macs as f64 / step.ms / 1e6),
            };
            let bound = step.share_of_bound.map_or("–".to_owned(), |share| format!("{:.0} %", share * 100.0));
            vec![
                step.name.clone(),
                step.operators.clone(),
                step.kernel.clone(),
                milliseconds(step.ms),
                rate,
                bound,
                step.why.clone(),
            ]
        })
        .collect();
    format!(
        "\n{}\n{}",
        times.model,
        table(&["step", "operators", "kernel", "median", "GFLOP/s", "of bound", "why"], &rows)
    )
}
