//! Settings tried: cost against quality.

use std::fmt::Write;

use crate::escape::escape;
use crate::schema::{Pareto, ParetoPoint};
use crate::view::budgets::in_unit;

use super::frame::{Axis, Frame, open};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;

fn position(point: &ParetoPoint) -> Option<(f64, f64)> {
    point.cost.zip(point.quality).filter(|(cost, quality)| cost.is_finite() && quality.is_finite())
}

/// Positions of the points that no other point beats on one side without losing on the other, by rising cost.
pub(crate) fn front(pareto: &Pareto) -> Vec<usize> {
    let sign = if pareto.lower_cost_is_better { 1.0 } else { -1.0 };
    let mut known: Vec<(usize, f64, f64)> = pareto
        .points
        .iter()
        .enumerate()
        .filter_map(|(i, point)| position(point).map(|(cost, quality)| (i, cost * sign, quality)))
        .collect();
    known.sort_by(|a, b| a.1.total_cmp(&b.1).then(b.2.total_cmp(&a.2)).then(a.0.cmp(&b.0)));
    let mut best = f64::NEG_INFINITY;
    known.retain(|point| {
        let is_better = point.2 > best;
        best = best.max(point.2);
        is_better
    });
    known.into_iter().map(|point| point.0).collect()
}

pub(crate) fn draw(pareto: &Pareto, front: &[usize]) -> String {
    let known: Vec<(&ParetoPoint, f64, f64)> = pareto
        .points
        .iter()
        .filter_map(|point| position(point).map(|(cost, quality)| (point, cost, quality)))
        .collect();
    let frame = Frame {
        x: Axis::around(known.iter().map(|point| point.1)),
        y: Axis::around(known.iter().map(|point| point.2)),
        left: 72.0,
        top: 34.0,
        width: 550.0,
        height: 270.0,
    };
    let mut out = String::new();
    let description =
        format!("{} settings, {} of them on the front; the table below holds the numbers", known.len(), front.len());
    let name = format!("{} against {}", pareto.quality_label, pareto.cost_label);
    open(&mut out, "chart", (WIDTH, HEIGHT), &name, &description);
    let label = |unit| move |value: f64| in_unit(Some(value), unit);
    frame.draw(
        &mut out,
        (&pareto.cost_label, &pareto.quality_label),
        label(pareto.cost_unit),
        label(pareto.quality_unit),
    );
    let mut line = String::new();
    for (cost, quality) in front.iter().filter_map(|i| position(&pareto.points[*i])) {
        let _ = write!(line, "{}{:.1} {:.1}", if line.is_empty() { 'M' } else { 'L' }, frame.x(cost), frame.y(quality));
    }
    let _ = write!(out, r#"<path class="front" d="{line}"/>"#);
    for (point, cost, quality) in &known {
        let (x, y) = (frame.x(*cost), frame.y(*quality));
        let (class, radius) = if point.is_chosen { ("chosen", 7.0) } else { ("tried", 4.0) };
        let tip = format!(
            "{}: {}, {}",
            point.label,
            in_unit(Some(*cost), pareto.cost_unit),
            in_unit(Some(*quality), pareto.quality_unit)
        );
        let _ = write!(
            out,
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{radius}"><title>{}</title></circle>"#,
            escape(&tip)
        );
        if point.is_chosen {
            // Text runs towards the middle so that it stays in the picture.
            let (dx, anchor) = if x > WIDTH / 2.0 { (-12.0, "end") } else { (12.0, "start") };
            // Below the point: a front that rises to the right passes above it.
            let below = if y > frame.top + frame.height - 24.0 { -12.0 } else { 20.0 };
            let label: String = point.label.chars().take(32).collect();
            let _ = write!(
                out,
                r#"<text class="chosen-label" x="{:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
                x + dx,
                y + below,
                escape(&label)
            );
        }
    }
    out.push_str("</svg>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Unit;

    #[test]
    fn the_front_holds_what_nothing_beats() {
        let point = |cost, quality| ParetoPoint {
            label: String::new(),
            cost: Some(cost),
            quality: Some(quality),
            is_chosen: false,
        };
        let mut pareto = Pareto {
            cost_label: "size".into(),
            cost_unit: Unit::Bytes,
            quality_label: "top1".into(),
            quality_unit: Unit::Share,
            lower_cost_is_better: true,
            points: vec![
                point(3.0, 0.9),
                point(1.0, 0.7),
                point(2.0, 0.6),
                point(2.0, 0.8),
                point(4.0, 0.9),
                point(f64::NAN, 1.0),
            ],
        };
        assert_eq!(front(&pareto), [1, 3, 0]);
        pareto.lower_cost_is_better = false;
        assert_eq!(front(&pareto), [4]);
    }
}
