//! Numbers on the command line, with the range they may have.

use std::ops::RangeInclusive;

/// Points of accuracy.
pub(crate) fn points(text: &str) -> Result<f64, String> {
    within(text, 0.0..=100.0, "points from 0 to 100")
}

/// Bits a parameter.
pub(crate) fn bits(text: &str) -> Result<f64, String> {
    within(text, 0.01..=32.0, "bits from 0.01 to 32")
}

/// Seconds to spend on something.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    within(text, 0.0..=86_400.0, "seconds from 0 to 86400")
}

/// Size of memory.
pub(crate) fn gib(text: &str) -> Result<f64, String> {
    within(text, 0.001..=1e6, "GiB from 0.001 to 1000000")
}

/// A relative error.
pub(crate) fn tolerance(text: &str) -> Result<f64, String> {
    within(text, 0.0..=1e6, "a relative error from 0, as 0.05")
}

/// Threads; 0 is one per core.
pub(crate) fn threads(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n <= 1024).ok_or_else(|| "expected a whole number from 0 to 1024".to_owned())
}

/// A number of things.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a whole number, at least 1".to_owned())
}

fn within(text: &str, range: RangeInclusive<f64>, what: &str) -> Result<f64, String> {
    // NaN is in no range.
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| format!("expected {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert_eq!((points("0"), points("0.5"), points("100")), (Ok(0.0), Ok(0.5), Ok(100.0)));
        for text in ["-1", "101", "NaN", "inf", "half", ""] {
            assert!(points(text).is_err() && bits(text).is_err(), "{text}");
        }
        assert!(seconds("-0.1").is_err() && seconds("1e30").is_err() && seconds("0").is_ok());
        assert!(count("0").is_err() && count("-1").is_err() && count("1").is_ok());
        assert!(threads("1025").is_err() && threads("0").is_ok());
    }
}
