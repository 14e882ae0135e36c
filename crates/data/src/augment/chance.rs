//! Random numbers by counter.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::order::below;

/// A stream of random numbers. What it is for is its key, so streams need no order among each other.
#[derive(Debug, Clone)]
pub struct Chance(ChaCha8Rng);

/// What the numbers are for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// The order of an epoch.
    Order,
    /// A sample in the augmentation at this place of the list.
    Sample(usize),
    /// A whole batch in the augmentation at this place.
    Batch(usize),
}

impl Chance {
    /// The stream for `counter` (a sample's position in the files, or a step) in `epoch`.
    pub(crate) fn new(seed: u64, epoch: u64, counter: u64, purpose: Purpose) -> Self {
        let purpose = match purpose {
            Purpose::Order => 0,
            Purpose::Sample(at) => 1 + 2 * at as u64,
            Purpose::Batch(at) => 2 + 2 * at as u64,
        };
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(8).zip([seed, epoch, counter, purpose]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number of `[0, 1)`, with 53 bits.
    pub fn share(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `p`.
    pub fn happens(&mut self, p: f64) -> bool {
        self.share() < p
    }

    /// A whole number below `bound`, every one equally likely; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        below(&mut self.0, (bound as u64).max(1)) as usize
    }

    /// A number of `[low, high)`.
    pub fn between(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.share()
    }

    /// A number from the normal distribution with mean 0 and variance 1 (Marsaglia's polar method).
    pub fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (self.between([-1.0, 1.0]), self.between([-1.0, 1.0]));
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                return x * (-2.0 * square.ln() / square).sqrt();
            }
        }
    }

    /// Puts `items` in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        crate::order::shuffle(items, &mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_key_makes_another_stream() {
        let first = |seed, epoch, counter, purpose| Chance::new(seed, epoch, counter, purpose).0.next_u64();
        let keys = [
            first(1, 2, 3, Purpose::Sample(0)),
            first(2, 1, 3, Purpose::Sample(0)),
            first(1, 3, 2, Purpose::Sample(0)),
            first(1, 2, 4, Purpose::Sample(0)),
            first(1, 2, 3, Purpose::Sample(1)),
            first(1, 2, 3, Purpose::Batch(0)),
            first(1, 2, 3, Purpose::Order),
        ];
        let distinct: std::collections::BTreeSet<u64> = keys.into_iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(keys[0], first(1, 2, 3, Purpose::Sample(0)));
    }

    #[test]
    fn shares_and_normals_have_their_moments() {
        let mut chance = Chance::new(7, 0, 0, Purpose::Order);
        let n = 20_000;
        let moments = |values: Vec<f64>| {
            let mean = values.iter().sum::<f64>() / f64::from(n);
            (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n))
        };
        let (mean, variance) = moments((0..n).map(|_| chance.share()).collect());
        assert!((mean - 0.5).abs() < 0.01 && (variance - 1.0 / 12.0).abs() < 0.005, "{mean} {variance}");
        let (mean, variance) = moments((0..n).map(|_| chance.normal()).collect());
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        assert_eq!(chance.below(0), 0);
        assert_eq!(chance.below(1), 0);
    }
}
