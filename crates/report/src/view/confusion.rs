//! Confusion: as a heat map for few classes, as the pairs that changed for many.

use lissom_evaluate::{Confusion, Judgement};

use crate::format;
use crate::schema::{ModelCard, Report};

use super::table::{Cell, Column, Table, shortened};

/// Above this a heat map is unreadable.
const MAX_CLASSES: usize = 20;
/// Pairs listed when there is no heat map.
const MAX_PAIRS: usize = 25;

pub(crate) struct HeatMap {
    pub title: &'static str,
    pub names: Vec<String>,
    pub rows: Vec<HeatRow>,
}

pub(crate) struct HeatRow {
    pub name: String,
    pub cells: Vec<HeatCell>,
}

pub(crate) struct HeatCell {
    pub count: String,
    /// Share of the row, in words.
    pub title: String,
    /// `right`, `wrong` or nothing.
    pub class: &'static str,
    /// Strength of the colour, 0..100.
    pub strength: String,
}

pub(crate) enum ConfusionView {
    Maps(Vec<HeatMap>),
    Pairs { lead: String, table: Table },
}

pub(crate) fn confusion(report: &Report) -> Option<ConfusionView> {
    let of = |card: &Option<ModelCard>| match card.as_ref()?.judgement.as_ref()? {
        Judgement::Classification(judgement) => Some(judgement.confusion.clone()),
        Judgement::Embedding(_) => None,
    };
    let (before, after) = (of(&report.original), of(&report.compressed));
    let n_classes = before.as_ref().or(after.as_ref())?.n_classes;
    if n_classes > MAX_CLASSES {
        return Some(pairs(report, before.as_ref(), after.as_ref()));
    }
    let named = [("Before", before), ("After", after)];
    Some(ConfusionView::Maps(
        named.into_iter().filter_map(|(title, confusion)| Some(heat_map(report, title, &confusion?))).collect(),
    ))
}

fn heat_map(report: &Report, title: &'static str, confusion: &Confusion) -> HeatMap {
    let names: Vec<String> = (0..confusion.n_classes).map(|class| shortened(&report.class_name(class))).collect();
    let row = |actual: usize| {
        let total: u64 = confusion.cells.iter().filter(|cell| cell.actual == actual).map(|cell| cell.count).sum();
        let cells = (0..confusion.n_classes)
            .map(|predicted| heat_cell(&names, actual, predicted, confusion.get(actual, predicted), total))
            .collect();
        HeatRow { name: names[actual].clone(), cells }
    };
    HeatMap { title, rows: (0..confusion.n_classes).map(row).collect(), names: names.clone() }
}

fn heat_cell(names: &[String], actual: usize, predicted: usize, count: u64, total: u64) -> HeatCell {
    let share = if total > 0 { count as f64 / total as f64 } else { 0.0 };
    let is_right = actual == predicted;
    // Errors are rare: the square root lets one of a hundred be seen.
    let strength = if is_right { share * 40.0 } else { share.sqrt() * 85.0 };
    HeatCell {
        count: if count == 0 { String::new() } else { count.to_string() },
        title: format!(
            "{} taken for {}: {count} of {total}, {}",
            names[actual],
            names[predicted],
            format::percent(share, 1)
        ),
        class: match (count, is_right) {
            (0, _) => "",
            (_, true) => "right",
            (_, false) => "wrong",
        },
        strength: format!("{strength:.0}"),
    }
}

/// The pairs whose count rose most; with one network, the most frequent.
fn pairs(report: &Report, before: Option<&Confusion>, after: Option<&Confusion>) -> ConfusionView {
    let mut keys: Vec<(usize, usize)> = [before, after]
        .into_iter()
        .flatten()
        .flat_map(|confusion| &confusion.cells)
        .filter(|cell| cell.actual != cell.predicted)
        .map(|cell| (cell.actual, cell.predicted))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let get =
        |confusion: Option<&Confusion>, key: (usize, usize)| confusion.map(|confusion| confusion.get(key.0, key.1));
    let has_both = before.is_some() && after.is_some();
    let rise = |key: (usize, usize)| {
        let (b, a) = (get(before, key).unwrap_or(0) as i64, get(after, key).unwrap_or(0) as i64);
        if has_both { (a - b, a) } else { (a + b, 0) }
    };
    keys.sort_by_key(|key| (std::cmp::Reverse(rise(*key)), *key));
    let n_pairs = keys.len();
    keys.truncate(MAX_PAIRS);
    let order = if has_both { "those that became more frequent first" } else { "the most frequent first" };
    let row = |key: &(usize, usize)| {
        vec![
            Cell::name(&report.class_name(key.0)),
            Cell::name(&report.class_name(key.1)),
            Cell::count(get(before, *key), format::count),
            Cell::count(get(after, *key), format::count),
        ]
    };
    let mut table = Table {
        caption: "Classes taken for each other".to_owned(),
        is_sortable: true,
        columns: vec![
            Column::text("Class", ""),
            Column::text("taken for", ""),
            Column::number("Before", "number of examples"),
            Column::number("After", "number of examples"),
        ],
        rows: keys.iter().map(row).collect(),
    };
    table.drop_empty_columns();
    let lead = format!(
        "{} of {} pairs of classes that were ever confused, {order}.",
        table.rows.len(),
        format::count(n_pairs as u64)
    );
    ConfusionView::Pairs { lead, table }
}
