//! How many weights become zero, and in which shape.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ValueError;
use crate::value::parse_share;

/// The shape zeros come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pattern {
    /// Any weight may become zero.
    #[default]
    Unstructured,
    /// `kept:group`, as in `2:4`: of each `group` neighbours along the input axis, `kept` stay.
    NofM {
        /// How many stay, at least 1 and fewer than `group`.
        kept: usize,
        /// How many neighbours share one choice.
        group: usize,
    },
    /// `rows x cols`, as in `1x4`: whole blocks of the `[c_out, c_in]` weight become zero together.
    Block {
        /// Rows (along the output axis).
        rows: usize,
        /// Columns (along the input axis).
        cols: usize,
    },
}

/// The largest group or block side that is accepted.
const MAX_SIDE: usize = 1024;

impl Pattern {
    /// The share of zeros the pattern alone fixes: 0.5 for `2:4`, none for the others.
    pub fn fixed_fraction(&self) -> Option<f64> {
        match *self {
            Pattern::NofM { kept, group } => Some(1.0 - kept as f64 / group as f64),
            Pattern::Unstructured | Pattern::Block { .. } => None,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Unstructured => f.write_str("unstructured"),
            Pattern::NofM { kept, group } => write!(f, "{kept}:{group}"),
            Pattern::Block { rows, cols } => write!(f, "{rows}x{cols}"),
        }
    }
}

impl FromStr for Pattern {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = |reason: &str| ValueError::new("a pattern", text, reason);
        let sides = |split: (&str, &str)| Some((side(split.0)?, side(split.1)?));
        if text == "unstructured" {
            return Ok(Pattern::Unstructured);
        }
        if let Some((kept, group)) = text.split_once(':').and_then(sides) {
            if kept >= group {
                return Err(wrong("in `N:M`, N of every M weights are kept, so N must be less than M"));
            }
            return Ok(Pattern::NofM { kept, group });
        }
        if let Some((rows, cols)) = text.split_once(['x', 'X']).and_then(sides) {
            return Ok(Pattern::Block { rows, cols });
        }
        Err(wrong("expected `unstructured`, `2:4` (2 of 4 kept) or `1x4` (blocks), sides from 1 to 1024"))
    }
}

fn side(text: &str) -> Option<usize> {
    text.trim().parse().ok().filter(|side| (1..=MAX_SIDE).contains(side))
}

/// The share of weights that become zero, and the shape the zeros come in.
///
/// Written as `0.5`, `"50%"`, `"2:4"`, or `{ fraction = 0.8, pattern = "1x4" }`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sparsity {
    fraction: f64,
    pattern: Pattern,
}

impl Sparsity {
    /// A share of zeros, `0 <= fraction < 1`, in a pattern.
    ///
    /// # Errors
    /// If the share is out of range, or differs from the one the pattern fixes (`2:4` is 0.5).
    pub fn new(fraction: f64, pattern: Pattern) -> Result<Sparsity, ValueError> {
        let written = fraction.to_string();
        let wrong = |reason: String| Err(ValueError::new("a sparsity", &written, reason));
        if !(0.0..1.0).contains(&fraction) {
            let meant = if (1.0..100.0).contains(&fraction) {
                format!("; for {fraction} percent write `{}` or \"{fraction}%\"", fraction / 100.0)
            } else {
                String::new()
            };
            return wrong(format!("the share of zeros must be at least 0 and less than 1{meant}"));
        }
        match pattern.fixed_fraction() {
            Some(fixed) if (fixed - fraction).abs() > 1e-9 => {
                wrong(format!("the pattern {pattern} fixes the share of zeros at {fixed}"))
            }
            _ => Ok(Sparsity { fraction, pattern }),
        }
    }

    /// The share of weights that become zero, 0..1.
    pub fn fraction(&self) -> f64 {
        self.fraction
    }

    /// The shape the zeros come in.
    pub fn pattern(&self) -> Pattern {
        self.pattern
    }

    /// The same share in another pattern, for a step that names its pattern in a key of its own.
    ///
    /// # Errors
    /// If this sparsity already names a different pattern, or `pattern` fixes another share.
    pub fn with_pattern(self, pattern: Pattern) -> Result<Sparsity, ValueError> {
        if self.pattern == pattern || self.pattern == Pattern::Unstructured {
            return Sparsity::new(self.fraction, pattern);
        }
        let reason = format!("the step also asks for the pattern {pattern}; keep one of them");
        Err(ValueError::new("a sparsity", &self.to_string(), reason))
    }
}

impl fmt::Display for Sparsity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pattern {
            Pattern::Unstructured => write!(f, "{}", self.fraction),
            Pattern::NofM { .. } => self.pattern.fmt(f),
            Pattern::Block { .. } => write!(f, "{} {}", self.fraction, self.pattern),
        }
    }
}

impl FromStr for Sparsity {
    type Err = ValueError;

    /// Reads `0.5`, `50%`, `2:4`, and `80% 1x4` as [`Sparsity`]'s `Display` writes it.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = |reason: &str| ValueError::new("a sparsity", text, reason);
        if let Some(fraction) = parse_share(text) {
            return Sparsity::new(fraction, Pattern::Unstructured);
        }
        if let Some((share, pattern)) = text.trim().split_once(' ') {
            let fraction = parse_share(share).ok_or_else(|| wrong(EXPECTED))?;
            return Sparsity::new(fraction, pattern.trim().parse()?);
        }
        if !text.contains([':', 'x']) {
            return Err(wrong(EXPECTED));
        }
        let pattern: Pattern = text.parse()?;
        match pattern.fixed_fraction() {
            Some(fraction) => Sparsity::new(fraction, pattern),
            None => Err(wrong("blocks need a share of zeros too, as in `{ fraction = 0.8, pattern = \"1x4\" }`")),
        }
    }
}

const EXPECTED: &str =
    "expected a share as `0.5` or \"50%\", a pattern as \"2:4\", or `{ fraction = 0.8, pattern = \"1x4\" }`";

impl Serialize for Sparsity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.pattern {
            Pattern::Unstructured => serializer.serialize_f64(self.fraction),
            _ => serializer.collect_str(self),
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Sparsity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SparsityVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SparsityTable {
    fraction: f64,
    #[serde(default)]
    pattern: Pattern,
}

struct SparsityVisitor;

impl<'de> Visitor<'de> for SparsityVisitor {
    type Value = Sparsity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sparsity such as 0.5, \"50%\", \"2:4\" or { fraction = 0.8, pattern = \"1x4\" }")
    }

    fn visit_f64<E: de::Error>(self, fraction: f64) -> Result<Sparsity, E> {
        Sparsity::new(fraction, Pattern::Unstructured).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, fraction: i64) -> Result<Sparsity, E> {
        self.visit_f64(fraction as f64)
    }

    fn visit_u64<E: de::Error>(self, fraction: u64) -> Result<Sparsity, E> {
        self.visit_f64(fraction as f64)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Sparsity, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Sparsity, A::Error> {
        let table = SparsityTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Sparsity::new(table.fraction, table.pattern).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn usual_names_are_read() {
        let block = Pattern::Block { rows: 1, cols: 4 };
        let two_of_four = Pattern::NofM { kept: 2, group: 4 };
        for (text, fraction, pattern) in [
            ("0.5", 0.5, Pattern::Unstructured),
            ("0", 0.0, Pattern::Unstructured),
            ("50%", 0.5, Pattern::Unstructured),
            (" 12.5 % ", 0.125, Pattern::Unstructured),
            ("2:4", 0.5, two_of_four),
            ("1:4", 0.75, Pattern::NofM { kept: 1, group: 4 }),
            ("0.8 1x4", 0.8, block),
            ("50% 2:4", 0.5, two_of_four),
        ] {
            let read: Sparsity = text.parse().unwrap();
            assert_eq!((read.fraction(), read.pattern()), (fraction, pattern), "{text}");
        }
    }

    #[test]
    fn wrong_sparsities_say_what_would_be_right() {
        let texts = ["70", "1", "-0.1", "nan", "inf", "4:2", "2:2", "0:4", "1x4", "0.7 2:4", "lots", "", "2:9999", "x"];
        let messages: Vec<String> =
            texts.iter().map(|text| text.parse::<Sparsity>().unwrap_err().to_string()).collect();
        insta::assert_snapshot!(messages.join("\n"));
    }

    #[test]
    fn a_pattern_beside_a_share_is_combined_or_refused() {
        let block = Pattern::Block { rows: 4, cols: 1 };
        let half: Sparsity = "0.5".parse().unwrap();
        assert_eq!(half.with_pattern(block).unwrap().pattern(), block);
        assert!(half.with_pattern(block).unwrap().with_pattern("2:4".parse().unwrap()).is_err());
        assert!("0.6".parse::<Sparsity>().unwrap().with_pattern("2:4".parse().unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn display_reads_back(fraction in 0.0f64..1.0, rows in 1usize..9, cols in 1usize..9, kind in 0..3) {
            let sparsity = match kind {
                0 => Sparsity::new(fraction, Pattern::Unstructured),
                1 => Sparsity::new(fraction, Pattern::Block { rows, cols }),
                _ => {
                    let pattern = Pattern::NofM { kept: rows, group: rows + cols };
                    Sparsity::new(pattern.fixed_fraction().unwrap(), pattern)
                }
            }
            .unwrap();
            prop_assert_eq!(sparsity.to_string().parse::<Sparsity>().unwrap(), sparsity);
            let json = serde_json::to_string(&sparsity).unwrap();
            prop_assert_eq!(serde_json::from_str::<Sparsity>(&json).unwrap(), sparsity);
        }
    }
}
