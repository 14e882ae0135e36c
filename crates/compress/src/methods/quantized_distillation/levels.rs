//! Levels of weights, evenly spread or learned, and gradients through them.

use serde::Deserialize;

/// Where points are at first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Start {
    /// As many weights between any two neighbours.
    #[default]
    Quantiles,
    Uniform,
}

/// Levels of one tensor, as shares of the range, ascending; and how fast they move.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Points {
    pub at: Vec<f64>,
    pub velocity: Vec<f64>,
}

/// Least and range of a bucket.
fn range(values: &[f32]) -> (f64, f64) {
    let low = values.iter().fold(f32::INFINITY, |low, &v| low.min(v));
    let high = values.iter().fold(f32::NEG_INFINITY, |high, &v| high.max(v));
    let range = f64::from(high) - f64::from(low);
    (f64::from(low), if range < 1e-10 { 1.0 } else { range })
}

/// The nearest of evenly spread levels.
fn nearest(share: f64, levels: usize) -> f64 {
    let steps = (levels - 1) as f64;
    (share * steps).round_ties_even() / steps
}

fn buckets(values: &[f32], bucket: usize) -> usize {
    if bucket == 0 { values.len().max(1) } else { bucket }
}

/// Q(w): every weight becomes the nearest level of its bucket.
pub(super) fn quantize(values: &mut [f32], bucket: usize, levels: usize) {
    let bucket = buckets(values, bucket);
    for values in values.chunks_mut(bucket) {
        let (low, range) = range(values);
        values.iter_mut().for_each(|v| *v = (low + range * nearest((f64::from(*v) - low) / range, levels)) as f32);
    }
}

/// g + (1 at the largest − 1 at the least) · Σ g · (level − value), values as shares of the range.
pub(super) fn through_scaling(values: &[f32], gradient: &mut [f32], bucket: usize, levels: usize) {
    let bucket = buckets(values, bucket);
    for (values, gradient) in values.chunks(bucket).zip(gradient.chunks_mut(bucket)) {
        let (low, range) = range(values);
        let share = |v: f32| (f64::from(v) - low) / range;
        let off = |(v, g): (&f32, &f32)| f64::from(*g) * (nearest(share(*v), levels) - share(*v));
        let residual: f64 = values.iter().zip(&*gradient).map(off).sum();
        let least = values.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i);
        let largest = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i);
        if let (Some(least), Some(largest)) = (least, largest) {
            gradient[largest] += residual as f32;
            gradient[least] -= residual as f32;
        }
    }
}

impl Points {
    pub fn new(values: &[f32], bucket: usize, levels: usize, start: Start) -> Self {
        let size = buckets(values, bucket);
        let even = |i: usize| i as f64 / (levels - 1) as f64;
        let at = match start {
            Start::Uniform => (0..levels).map(even).collect(),
            Start::Quantiles => {
                let shares = values.chunks(size).flat_map(|values| {
                    let (low, range) = range(values);
                    values.iter().map(move |&v| (f64::from(v) - low) / range)
                });
                let mut shares: Vec<f64> = shares.collect();
                shares.sort_by(f64::total_cmp);
                let Some(last) = shares.len().checked_sub(1) else {
                    return Self::new(&[], bucket, levels, Start::Uniform);
                };
                let quantile = |i: usize| {
                    let position = even(i) * last as f64;
                    let (below, share) = (position.floor() as usize, position.fract());
                    shares[below] * (1.0 - share) + shares[(below + 1).min(last)] * share
                };
                (0..levels).map(quantile).collect()
            }
        };
        Self { at, velocity: vec![0.0; levels] }
    }

    /// The nearest point, the upper of two that are as near.
    fn index(&self, share: f64) -> usize {
        let above = self.at.partition_point(|&point| point <= share);
        match above {
            0 => 0,
            _ if above == self.at.len() => above - 1,
            _ if share - self.at[above - 1] < self.at[above] - share => above - 1,
            _ => above,
        }
    }

    pub fn quantize(&self, values: &mut [f32], bucket: usize) {
        let size = buckets(values, bucket);
        for values in values.chunks_mut(size) {
            let (low, range) = range(values);
            for v in values {
                *v = (low + range * self.at[self.index((f64::from(*v) - low) / range)]) as f32;
            }
        }
    }

    /// dL/dp of each point, from the gradient at the levels.
    pub fn gradient(&self, values: &[f32], gradient: &[f32], bucket: usize) -> Vec<f64> {
        let size = buckets(values, bucket);
        let mut sums = vec![0.0; self.at.len()];
        for (values, gradient) in values.chunks(size).zip(gradient.chunks(size)) {
            let (low, range) = range(values);
            for (&v, &g) in values.iter().zip(gradient) {
                sums[self.index((f64::from(v) - low) / range)] += range * f64::from(g);
            }
        }
        sums
    }

    /// One step of descent; points stay ascending.
    pub fn descend(&mut self, gradient: &[f64], rate: f64) {
        const MOMENTUM: f64 = 0.9;
        for ((at, velocity), g) in self.at.iter_mut().zip(&mut self.velocity).zip(gradient) {
            *velocity = MOMENTUM * *velocity + g;
            *at -= rate * (g + MOMENTUM * *velocity);
        }
        self.at.sort_by(f64::total_cmp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 % 2003) as f32 / 1000.0 - 1.0).powi(3)).collect()
    }

    #[test]
    fn the_ends_of_a_bucket_are_exact_and_twice_is_once() {
        let w = noise(700);
        for bits in [1, 2, 4, 8] {
            let mut once = w.clone();
            quantize(&mut once, 256, 1 << bits);
            for (before, after) in w.chunks(256).zip(once.chunks(256)) {
                let extremes = |v: &[f32]| v.iter().fold((f32::MAX, f32::MIN), |(a, b), &x| (a.min(x), b.max(x)));
                assert_eq!(extremes(before), extremes(after));
            }
            let mut twice = once.clone();
            quantize(&mut twice, 256, 1 << bits);
            assert_eq!(once, twice);
        }
        let mut same = [0.25f32; 5];
        quantize(&mut same, 0, 4);
        assert_eq!(same, [0.25; 5]);
    }

    #[test]
    fn the_gradient_of_points_is_that_of_differences() {
        let (w, g) = (noise(300), noise(300).into_iter().rev().collect::<Vec<_>>());
        for start in [Start::Quantiles, Start::Uniform] {
            let points = Points::new(&w, 128, 4, start);
            let gradient = points.gradient(&w, &g, 128);
            for (j, own) in gradient.iter().enumerate() {
                // Which weight has which point does not change.
                let loss = |by: f64| -> f64 {
                    let values = w.chunks(128).zip(g.chunks(128)).map(|(w, g)| {
                        let (low, range) = range(w);
                        let level = |i: usize| points.at[i] + if i == j { by } else { 0.0 };
                        let of = |(&w, &g): (&f32, &f32)| {
                            f64::from(g) * (low + range * level(points.index((f64::from(w) - low) / range)))
                        };
                        w.iter().zip(g).map(of).sum::<f64>()
                    });
                    values.sum()
                };
                let difference = (loss(1e-4) - loss(-1e-4)) / 2e-4;
                assert!((difference - own).abs() < 1e-6, "{start:?} {j}");
            }
        }
    }

    #[test]
    fn points_begin_at_quantiles_and_ties_go_up() {
        let points = Points::new(&[0.0, 0.1, 0.2, 0.3, 1.0], 0, 3, Start::Quantiles);
        assert!((points.at[1] - 0.2).abs() < 1e-7 && points.at[0] == 0.0 && points.at[2] == 1.0);
        let even = Points::new(&[0.0], 0, 3, Start::Uniform);
        assert_eq!(Points::new(&[], 0, 3, Start::Quantiles), even, "no weights");
        assert_eq!([0.24, 0.25, 0.75, 0.76].map(|share| even.index(share)), [0, 1, 2, 2]);
    }

    #[test]
    fn the_exact_gradient_moves_the_ends() {
        // Shares 0, 0.4, 1 on levels 0, 1: 0.4 becomes 0, so Σ g (level − share) is −0.4 · 2.
        let mut gradient = [1.0f32, 2.0, 3.0];
        through_scaling(&[1.0, 1.8, 3.0], &mut gradient, 0, 2);
        assert!((gradient[0] - 1.8).abs() < 1e-6 && gradient[1] == 2.0 && (gradient[2] - 2.2).abs() < 1e-6);
    }
}
