//! The per-class table: who was harmed.

use lissom_evaluate::{ClassDrop, ClassScores, Comparison, Judgement};

use crate::format;
use crate::schema::Report;

use super::table::{Cell, Column, Table};

/// More classes than this are left to the JSON.
const MAX_ROWS: usize = 200;

pub(crate) struct Classes {
    pub lead: String,
    pub table: Table,
}

pub(crate) fn classes(report: &Report) -> Option<Classes> {
    if let Some(Comparison::Classification(comparison)) = &report.comparison {
        return compared(report, &comparison.classes);
    }
    let card = report.compressed.as_ref().or(report.original.as_ref())?;
    let Some(Judgement::Classification(judgement)) = &card.judgement else {
        return None;
    };
    Some(judged(report, &judgement.per_class))
}

fn cut_note(n_classes: usize) -> String {
    if n_classes > MAX_ROWS {
        format!(" The {MAX_ROWS} worst of {} are shown; the JSON holds all.", format::count(n_classes as u64))
    } else {
        String::new()
    }
}

fn compared(report: &Report, classes: &[ClassDrop]) -> Option<Classes> {
    let worst = classes.first()?;
    let significant = classes.iter().filter(|class| class.is_significant && class.drop > 0.0).count();
    let harm = match significant {
        0 => "No class lost a significant share of its right answers".to_owned(),
        1 => "One class lost a significant share of its right answers".to_owned(),
        n => format!("{n} classes lost a significant share of their right answers"),
    };
    let worst = if worst.drop > 0.0 {
        format!("The largest loss is {} points, by {}.", format::points(worst.drop), report.class_name(worst.class))
    } else {
        "No class has fewer right answers than before.".to_owned()
    };
    let lead = format!(
        "{harm} (exact McNemar test, Holm’s correction over {} classes, 5\u{a0}%). {worst}{} \
         Intervals are Newcombe’s, 95\u{a0}%, each for its class alone.",
        format::count(classes.len() as u64),
        cut_note(classes.len())
    );
    Some(Classes {
        lead,
        table: Table {
            caption: "Classes, largest drop of recall first".to_owned(),
            is_sortable: true,
            columns: vec![
                Column::text("Class", ""),
                Column::number("Examples", ""),
                Column::number("Recall before", ""),
                Column::number("Recall after", ""),
                Column::number("Drop, points", "recall before minus after; above 0 is a loss"),
                Column::number("95 % interval", "of the drop, in points"),
                Column::number("p, corrected", "of no difference, after Holm's correction"),
                Column::text("Verdict", ""),
                Column::number("Broken", "right before, wrong after"),
                Column::number("Fixed", "wrong before, right after"),
                Column::number("Precision before", ""),
                Column::number("Precision after", ""),
            ],
            rows: classes.iter().take(MAX_ROWS).map(|class| drop_row(report, class)).collect(),
        },
    })
}

fn drop_row(report: &Report, class: &ClassDrop) -> Vec<Cell> {
    let share = |value: f64| format::percent(value, 1);
    let (verdict, tone) = match (class.is_significant, class.drop > 0.0) {
        (true, true) => ("worse", "bad"),
        (true, false) => ("better", "good"),
        (false, _) => ("within chance", "flat"),
    };
    let interval = format!("{} to {}", format::fixed(class.ci.low * 100.0, 1), format::fixed(class.ci.high * 100.0, 1));
    vec![
        Cell::name(&report.class_name(class.class)),
        Cell::count(Some(class.support), format::count),
        Cell::number(Some(class.original_recall), share),
        Cell::number(Some(class.compressed_recall), share),
        Cell::number(Some(class.drop), format::points),
        Cell::html(interval, class.ci.high.to_string()),
        Cell::number(Some(class.corrected_p_value), format::p_value),
        Cell::html(format!(r#"<span class="badge {tone}">{verdict}</span>"#), verdict.to_owned()),
        Cell::count(Some(class.broken), format::count),
        Cell::count(Some(class.fixed), format::count),
        Cell::number(class.original_precision, share),
        Cell::number(class.compressed_precision, share),
    ]
}

/// One network alone, lowest recall first.
fn judged(report: &Report, per_class: &[ClassScores]) -> Classes {
    let mut classes: Vec<&ClassScores> = per_class.iter().filter(|class| class.support > 0).collect();
    classes.sort_by(|a, b| a.recall.unwrap_or(0.0).total_cmp(&b.recall.unwrap_or(0.0)).then(a.class.cmp(&b.class)));
    let share = |value: f64| format::percent(value, 1);
    let row = |class: &&ClassScores| {
        vec![
            Cell::name(&report.class_name(class.class)),
            Cell::count(Some(class.support), format::count),
            Cell::number(class.recall, share),
            Cell::number(class.precision, share),
            Cell::number(class.fn_rate, share),
            Cell::number(class.fp_rate, |value| format::percent(value, 2)),
            Cell::number(class.f1, |value| format::fixed(value, 3)),
        ]
    };
    Classes {
        lead: format!("Lowest recall first.{}", cut_note(classes.len())),
        table: Table {
            caption: "Classes, lowest recall first".to_owned(),
            is_sortable: true,
            columns: vec![
                Column::text("Class", ""),
                Column::number("Examples", ""),
                Column::number("Recall", "right answers of the examples of this class"),
                Column::number("Precision", "right answers of those that name this class"),
                Column::number("FN rate", "1 − recall"),
                Column::number("FP rate", "examples of other classes answered with this one"),
                Column::number("F1", "harmonic mean of recall and precision"),
            ],
            rows: classes.iter().take(MAX_ROWS).map(row).collect(),
        },
    }
}
