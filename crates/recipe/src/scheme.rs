//! Quantization schemes by their usual names: `W8A8`, `W4A16`, `W4A16-g32`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ValueError, did_you_mean};

/// How many bits weights and activations take, and how many weights share a scale.
///
/// Written `W<bits>A<bits>`, with `-g<size>` for groups along the input axis: `W8A8`, `W4A16-g128`.
/// 16 and 32 bits stand for floating point, so `W8A32` quantizes weights only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scheme {
    /// Bits of a weight: 2 to 8, or 16 or 32 for float.
    pub weight_bits: u8,
    /// Bits of an activation: 8, or 16 or 32 for float.
    pub activation_bits: u8,
    /// Weights along the input axis that share a scale; none: the method's granularity decides.
    pub group_size: Option<usize>,
}

impl Scheme {
    /// Whether weights become integers.
    pub fn quantizes_weights(&self) -> bool {
        self.weight_bits < 16
    }

    /// Whether activations become integers.
    pub fn quantizes_activations(&self) -> bool {
        self.activation_bits < 16
    }

    /// `(weight bits, activation bits)` and the group size read from `W4A16-g32`; no range is checked.
    fn split(text: &str) -> Option<(u8, u8, Option<usize>)> {
        let text = text.trim().to_ascii_uppercase();
        let (bits, group) = match text.split_once('G') {
            Some((bits, group)) => (bits.trim_end_matches(['-', '_', ' ']), Some(group.parse().ok()?)),
            None => (text.as_str(), None),
        };
        let (weight, activation) = bits.strip_prefix('W')?.split_once('A')?;
        Some((weight.parse().ok()?, activation.parse().ok()?, group))
    }
}

/// The names offered when one is misspelt.
const USUAL: &[&str] = &["W8A8", "W4A16", "W4A8", "W8A16", "W8A32", "W4A32"];

impl FromStr for Scheme {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = |reason: String| Err(ValueError::new("a scheme", text, reason));
        let Some((weight_bits, activation_bits, group_size)) = Scheme::split(text) else {
            let near = match text.trim().to_ascii_lowercase().as_str() {
                "int8" | "8" => Some("W8A8"),
                "int4" | "4" => Some("W4A16"),
                _ => did_you_mean(text, USUAL.iter().copied()),
            };
            let meant = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return wrong(format!("expected weight and activation bits, as in W8A8, W4A16 or W4A16-g32{meant}"));
        };
        if !matches!(weight_bits, 2..=8 | 16 | 32) {
            return wrong(format!("weights can have 2 to 8, 16 or 32 bits, not {weight_bits}"));
        }
        if !matches!(activation_bits, 8 | 16 | 32) {
            return wrong(format!("activations can have 8, 16 or 32 bits, not {activation_bits}"));
        }
        if weight_bits >= 16 && activation_bits >= 16 {
            return wrong("nothing would be quantized; 16 and 32 bits are floating point".into());
        }
        if group_size.is_some_and(|size| size < 2) {
            return wrong("a group must have at least 2 weights".into());
        }
        Ok(Scheme { weight_bits, activation_bits, group_size })
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "W{}A{}", self.weight_bits, self.activation_bits)?;
        match self.group_size {
            Some(size) => write!(f, "-g{size}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Scheme {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scheme {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_are_read_and_written_back() {
        for (text, weight, activation, group, canonical) in [
            ("W8A8", 8, 8, None, "W8A8"),
            ("w4a16", 4, 16, None, "W4A16"),
            ("W8A32", 8, 32, None, "W8A32"),
            ("W4A16-g128", 4, 16, Some(128), "W4A16-g128"),
            ("W4A16 G32", 4, 16, Some(32), "W4A16-g32"),
            ("W32A8", 32, 8, None, "W32A8"),
        ] {
            let scheme: Scheme = text.parse().unwrap();
            let expected = Scheme { weight_bits: weight, activation_bits: activation, group_size: group };
            assert_eq!(scheme, expected, "{text}");
            assert_eq!(scheme.to_string(), canonical);
            assert_eq!(canonical.parse::<Scheme>().unwrap(), scheme);
        }
        for text in USUAL {
            assert_eq!(text.parse::<Scheme>().unwrap().to_string(), *text);
        }
    }

    #[test]
    fn what_is_quantized_follows_the_bits() {
        let weights_only: Scheme = "W8A32".parse().unwrap();
        assert!(weights_only.quantizes_weights() && !weights_only.quantizes_activations());
    }

    #[test]
    fn wrong_schemes_say_what_would_be_right() {
        let texts = ["int8", "W8", "W9A8", "W8A4", "W16A32", "W4A16-g1", "W4A16-gx", "", "W8A8A8", "W8B8"];
        let messages: Vec<String> = texts.iter().map(|text| text.parse::<Scheme>().unwrap_err().to_string()).collect();
        insta::assert_snapshot!(messages.join("\n"));
    }
}
