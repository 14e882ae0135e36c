//! Words with settings of their own: `"sgd"`, or `{ name = "sgd", momentum = 0.9 }`.

use super::{Entry, Node, Settings, SettingsError, SettingsProblem, Value};
use crate::Place;

/// The key that holds the word.
const NAME: &str = "name";

/// A word with settings of its own.
#[derive(Debug, Clone)]
pub struct Named {
    /// The word.
    pub name: String,
    /// Where it stands.
    pub place: Option<Place>,
    /// Its settings.
    pub settings: Settings,
    /// The key it is the value of.
    key: String,
}

impl Named {
    /// The word alone, from nowhere in a text: what is meant where nothing was written.
    pub fn word(key: &str, name: &str) -> Named {
        Named { name: name.to_string(), place: None, settings: Settings::empty(), key: key.to_string() }
    }

    fn read(key: &str, mut node: Node) -> Result<Named, SettingsError> {
        let wrong = |node: &Node| {
            let expected = "a word in quotes, or a table with a `name`".to_string();
            let problem = SettingsProblem::WrongType { written: node.describe(), expected };
            SettingsError { place: node.place.clone(), key: key.to_string(), problem }
        };
        if let Value::Text(name) = &node.value {
            return Ok(Named { place: node.place.clone(), ..Named::word(key, name) });
        }
        if !matches!(node.value, Value::Table(_)) {
            return Err(wrong(&node));
        }
        let Some(Entry { node: name, .. }) = node.take(NAME) else {
            let key = format!("{key}.{NAME}");
            return Err(SettingsError { place: node.place, key, problem: SettingsProblem::MissingKey });
        };
        match name.value {
            Value::Text(word) => {
                Ok(Named { place: name.place, settings: Settings::new(node), ..Named::word(key, &word) })
            }
            _ => Err(wrong(&name)),
        }
    }

    /// The entry of `list` of this name, and what it makes of the settings.
    ///
    /// # Errors
    /// An unknown word, with those there are; whatever `parse` says, with the place in the whole.
    pub fn find<S, T>(
        &self,
        list: &[S],
        name: impl Fn(&S) -> &str,
        parse: impl FnOnce(&S, &Settings) -> Result<T, SettingsError>,
    ) -> Result<T, SettingsError> {
        let Some(found) = list.iter().find(|entry| name(entry) == self.name) else {
            let known = list.iter().map(|entry| name(entry).to_string()).collect();
            let problem = SettingsProblem::UnknownWord { written: self.name.clone(), known };
            return Err(SettingsError { place: self.place.clone(), key: self.key.clone(), problem });
        };
        parse(found, &self.settings).map_err(|error| error.under(&self.key))
    }
}

impl Settings {
    /// The word, or table with a `name`, that is the value of `key`, if it is written.
    ///
    /// # Errors
    /// Something else was written.
    pub fn named(&self, key: &str) -> Result<Option<Named>, SettingsError> {
        self.node.get(key).map(|entry| Named::read(key, entry.node.clone())).transpose()
    }

    /// The same for a list, or for one alone.
    ///
    /// # Errors
    /// As [`named`](Self::named).
    pub fn named_list(&self, key: &str) -> Result<Vec<Named>, SettingsError> {
        let Some(entry) = self.node.get(key) else { return Ok(Vec::new()) };
        match &entry.node.value {
            Value::List(nodes) => {
                let read = |(at, node): (usize, &Node)| Named::read(&format!("{key}[{at}]"), node.clone());
                nodes.iter().enumerate().map(read).collect()
            }
            _ => Ok(vec![Named::read(key, entry.node.clone())?]),
        }
    }

    /// The number that is the value of `key`, else `default`; and the settings without it.
    ///
    /// # Errors
    /// Something else was written.
    pub fn split_number(&self, key: &str, default: f64) -> Result<(f64, Settings), SettingsError> {
        let mut rest = self.clone();
        let number = match rest.node.take(key).map(|entry| entry.node) {
            None => default,
            Some(Node { value: Value::Float(number), .. }) => number,
            Some(Node { value: Value::Integer(number), .. }) => number as f64,
            Some(node) => {
                let problem = SettingsProblem::WrongType { written: node.describe(), expected: "a number".to_string() };
                return Err(SettingsError { place: node.place, key: key.to_string(), problem });
            }
        };
        Ok((number, rest))
    }

    /// These settings with those of `other` set in them; tables inside likewise.
    pub fn merged(&self, other: &Settings) -> Settings {
        let mut merged = self.clone();
        merged.node.merge(other.node.clone());
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::from_toml("r.toml", text).unwrap()
    }

    #[test]
    fn words_and_tables_are_read_with_their_places() {
        let all = settings("a = \"sgd\"\nb = { name = \"sgd\", momentum = 0.5 }\nc = [\"x\", { name = \"y\" }]\n");
        assert_eq!(all.named("a").unwrap().unwrap().name, "sgd");
        let b = all.named("b").unwrap().unwrap();
        assert!(b.settings.has("momentum") && !b.settings.has("name"));
        let names: Vec<String> = all.named_list("c").unwrap().into_iter().map(|named| named.name).collect();
        assert_eq!(names, ["x", "y"]);
        assert_eq!(all.named_list("a").unwrap().len(), 1);
        assert!(all.named("d").unwrap().is_none() && all.named_list("d").unwrap().is_empty());
        let error = b.find(&["sdg"], |name| name, |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().starts_with("r.toml:2:14"), "{error}");
        assert!(error.hint().unwrap().contains("`sdg`"));
        let wrong = |_: &&str, settings: &Settings| Err::<(), _>(settings.error_at("momentum", "is wrong"));
        let error = b.find(&["sgd"], |name| name, wrong).unwrap_err();
        assert_eq!(error.to_string(), "r.toml:2:32: `b.momentum`: is wrong");
    }

    #[test]
    fn what_is_no_word_is_refused() {
        for (text, part) in [("a = 1", "a table with a `name`"), ("a = { b = 1 }", "`a.name` is missing")] {
            let error = settings(text).named("a").unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
