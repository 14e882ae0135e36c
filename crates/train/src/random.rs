//! Random numbers that depend on a seed, a step, a stream and a position alone: any step can be made again.

/// SplitMix64's finalizer (Steele, Lea and Flood 2014).
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One sequence of random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    key: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Stream {
    /// The sequence of this number, in this step, of this seed.
    pub fn new(seed: u64, step: u64, number: u64) -> Self {
        let key = [step, number].into_iter().fold(mixed(seed.wrapping_add(GOLDEN)), |key, part| {
            mixed(key ^ mixed(part.wrapping_add(1).wrapping_mul(GOLDEN)))
        });
        Self { key }
    }

    /// 64 random bits.
    pub fn bits(self, position: u64) -> u64 {
        mixed(self.key.wrapping_add(position.wrapping_add(1).wrapping_mul(GOLDEN)))
    }

    /// In 0..1.
    pub fn uniform(self, position: u64) -> f64 {
        (self.bits(position) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Of mean 0 and variance 1 (Box and Muller 1958).
    pub fn normal(self, position: u64) -> f64 {
        // Never 0, whose logarithm is infinite.
        let radius = (-2.0 * (1.0 - self.uniform(2 * position)).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform(2 * position + 1)).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let stream = Stream::new(7, 0, 3);
        let numbers: Vec<f64> = (0..100_000).map(|i| stream.normal(i)).collect();
        let mean = numbers.iter().sum::<f64>() / 1e5;
        let variance = numbers.iter().map(|x| x * x).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn streams_differ_by_seed_step_and_number() {
        let first = |seed, step, number| Stream::new(seed, step, number).bits(0);
        let all = [first(1, 0, 0), first(0, 1, 0), first(0, 0, 1), first(0, 0, 0), first(1, 1, 1)];
        let distinct: std::collections::BTreeSet<u64> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
