//! What is wrong with a value written by a person.

/// A value that could not be understood: what it should be, what was written, and why that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{written}` is not {expected}: {reason}")]
pub struct ValueError {
    /// What the value should be, with its article: `a sparsity`.
    pub expected: &'static str,
    /// What was written.
    pub written: String,
    /// Why it is wrong and what would be right.
    pub reason: String,
}

impl ValueError {
    pub(crate) fn new(expected: &'static str, written: &str, reason: impl Into<String>) -> Self {
        ValueError { expected, written: written.to_string(), reason: reason.into() }
    }
}

/// Reads a share written as `50%` or `0.5` and returns it as 0..1 without checking its range.
pub(crate) fn parse_share(text: &str) -> Option<f64> {
    let text = text.trim();
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse::<f64>().ok()? / 100.0,
        None => text.parse::<f64>().ok()?,
    };
    share.is_finite().then_some(share)
}

/// Splits `2.5ms` into its number and its unit.
pub(crate) fn split_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic() || c == '%' || c == 'µ')?;
    let number = text[..unit_at].trim_end().parse::<f64>().ok()?;
    number.is_finite().then_some((number, &text[unit_at..]))
}
