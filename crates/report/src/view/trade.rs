//! Sensitivity, settings tried, and histograms.

use crate::chart::{histogram, pareto};
use crate::format;
use crate::histogram::WeightHistogram;
use crate::schema::{Pareto, Sensitivity};

use super::budgets::in_unit;
use super::table::{Cell, Column, Table, shortened};

/// Bars drawn; the rest is in the JSON.
const MAX_BARS: usize = 40;
/// Histograms drawn; the rest is in the JSON.
const MAX_HISTOGRAMS: usize = 60;

pub(crate) struct SensitivityView {
    pub lead: String,
    pub bars: Vec<Bar>,
}

pub(crate) struct Bar {
    pub name: String,
    pub text: String,
    /// Length 0..100.
    pub length: String,
    /// `bad` for a loss, `good` for a gain, `missing`.
    pub class: &'static str,
}

/// Bars, largest drop first; layers without a number last.
pub(crate) fn sensitivity(sensitivity: Option<&Sensitivity>) -> Option<SensitivityView> {
    let sensitivity = sensitivity.filter(|sensitivity| !sensitivity.entries.is_empty())?;
    let mut entries: Vec<(&str, Option<f64>)> =
        sensitivity.entries.iter().map(|entry| (entry.layer.as_str(), format::finite(entry.drop))).collect();
    entries.sort_by(|a, b| b.1.is_some().cmp(&a.1.is_some()).then(b.1.unwrap_or(0.0).total_cmp(&a.1.unwrap_or(0.0))));
    let largest = entries.iter().filter_map(|entry| entry.1).map(f64::abs).fold(0.0, f64::max);
    let bar = |(name, drop): &(&str, Option<f64>)| Bar {
        name: shortened(name),
        text: in_unit(*drop, sensitivity.unit),
        length: format!("{:.1}", if largest > 0.0 { drop.unwrap_or(0.0).abs() / largest * 100.0 } else { 0.0 }),
        class: match drop {
            None => "missing",
            Some(drop) if *drop > 0.0 => "bad",
            Some(_) => "good",
        },
    };
    let cut = if entries.len() > MAX_BARS {
        format!(" The {MAX_BARS} most sensitive of {} layers are shown; the JSON holds all.", entries.len())
    } else {
        String::new()
    };
    Some(SensitivityView {
        lead: format!(
            "Drop of {} when one layer alone gets {}, the most sensitive first; a negative number is a gain.{cut}",
            sensitivity.metric, sensitivity.setting
        ),
        bars: entries.iter().take(MAX_BARS).map(bar).collect(),
    })
}

pub(crate) struct ParetoView {
    pub lead: String,
    pub svg: String,
    pub table: Table,
}

pub(crate) fn pareto(pareto: Option<&Pareto>) -> Option<ParetoView> {
    let pareto = pareto.filter(|pareto| !pareto.points.is_empty())?;
    let front = pareto::front(pareto);
    let row = |(i, point): (usize, &crate::schema::ParetoPoint)| {
        let role = match (point.is_chosen, front.contains(&i)) {
            (true, true) => "chosen, on the front",
            (true, false) => "chosen",
            (false, true) => "on the front",
            (false, false) => "",
        };
        vec![
            Cell::text(&point.label),
            Cell::number(point.cost, |value| in_unit(Some(value), pareto.cost_unit)),
            Cell::number(point.quality, |value| in_unit(Some(value), pareto.quality_unit)),
            Cell::text(role),
        ]
    };
    let chosen = pareto.points.iter().find(|point| point.is_chosen);
    let chosen = chosen.map_or_else(
        || "None of them is marked as chosen.".to_owned(),
        |point| {
            let cost = in_unit(point.cost, pareto.cost_unit);
            format!(
                "Chosen: {}, with {} {cost} and {} {}.",
                point.label,
                pareto.cost_label,
                pareto.quality_label,
                in_unit(point.quality, pareto.quality_unit)
            )
        },
    );
    Some(ParetoView {
        lead: format!(
            "{} settings were tried. {chosen} The line joins those that no other beats on both sides.",
            pareto.points.len()
        ),
        svg: pareto::draw(pareto, &front),
        table: Table {
            caption: "Settings tried".to_owned(),
            is_sortable: true,
            columns: vec![
                Column::text("Setting", ""),
                Column::number("Cost", ""),
                Column::number("Quality", ""),
                Column::text("Role", ""),
            ],
            rows: pareto.points.iter().enumerate().map(row).collect(),
        },
    })
}

pub(crate) struct HistogramView {
    pub layer: String,
    pub svg: String,
    pub caption: String,
}

/// The drawings, and a sentence on what was cut.
pub(crate) fn histograms(histograms: &[WeightHistogram]) -> (Vec<HistogramView>, Option<String>) {
    let views = histograms
        .iter()
        .take(MAX_HISTOGRAMS)
        .map(|h| HistogramView { layer: shortened(&h.layer), svg: histogram::draw(h), caption: histogram::describe(h) })
        .collect();
    let cut = (histograms.len() > MAX_HISTOGRAMS)
        .then(|| format!("The first {MAX_HISTOGRAMS} of {} weights are drawn; the JSON holds all.", histograms.len()));
    (views, cut)
}
