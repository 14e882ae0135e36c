//! The table of layers.

use crate::escape::escape;
use crate::format;
use crate::schema::Layer;

use super::table::{Cell, Column, Table};

pub(crate) fn table(layers: &[Layer]) -> Option<Table> {
    (!layers.is_empty()).then(|| Table {
        caption: "Layers of the compressed network".to_owned(),
        is_sortable: true,
        columns: vec![
            Column::text("Layer", "in the order they run"),
            Column::text("Operator", ""),
            Column::text("Shape", "of the weight"),
            Column::text("Encoding", "how the weight is stored"),
            Column::number("Sparsity", "share of zeros in the weight"),
            Column::number("Bits", "stored a weight"),
            Column::number("Size", "bytes stored"),
            Column::number("MACs", "multiply-accumulates an example, zeros included"),
            Column::number("Before, ms", "median time in the original network"),
            Column::number("After, ms", "median time in the compressed network"),
            Column::number("Output error", "relative, against the original network"),
            Column::text("Kernel", "what runs it, and why"),
        ],
        rows: layers.iter().map(row).collect(),
    })
}

fn row(layer: &Layer) -> Vec<Cell> {
    vec![
        Cell::name(&layer.name),
        Cell::optional_text(layer.operator.as_deref()),
        shape(layer),
        Cell::optional_text(layer.encoding.as_deref()),
        Cell::number(layer.sparsity, |value| format::percent(value, 1)),
        Cell::number(layer.bits, format::significant),
        Cell::count(layer.bytes, format::bytes),
        Cell::count(layer.macs, format::short_count),
        Cell::number(layer.time_before_ms, format::significant),
        Cell::number(layer.time_after_ms, format::significant),
        Cell::number(layer.output_error, format::significant),
        kernel(layer),
    ]
}

/// `64 × 3 × 3 × 3`, sorted by the number of values.
fn shape(layer: &Layer) -> Cell {
    let Some(shape) = &layer.shape else {
        return Cell::missing();
    };
    let text: Vec<String> = shape.iter().map(u64::to_string).collect();
    let text = if text.is_empty() { "scalar".to_owned() } else { text.join("\u{a0}×\u{a0}") };
    Cell { html: escape(&text), key: shape.iter().map(|n| *n as f64).product::<f64>().to_string(), is_missing: false }
}

fn kernel(layer: &Layer) -> Cell {
    let (kernel, reason) = (layer.kernel.as_deref().unwrap_or(""), layer.kernel_reason.as_deref().unwrap_or(""));
    if kernel.is_empty() && reason.is_empty() {
        return Cell::missing();
    }
    let reason_html = if reason.is_empty() { String::new() } else { format!(r#"<small>{}</small>"#, escape(reason)) };
    Cell::html(format!("<code>{}</code>{reason_html}", escape(kernel)), kernel.to_owned())
}
