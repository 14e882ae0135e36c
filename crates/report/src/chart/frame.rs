//! Axes and the space they span.

use std::fmt::Write;

use crate::escape::escape;

/// A range of values with round ticks.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    pub low: f64,
    pub high: f64,
    pub ticks: Vec<f64>,
}

impl Axis {
    /// An axis over the values, widened by a twentieth on both sides; a lone value gets some room.
    pub fn around(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) =
            values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let span = if high > low { high - low } else { high.abs().max(1e-9) };
        Self::new(low - span * 0.06, high + span * 0.06)
    }

    pub fn new(low: f64, high: f64) -> Self {
        let step = round_step((high - low) / 6.0);
        let mut ticks = Vec::new();
        if step.is_finite() && step > 0.0 {
            let first = (low / step).ceil();
            // At most a dozen; a range so narrow that steps vanish in rounding simply gets fewer.
            ticks =
                (0..12).map(|i| (first + f64::from(i)) * step).take_while(|tick| *tick <= high + step * 1e-9).collect();
        }
        Self { low, high, ticks }
    }

    /// Its lowest and highest value.
    pub fn ends(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    fn share(&self, value: f64) -> f64 {
        if self.high > self.low { (value - self.low) / (self.high - self.low) } else { 0.5 }
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|round| *round >= step * 0.999).unwrap_or(step)
}

/// The rectangle two axes span, in SVG units, y growing downwards.
pub(crate) struct Frame {
    pub x: Axis,
    pub y: Axis,
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl Frame {
    pub fn x(&self, value: f64) -> f64 {
        self.left + self.x.share(value) * self.width
    }

    pub fn y(&self, value: f64) -> f64 {
        self.top + (1.0 - self.y.share(value)) * self.height
    }

    /// Grid lines, tick labels and axis titles.
    pub fn draw(
        &self,
        out: &mut String,
        titles: (&str, &str),
        label_x: impl Fn(f64) -> String,
        label_y: impl Fn(f64) -> String,
    ) {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        for tick in &self.y.ticks {
            let y = self.y(*tick);
            let _ = write!(out, r#"<path class="grid" d="M{:.1} {y:.1}H{right:.1}"/>"#, self.left);
            let _ = write!(
                out,
                r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                self.left - 8.0,
                y + 4.0,
                escape(&label_y(*tick))
            );
        }
        for tick in &self.x.ticks {
            let x = self.x(*tick);
            let _ = write!(out, r#"<path class="tick" d="M{x:.1} {bottom:.1}v4"/>"#);
            let _ = write!(
                out,
                r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                bottom + 18.0,
                escape(&label_x(*tick))
            );
        }
        let _ = write!(out, r#"<path class="axis" d="M{:.1} {bottom:.1}H{right:.1}"/>"#, self.left);
        let middle = self.left + self.width / 2.0;
        let _ = write!(
            out,
            r#"<text class="title" x="{middle:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            bottom + 36.0,
            escape(titles.0)
        );
        let _ =
            write!(out, r#"<text class="title" x="{:.1}" y="{:.1}">{}</text>"#, 4.0, self.top - 10.0, escape(titles.1));
    }
}

/// Opens an SVG with its name and description for screen readers.
pub(crate) fn open(out: &mut String, class: &str, (width, height): (f64, f64), name: &str, description: &str) {
    let _ = write!(
        out,
        r#"<svg class="{class}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{}">"#,
        escape(&format!("{name}. {description}"))
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(Axis::new(0.0, 1.0).ticks.len(), 6);
        assert_eq!(Axis::new(0.9, 10.3).ticks, [2.0, 4.0, 6.0, 8.0, 10.0]);
        let nothing = Axis::around([f64::NAN].into_iter());
        assert!(nothing.low < nothing.high);
    }

    proptest! {
        #[test]
        fn every_value_lies_in_the_frame(values in prop::collection::vec(-1e12f64..1e12, 1..9)) {
            let axis = Axis::around(values.iter().copied());
            let frame = Frame { x: axis.clone(), y: axis, left: 10.0, top: 10.0, width: 100.0, height: 50.0 };
            for value in values {
                prop_assert!((10.0..=110.0).contains(&frame.x(value)) && (10.0..=60.0).contains(&frame.y(value)));
            }
            prop_assert!(frame.x.ticks.len() <= 12);
        }
    }
}
