//! The reliability curve: accuracy against confidence.

use std::fmt::Write;

use lissom_evaluate::{Calibration, CalibrationBin};

use crate::format;

use super::frame::{Axis, Frame, open};

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 380.0;

pub(crate) fn draw(before: Option<&Calibration>, after: Option<&Calibration>) -> String {
    let frame =
        Frame { x: Axis::new(0.0, 1.0), y: Axis::new(0.0, 1.0), left: 52.0, top: 34.0, width: 384.0, height: 260.0 };
    let mut out = String::new();
    open(&mut out, "chart", (WIDTH, HEIGHT), "Reliability curve", &describe(before, after));
    let percent = |value: f64| format::percent(value, 0);
    frame.draw(&mut out, ("Confidence", "Accuracy"), percent, percent);
    let _ = write!(
        out,
        r#"<path class="ideal" d="M{:.1} {:.1}L{:.1} {:.1}"/>"#,
        frame.x(0.0),
        frame.y(0.0),
        frame.x(1.0),
        frame.y(1.0)
    );
    let _ = write!(
        out,
        r#"<text class="aside" x="{:.1}" y="{:.1}" text-anchor="end">calibrated</text>"#,
        frame.x(0.44),
        frame.y(0.5)
    );
    for (class, calibration) in [("before", before), ("after", after)] {
        if let Some(calibration) = calibration {
            curve(&mut out, &frame, class, &calibration.bins);
        }
    }
    legend(&mut out, before.is_some(), after.is_some());
    out.push_str("</svg>");
    out
}

/// A line through the bins that hold examples, with a dot whose area follows their number.
fn curve(out: &mut String, frame: &Frame, class: &str, bins: &[CalibrationBin]) {
    let total: u64 = bins.iter().map(|bin| bin.count).sum();
    let (mut line, mut dots) = (String::new(), String::new());
    for bin in bins {
        let (Some(confidence), Some(accuracy)) = (bin.confidence, bin.accuracy) else { continue };
        let (x, y) = (frame.x(confidence), frame.y(accuracy));
        let _ = write!(line, "{}{x:.1} {y:.1}", if line.is_empty() { 'M' } else { 'L' });
        let radius = 2.0 + 5.0 * (bin.count as f64 / total.max(1) as f64).sqrt();
        let _ = write!(dots, r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius:.1}"/>"#);
    }
    let _ = write!(out, r#"<g class="series {class}"><path d="{line}"/>{dots}</g>"#);
}

fn legend(out: &mut String, has_before: bool, has_after: bool) {
    let mut x = 52.0;
    for (class, label, is_shown) in [("before", "before", has_before), ("after", "after", has_after)] {
        if is_shown {
            let y = HEIGHT - 22.0;
            let _ = write!(
                out,
                r#"<g class="series {class}"><path d="M{x:.0} {y:.0}h22"/><circle cx="{:.0}" cy="{y:.0}" r="4"/></g><text x="{:.0}" y="{:.0}">{label}</text>"#,
                x + 11.0,
                x + 30.0,
                y + 4.0
            );
            x += 100.0;
        }
    }
    let _ =
        write!(out, r#"<text class="aside" x="{x:.0}" y="{:.0}">larger dots hold more examples</text>"#, HEIGHT - 18.0);
}

fn describe(before: Option<&Calibration>, after: Option<&Calibration>) -> String {
    let part = |name: &str, calibration: Option<&Calibration>| {
        calibration.map(|c| format!("expected calibration error {name} {}", format::percent(c.ece, 2)))
    };
    [part("before", before), part("after", after)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
