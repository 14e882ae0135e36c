//! Mixtures of two samples and of their labels.

use std::sync::Arc;

use serde::Deserialize;

use super::{Augmentation, AugmentationSpec, Chance, Mix, read};

pub(super) const SPEC: AugmentationSpec = AugmentationSpec {
    name: "mixup",
    summary: "mix every sample with another of the batch, and their labels, in a share from Beta(alpha, alpha)",
    source: "Zhang et al. 2018, arXiv:1710.09412 (one share a batch, as in the authors' code)",
    example: "alpha = 0.2",
    parse: |settings| {
        let mixup: Mixup = read(settings)?;
        // Far smaller or larger ones leave the range of logarithms, and every sample whole or halved.
        if !(1e-6..=1e6).contains(&mixup.alpha) {
            return Err(format!("`alpha` is {}, a number from 1e-6 to 1e6 is wanted", mixup.alpha));
        }
        Ok(Arc::new(mixup))
    },
};

/// Settings of `mixup`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mixup {
    /// Both parameters of the beta distribution; 1 is uniform, less keeps most samples nearly whole.
    alpha: f64,
}

impl Augmentation for Mixup {
    fn mix(&self, samples: usize, chance: &mut Chance) -> Option<Mix> {
        let share = symmetric_beta(self.alpha, chance) as f32;
        let mut partners: Vec<usize> = (0..samples).collect();
        chance.shuffle(&mut partners);
        Some(Mix { share, partners })
    }

    fn is_mixing(&self) -> bool {
        true
    }
}

/// A number from Beta(alpha, alpha).
fn symmetric_beta(alpha: f64, chance: &mut Chance) -> f64 {
    // The share of one gamma variable in the sum of two, from logarithms: those of a small alpha underflow.
    let (x, y) = (ln_gamma_variable(alpha, chance), ln_gamma_variable(alpha, chance));
    1.0 / (1.0 + (y - x).exp())
}

/// The logarithm of a number from Gamma(shape, 1): Marsaglia and Tsang 2000, "A simple method for generating gamma variables".
fn ln_gamma_variable(shape: f64, chance: &mut Chance) -> f64 {
    if shape < 1.0 {
        // Gamma(a) = Gamma(a + 1) · U^(1/a); 1 - share is never 0.
        return ln_gamma_variable(shape + 1.0, chance) + (1.0 - chance.share()).ln() / shape;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = chance.normal();
        let v = (1.0 + c * x).powi(3);
        let u = 1.0 - chance.share();
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d.ln() + v.ln();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chance::Purpose;
    use super::*;

    #[test]
    fn shares_have_the_moments_of_the_beta_distribution() {
        for alpha in [0.05, 0.2, 1.0, 4.0] {
            let mut chance = Chance::new(3, 0, 0, Purpose::Batch(0));
            let n = 20_000;
            let shares: Vec<f64> = (0..n).map(|_| symmetric_beta(alpha, &mut chance)).collect();
            assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
            let mean = shares.iter().sum::<f64>() / f64::from(n);
            let variance = shares.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / f64::from(n);
            // Mean 1/2, variance 1 / (4 (2 alpha + 1)).
            assert!((mean - 0.5).abs() < 0.015, "alpha {alpha}: mean {mean}");
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!(
                (variance - expected).abs() < 0.03 * expected,
                "alpha {alpha}: variance {variance}, not {expected}"
            );
        }
        // So small that U^(1/alpha) underflows: still a number.
        let share = symmetric_beta(1e-4, &mut Chance::new(3, 0, 0, Purpose::Batch(0)));
        assert!((0.0..=1.0).contains(&share));
    }

    #[test]
    fn partners_are_a_permutation() {
        let mix = Mixup { alpha: 1.0 }.mix(9, &mut Chance::new(1, 2, 3, Purpose::Batch(0))).unwrap();
        let mut partners = mix.partners.clone();
        partners.sort_unstable();
        assert_eq!(partners, (0..9).collect::<Vec<_>>());
        assert!(Mixup { alpha: 1.0 }.mix(0, &mut Chance::new(1, 2, 3, Purpose::Batch(0))).unwrap().partners.is_empty());
    }
}
