//! What is not known: the caller's list, and what this page found missing.

use crate::schema::{NotMeasured, Report};

use super::cards::Card;

/// The caller's entries first, then every section and number the report lacks and the caller did not explain.
pub(crate) fn list(report: &Report, cards: &[Card], empty_layer_columns: &[&str]) -> Vec<NotMeasured> {
    let mut list = report.not_measured.clone();
    let mut add = |what: &str, why: &str| {
        let is_known = list.iter().any(|entry| entry.what.eq_ignore_ascii_case(what));
        if !is_known {
            list.push(NotMeasured { what: what.to_owned(), why: why.to_owned() });
        }
    };
    for card in cards {
        if let Some(what) = card.missing() {
            add(&what, "no such measurement was made in this run");
        }
    }
    let sections = [
        (report.budgets.is_empty(), "Budgets", "none was asked for"),
        (cards.is_empty(), "Networks before and after", "neither network was measured"),
        (
            report.comparison.is_none(),
            "Drops, their significance and agreement",
            "the two networks were not compared on the same labelled examples",
        ),
        (report.steps.is_empty(), "Steps of the recipe", "no recipe was run"),
        (report.layers.is_empty(), "Layers", "no layer was measured"),
        (report.sensitivity.is_none(), "Sensitivity of each layer", "no layer was compressed alone"),
        (report.pareto.is_none(), "Size against accuracy", "only one setting was tried"),
        (report.histograms.is_empty(), "Histograms of the weights", "none was taken"),
        (
            report.divergence.is_none(),
            "First layer that diverges",
            "nothing left the tolerance, or the layers were not compared one by one",
        ),
    ];
    for (is_missing, what, why) in sections {
        if is_missing {
            add(what, why);
        }
    }
    for column in empty_layer_columns {
        add(&format!("Layers: {}", column.to_lowercase()), "no layer has this number");
    }
    list
}
