//! `lissom eval`.

use lissom_evaluate::Judgement;
use lissom_job::JobError;
use lissom_job::evaluate::{EvalRequest, Evaluation, evaluate};
use lissom_recipe::ExitCode;

use super::Context;
use crate::arguments::Eval;
use crate::show::{percent, table};

/// Runs the verb.
pub(crate) fn eval(arguments: &Eval, context: &Context) -> Result<ExitCode, JobError> {
    let request = EvalRequest {
        model: arguments.model.clone(),
        data: arguments.data.clone(),
        data_settings: arguments.data_settings.clone(),
        samples: arguments.samples,
        seed: arguments.seed,
        threads: context.common.threads,
        bf16: arguments.bf16,
        read: context.read_options(),
    };
    let watcher = context.watcher();
    let result = evaluate(&request, &watcher, &context.interrupt);
    watcher.finish();
    context.print(&result?, text)?;
    Ok(ExitCode::Done)
}

fn text(evaluation: &Evaluation) -> String {
    let mut text = format!("{} on {} ({} samples)\n\n", evaluation.model, evaluation.data, evaluation.samples);
    match &evaluation.judgement {
        Judgement::Classification(judgement) => {
            let interval = |p: &lissom_evaluate::Proportion| {
                format!("{}  (95 % interval {} to {})", percent(p.value), percent(p.ci.low), percent(p.ci.high))
            };
            text += &format!("top1       {}\n", interval(&judgement.top1));
            if let Some(top5) = &judgement.top5 {
                text += &format!("top5       {}\n", interval(top5));
            }
            text += &format!("macro AUC  {:.4}\n", judgement.macro_auc);
            text += &format!("ECE        {:.4}\n\n", judgement.calibration.ece);
            if judgement.per_class.len() <= 100 {
                let name = |class: usize| {
                    evaluation.class_names.get(class).cloned().unwrap_or_else(|| format!("class {class}"))
                };
                let shown = |value: Option<f64>| value.map_or("–".to_owned(), percent);
                let mut rows: Vec<(f64, Vec<String>)> = judgement
                    .per_class
                    .iter()
                    .map(|c| {
                        let cells = vec![name(c.class), c.support.to_string(), shown(c.recall), shown(c.precision)];
                        (c.recall.unwrap_or(2.0), cells)
                    })
                    .collect();
                rows.sort_by(|a, b| a.0.total_cmp(&b.0));
                let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, cells)| cells).collect();
                text += &table(&["class", "samples", "recall", "precision"], &rows);
            }
        }
        Judgement::Embedding(judgement) => {
            let (low, high) = (judgement.spearman_ci.low, judgement.spearman_ci.high);
            text += &format!("spearman  {:.4}  (95 % interval {low:.4} to {high:.4})\n", judgement.spearman);
            text += &format!("pearson   {:.4}\n", judgement.pearson);
        }
    }
    for note in &evaluation.notes {
        text += &format!("note: {note}\n");
    }
    text
}
