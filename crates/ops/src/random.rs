//! Random numbers: the same for the same seed, on any machine. A node without a seed takes seed 0.

use std::f64::consts::TAU;

use lissom_graph::{NodeReader, OpError};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Numbers one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Numbers(ChaCha8Rng);

/// The attribute `seed`, as the bits of the float it is.
///
/// # Errors
/// [`OpError::BadAttribute`].
pub(crate) fn read_seed(node: &NodeReader<'_>) -> Result<u64, OpError> {
    Ok(node.float("seed")?.map_or(0, |seed| seed.to_bits().into()))
}

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform in 0..1, one excluded.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Of mean 0 and variance 1, by the transform of Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * radius.ln()).sqrt() * (TAU * angle).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut numbers = Numbers::new(7);
        let n = 20_000;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / n as f64;
        let uniform: Vec<f64> = (0..n).map(|_| numbers.uniform()).collect();
        let normal: Vec<f64> = (0..n).map(|_| numbers.normal()).collect();
        let squares: Vec<f64> = normal.iter().map(|x| x * x).collect();
        assert!((mean(&uniform) - 0.5).abs() < 0.01);
        assert!(mean(&normal).abs() < 0.03);
        assert!((mean(&squares) - 1.0).abs() < 0.05);
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        assert_eq!(Numbers::new(3).normal(), Numbers::new(3).normal());
        assert_ne!(Numbers::new(3).uniform(), Numbers::new(4).uniform());
    }
}
