//! Which class wins, and whether the right one is among the first k.

use crate::outputs::Outputs;

/// Position of the largest value; of equal values the first, as `numpy.argmax` and ONNX's ArgMax do.
///
/// NaN never wins against a number; an empty row or one of NaNs gives 0.
#[must_use]
pub fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (position, value) in row.iter().enumerate() {
        if *value > row[best] || (row[best].is_nan() && !value.is_nan()) {
            best = position;
        }
    }
    best
}

/// How many classes stand before `class` in the row: those with a larger value, and equal ones with a lower index.
///
/// 0 means `class` is the answer. The order is the one a stable descending sort gives.
#[must_use]
pub fn rank_of(row: &[f32], class: usize) -> usize {
    let value = row[class];
    row.iter().enumerate().filter(|&(other, v)| *v > value || (*v == value && other < class)).count()
}

/// Number of rows whose label is among the first `k` classes.
pub fn top_k_correct(outputs: &Outputs<'_>, labels: &[usize], k: usize) -> usize {
    outputs.rows().zip(labels).filter(|(row, label)| rank_of(row, **label) < k).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_go_to_the_lowest_index() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(argmax(&[0.0, -0.0]), 0);
        assert_eq!(argmax(&[f32::NAN, 1.0]), 1);
        assert_eq!(argmax(&[]), 0);
        assert_eq!(rank_of(&[2.0, 2.0, 2.0], 0), 0);
        assert_eq!(rank_of(&[2.0, 2.0, 2.0], 2), 2);
    }

    #[test]
    fn top_k_counts_by_hand() {
        let values = [0.1, 0.7, 0.2, 0.5, 0.3, 0.2];
        let outputs = Outputs::new(&values, 3).unwrap();
        assert_eq!(top_k_correct(&outputs, &[1, 1], 1), 1);
        assert_eq!(top_k_correct(&outputs, &[1, 1], 2), 2);
        assert_eq!(top_k_correct(&outputs, &[0, 2], 2), 0);
        assert_eq!(top_k_correct(&outputs, &[0, 2], 3), 2);
    }

    proptest! {
        #[test]
        fn ranks_are_a_permutation_that_starts_at_the_argmax(row in prop::collection::vec(-3i8..3, 1..12)) {
            let row: Vec<f32> = row.into_iter().map(f32::from).collect();
            let mut ranks: Vec<usize> = (0..row.len()).map(|class| rank_of(&row, class)).collect();
            prop_assert_eq!(ranks[argmax(&row)], 0);
            ranks.sort_unstable();
            prop_assert_eq!(ranks, (0..row.len()).collect::<Vec<_>>());
        }
    }
}
