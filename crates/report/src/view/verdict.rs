//! The whole result in one sentence.

use lissom_evaluate::Comparison;

use crate::format;
use crate::schema::{ModelCard, Report};

/// `3.9× smaller, 2.1× faster, top1 0.18 points lower (95 % interval −0.05 to 0.41, not significant).`
pub(crate) fn sentence(report: &Report) -> Option<String> {
    let mut parts = Vec::new();
    if let (Some(before), Some(after)) = (&report.original, &report.compressed) {
        let ratio = |of: fn(&ModelCard) -> Option<f64>| {
            let (before, after) = (of(before)?, of(after)?);
            (before > 0.0 && after > 0.0 && before.is_finite() && after.is_finite()).then(|| before / after)
        };
        parts
            .extend(ratio(|card| card.size_bytes.map(|v| v as f64)).map(|ratio| direction(ratio, "smaller", "larger")));
        parts.extend(
            ratio(|card| card.latency.as_ref().map(|l| l.p50_ms)).map(|ratio| direction(ratio, "faster", "slower")),
        );
    }
    parts.extend(report.comparison.as_ref().map(drop));
    let mut sentence = parts.join(", ");
    if let Some(first) = sentence.get(..1) {
        sentence = first.to_uppercase() + &sentence[1..];
    }
    (!parts.is_empty()).then(|| sentence + ".")
}

fn direction(ratio: f64, less: &str, more: &str) -> String {
    if ratio >= 1.0 {
        format!("{} {less}", format::times(ratio))
    } else {
        format!("{} {more}", format::times(1.0 / ratio))
    }
}

fn drop(comparison: &Comparison) -> String {
    let (name, drop) = comparison.headline();
    let (scale, digits, unit) = match comparison {
        Comparison::Classification(_) => (100.0, 2, "\u{a0}points"),
        Comparison::Embedding(_) => (1.0, 4, ""),
    };
    let number = |value: f64| format::fixed(value * scale, digits);
    let size = number(drop.drop.abs());
    let change = match drop.drop.total_cmp(&0.0) {
        std::cmp::Ordering::Greater => format!("{name} {size}{unit} lower"),
        std::cmp::Ordering::Less => format!("{name} {size}{unit} higher"),
        std::cmp::Ordering::Equal => format!("{name} unchanged"),
    };
    let verdict = if drop.is_significant { "significant" } else { "not significant" };
    format!("{change} (95\u{a0}% interval of the drop {} to {}, {verdict})", number(drop.ci.low), number(drop.ci.high))
}
