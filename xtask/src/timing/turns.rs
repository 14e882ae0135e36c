//! Engines in turn, and what comes of it.

use super::worker::Worker;

/// An engine that had its turns.
pub(crate) struct Measured {
    pub(crate) engine: String,
    /// Median of the medians of the rounds.
    pub(crate) ms: f64,
    /// Median of each round.
    pub(crate) rounds_ms: Vec<f64>,
    pub(crate) load_ms: f64,
    pub(crate) peak_bytes: Option<u64>,
}

/// Median and quartiles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quartiles {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Measured {
    /// How many times as fast as another engine this one is, round by round.
    pub(crate) fn times_as_fast_as(&self, other: &Self) -> Quartiles {
        let ratios = other.rounds_ms.iter().zip(&self.rounds_ms).map(|(theirs, ours)| theirs / ours);
        quartiles(ratios.collect())
    }
}

/// Lets engines run by turns; every round begins with another one.
pub(crate) fn in_turn(mut workers: Vec<Worker>, rounds: usize, seconds: f64) -> Result<Vec<Measured>, String> {
    let n = workers.len();
    let mut rounds_ms = vec![Vec::new(); n];
    for round in 0..rounds {
        for at in (0..n).map(|turn| (round + turn) % n) {
            let times = workers[at].run_ms(seconds)?;
            rounds_ms[at].push(quartiles(times).median);
        }
    }
    let measured = workers.iter().zip(rounds_ms).map(|(worker, rounds_ms)| Measured {
        engine: worker.engine.clone(),
        ms: quartiles(rounds_ms.clone()).median,
        rounds_ms,
        load_ms: worker.load_ms,
        peak_bytes: worker.peak_bytes,
    });
    Ok(measured.collect())
}

/// By linear interpolation between the sorted values.
fn quartiles(mut values: Vec<f64>) -> Quartiles {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = share * values.len().saturating_sub(1) as f64;
        let (low, high) = (values.get(place.floor() as usize), values.get(place.ceil() as usize));
        let (Some(low), Some(high)) = (low, high) else { return f64::NAN };
        low + (high - low) * place.fract()
    };
    Quartiles { low: at(0.25), median: at(0.5), high: at(0.75) }
}

/// Three significant digits.
pub(crate) fn milliseconds(ms: f64) -> String {
    let decimals = (2.0 - ms.log10().floor()).clamp(0.0, 4.0);
    format!("{ms:.*}", decimals as usize)
}

/// The peak, in megabytes.
pub(crate) fn memory(measured: &Measured) -> String {
    measured.peak_bytes.map_or(String::new(), |bytes| format!("{:.0} MB", bytes as f64 / 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_values() {
        assert_eq!(quartiles(vec![4.0, 1.0, 2.0, 3.0]), Quartiles { low: 1.75, median: 2.5, high: 3.25 });
        assert_eq!(quartiles(vec![5.0]), Quartiles { low: 5.0, median: 5.0, high: 5.0 });
    }

    #[test]
    fn times_have_three_digits() {
        let texts = [0.0123, 0.203, 5.178, 18.32, 276.6].map(milliseconds);
        assert_eq!(texts, ["0.0123", "0.203", "5.18", "18.3", "277"]);
    }
}
