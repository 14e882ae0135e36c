//! Calibration and agreement.

use lissom_evaluate::{Agreement, Calibration, Comparison, Judgement};

use crate::chart::reliability;
use crate::format;
use crate::schema::{ModelCard, Report};

use super::table::{Cell, Column, Table};

pub(crate) struct CalibrationView {
    pub svg: String,
    pub table: Table,
    pub bins: Table,
}

pub(crate) fn calibration(report: &Report) -> Option<CalibrationView> {
    let (before, after) = (calibration_of(&report.original), calibration_of(&report.compressed));
    before.or(after)?;
    let value = |of: fn(&Calibration) -> f64| [before.map(of), after.map(of)];
    let row = |label: &str, values: [Option<f64>; 2], show: fn(f64) -> String| {
        vec![Cell::text(label), Cell::number(values[0], show), Cell::number(values[1], show)]
    };
    let share = |value: f64| format::percent(value, 2);
    let mut table = Table {
        caption: "Calibration before and after".to_owned(),
        is_sortable: false,
        columns: vec![Column::text("Measure", ""), Column::number("Before", ""), Column::number("After", "")],
        rows: vec![
            row("ECE, bins of equal width", value(|c| c.ece), share),
            row("ECE, bins of equal count", value(|c| c.adaptive_ece), share),
            row("Largest gap of a bin", value(|c| c.mce), share),
            row("Negative log-likelihood", value(|c| c.nll), format::significant),
            row("Brier score", value(|c| c.brier), format::significant),
        ],
    };
    table.drop_empty_columns();
    Some(CalibrationView { svg: reliability::draw(before, after), table, bins: bins(before, after) })
}

fn calibration_of(card: &Option<ModelCard>) -> Option<&Calibration> {
    match card.as_ref()?.judgement.as_ref()? {
        Judgement::Classification(judgement) => Some(&judgement.calibration),
        Judgement::Embedding(_) => None,
    }
}

/// The numbers behind the curve.
fn bins(before: Option<&Calibration>, after: Option<&Calibration>) -> Table {
    let n = before.map_or(0, |c| c.bins.len()).max(after.map_or(0, |c| c.bins.len()));
    let side = |calibration: Option<&Calibration>, i: usize| {
        let bin = calibration.and_then(|calibration| calibration.bins.get(i));
        vec![
            Cell::count(bin.map(|bin| bin.count), format::count),
            Cell::number(bin.and_then(|bin| bin.accuracy), |v| format::percent(v, 1)),
        ]
    };
    let row = |i: usize| {
        let edges = before.and_then(|c| c.bins.get(i)).or_else(|| after.and_then(|c| c.bins.get(i)));
        let edges = edges.map_or(String::new(), |bin| {
            format!("{} to {}", format::fixed(bin.low * 100.0, 0), format::percent(bin.high, 0))
        });
        let mut row = vec![Cell::text(&edges)];
        row.extend(side(before, i));
        row.extend(side(after, i));
        row
    };
    let mut table = Table {
        caption: "Reliability curve as numbers".to_owned(),
        is_sortable: false,
        columns: vec![
            Column::text("Confidence", ""),
            Column::number("Examples before", ""),
            Column::number("Accuracy before", ""),
            Column::number("Examples after", ""),
            Column::number("Accuracy after", ""),
        ],
        rows: (0..n).map(row).collect(),
    };
    table.drop_empty_columns();
    table
}

/// Label, value and what it means.
pub(crate) type Fact = (&'static str, String, &'static str);

pub(crate) struct AgreementView {
    pub facts: Vec<Fact>,
    pub divergence: Option<String>,
}

pub(crate) fn agreement(report: &Report) -> Option<AgreementView> {
    let agreement = match report.comparison.as_ref() {
        Some(Comparison::Classification(comparison)) => Some(&comparison.agreement),
        Some(Comparison::Embedding(comparison)) => Some(&comparison.agreement),
        None => None,
    };
    let divergence = report.divergence.as_ref().map(|found| {
        let error = match format::finite(found.layer.relative_error) {
            Some(error) => format!("relative error {}", format::significant(error)),
            None => format!("absolute error {}", format::significant(found.layer.max_abs_error)),
        };
        format!(
            "The first layer to leave the tolerance of {} is {} (layer {}), with {error}; worst on example {}.",
            format::significant(found.tolerance),
            found.layer.name,
            found.position + 1,
            found.layer.worst_row
        )
    });
    if agreement.is_none() && divergence.is_none() {
        return None;
    }
    Some(AgreementView { facts: agreement.map(facts).unwrap_or_default(), divergence })
}

pub(crate) fn facts(agreement: &Agreement) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(same) = &agreement.same_top1 {
        let text = format!("{} of {}", format::count(same.count), format::count(same.n));
        facts.push((
            "Same top1 answer",
            format!("{} ({text})", format::percent(same.value, 2)),
            "share of examples on which both networks answer the same",
        ));
    }
    if let Some(kl) = format::finite(agreement.mean_kl) {
        facts.push((
            "Mean KL divergence",
            format!("{} nats", format::significant(kl)),
            "of the class probabilities, original to compressed",
        ));
    }
    if let Some(kl) = format::finite(agreement.max_kl) {
        facts.push(("Largest KL divergence", format!("{} nats", format::significant(kl)), "on one example"));
    }
    if let Some(cross_entropy) = format::finite(agreement.mean_cross_entropy) {
        facts.push((
            "Mean cross-entropy",
            format!("{} nats", format::significant(cross_entropy)),
            "of the second network's class probabilities against the first's",
        ));
    }
    facts.push(("Mean cosine", format::fixed(agreement.mean_cosine, 6), "of the outputs of an example"));
    facts.push(("Smallest cosine", format::fixed(agreement.min_cosine, 6), "on one example"));
    if let Some(error) = format::finite(agreement.relative_error) {
        facts.push((
            "Relative error",
            format::significant(error),
            "Euclidean norm of the difference over that of the original output",
        ));
    }
    let worst = format!("{} (example {})", format::significant(agreement.max_abs_error), agreement.worst_row);
    facts.push(("Largest error", worst, "of one output value"));
    facts
}
