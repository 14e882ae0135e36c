//! Which class is taken for which.

use serde::{Deserialize, Serialize};

/// How often one class was taken for another (or itself).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusionCell {
    /// The label.
    pub actual: usize,
    /// The answer.
    pub predicted: usize,
    /// Number of examples, above 0.
    pub count: u64,
}

/// A confusion matrix: only the cells that are not 0, sorted by label, then answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Number of classes.
    pub n_classes: usize,
    /// The cells that are not 0.
    pub cells: Vec<ConfusionCell>,
}

impl Confusion {
    /// Counts pairs of label and answer; both must be below `n_classes`.
    #[must_use]
    pub fn count(labels: &[usize], predicted: &[usize], n_classes: usize) -> Self {
        let mut pairs: Vec<(usize, usize)> = labels.iter().copied().zip(predicted.iter().copied()).collect();
        pairs.sort_unstable();
        let cells = pairs
            .chunk_by(|a, b| a == b)
            .map(|equal| ConfusionCell { actual: equal[0].0, predicted: equal[0].1, count: equal.len() as u64 })
            .collect();
        Self { n_classes, cells }
    }

    /// The count of one cell.
    #[must_use]
    pub fn get(&self, actual: usize, predicted: usize) -> u64 {
        self.cells
            .binary_search_by_key(&(actual, predicted), |cell| (cell.actual, cell.predicted))
            .map_or(0, |found| self.cells[found].count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_counted_and_found() {
        let confusion = Confusion::count(&[0, 0, 1, 2, 2, 2], &[0, 1, 1, 0, 2, 2], 3);
        assert_eq!(confusion.get(0, 0), 1);
        assert_eq!(confusion.get(0, 1), 1);
        assert_eq!(confusion.get(2, 2), 2);
        assert_eq!(confusion.get(1, 0), 0);
        assert_eq!(confusion.cells.iter().map(|cell| cell.count).sum::<u64>(), 6);
        assert_eq!(confusion.cells.len(), 5);
    }
}
