//! Networks beside the results of steps.

use lissom_evaluate::{ClassDrop, Comparison, Judgement};

use crate::format;
use crate::schema::{Pair, Report};

use super::quality::{Fact, facts};
use super::table::{Cell, Column, Table};

/// More classes than this are left to the JSON.
const MAX_ROWS: usize = 200;

pub(crate) struct PairView {
    pub title: String,
    pub lead: String,
    pub path: String,
    pub facts: Vec<Fact>,
    pub classes: Option<Table>,
}

pub(crate) fn pairs(report: &Report) -> Vec<PairView> {
    report.pairs.iter().map(|pair| view(report, pair)).collect()
}

fn view(report: &Report, pair: &Pair) -> PairView {
    let (facts, classes) = match &pair.comparison {
        Some(Comparison::Classification(comparison)) => {
            (facts(&comparison.agreement), Some(table(report, pair, &comparison.classes)))
        }
        Some(Comparison::Embedding(comparison)) => (facts(&comparison.agreement), None),
        None => (Vec::new(), None),
    };
    PairView {
        title: format!("Step {} ({}): {}", pair.step, pair.method, pair.name),
        lead: lead(pair),
        path: pair.path.clone(),
        facts,
        classes: classes.filter(|table| !table.rows.is_empty()),
    }
}

/// Size and worth of both, in sentences.
fn lead(pair: &Pair) -> String {
    let size = format!("{} on disk.", format::bytes(pair.size_bytes));
    let value = |judgement: &Option<Judgement>| judgement.as_ref().map(Judgement::headline);
    match (value(&pair.judgement), value(&pair.result)) {
        (Some((metric, own)), Some((_, result))) => {
            let shown = |x: f64| if metric == "top1" { format::percent(x, 2) } else { format::fixed(x, 4) };
            format!("{size} Its {metric} is {}, that of the step’s result {}.", shown(own), shown(result))
        }
        _ => size,
    }
}

fn table(report: &Report, pair: &Pair, classes: &[ClassDrop]) -> Table {
    let share = |value: f64| format::percent(value, 1);
    let row = |class: &ClassDrop| {
        vec![
            Cell::name(&report.class_name(class.class)),
            Cell::count(Some(class.support), format::count),
            Cell::number(Some(class.original_recall), share),
            Cell::number(Some(class.compressed_recall), share),
            Cell::number(Some(class.drop), format::points),
            Cell::number(Some(class.corrected_p_value), format::p_value),
        ]
    };
    Table {
        caption: format!("Classes, from {} to the result, largest drop of recall first", pair.name),
        is_sortable: true,
        columns: vec![
            Column::text("Class", ""),
            Column::number("Examples", ""),
            Column::number("Recall, this network", ""),
            Column::number("Recall, step’s result", ""),
            Column::number("Difference, points", "above 0: the result is worse"),
            Column::number("p, corrected", "of no difference, after Holm's correction"),
        ],
        rows: classes.iter().take(MAX_ROWS).map(row).collect(),
    }
}
