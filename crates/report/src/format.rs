//! Numbers as a reader wants them. Every function takes finite values; `None` where there is nothing to say.

/// The minus sign, as wide as a digit in most fonts.
const MINUS: char = '\u{2212}';

/// A value that can be shown: finite.
pub(crate) fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// `272,474`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `40.8 M`: three digits and a decimal prefix.
pub(crate) fn short_count(value: u64) -> String {
    let prefixed = prefixed(value as f64, "");
    prefixed.trim_end().to_owned()
}

/// `1.09 MB`; 1 MB is 10⁶ bytes.
pub(crate) fn bytes(value: u64) -> String {
    prefixed(value as f64, "B")
}

fn prefixed(value: f64, unit: &str) -> String {
    let mut scaled = value;
    let mut prefixes = ["k", "M", "G", "T", "P"].iter();
    let mut prefix = "";
    // 999.95 and more would be written with four digits, so it moves on to the next prefix.
    while scaled.abs() >= 999.5 {
        let Some(next) = prefixes.next() else { break };
        (scaled, prefix) = (scaled / 1000.0, next);
    }
    let number = if prefix.is_empty() { format!("{scaled:.0}") } else { significant(scaled) };
    format!("{number}\u{a0}{prefix}{unit}").trim_end_matches('\u{a0}').to_owned()
}

/// Three significant digits: `12.3`, `0.412`, `1.20e-5`.
pub(crate) fn significant(value: f64) -> String {
    let size = value.abs();
    let text = if size == 0.0 {
        "0".to_owned()
    } else if !(1e-4..1e6).contains(&size) {
        format!("{value:.2e}")
    } else {
        // The place of the first digit after rounding to three: 9.996 is shown as 10.0.
        let rounded: f64 = format!("{size:.2e}").parse().unwrap_or(size);
        let decimals = (2 - rounded.log10().floor() as i32).max(0) as usize;
        format!("{value:.decimals$}")
    };
    text.replace('-', &MINUS.to_string())
}

/// `0.412 ms`.
pub(crate) fn milliseconds(value: f64) -> String {
    format!("{}\u{a0}ms", significant(value))
}

/// A share 0..1 as `91.73 %`.
pub(crate) fn percent(share: f64, decimals: usize) -> String {
    format!("{}\u{a0}%", fixed(share * 100.0, decimals))
}

/// A difference of shares as percentage points, `0.18` or `−0.40`.
pub(crate) fn points(share: f64) -> String {
    fixed(share * 100.0, 2)
}

/// A fixed number of decimals, a true minus sign, and no negative zero.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest.to_owned(),
        Some(rest) => format!("{MINUS}{rest}"),
        None => text,
    }
}

/// `0.034`, or `< 0.001`.
pub(crate) fn p_value(value: f64) -> String {
    if value < 0.001 { "<\u{a0}0.001".to_owned() } else { format!("{value:.3}") }
}

/// `3.9×` as the larger over the smaller.
pub(crate) fn times(ratio: f64) -> String {
    let text = if ratio >= 100.0 {
        format!("{ratio:.0}")
    } else if ratio >= 10.0 {
        format!("{ratio:.1}")
    } else {
        format!("{ratio:.2}")
    };
    format!("{text}×")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 272_474, 1_000_000].map(count), ["0", "999", "1,000", "272,474", "1,000,000"]);
        assert_eq!(
            [0, 999, 1000, 1_090_000, 999_950].map(bytes),
            ["0\u{a0}B", "999\u{a0}B", "1.00\u{a0}kB", "1.09\u{a0}MB", "1.00\u{a0}MB"]
        );
        assert_eq!(short_count(40_813_184), "40.8\u{a0}M");
        assert_eq!(short_count(7), "7");
        assert_eq!(
            [0.0, 12.345, 0.4123, 9.996, 1.2e-5, -0.5, 123_456.0].map(significant),
            ["0", "12.3", "0.412", "10.0", "1.20e\u{2212}5", "\u{2212}0.500", "123456"]
        );
        assert_eq!(percent(0.91734, 2), "91.73\u{a0}%");
        assert_eq!([0.0018, -0.004, -0.000_001].map(points), ["0.18", "\u{2212}0.40", "0.00"]);
        assert_eq!([0.0342, 1e-9].map(p_value), ["0.034", "<\u{a0}0.001"]);
        assert_eq!([1.0, 3.914, 12.0, 345.6].map(times), ["1.00×", "3.91×", "12.0×", "346×"]);
    }

    proptest! {
        #[test]
        fn three_digits_stay_within_their_rounding(value in -1e9f64..1e9) {
            let back: f64 = significant(value).replace(MINUS, "-").parse().unwrap();
            prop_assert!((back - value).abs() <= value.abs() * 0.005 + f64::MIN_POSITIVE);
        }
    }
}
