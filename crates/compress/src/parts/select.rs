//! The highest scores of several layers together: which stay if a number of them may.
//!
//! Two passes over the scores count their bits, upper half first; nothing is copied or sorted.

use rayon::prelude::*;

/// Equal scores at the border between what stays and what goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    /// Exactly the number asked for stays; of equal scores the earlier ones.
    #[default]
    Exact,
    /// Only what is above the score at the border stays, one less than asked for at least, as in the published code of AC/DC and
    /// CrAM.
    Strict,
}

/// Where the border lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Border {
    /// Scores with a higher key stay.
    key: u32,
    /// How many scores at the border stay, the first ones.
    equal: usize,
}

/// Bits that are ordered as the numbers are.
fn key(score: f32) -> u32 {
    let bits = score.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// Scores counted together in one task: a number that does not depend on the threads.
const TASK: usize = 1 << 16;

/// The border below the `keep` highest of all scores.
pub fn border(layers: &[&[f32]], keep: usize, score: impl Fn(f32) -> f32 + Sync) -> Border {
    let total: usize = layers.iter().map(|layer| layer.len()).sum();
    if keep >= total {
        return Border { key: 0, equal: total };
    }
    if keep == 0 {
        return Border { key: u32::MAX, equal: 0 };
    }
    let upper = counts(layers, |value| Some(key(score(value)) >> 16));
    let (bucket, above) = bucket(&upper, keep);
    let lower = counts(layers, |value| {
        let key = key(score(value));
        (key >> 16 == bucket).then_some(key & 0xffff)
    });
    let (low, above_low) = self::bucket(&lower, keep - above);
    Border { key: bucket << 16 | low, equal: keep - above - above_low }
}

/// How often each number below 2¹⁶ occurs.
fn counts(layers: &[&[f32]], number: impl Fn(f32) -> Option<u32> + Sync) -> Vec<u32> {
    let of = |values: &[f32]| {
        let mut counts = vec![0u32; 1 << 16];
        values.iter().filter_map(|&value| number(value)).for_each(|at| counts[at as usize] += 1);
        counts
    };
    let tasks: Vec<&[f32]> = layers.iter().flat_map(|layer| layer.chunks(8 * TASK)).collect();
    if tasks.len() == 1 || layers.iter().map(|layer| layer.len()).sum::<usize>() < 4 * TASK {
        let mut counts = vec![0u32; 1 << 16];
        for &value in tasks.into_iter().flatten() {
            if let Some(at) = number(value) {
                counts[at as usize] += 1;
            }
        }
        return counts;
    }
    let add = |mut a: Vec<u32>, b: Vec<u32>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    };
    tasks.into_par_iter().map(of).reduce(|| vec![0; 1 << 16], add)
}

/// The highest number at or above which `keep` lie, and how many lie above it.
fn bucket(counts: &[u32], keep: usize) -> (u32, usize) {
    let mut above = 0;
    for (at, &count) in counts.iter().enumerate().rev() {
        if above + count as usize >= keep {
            return (at as u32, above);
        }
        above += count as usize;
    }
    (0, above)
}

impl Border {
    /// Which of a layer's scores stay. Layers must come in the order in which the border was drawn: each takes its share of the scores
    /// that are equal.
    pub fn mask(&mut self, layer: &[f32], ties: Ties, score: impl Fn(f32) -> f32) -> Vec<bool> {
        let stays = |&value: &f32| {
            let key = key(score(value));
            let is_equal = key == self.key && self.equal > 0 && ties == Ties::Exact;
            self.equal -= usize::from(is_equal);
            key > self.key || is_equal
        };
        layer.iter().map(stays).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strict_ties_keep_one_less_and_none_of_two() {
        let weights = [3.0, -4.0];
        let mut border = border(&[&weights], 1, f32::abs);
        assert_eq!(border.mask(&weights, Ties::Strict, f32::abs), [false, false]);
        assert_eq!(border.mask(&weights, Ties::Exact, f32::abs), [false, true]);
    }

    proptest! {
        #[test]
        fn masks_are_those_of_a_stable_sort(
            layers in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0.5f32), -2.0f32..2.0], 0..30), 1..5),
            share in 0.0f64..=1.0,
        ) {
            let slices: Vec<&[f32]> = layers.iter().map(Vec::as_slice).collect();
            let all: Vec<f32> = layers.concat();
            let keep = (share * all.len() as f64) as usize;
            let mut order: Vec<usize> = (0..all.len()).collect();
            order.sort_by(|&a, &b| all[b].total_cmp(&all[a]));
            let mut expected = vec![false; all.len()];
            order[..keep].iter().for_each(|&i| expected[i] = true);
            let mut border = border(&slices, keep, |w| w);
            let masks: Vec<bool> = slices.iter().flat_map(|layer| border.mask(layer, Ties::Exact, |w| w)).collect();
            prop_assert_eq!(masks, expected);
        }
    }
}
