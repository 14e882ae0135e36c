//! Numbers over steps.

use std::fmt::Write;

use crate::curves::{Curve, Series};
use crate::escape::escape;
use crate::format;
use crate::schema::Unit;
use crate::view::budgets::in_unit;

use super::frame::{Axis, Frame, open};

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 300.0;
/// Points drawn of one series; more become averages of neighbours.
pub(crate) const MAX_POINTS: usize = 240;
/// Series with at most so many points have dots.
const MAX_DOTS: usize = 30;
/// Names of the strokes in the style.
const STROKES: [&str; 4] = ["first", "second", "third", "fourth"];
/// Series drawn; the rest is in the JSON.
pub(crate) const MAX_SERIES: usize = STROKES.len();

pub(crate) fn draw(curve: &Curve) -> String {
    let shown = || curve.series.iter().take(MAX_SERIES);
    let frame = Frame {
        x: steps_axis(shown().flat_map(Series::known).map(|point| point.0 as f64)),
        y: Axis::around(shown().flat_map(Series::known).map(|point| point.1)),
        left: 66.0,
        top: 34.0,
        width: 376.0,
        height: 188.0,
    };
    let mut out = String::new();
    open(&mut out, "chart", (WIDTH, HEIGHT), &curve.label, &describe(curve));
    // Ticks of shares need no more decimals than tell them apart.
    let decimals = if frame.y.high - frame.y.low > 0.06 { 0 } else { 2 };
    let label_y = |value: f64| match curve.unit {
        Unit::Share => format::percent(value, decimals),
        unit => in_unit(Some(value), unit),
    };
    frame.draw(&mut out, ("Step", &curve.label), |step| format::short_count(step.max(0.0) as u64), label_y);
    for (series, stroke) in shown().zip(STROKES) {
        line(&mut out, &frame, stroke, series);
    }
    if curve.series.len() > 1 {
        legend(&mut out, shown());
    }
    out.push_str("</svg>");
    out
}

/// From the first step to the last, without the room other axes have at their ends; ticks at whole steps.
fn steps_axis(steps: impl Iterator<Item = f64>) -> Axis {
    let (low, high) =
        steps.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), step| (low.min(step), high.max(step)));
    let (low, high) = if low < high { (low, high) } else { Axis::around(std::iter::once(low)).ends() };
    let mut axis = Axis::new(low, high);
    axis.ticks.retain(|tick| tick.fract() == 0.0 && *tick >= 0.0);
    axis
}

/// The points as drawn: runs without a gap, averages where there are too many.
fn runs(series: &Series) -> Vec<Vec<(f64, f64)>> {
    let n = series.steps.len().min(series.values.len());
    let bucket = n.div_ceil(MAX_POINTS).max(1);
    let points: Vec<(u64, f64)> = series.points().collect();
    let mut runs = vec![Vec::new()];
    for points in points.chunks(bucket) {
        let known: Vec<&(u64, f64)> = points.iter().filter(|point| point.1.is_finite()).collect();
        if known.is_empty() {
            runs.push(Vec::new());
            continue;
        }
        let n = known.len() as f64;
        // Divided before adding, so that no sum overflows.
        let mean = |of: fn(&(u64, f64)) -> f64| known.iter().map(|point| of(point) / n).sum::<f64>();
        if let Some(run) = runs.last_mut() {
            run.push((mean(|point| point.0 as f64), mean(|point| point.1)));
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

fn line(out: &mut String, frame: &Frame, stroke: &str, series: &Series) {
    let (mut path, mut dots) = (String::new(), String::new());
    let has_dots = series.known().count() <= MAX_DOTS;
    for run in runs(series) {
        for (at, (step, value)) in run.iter().enumerate() {
            let (x, y) = (frame.x(*step), frame.y(*value));
            let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
            // A lone point between gaps would not be seen as a line.
            if has_dots || run.len() == 1 {
                let _ = write!(dots, r#"<circle cx="{x:.1}" cy="{y:.1}" r="2.5"/>"#);
            }
        }
    }
    let _ = write!(out, r#"<g class="series {stroke}"><path d="{path}"/>{dots}</g>"#);
}

fn legend<'a>(out: &mut String, series: impl Iterator<Item = &'a Series>) {
    for (at, (series, stroke)) in series.zip(STROKES).enumerate() {
        let (x, y) = (66.0 + 95.0 * at as f64, HEIGHT - 22.0);
        let name: String = series.name.chars().take(10).collect();
        let name = if name.len() < series.name.len() { name + "…" } else { name };
        let _ = write!(
            out,
            r#"<g class="series {stroke}"><path d="M{x:.0} {y:.0}h18"/></g><text x="{:.0}" y="{:.0}">{}</text>"#,
            x + 24.0,
            y + 4.0,
            escape(&name)
        );
    }
}

/// What the drawing shows, in words.
pub(crate) fn describe(curve: &Curve) -> String {
    let at =
        |(step, value): (u64, f64)| format!("{} at step {}", in_unit(Some(value), curve.unit), format::count(step));
    let of = |series: &Series| {
        let (Some(first), Some(last)) = (series.known().next(), series.known().last()) else {
            return format!("{}: no numbers", series.name);
        };
        let by = |a: &(u64, f64), b: &(u64, f64)| a.1.total_cmp(&b.1);
        let (low, high) = (series.known().min_by(by), series.known().max_by(by));
        let ends = [low, high].map(|end| end.map_or_else(String::new, at));
        format!("{} from {} to {}, lowest {}, highest {}", series.name, at(first), at(last), ends[0], ends[1])
    };
    curve.series.iter().take(MAX_SERIES).map(of).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn curve(points: Vec<(u64, f64)>) -> Curve {
        Curve { label: "Loss".into(), unit: Unit::Number, series: vec![Series::new("training", points)] }
    }

    #[test]
    fn gaps_break_the_line_and_lone_points_are_dots() {
        let nan = f64::NAN;
        let svg = draw(&curve(vec![(0, 1.0), (1, 2.0), (2, nan), (3, 4.0)]));
        let path = svg.split("<g class=\"series first\"><path d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1), "{path}");
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("training from 1.00 at step 0 to 4.00 at step 3, lowest 1.00 at step 0"), "{svg}");
    }

    #[test]
    fn long_series_are_averaged() {
        let series = Series::new("training", (0..100_000).map(|step| (step, (step % 2) as f64)));
        let runs = runs(&series);
        assert_eq!((runs.len(), runs[0].len()), (1, 240));
        assert!(runs[0].iter().all(|point| (point.1 - 0.5).abs() < 0.01));
    }

    proptest! {
        #[test]
        fn any_numbers_give_a_drawing_without_broken_coordinates(
            points in prop::collection::vec((any::<u64>(), any::<f64>()), 0..40), others in prop::collection::vec(any::<f64>(), 0..3)
        ) {
            let mut curve = curve(points);
            curve.series.push(Series { name: "<b>".into(), steps: vec![0, 1], values: others });
            let svg = draw(&curve);
            let drawing = svg.split_once('>').unwrap().1;
            prop_assert!(!drawing.contains("NaN") && !drawing.contains("inf") && !svg.contains("<b>"), "{}", svg);
        }
    }
}
