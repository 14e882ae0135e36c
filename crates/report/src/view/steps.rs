//! What the recipe did.

use crate::schema::{Change, Step};

use super::table::{Cell, Column, Table};

pub(crate) struct StepView {
    pub method: String,
    pub settings: String,
    pub summary: Option<String>,
    pub n_changes: usize,
    pub changes: Option<Table>,
}

pub(crate) fn steps(steps: &[Step]) -> Vec<StepView> {
    steps
        .iter()
        .map(|step| StepView {
            method: step.method.clone(),
            settings: step.settings.clone(),
            summary: step.summary.clone(),
            n_changes: step.changes.len(),
            changes: (!step.changes.is_empty()).then(|| changes(&step.method, &step.changes)),
        })
        .collect()
}

fn changes(method: &str, changes: &[Change]) -> Table {
    Table {
        caption: format!("Tensors changed by {method}"),
        is_sortable: false,
        columns: vec![Column::text("Tensor", ""), Column::text("Before", ""), Column::text("After", "")],
        rows: changes
            .iter()
            .map(|change| vec![Cell::name(&change.layer), Cell::text(&change.before), Cell::text(&change.after)])
            .collect(),
    }
}
