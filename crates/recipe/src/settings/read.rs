//! A serde deserializer over [`Node`]s whose errors keep the place, the key and the known words.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::{Entry, Node, SettingsError, SettingsProblem, Value};
use crate::Place;

/// Reads a whole table.
pub(crate) fn read<T: DeserializeOwned>(node: &Node) -> Result<T, SettingsError> {
    T::deserialize(NodeReader { node }).map_err(|error| {
        let Found { place, path, problem } = *error.at(node.place.as_ref()).0;
        SettingsError { place, key: path, problem }
    })
}

/// An error on its way out: each level adds its part of the path; the innermost adds the place. In a box, for the readers of
/// all settings hand it on, and moving it is most of what they would do.
#[derive(Debug)]
pub(crate) struct ReadError(Box<Found>);

#[derive(Debug)]
struct Found {
    place: Option<Place>,
    path: String,
    problem: SettingsProblem,
}

impl ReadError {
    fn new(path: &str, problem: SettingsProblem) -> Self {
        ReadError(Box::new(Found { place: None, path: path.to_owned(), problem }))
    }

    #[inline(never)]
    fn inside(mut self, part: &str, place: Option<&Place>) -> Self {
        let found = &mut *self.0;
        let joint = if found.path.is_empty() || found.path.starts_with('[') { "" } else { "." };
        found.path = format!("{part}{joint}{}", found.path);
        self.at(place)
    }

    #[inline(never)]
    fn at(mut self, place: Option<&Place>) -> Self {
        if self.0.place.is_none() {
            self.0.place = place.cloned();
        }
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at `{}`", self.0.problem, self.0.path)
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
        ReadError::new("", SettingsProblem::WrongValue { reason: message.to_string() })
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let written = unexpected.to_string();
        let expected = plain_words(&expected.to_string());
        ReadError::new("", SettingsProblem::WrongType { written, expected })
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> Self {
        let written = format!("{length} values");
        ReadError::new("", SettingsProblem::WrongType { written, expected: expected.to_string() })
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let written = variant.to_string();
        ReadError::new("", SettingsProblem::UnknownWord { written, known: owned(expected) })
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        ReadError::new(field, SettingsProblem::UnknownKey { known: owned(expected) })
    }

    fn missing_field(field: &'static str) -> Self {
        ReadError::new(field, SettingsProblem::MissingKey)
    }
}

#[derive(Clone, Copy)]
struct NodeReader<'a> {
    node: &'a Node,
}

impl NodeReader<'_> {
    /// Says what the person wrote rather than what serde calls it.
    #[inline(never)]
    fn explain(self, mut error: ReadError) -> ReadError {
        if error.0.path.is_empty()
            && let SettingsProblem::WrongType { written, .. } = &mut error.0.problem
        {
            *written = self.node.describe();
        }
        error.at(self.node.place.as_ref())
    }

    /// The node is not what is expected.
    #[inline(never)]
    fn mistyped(self, expected: &dyn de::Expected) -> ReadError {
        let expected = plain_words(&expected.to_string());
        self.explain(ReadError::new("", SettingsProblem::WrongType { written: String::new(), expected }))
    }
}

/// Who asks for one type meets no other: the code of a visitor for what it would refuse is left out.
macro_rules! one_type {
    ($($ask:ident: $($value:pat => $visited:expr),+;)*) => {$(
        fn $ask<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let result = match &self.node.value {
                $($value => $visited(visitor),)+
                _ => return Err(self.mistyped(&visitor)),
            };
            result.map_err(|error| self.explain(error))
        }
    )*};
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

    one_type! {
        deserialize_bool: Value::Bool(value) => |visitor: V| visitor.visit_bool(*value);
        deserialize_i32: Value::Integer(value) => |visitor: V| visitor.visit_i64(*value);
        deserialize_i64: Value::Integer(value) => |visitor: V| visitor.visit_i64(*value);
        deserialize_u8: Value::Integer(value) => |visitor: V| visitor.visit_i64(*value);
        deserialize_u32: Value::Integer(value) => |visitor: V| visitor.visit_i64(*value);
        deserialize_u64: Value::Integer(value) => |visitor: V| visitor.visit_i64(*value);
        deserialize_f32: Value::Integer(value) => |visitor: V| visitor.visit_i64(*value),
            Value::Float(value) => |visitor: V| visitor.visit_f64(*value);
        deserialize_f64: Value::Integer(value) => |visitor: V| visitor.visit_i64(*value),
            Value::Float(value) => |visitor: V| visitor.visit_f64(*value);
        deserialize_str: Value::Text(value) => |visitor: V| visitor.visit_str(value);
        deserialize_string: Value::Text(value) => |visitor: V| visitor.visit_str(value);
        deserialize_seq: Value::List(nodes) => |visitor: V| visitor.visit_seq(ListReader { nodes, next: 0 });
        deserialize_map: Value::Table(entries) => |visitor: V| visitor.visit_map(TableReader { entries, next: 0 });
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_map(visitor)
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
                Err(ReadError::new("", SettingsProblem::WrongType { written: String::new(), expected }))
            }
        };
        result.map_err(|error| self.explain(error))
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u16 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
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
        seed.deserialize(key).map(Some).map_err(|error| error.at(entry.place.as_ref()))
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
