//! What a weight is worth. Higher stays longer.

/// `|w|`: the magnitude.
pub fn magnitude(weights: &[f32]) -> Vec<f32> {
    weights.iter().map(|w| w.abs()).collect()
}

/// LAMP: `w² / Σ v²` over the weights `v` of the layer that are not smaller, itself included. The largest weight of each
/// layer scores 1, so a global threshold below 1 empties no layer. Equal weights are ranked by position.
///
/// Lee et al., ICLR 2021, arXiv:2010.07611.
pub fn lamp(weights: &[f32]) -> Vec<f64> {
    let squares: Vec<f64> = weights.iter().map(|&w| f64::from(w) * f64::from(w)).collect();
    let mut order: Vec<usize> = (0..squares.len()).collect();
    order.sort_by(|&a, &b| squares[a].total_cmp(&squares[b]));
    let mut scores = vec![0.0; squares.len()];
    // From the largest down, so that the sum of the weights not smaller grows and never cancels.
    let mut not_smaller = 0.0;
    for &index in order.iter().rev() {
        not_smaller += squares[index];
        scores[index] = if not_smaller > 0.0 { squares[index] / not_smaller } else { 0.0 };
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lamp_gives_the_published_example() {
        let scores = lamp(&[1.0, -2.0, 3.0]);
        let expected = [1.0 / 14.0, 4.0 / 13.0, 1.0];
        assert!(scores.iter().zip(expected).all(|(a, b): (&f64, f64)| (a - b).abs() < 1e-12), "{scores:?}");
    }

    #[test]
    fn a_layer_of_zeros_scores_nothing() {
        assert_eq!(lamp(&[0.0, 0.0]), [0.0, 0.0]);
    }
}
