//! Budgets: what the result may cost. A budget that is not met ends with exit code 3.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ValueError;
use crate::value::{parse_share, split_unit};

/// The `[budget]` table of a recipe, or the `--target-*` and `--max-*` options. Every part is optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Size of the written file: `"25%"` of the original, or `"3 MB"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_size: Option<TargetSize>,
    /// Median time of one inference, batch 1: `"2ms"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_latency: Option<Latency>,
    /// Mean bits a weight takes, 0..32.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bits")]
    pub target_bits: Option<f64>,
    /// How far the main metric may fall, in points: 0.5 allows 91.7 % to become 91.2 %.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "points")]
    pub max_drop: Option<f64>,
    /// How far the recall of any one class may fall, in points.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "points")]
    pub max_class_drop: Option<f64>,
}

impl Budget {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Budget::default()
    }

    /// This budget with every part that `other` sets taken from `other`.
    pub fn overridden_by(&self, other: &Budget) -> Budget {
        Budget {
            target_size: other.target_size.or(self.target_size),
            target_latency: other.target_latency.or(self.target_latency),
            target_bits: other.target_bits.or(self.target_bits),
            max_drop: other.max_drop.or(self.max_drop),
            max_class_drop: other.max_class_drop.or(self.max_class_drop),
        }
    }
}

fn points<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    in_range(deserializer, 0.0..=100.0, "a drop is given in points from 0 to 100")
}

fn bits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    in_range(deserializer, 0.01..=32.0, "bits a weight go from 0.01 to 32")
}

fn in_range<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: std::ops::RangeInclusive<f64>,
    reason: &str,
) -> Result<Option<f64>, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if range.contains(&number) {
        return Ok(Some(number));
    }
    Err(de::Error::custom(ValueError::new("a budget", &number.to_string(), reason)))
}

/// The size a file may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TargetSize {
    /// A share of the original file, 0..1.
    Ratio(f64),
    /// Bytes.
    Bytes(u64),
}

impl TargetSize {
    /// The largest size allowed for a file whose original has `original_bytes`.
    pub fn limit_bytes(&self, original_bytes: u64) -> u64 {
        match *self {
            TargetSize::Ratio(ratio) => (original_bytes as f64 * ratio).floor() as u64,
            TargetSize::Bytes(bytes) => bytes,
        }
    }
}

impl FromStr for TargetSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = |reason: &str| ValueError::new("a target size", text, reason);
        let expected = "expected a share as \"25%\" or `0.25`, or bytes as \"3 MB\" or \"512 KiB\"";
        if let Some(ratio) = parse_share(text) {
            if ratio > 0.0 && ratio <= 1.0 {
                return Ok(TargetSize::Ratio(ratio));
            }
            return Err(wrong("a share of the original must be more than 0 and at most 1; bytes need a unit"));
        }
        let (number, unit) = split_unit(text).ok_or_else(|| wrong(expected))?;
        let unit_bytes = match unit.to_ascii_lowercase().as_str() {
            "b" | "bytes" => 1.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "kib" => 1024.0,
            "mib" => 1024.0 * 1024.0,
            "gib" => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(wrong("known units are B, kB, MB, GB, KiB, MiB, GiB and %")),
        };
        let bytes = (number * unit_bytes).round();
        if !(1.0..=1e15).contains(&bytes) {
            return Err(wrong("the size must be at least one byte and at most 1,000 TB"));
        }
        Ok(TargetSize::Bytes(bytes as u64))
    }
}

impl fmt::Display for TargetSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetSize::Ratio(ratio) => write!(f, "{ratio}"),
            TargetSize::Bytes(bytes) => write!(f, "{bytes} B"),
        }
    }
}

/// A time that one inference may take.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Latency {
    /// Milliseconds, more than 0.
    pub ms: f64,
}

impl FromStr for Latency {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = |reason: &str| ValueError::new("a target latency", text, reason);
        let expected = "expected a time with its unit, as in \"2ms\", \"500us\" or \"0.1s\"";
        let (number, unit) = split_unit(text).ok_or_else(|| wrong(expected))?;
        let ms = match unit {
            "ns" => number / 1e6,
            "us" | "µs" => number / 1e3,
            "ms" => number,
            "s" => number * 1e3,
            _ => return Err(wrong(expected)),
        };
        if !(ms > 0.0 && ms.is_finite()) {
            return Err(wrong("the time must be more than 0"));
        }
        Ok(Latency { ms })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.ms)
    }
}

macro_rules! as_text {
    ($type:ty, $visitor:ident, $expecting:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        struct $visitor;

        impl Visitor<'_> for $visitor {
            type Value = $type;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($expecting)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<$type, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<$type, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<$type, E> {
                self.visit_str(&number.to_string())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($visitor)
            }
        }
    };
}

as_text!(TargetSize, TargetSizeVisitor, "a size such as \"25%\" or \"3 MB\"");
as_text!(Latency, LatencyVisitor, "a time such as \"2ms\"");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shares_or_bytes() {
        for (text, expected) in [
            ("25%", TargetSize::Ratio(0.25)),
            ("0.25", TargetSize::Ratio(0.25)),
            ("100%", TargetSize::Ratio(1.0)),
            ("3MB", TargetSize::Bytes(3_000_000)),
            ("1.5 KiB", TargetSize::Bytes(1536)),
            ("7 b", TargetSize::Bytes(7)),
        ] {
            let read: TargetSize = text.parse().unwrap();
            assert_eq!(read, expected, "{text}");
            assert_eq!(read.to_string().parse::<TargetSize>().unwrap(), expected);
        }
        assert_eq!(TargetSize::Ratio(0.25).limit_bytes(1001), 250);
        assert_eq!(TargetSize::Bytes(9).limit_bytes(1001), 9);
    }

    #[test]
    fn latencies_have_units() {
        for (text, ms) in [("2ms", 2.0), ("500us", 0.5), ("0.1 s", 100.0), ("250µs", 0.25), ("1000ns", 0.001)] {
            assert_eq!(text.parse::<Latency>().unwrap().ms, ms, "{text}");
        }
    }

    #[test]
    fn wrong_budgets_say_what_would_be_right() {
        let sizes = ["0", "0%", "25", "150%", "3 MiBs", "lots", "", "-3MB", "0.1 B", "1e300GB"];
        let times = ["2", "0ms", "-1ms", "2 minutes", "", "ms"];
        let mut messages: Vec<String> =
            sizes.iter().map(|text| text.parse::<TargetSize>().unwrap_err().to_string()).collect();
        messages.extend(times.iter().map(|text| text.parse::<Latency>().unwrap_err().to_string()));
        insta::assert_snapshot!(messages.join("\n"));
    }

    #[test]
    fn the_later_budget_wins_part_by_part() {
        let recipe = Budget { max_drop: Some(1.0), target_bits: Some(4.0), ..Budget::default() };
        let options = Budget { max_drop: Some(0.5), ..Budget::default() };
        let both = recipe.overridden_by(&options);
        assert_eq!((both.max_drop, both.target_bits), (Some(0.5), Some(4.0)));
        assert!(Budget::default().is_empty() && !both.is_empty());
    }
}
