//! The histogram of one weight over the levels its quantizer leaves.

use std::fmt::Write;

use crate::format;
use crate::histogram::WeightHistogram;

use super::frame::{Axis, Frame, open};

const WIDTH: f64 = 260.0;
const HEIGHT: f64 = 104.0;
/// Levels closer than this cannot be told apart.
const MIN_LEVEL_GAP: f64 = 1.2;

pub(crate) fn draw(histogram: &WeightHistogram) -> String {
    let (low, high) = range(histogram);
    let frame = Frame {
        x: Axis::new(low, high),
        y: Axis::new(0.0, 1.0),
        left: 8.0,
        top: 6.0,
        width: WIDTH - 16.0,
        height: 66.0,
    };
    let mut out = String::new();
    open(&mut out, "histogram", (WIDTH, HEIGHT), &format!("Histogram of {}", histogram.layer), &describe(histogram));
    let bottom = frame.top + frame.height;
    let largest = histogram.counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let bin_width = frame.width / histogram.counts.len().max(1) as f64;
    let mut bars = String::new();
    for (bin, count) in histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = (*count as f64 / largest * frame.height).max(0.8);
        let x = frame.left + bin as f64 * bin_width;
        let _ = write!(bars, "M{x:.1} {bottom:.1}v-{height:.1}h{:.1}v{height:.1}z", (bin_width - 0.4).max(0.3));
    }
    let _ = write!(
        out,
        r#"<path class="bars" d="{bars}"/><path class="axis" d="M{:.1} {bottom:.1}h{:.1}"/>"#,
        frame.left, frame.width
    );
    draw_levels(&mut out, histogram, &frame, (low, high));
    for (value, x, anchor) in [(low, frame.left, "start"), (high, frame.left + frame.width, "end")] {
        let _ = write!(
            out,
            r#"<text x="{x:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
            HEIGHT - 6.0,
            format::significant(value)
        );
    }
    if low < 0.0 && high > 0.0 {
        let x = frame.x(0.0);
        if (50.0..WIDTH - 50.0).contains(&x) {
            let _ = write!(out, r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">0</text>"#, HEIGHT - 6.0);
        }
    }
    out.push_str("</svg>");
    out
}

fn range(histogram: &WeightHistogram) -> (f64, f64) {
    if histogram.low.is_finite() && histogram.high.is_finite() && histogram.low <= histogram.high {
        (histogram.low, histogram.high)
    } else {
        (0.0, 0.0)
    }
}

/// A short line under the axis for each level that lies in the range; a band when they are too dense.
fn draw_levels(out: &mut String, histogram: &WeightHistogram, frame: &Frame, (low, high): (f64, f64)) {
    let Some(grid) = &histogram.grid else { return };
    let y = frame.top + frame.height + 2.0;
    let mut inside: Vec<f64> =
        grid.levels.iter().copied().filter(|level| (low..=high).contains(level)).map(|level| frame.x(level)).collect();
    inside.sort_unstable_by(f64::total_cmp);
    let (Some(first), Some(last)) = (inside.first(), inside.last()) else { return };
    let is_dense = inside.len() > 1 && (last - first) / ((inside.len() - 1) as f64) < MIN_LEVEL_GAP;
    if is_dense {
        let _ = write!(out, r#"<path class="band" d="M{first:.1} {y:.1}H{last:.1}v7H{first:.1}z"/>"#);
        return;
    }
    let lines: String = inside.iter().fold(String::new(), |mut lines, x| {
        let _ = write!(lines, "M{x:.1} {y:.1}v7");
        lines
    });
    let _ = write!(out, r#"<path class="levels" d="{lines}"/>"#);
}

/// What the drawing shows, in words.
pub(crate) fn describe(histogram: &WeightHistogram) -> String {
    let n = histogram.n_values();
    let mut words = format!("{} weights", format::count(n));
    if histogram.n_zeros > 0 && n > 0 {
        let _ = write!(words, ", {} zeros", format::percent(histogram.n_zeros as f64 / n as f64, 1));
    }
    if histogram.n_not_finite > 0 {
        let _ = write!(words, ", {} NaN or infinite", format::count(histogram.n_not_finite));
    }
    match &histogram.grid {
        Some(grid) => {
            let _ = write!(words, "; {}, {} levels", grid.description, format::count(grid.levels.len() as u64));
        }
        None => words.push_str("; not quantized"),
    }
    words
}
