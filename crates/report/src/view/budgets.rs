//! The contracts.

use crate::format;
use crate::schema::{Budget, Goal, Unit};

use super::table::{Cell, Column, Table};

/// A number in its unit, `not measured` when there is none.
pub(crate) fn in_unit(value: Option<f64>, unit: Unit) -> String {
    let Some(value) = format::finite(value) else {
        return "not measured".to_owned();
    };
    match unit {
        Unit::Bytes => format::bytes(value.max(0.0).round() as u64),
        Unit::Share => format::percent(value, 2),
        Unit::Points => format!("{}\u{a0}points", format::points(value)),
        Unit::Milliseconds => format::milliseconds(value),
        Unit::Bits => format!("{}\u{a0}bits", format::significant(value)),
        Unit::Number => format::significant(value),
    }
}

fn limit(budget: &Budget) -> String {
    let side = match budget.goal {
        Goal::AtMost => "at most",
        Goal::AtLeast => "at least",
    };
    if !budget.target.is_finite() {
        return "no valid target".to_owned();
    }
    format!("{side} {}", in_unit(Some(budget.target), budget.unit))
}

/// Status of a contract: mark, words, and class for colour.
fn status(budget: &Budget) -> (&'static str, String, &'static str) {
    match (budget.is_met, budget.missed_by) {
        (Some(true), _) => ("✓", "met".to_owned(), "good"),
        (Some(false), Some(by)) => {
            // The distance between two shares is in points, whatever the shares are called.
            let unit = if budget.unit == Unit::Share { Unit::Points } else { budget.unit };
            ("✗", format!("missed by {}", in_unit(Some(by), unit)), "bad")
        }
        (Some(false), None) => ("✗", "missed".to_owned(), "bad"),
        (None, _) => ("?", "not measured".to_owned(), "warn"),
    }
}

pub(crate) fn table(budgets: &[Budget]) -> Option<Table> {
    let row = |budget: &Budget| {
        let (mark, words, class) = status(budget);
        let badge = format!(
            r#"<span class="badge {class}"><span aria-hidden="true">{mark}</span> {}</span>"#,
            crate::escape::escape(&words)
        );
        vec![
            Cell::text(&budget.name),
            Cell::html(badge, words),
            Cell::text(&limit(budget)),
            Cell::number(budget.actual, |actual| in_unit(Some(actual), budget.unit)),
        ]
    };
    (!budgets.is_empty()).then(|| Table {
        caption: "Budgets, their targets and what was reached".to_owned(),
        is_sortable: false,
        columns: vec![
            Column::text("Budget", ""),
            Column::text("Contract", ""),
            Column::number("Target", ""),
            Column::number("Reached", ""),
        ],
        rows: budgets.iter().map(row).collect(),
    })
}

/// One sentence on all contracts, with its class.
pub(crate) fn summary(budgets: &[Budget]) -> Option<(String, &'static str)> {
    let missed: Vec<&str> = budgets.iter().filter(|b| b.is_met == Some(false)).map(|b| b.name.as_str()).collect();
    let unknown = budgets.iter().filter(|b| b.is_met.is_none()).count();
    let n = budgets.len();
    match (n, missed.len(), unknown) {
        (0, _, _) => None,
        (1, 0, 0) => Some(("The budget is met".to_owned(), "good")),
        (_, 0, 0) => Some((format!("All {n} budgets are met"), "good")),
        (_, 0, _) => Some((format!("{unknown} of {n} budgets could not be checked"), "warn")),
        (1, _, _) => Some((format!("The budget {} is not met", missed[0]), "bad")),
        _ => Some((format!("{} of {n} budgets not met: {}", missed.len(), missed.join(", ")), "bad")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contracts_say_by_how_much_they_fail() {
        let judge = |goal, target, actual| Budget::judge("b", goal, target, actual, Unit::Share);
        let missed = judge(Goal::AtLeast, 0.92, Some(0.9));
        assert_eq!(status(&missed).1, "missed by 2.00\u{a0}points");
        assert_eq!(status(&judge(Goal::AtMost, 0.25, Some(0.25))).1, "met");
        assert_eq!(status(&judge(Goal::AtMost, 0.25, Some(f64::NAN))).1, "not measured");
        assert_eq!(status(&judge(Goal::AtMost, 0.25, None)).1, "not measured");
        let all = [missed, judge(Goal::AtMost, 1.0, Some(0.5))];
        assert_eq!(summary(&all).unwrap(), ("1 of 2 budgets not met: b".to_owned(), "bad"));
        assert_eq!(summary(&all[1..]).unwrap().0, "The budget is met");
        assert_eq!(summary(&[]), None);
    }
}
