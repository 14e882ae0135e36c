//! A histogram that grows with what it sees, the same for any order of the values.

/// Bins on each side of zero. The larger side of the values always fills more than half of its bins.
const HALF: usize = 8192;

/// Finer bins than this hold nothing that a scale could tell apart.
const MIN_EXPONENT: i32 = -100;

/// Counts of values in bins of width `2^exponent` around zero; exact zeros are counted apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    min: f32,
    max: f32,
    n_zeros: u64,
    exponent: i32,
    /// Bin `i` holds `(i − HALF) · width ..`; empty until a value is not zero.
    counts: Vec<u64>,
}

/// A value was NaN or infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFinite {
    /// Position among the values added at once.
    pub position: usize,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { min: f32::INFINITY, max: f32::NEG_INFINITY, n_zeros: 0, exponent: MIN_EXPONENT, counts: Vec::new() }
    }
}

impl Histogram {
    /// Counts values.
    ///
    /// # Errors
    /// [`NotFinite`]; nothing is counted then.
    pub fn add(&mut self, values: &[f32]) -> Result<(), NotFinite> {
        let (mut lo, mut hi) = (f32::INFINITY, f32::NEG_INFINITY);
        for &x in values {
            lo = lo.min(x);
            hi = hi.max(x);
        }
        // `min` and `max` pass NaN by, so every value is looked at.
        if let Some(position) = values.iter().position(|x| !x.is_finite()) {
            return Err(NotFinite { position });
        }
        if values.is_empty() {
            return Ok(());
        }
        self.min = self.min.min(lo);
        self.max = self.max.max(hi);
        self.make_room(hi.max(-lo));
        let per_unit = (-f64::from(self.exponent)).exp2();
        for &x in values {
            if x == 0.0 {
                self.n_zeros += 1;
            } else {
                let bin = (f64::from(x) * per_unit).floor() as i64 + HALF as i64;
                self.counts[bin.clamp(0, 2 * HALF as i64 - 1) as usize] += 1;
            }
        }
        Ok(())
    }

    /// Widens the bins until `max_abs` has one.
    fn make_room(&mut self, max_abs: f32) {
        if max_abs == 0.0 {
            return;
        }
        let needed = (f64::from(max_abs) / HALF as f64).log2().ceil() as i32;
        let needed = needed.max(MIN_EXPONENT);
        if self.counts.is_empty() {
            self.counts = vec![0; 2 * HALF];
            self.exponent = needed;
        }
        while self.exponent < needed {
            let old = std::mem::replace(&mut self.counts, vec![0; 2 * HALF]);
            for (i, count) in old.into_iter().enumerate() {
                self.counts[(i + HALF) / 2] += count;
            }
            self.exponent += 1;
        }
    }

    /// Smallest and largest value; zero if there was none.
    pub fn range(&self) -> (f32, f32) {
        if self.min <= self.max { (self.min, self.max) } else { (0.0, 0.0) }
    }

    /// Values counted.
    pub fn n(&self) -> u64 {
        self.n_zeros + self.counts.iter().sum::<u64>()
    }

    /// Middle and count of every bin that is not empty, in order; zeros as a bin of their own.
    pub fn bins(&self) -> Vec<(f32, u64)> {
        let mut bins = Vec::new();
        let mut zeros = Some(self.n_zeros).filter(|&n| n > 0);
        for (i, &count) in self.counts.iter().enumerate() {
            if i == HALF {
                bins.extend(zeros.take().map(|n| (0.0, n)));
            }
            if count > 0 {
                let middle = (i as f64 - HALF as f64 + 0.5) * f64::from(self.exponent).exp2();
                bins.push(((middle as f32).clamp(self.min, self.max), count));
            }
        }
        bins.extend(zeros.map(|n| (0.0, n)));
        bins
    }

    /// Counts of `n` equal bins over `-limit..limit`, zeros in the first bin right of the middle, and `limit`, which is
    /// at least the largest magnitude. `n` is a power of two of at most 16384.
    pub fn around_zero(&self, n: usize) -> (Vec<u64>, f64) {
        let run = (2 * HALF / n.max(1)).max(1);
        let mut counts: Vec<u64> = self.counts.chunks(run).map(|bins| bins.iter().sum()).collect();
        counts.resize(2 * HALF / run, 0);
        let middle = counts.len() / 2;
        counts[middle] += self.n_zeros;
        (counts, HALF as f64 * f64::from(self.exponent).exp2())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zeros_are_counted_apart() {
        let mut histogram = Histogram::default();
        histogram.add(&[0.0, 0.0, 1.0, -0.5]).unwrap();
        assert_eq!(histogram.range(), (-0.5, 1.0));
        assert_eq!(histogram.n(), 4);
        let bins = histogram.bins();
        assert_eq!(bins[1], (0.0, 2));
        assert_eq!(bins.len(), 3);
    }

    #[test]
    fn what_is_not_finite_is_refused_with_its_place() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.add(&[1.0, f32::NAN]), Err(NotFinite { position: 1 }));
        assert_eq!(histogram.add(&[f32::INFINITY]), Err(NotFinite { position: 0 }));
        assert_eq!(histogram.n(), 0);
        assert_eq!(histogram.range(), (0.0, 0.0));
    }

    proptest! {
        #[test]
        fn order_and_batches_do_not_matter(values in prop::collection::vec(-1e3f32..1e3, 1..200), cut in 0usize..200) {
            let mut whole = Histogram::default();
            whole.add(&values).unwrap();
            let mut reversed = values.clone();
            reversed.reverse();
            let (a, b) = reversed.split_at(cut.min(values.len()));
            let mut parts = Histogram::default();
            parts.add(a).unwrap();
            parts.add(b).unwrap();
            prop_assert_eq!(&whole, &parts);
            prop_assert_eq!(whole.n(), values.len() as u64);
            let (counts, limit) = whole.around_zero(2048);
            prop_assert_eq!(counts.iter().sum::<u64>(), values.len() as u64);
            prop_assert!(values.iter().all(|x| f64::from(x.abs()) <= limit));
        }

        #[test]
        fn the_larger_side_fills_half_of_its_bins(largest in 1e-3f32..1e6) {
            let mut histogram = Histogram::default();
            histogram.add(&[largest]).unwrap();
            let width = f64::from(histogram.exponent).exp2();
            prop_assert!(f64::from(largest) / width >= HALF as f64 / 2.0);
            prop_assert!(f64::from(largest) / width <= HALF as f64);
        }
    }
}
