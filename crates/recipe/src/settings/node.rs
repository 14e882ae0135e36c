//! A TOML value together with its place, and its canonical JSON.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::{SettingsError, SettingsProblem};
use crate::Place;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub value: Value,
    pub place: Option<Place>,
}

/// What a recipe can hold: TOML without dates.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order written.
    Table(Vec<Entry>),
}

/// One `key = value`.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: String,
    /// Where the key stands.
    pub place: Option<Place>,
    pub node: Node,
}

impl Node {
    /// Parses TOML text into a table.
    pub fn parse(name: &str, text: &str) -> Result<Node, SettingsError> {
        let source = Source { file: Arc::from(name), text };
        let table = DeTable::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let reason = error.message().trim().replace('\n', ", ");
            source.error(offset, "", SettingsProblem::Syntax { reason })
        })?;
        Ok(Node { value: source.table(table.get_ref(), "")?, place: Some(source.place(0)) })
    }

    /// The entry of a table with this key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Table(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// Removes and returns the entry with this key.
    pub fn take(&mut self, key: &str) -> Option<Entry> {
        match &mut self.value {
            Value::Table(entries) => {
                let at = entries.iter().position(|entry| entry.key == key)?;
                Some(entries.remove(at))
            }
            _ => None,
        }
    }

    /// Sets the keys of `other` in this table; tables inside are merged the same way.
    pub fn merge(&mut self, other: Node) {
        match (&mut self.value, other.value) {
            (Value::Table(entries), Value::Table(new)) => {
                for entry in new {
                    match entries.iter_mut().find(|old| old.key == entry.key) {
                        Some(old) => {
                            old.place = entry.place;
                            old.node.merge(entry.node);
                        }
                        None => entries.push(entry),
                    }
                }
                self.place = other.place;
            }
            (value, new) => {
                *value = new;
                self.place = other.place;
            }
        }
    }

    /// What kind of value this is, for messages.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Bool(value) => format!("`{value}`"),
            Value::Integer(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(value) => format!("the text \"{value}\""),
            Value::List(_) => "a list".to_string(),
            Value::Table(_) => "a table".to_string(),
        }
    }

    /// JSON with sorted keys. A whole float and the integer are the same number.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => (*value).into(),
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 1e15 => (*value as i64).into(),
            Value::Float(value) => (*value).into(),
            Value::Text(value) => value.as_str().into(),
            Value::List(nodes) => nodes.iter().map(Node::to_json).collect(),
            Value::Table(entries) => {
                let mut sorted: Vec<&Entry> = entries.iter().collect();
                sorted.sort_by(|a, b| a.key.cmp(&b.key));
                let pairs = sorted.into_iter().map(|entry| (entry.key.clone(), entry.node.to_json()));
                serde_json::Value::Object(pairs.collect())
            }
        }
    }
}

/// The text being parsed.
struct Source<'a> {
    file: Arc<str>,
    text: &'a str,
}

impl Source<'_> {
    fn place(&self, offset: usize) -> Place {
        Place::of_offset(&self.file, self.text, offset)
    }

    fn error(&self, offset: usize, key: &str, problem: SettingsProblem) -> SettingsError {
        SettingsError { place: Some(self.place(offset)), key: key.to_string(), problem }
    }

    fn table(&self, table: &DeTable<'_>, path: &str) -> Result<Value, SettingsError> {
        let mut pairs: Vec<_> = table.iter().collect();
        pairs.sort_by_key(|(key, _)| key.span().start);
        let mut entries = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let name = key.get_ref().to_string();
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let node = self.node(value.get_ref(), value.span().start, &path)?;
            entries.push(Entry { key: name, place: Some(self.place(key.span().start)), node });
        }
        Ok(Value::Table(entries))
    }

    fn node(&self, value: &DeValue<'_>, offset: usize, path: &str) -> Result<Node, SettingsError> {
        let wrong = |reason: &str| self.error(offset, path, SettingsProblem::WrongValue { reason: reason.to_string() });
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
                .map(Value::Integer)
                .map_err(|_| wrong("this whole number does not fit in 64 bits"))?,
            DeValue::Float(digits) => match digits.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => Value::Float(number),
                _ => return Err(wrong("numbers must be finite")),
            },
            DeValue::Datetime(_) => return Err(wrong("dates have no use here; write text in quotes")),
            DeValue::Array(items) => {
                let item = |(at, item): (usize, &toml::Spanned<DeValue<'_>>)| {
                    self.node(item.get_ref(), item.span().start, &format!("{path}[{at}]"))
                };
                Value::List(items.iter().enumerate().map(item).collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => self.table(table, path)?,
        };
        Ok(Node { value, place: Some(self.place(offset)) })
    }
}
