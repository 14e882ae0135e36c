//! Shuffles and subsets that are the same everywhere.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of numbers fixed by `seed`.
pub(crate) fn generator(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A number below `bound`, which is not 0; every one equally likely.
pub(crate) fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    // Written out rather than taken from a library, so that no update of one can change an order.
    let unbiased = u64::MAX - u64::MAX % bound;
    loop {
        let value = rng.next_u64();
        if value < unbiased {
            return value % bound;
        }
    }
}

/// Fisher-Yates.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(rng, last as u64 + 1) as usize);
    }
}

/// `n` of `items`, in the order they have there. `n` is at most their number.
pub(crate) fn choose(items: &[usize], n: usize, seed: u64) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..items.len()).collect();
    shuffle(&mut positions, &mut generator(seed));
    positions.truncate(n);
    positions.sort_unstable();
    positions.into_iter().map(|position| items[position]).collect()
}

/// `n` of `items`, each class (`class_of` gives it) in its share: largest remainders, the smaller class first on a tie.
pub(crate) fn choose_stratified(items: &[usize], n: usize, seed: u64, class_of: impl Fn(usize) -> i64) -> Vec<usize> {
    let mut classes = std::collections::BTreeMap::<i64, Vec<usize>>::new();
    for (position, &item) in items.iter().enumerate() {
        classes.entry(class_of(item)).or_default().push(position);
    }
    // n · members / all, as whole and remainder; u128 so that no product overflows.
    let all = items.len().max(1) as u128;
    let shares: Vec<(usize, u128)> = classes
        .values()
        .map(|members| n as u128 * members.len() as u128)
        .map(|product| ((product / all) as usize, product % all))
        .collect();
    let mut counts: Vec<usize> = shares.iter().map(|(whole, _)| *whole).collect();
    let mut by_remainder: Vec<usize> = (0..counts.len()).collect();
    by_remainder.sort_by_key(|&class| std::cmp::Reverse(shares[class].1));
    let missing = n - counts.iter().sum::<usize>();
    for &class in by_remainder.iter().take(missing) {
        counts[class] += 1;
    }
    let mut chosen: Vec<usize> = classes
        .iter()
        .zip(&counts)
        .flat_map(|((class, members), &count)| choose(members, count, seed.wrapping_add(*class as u64)))
        .collect();
    chosen.sort_unstable();
    chosen.into_iter().map(|position| items[position]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_order() {
        let mut items: Vec<usize> = (0..10).collect();
        shuffle(&mut items, &mut generator(7));
        assert_eq!(items, [2, 7, 0, 6, 3, 4, 8, 1, 9, 5]);
    }

    proptest! {
        #[test]
        fn a_stratified_choice_keeps_the_shares_and_the_order(
            labels in proptest::collection::vec(0i64..5, 1..60), share in 0.0f64..=1.0, seed: u64
        ) {
            let items: Vec<usize> = (0..labels.len()).rev().collect();
            let n = (share * labels.len() as f64) as usize;
            let chosen = choose_stratified(&items, n, seed, |item| labels[item]);
            prop_assert_eq!(chosen.len(), n);
            prop_assert!(chosen.windows(2).all(|pair| pair[0] > pair[1]));
            for class in 0..5 {
                let all = labels.iter().filter(|&&label| label == class).count() as f64;
                let kept = chosen.iter().filter(|&&item| labels[item] == class).count() as f64;
                prop_assert!((kept - all * n as f64 / labels.len() as f64).abs() < 1.0);
            }
        }

        #[test]
        fn a_choice_has_no_sample_twice(len in 1usize..50, seed: u64) {
            let items: Vec<usize> = (0..len).collect();
            let chosen = choose(&items, len / 2, seed);
            prop_assert_eq!(chosen.len(), len / 2);
            prop_assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(choose(&items, len, seed), items);
        }
    }
}
