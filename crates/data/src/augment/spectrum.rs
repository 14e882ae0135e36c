//! Images made smaller by leaving out high frequencies: the middle of the discrete Fourier transform, transformed back at the smaller size.
//!
//! Along each axis, of n pixels x to b < n: y[p] = 1/n Σ_x x[x] · (1 + 2 Σ_{k=1}^{⌈b/2⌉−1} cos 2πk(p/b − x/n) + cos πb(p/b − x/n) if b is even); the mean stays.
//! Of the highest frequency of an even side, which has no partner, the real part is taken along each axis.

use std::f64::consts::PI;

/// The weights of one axis, `[to, from]`.
fn weights(from: usize, to: usize) -> Vec<f32> {
    let mut weights = Vec::with_capacity(from * to);
    for p in 0..to {
        for x in 0..from {
            let turn = p as f64 / to as f64 - x as f64 / from as f64;
            let pairs: f64 = (1..to.div_ceil(2)).map(|k| 2.0 * (2.0 * PI * k as f64 * turn).cos()).sum();
            let unpaired = if to.is_multiple_of(2) { (PI * to as f64 * turn).cos() } else { 0.0 };
            weights.push(((1.0 + pairs + unpaired) / from as f64) as f32);
        }
    }
    weights
}

/// The two products that make an image of one size from one of another.
#[derive(Debug, Clone)]
pub(super) struct Spectrum {
    from: [usize; 2],
    to: [usize; 2],
    rows: Vec<f32>,
    columns: Vec<f32>,
}

impl Spectrum {
    /// For images of `[height, width]` to smaller ones.
    pub(super) fn new(from: [usize; 2], to: [usize; 2]) -> Self {
        Self { from, to, rows: weights(from[0], to[0]), columns: weights(from[1], to[1]) }
    }

    pub(super) fn is_for(&self, from: [usize; 2], to: [usize; 2]) -> bool {
        (self.from, self.to) == (from, to)
    }

    /// All planes of `values`, to be put in `out`.
    pub(super) fn cut(&self, values: &[f32], out: &mut Vec<f32>) {
        let ([height, width], [to_height, to_width]) = (self.from, self.to);
        out.clear();
        let mut across = vec![0f32; height * to_width];
        let mut row_out = vec![0f32; to_width];
        for plane in values.chunks_exact((height * width).max(1)) {
            for (row, across) in plane.chunks_exact(width).zip(across.chunks_exact_mut(to_width)) {
                for (out, weights) in across.iter_mut().zip(self.columns.chunks_exact(width)) {
                    *out = row.iter().zip(weights).map(|(x, w)| x * w).sum();
                }
            }
            for weights in self.rows.chunks_exact(height).take(to_height) {
                row_out.fill(0.0);
                for (weight, row) in weights.iter().zip(across.chunks_exact(to_width)) {
                    row_out.iter_mut().zip(row).for_each(|(out, x)| *out += weight * x);
                }
                out.extend_from_slice(&row_out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(from: [usize; 2], to: [usize; 2], values: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        Spectrum::new(from, to).cut(values, &mut out);
        out
    }

    #[test]
    fn low_frequencies_stay_and_high_ones_go() {
        let wave =
            |n: usize, k: f64| (0..n).map(|x| (2.0 * PI * k * x as f64 / n as f64).cos() as f32).collect::<Vec<_>>();
        let close = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        // A wave that fits is the same wave at fewer points; the mean is the mean.
        assert!(close(&cut([1, 16], [1, 8], &wave(16, 1.0)), &wave(8, 1.0)));
        assert!(close(&cut([1, 15], [1, 5], &wave(15, 2.0)), &wave(5, 2.0)));
        assert!(close(&cut([16, 1], [7, 1], &wave(16, 3.0)), &wave(7, 3.0)));
        assert!(close(&cut([1, 16], [1, 8], &wave(16, 0.0)), &[1.0; 8]));
        // One that does not is gone, where resampling would leave some of it.
        assert!(close(&cut([1, 16], [1, 8], &wave(16, 6.0)), &[0.0; 8]));
        // Half the height of the highest one: cos πp.
        assert!(close(
            &cut([1, 16], [1, 8], &wave(16, 4.0)),
            &wave(8, 4.0).iter().map(|x| x / 2.0).collect::<Vec<_>>()
        ));
        // Two axes: the product of both.
        let (a, b) = (wave(6, 1.0), wave(9, 2.0));
        let image: Vec<f32> = a.iter().flat_map(|a| b.iter().map(move |b| a * b)).collect();
        let (a, b) = (wave(3, 1.0), wave(5, 2.0));
        let small: Vec<f32> = a.iter().flat_map(|a| b.iter().map(move |b| a * b)).collect();
        assert!(close(&cut([6, 9], [3, 5], &image), &small));
    }
}
