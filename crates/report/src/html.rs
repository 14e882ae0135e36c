//! The page.

use askama::Template;

use crate::error::ReportError;
use crate::escape::escape;
use crate::provenance::Provenance;
use crate::schema::{ModelCard, NotMeasured, NoticeKind, Report};
use crate::view::cards::{Card, cards};
use crate::view::classes::{Classes, classes};
use crate::view::confusion::{ConfusionView, confusion};
use crate::view::learning::{LearningView, learning};
use crate::view::pairs::{PairView, pairs};
use crate::view::quality::{AgreementView, CalibrationView, agreement, calibration};
use crate::view::steps::{StepView, steps};
use crate::view::table::{Cell, Column, Table};
use crate::view::trade::{HistogramView, ParetoView, SensitivityView, histograms, pareto, sensitivity};
use crate::view::{budgets, layers, missing, verdict};

const STYLE: &str = include_str!("../templates/report.css");
const SCRIPT: &str = include_str!("../templates/report.js");

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    style: &'static str,
    script: &'static str,
    /// Only the script that carries it runs. It is the hash of the data, so no text in the data can know it.
    nonce: String,
    title: &'a str,
    provenance: &'a Provenance,
    schema_version: u32,
    original_name: Option<&'a str>,
    compressed_name: Option<&'a str>,
    verdict: Option<String>,
    contract: Option<(String, &'static str)>,
    contents: Vec<(&'static str, &'static str)>,
    budgets: Option<Table>,
    cards: Vec<Card>,
    noise: Vec<String>,
    notices: Vec<NoticeView>,
    classes: Option<Classes>,
    confusion: Option<ConfusionView>,
    calibration: Option<CalibrationView>,
    agreement: Option<AgreementView>,
    steps: Vec<StepView>,
    pairs: Vec<PairView>,
    learning: Option<LearningView>,
    layers: Option<Table>,
    sensitivity: Option<SensitivityView>,
    pareto: Option<ParetoView>,
    histograms: Vec<HistogramView>,
    histograms_cut: Option<String>,
    missing: Vec<NotMeasured>,
    files: Option<Table>,
}

struct NoticeView {
    class: &'static str,
    word: &'static str,
    layer: Option<String>,
    message: String,
}

pub(crate) fn render(report: &Report) -> Result<String, ReportError> {
    let cards = cards(report);
    let mut layers = layers::table(&report.layers);
    let empty_columns = layers.as_mut().map(Table::drop_empty_columns).unwrap_or_default();
    let (histograms, histograms_cut) = histograms(&report.histograms);
    let mut page = Page {
        style: STYLE,
        script: SCRIPT,
        nonce: blake3::hash(report.to_json()?.as_bytes()).to_hex().to_string(),
        title: &report.title,
        provenance: &report.provenance,
        schema_version: report.schema_version,
        original_name: name_of(report.original.as_ref()),
        compressed_name: name_of(report.compressed.as_ref()),
        verdict: verdict::sentence(report),
        contract: budgets::summary(&report.budgets),
        contents: Vec::new(),
        budgets: budgets::table(&report.budgets),
        missing: missing::list(report, &cards, &empty_columns),
        cards: cards.into_iter().filter(|card| card.before.is_some() || card.after.is_some()).collect(),
        noise: noise(report),
        notices: notices(report),
        classes: classes(report),
        confusion: confusion(report),
        calibration: calibration(report),
        agreement: agreement(report),
        steps: steps(&report.steps),
        pairs: pairs(report),
        learning: learning(&report.curves),
        layers,
        sensitivity: sensitivity(report.sensitivity.as_ref()),
        pareto: pareto(report.pareto.as_ref()),
        histograms,
        histograms_cut,
        files: files(&report.provenance),
    };
    page.contents = contents(&page);
    Ok(page.render()?)
}

fn name_of(card: Option<&ModelCard>) -> Option<&str> {
    card.map(|card| card.name.as_str()).filter(|name| !name.is_empty())
}

/// The sections that are there, in order.
fn contents(page: &Page<'_>) -> Vec<(&'static str, &'static str)> {
    let sections = [
        (page.budgets.is_some(), "budgets", "Budgets"),
        (!page.cards.is_empty(), "cards", "Before and after"),
        (!page.notices.is_empty(), "notices", "Warnings"),
        (page.classes.is_some(), "classes", "Classes"),
        (page.confusion.is_some(), "confusion", "Confusion"),
        (page.calibration.is_some(), "calibration", "Calibration"),
        (page.agreement.is_some(), "agreement", "Agreement"),
        (!page.steps.is_empty(), "steps", "Steps"),
        (!page.pairs.is_empty(), "pairs", "Beside the result"),
        (page.learning.is_some(), "learning", "Learning"),
        (page.layers.is_some(), "layers", "Layers"),
        (page.sensitivity.is_some(), "sensitivity", "Sensitivity"),
        (page.pareto.is_some(), "pareto", "Trade-off"),
        (!page.histograms.is_empty(), "weights", "Weights"),
        (!page.missing.is_empty(), "missing", "Not measured"),
        (true, "provenance", "How to repeat"),
    ];
    sections.into_iter().filter(|section| section.0).map(|(_, id, title)| (id, title)).collect()
}

/// Why times should not be trusted.
fn noise(report: &Report) -> Vec<String> {
    [("before", &report.original), ("after", &report.compressed)]
        .into_iter()
        .filter_map(|(side, card)| {
            let noise = card.as_ref()?.latency.as_ref()?.noise.as_ref()?;
            Some(format!("The times {side} are noisy: {noise}."))
        })
        .collect()
}

fn notices(report: &Report) -> Vec<NoticeView> {
    let mut notices: Vec<_> = report.notices.iter().collect();
    notices.sort_by_key(|notice| notice.kind);
    notices
        .into_iter()
        .map(|notice| {
            let (class, word) = match notice.kind {
                NoticeKind::Warning => ("bad", "Warning"),
                NoticeKind::Fallback => ("warn", "Fallback"),
                NoticeKind::Note => ("flat", "Note"),
            };
            NoticeView { class, word, layer: notice.layer.clone(), message: notice.message.clone() }
        })
        .collect()
}

fn files(provenance: &Provenance) -> Option<Table> {
    let row = |file: &crate::FileHash| {
        vec![
            Cell::text(&file.role),
            Cell::text(&file.path),
            Cell::count(Some(file.size_bytes), crate::format::bytes),
            Cell::html(format!("<code>{}</code>", escape(&file.blake3)), file.blake3.clone()),
        ]
    };
    (!provenance.files.is_empty()).then(|| Table {
        caption: "Files read and written".to_owned(),
        is_sortable: false,
        columns: vec![
            Column::text("Role", ""),
            Column::text("Path", ""),
            Column::number("Size", ""),
            Column::text("blake3", ""),
        ],
        rows: provenance.files.iter().map(row).collect(),
    })
}
