//! The order in which things are packed. One function for all: a sort is several kilobytes of code.

/// Positions by rising size; those of one size in their order.
pub(crate) fn smallest_first(sizes: impl Iterator<Item = usize>) -> Vec<usize> {
    sorted(sizes.zip(0..).collect())
}

/// Positions by falling size; those of one size in their order.
pub(crate) fn largest_first(sizes: impl Iterator<Item = usize>) -> Vec<usize> {
    smallest_first(sizes.map(|size| usize::MAX - size))
}

fn sorted(mut keyed: Vec<(usize, usize)>) -> Vec<usize> {
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, at)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sizes_keep_their_order() {
        let sizes = [3, 0, 5, 3, 0];
        assert_eq!(smallest_first(sizes.into_iter()), [1, 4, 0, 3, 2]);
        assert_eq!(largest_first(sizes.into_iter()), [2, 0, 3, 1, 4]);
    }
}
