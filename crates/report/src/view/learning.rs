//! Learning curves.

use crate::chart::curve::{self, MAX_POINTS, MAX_SERIES};
use crate::curves::{Curve, Series};
use crate::format;

use super::budgets::in_unit;
use super::table::{Cell, Column, Table, shortened};

/// Charts drawn; the rest is in the JSON.
const MAX_CHARTS: usize = 12;
/// Rows of the table for one series.
const MAX_ROWS: usize = 20;

pub(crate) struct LearningView {
    pub lead: String,
    pub charts: Vec<ChartView>,
}

pub(crate) struct ChartView {
    pub label: String,
    pub svg: String,
    pub table: Table,
}

pub(crate) fn learning(curves: &[Curve]) -> Option<LearningView> {
    let drawn: Vec<&Curve> =
        curves.iter().filter(|curve| curve.series.iter().any(|s| s.known().next().is_some())).collect();
    let mut lead = String::from("What changed with every step of the training.");
    if drawn.iter().flat_map(|curve| &curve.series).any(|series| series.points().count() > MAX_POINTS) {
        lead += " Long lines are averages of neighbouring steps.";
    }
    if drawn.len() > MAX_CHARTS || drawn.iter().any(|curve| curve.series.len() > MAX_SERIES) {
        lead += &format!(" At most {MAX_CHARTS} charts of {MAX_SERIES} lines are drawn; the JSON holds all.");
    }
    let chart =
        |curve: &&Curve| ChartView { label: shortened(&curve.label), svg: curve::draw(curve), table: table(curve) };
    (!drawn.is_empty()).then(|| LearningView { lead, charts: drawn.iter().take(MAX_CHARTS).map(chart).collect() })
}

/// The numbers behind the lines, thinned evenly; the first and the last step are always there.
fn table(curve: &Curve) -> Table {
    let rows = |series: &Series| {
        let points: Vec<(u64, f64)> = series.points().collect();
        let last = points.len().saturating_sub(1);
        let n = points.len().min(MAX_ROWS);
        let row = |at: usize| {
            let (step, value) = points[if n > 1 { at * last / (n - 1) } else { last }];
            vec![
                Cell::text(&series.name),
                Cell::count(Some(step), format::count),
                Cell::number(Some(value), |value| in_unit(Some(value), curve.unit)),
            ]
        };
        (0..n).map(row).collect::<Vec<_>>()
    };
    Table {
        caption: format!("{} as numbers", curve.label),
        is_sortable: false,
        columns: vec![Column::text("Line", ""), Column::number("Step", ""), Column::number("Value", "")],
        rows: curve.series.iter().take(MAX_SERIES).flat_map(rows).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Unit;

    #[test]
    fn tables_keep_both_ends_and_stay_short() {
        let of = |n: u64| {
            let series = Series::new("training", (0..n).map(|step| (step, step as f64)));
            let curve = Curve { label: "Loss".into(), unit: Unit::Number, series: vec![series] };
            table(&curve).rows.iter().map(|row| row[1].key.parse().unwrap()).collect::<Vec<u64>>()
        };
        assert_eq!((of(0), of(1), of(3)), (vec![], vec![0], vec![0, 1, 2]));
        let long = of(1000);
        assert_eq!((long.len(), long[0], long[19]), (20, 0, 999));
        assert!(learning(&[]).is_none());
    }
}
