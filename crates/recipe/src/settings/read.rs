//! A serde deserializer over [`Node`]s whose errors keep the place, the key and the known words.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::{Entry, Node, SettingsError, SettingsProblem, Value};
use crate::Place;

/// Reads a whole table.
pub(crate) fn read<T: DeserializeOwned>(node: &Node) -> Result<T, SettingsError> {
    T::deserialize(NodeReader { node }).map_err(|error| SettingsError {
        place: error.place.or_else(|| node.place.clone()),
        key: error.path,
        problem: error.problem,
    })
}

/// An error on its way out: each level adds its part of the path; the innermost adds the place.
#[derive(Debug)]
pub(crate) struct ReadError {
    place: Option<Place>,
    path: String,
    problem: SettingsProblem,
}

impl ReadError {
    fn new(problem: SettingsProblem) -> Self {
        ReadError { place: None, path: String::new(), problem }
    }

    fn inside(mut self, part: &str, place: Option<&Place>) -> Self {
        let joint = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{part}{joint}{}", self.path);
        self.place = self.place.or_else(|| place.cloned());
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at `{}`", self.problem, self.path)
    }
}

impl std::error::Error for ReadError {}

/// serde's names of types, in the words of somebody who writes TOML.
fn plain_words(expected: &str) -> String {
    match expected {
        "a boolean" => "`true` or `false`".to_string(),
        "a string" => "text in quotes".to_string(),
        "f32" | "f64" => "a number".to_string(),
        "u8" => "a whole number from 0 to 255".to_string(),
        "u16" | "u32" | "u64" | "usize" => "a whole number, not negative and not too large".to_string(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_string(),
        "a sequence" => "a list".to_string(),
        _ if expected.starts_with("struct ") || expected == "a map" => "a table".to_string(),
        _ => expected.to_string(),
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        ReadError::new(SettingsProblem::WrongValue { reason: message.to_string() })
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let written = unexpected.to_string();
        let expected = plain_words(&expected.to_string());
        ReadError::new(SettingsProblem::WrongType { written, expected })
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> Self {
        let written = format!("{length} values");
        ReadError::new(SettingsProblem::WrongType { written, expected: expected.to_string() })
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let written = variant.to_string();
        ReadError::new(SettingsProblem::UnknownWord { written, known: owned(expected) })
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let problem = SettingsProblem::UnknownKey { known: owned(expected) };
        ReadError { path: field.to_string(), ..ReadError::new(problem) }
    }

    fn missing_field(field: &'static str) -> Self {
        ReadError { path: field.to_string(), ..ReadError::new(SettingsProblem::MissingKey) }
    }
}

#[derive(Clone, Copy)]
struct NodeReader<'a> {
    node: &'a Node,
}

impl NodeReader<'_> {
    /// Says what the person wrote rather than what serde calls it.
    fn explain(self, mut error: ReadError) -> ReadError {
        if error.path.is_empty()
            && let SettingsProblem::WrongType { written, .. } = &mut error.problem
        {
            *written = self.node.describe();
        }
        error.place = error.place.or_else(|| self.node.place.clone());
        error
    }
}

impl<'de> de::Deserializer<'de> for NodeReader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let result = match &self.node.value {
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) => visitor.visit_str(value),
            Value::List(nodes) => visitor.visit_seq(ListReader { nodes, next: 0 }),
            Value::Table(entries) => visitor.visit_map(TableReader { entries, next: 0 }),
        };
        result.map_err(|error| self.explain(error))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    /// `"minmax"` names a variant; `{ percentile = { share = 0.999 } }` one with values.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let result = match &self.node.value {
            Value::Text(word) => {
                let word: StrDeserializer<'_, ReadError> = word.as_str().into_deserializer();
                visitor.visit_enum(word)
            }
            Value::Table(entries) if entries.len() == 1 => {
                let table = TableReader { entries, next: 0 };
                visitor.visit_enum(de::value::MapAccessDeserializer::new(table))
            }
            _ => {
                let expected = format!("one of the words {}", variants.join(", "));
                Err(ReadError::new(SettingsProblem::WrongType { written: String::new(), expected }))
            }
        };
        result.map_err(|error| self.explain(error))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct TableReader<'a> {
    entries: &'a [Entry],
    next: usize,
}

impl<'de> de::MapAccess<'de> for TableReader<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some(entry) = self.entries.get(self.next) else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, ReadError> = entry.key.as_str().into_deserializer();
        // The error of an unknown key names the key itself, so only the place is added.
        let with_place = |mut error: ReadError| {
            error.place = error.place.or_else(|| entry.place.clone());
            error
        };
        seed.deserialize(key).map(Some).map_err(with_place)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some(entry) = self.entries.get(self.next) else {
            return Err(de::Error::custom("no value is left"));
        };
        self.next += 1;
        seed.deserialize(NodeReader { node: &entry.node })
            .map_err(|error| error.inside(&entry.key, entry.node.place.as_ref()))
    }
}

struct ListReader<'a> {
    nodes: &'a [Node],
    next: usize,
}

impl<'de> de::SeqAccess<'de> for ListReader<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let at = self.next;
        let Some(node) = self.nodes.get(at) else {
            return Ok(None);
        };
        self.next += 1;
        let value = seed.deserialize(NodeReader { node });
        value.map(Some).map_err(|error| error.inside(&format!("[{at}]"), node.place.as_ref()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.nodes.len().saturating_sub(self.next))
    }
}
