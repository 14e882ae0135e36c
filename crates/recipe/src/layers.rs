//! Which layers a step works on.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ValueError, nearest};

/// Picks layers by name: those that match `include` (all, when it is empty) and not `exclude`.
///
/// Written as `layers = "conv*"`, `layers = ["conv*", "re:fc[12]"]`, or
/// `layers = { include = [..], exclude = [..], allow_unmatched = true }`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LayerFilter {
    /// Layers to take; empty means every layer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<LayerPattern>,
    /// Layers to leave out, whatever `include` says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<LayerPattern>,
    /// Accept patterns that match no layer; otherwise they are an error.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_unmatched: bool,
}

/// Patterns that match no layer: a step that would silently do nothing, or less than asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the layer pattern `{pattern}` matches none of the {n_layers} layers")]
pub struct UnmatchedPattern {
    /// The first pattern, as written.
    pub pattern: String,
    /// Every pattern that matched nothing, the first included.
    pub patterns: Vec<String>,
    /// How many layers there were to match.
    pub n_layers: usize,
    /// The names nearest to the pattern.
    pub nearest: Vec<String>,
}

impl UnmatchedPattern {
    /// What to do about it.
    pub fn hint(&self) -> String {
        let mut hint = String::new();
        if !self.nearest.is_empty() {
            let list = self.nearest.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
            hint = format!("did you mean {}? ", list.join(" or "));
        }
        if self.patterns.len() > 1 {
            let list = self.patterns[1..].iter().map(|text| format!("`{text}`")).collect::<Vec<_>>();
            hint += &format!("nor does {} match; ", list.join(" or "));
        }
        hint + "`lissom inspect MODEL` lists the layers; `allow_unmatched = true` accepts it"
    }
}

impl LayerFilter {
    /// Takes every layer.
    pub fn all() -> LayerFilter {
        LayerFilter::default()
    }

    /// Whether the layer of this name is taken.
    pub fn matches(&self, name: &str) -> bool {
        let included = self.include.is_empty() || self.include.iter().any(|p| p.matches(name));
        included && !self.exclude.iter().any(|p| p.matches(name))
    }

    /// The positions in `names` of the layers taken, in order.
    ///
    /// # Errors
    /// If a pattern of `include` or `exclude` matches no name, unless `allow_unmatched` is set.
    pub fn select<S: AsRef<str>>(&self, names: &[S]) -> Result<Vec<usize>, UnmatchedPattern> {
        if !self.allow_unmatched {
            self.check(names)?;
        }
        let taken = |position: &usize| self.matches(names[*position].as_ref());
        Ok((0..names.len()).filter(taken).collect())
    }

    /// The patterns, as written, that match none of `names`.
    pub fn unmatched<S: AsRef<str>>(&self, names: &[S]) -> Vec<&LayerPattern> {
        let matches_none = |pattern: &&LayerPattern| !names.iter().any(|name| pattern.matches(name.as_ref()));
        self.include.iter().chain(&self.exclude).filter(matches_none).collect()
    }

    fn check<S: AsRef<str>>(&self, names: &[S]) -> Result<(), UnmatchedPattern> {
        let unmatched = self.unmatched(names);
        let Some(first) = unmatched.first() else {
            return Ok(());
        };
        let plain = first.as_str().trim_start_matches("re:").replace(['*', '?', '^', '$'], "");
        Err(UnmatchedPattern {
            pattern: first.to_string(),
            patterns: unmatched.iter().map(|pattern| pattern.to_string()).collect(),
            n_layers: names.len(),
            nearest: near_names(&plain, names),
        })
    }
}

/// Names close to a pattern's plain letters: by edit distance, else those that contain them.
fn near_names<S: AsRef<str>>(plain: &str, names: &[S]) -> Vec<String> {
    const SHOWN: usize = 3;
    let mut near = nearest(plain, names.iter().map(AsRef::as_ref), SHOWN);
    if near.is_empty() && plain.len() >= 2 {
        let lower = plain.to_lowercase();
        let holds = |name: &&str| name.to_lowercase().contains(&lower);
        near = names.iter().map(AsRef::as_ref).filter(holds).take(SHOWN).collect();
    }
    near.into_iter().map(str::to_string).collect()
}

/// One pattern: a glob (`*`, `?`, `[ab]`; `*` crosses `/` and `.`), or after `re:` a regular
/// expression that must match the whole name. A name always matches itself.
#[derive(Clone)]
pub struct LayerPattern {
    text: String,
    form: Form,
}

#[derive(Clone)]
enum Form {
    Exact,
    Glob(glob::Pattern),
    Regex(regex::Regex),
}

/// Bounds the memory a regular expression from a stranger may take.
const MAX_REGEX_BYTES: usize = 1 << 20;

impl LayerPattern {
    /// Whether the pattern matches the whole of `name`.
    pub fn matches(&self, name: &str) -> bool {
        match &self.form {
            Form::Exact => self.text == name,
            Form::Glob(glob) => self.text == name || glob.matches(name),
            Form::Regex(regex) => regex.is_match(name),
        }
    }

    /// Matches this name and no other, whatever characters it has.
    pub fn exact(name: &str) -> LayerPattern {
        LayerPattern { text: name.to_string(), form: Form::Exact }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for LayerPattern {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = |reason: String| ValueError::new("a layer pattern", text, reason);
        if text.is_empty() {
            return Err(wrong("it is empty; `*` matches every layer".into()));
        }
        let form = match text.strip_prefix("re:") {
            Some(expression) => {
                let build = |expression: &str| regex::RegexBuilder::new(expression).size_limit(MAX_REGEX_BYTES).build();
                // Built alone first, so that a message does not show the anchors around it.
                let built = build(expression).and_then(|_| build(&format!("^(?:{expression})$")));
                Form::Regex(built.map_err(|error| wrong(last_line(&error.to_string())))?)
            }
            None => Form::Glob(glob::Pattern::new(text).map_err(|error| wrong(error.msg.into()))?),
        };
        Ok(LayerPattern { text: text.to_string(), form })
    }
}

/// The line of a regex error that names the reason; the ones before draw the expression.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or(message).trim();
    line.strip_prefix("error: ").unwrap_or(line).to_string()
}

impl fmt::Display for LayerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for LayerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayerPattern({:?})", self.text)
    }
}

impl PartialEq for LayerPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Serialize for LayerPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for LayerPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One pattern or a list of them.
struct Patterns(Vec<LayerPattern>);

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PatternsVisitor).map(Patterns)
    }
}

struct PatternsVisitor;

impl<'de> Visitor<'de> for PatternsVisitor {
    type Value = Vec<LayerPattern>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a layer pattern such as \"conv*\" or \"re:fc[12]\", or a list of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(vec![text.parse().map_err(E::custom)?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut patterns = Vec::new();
        while let Some(pattern) = list.next_element()? {
            patterns.push(pattern);
        }
        Ok(patterns)
    }
}

fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LayerPattern>, D::Error> {
    Patterns::deserialize(deserializer).map(|patterns| patterns.0)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterTable {
    #[serde(default, deserialize_with = "patterns")]
    include: Vec<LayerPattern>,
    #[serde(default, deserialize_with = "patterns")]
    exclude: Vec<LayerPattern>,
    #[serde(default)]
    allow_unmatched: bool,
}

struct FilterVisitor;

impl<'de> Visitor<'de> for FilterVisitor {
    type Value = LayerFilter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("layer patterns, such as \"conv*\" or { include = [\"conv*\"], exclude = [\"head\"] }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<LayerFilter, E> {
        let include = PatternsVisitor.visit_str(text)?;
        Ok(LayerFilter { include, ..LayerFilter::default() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<LayerFilter, A::Error> {
        let include = PatternsVisitor.visit_seq(list)?;
        Ok(LayerFilter { include, ..LayerFilter::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LayerFilter, A::Error> {
        let table = FilterTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
        let FilterTable { include, exclude, allow_unmatched } = table;
        Ok(LayerFilter { include, exclude, allow_unmatched })
    }
}

impl<'de> Deserialize<'de> for LayerFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FilterVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    fn filter(toml: &str) -> LayerFilter {
        #[derive(Deserialize)]
        struct Only {
            layers: LayerFilter,
        }
        let settings = Settings::from_toml("r.toml", &format!("layers = {toml}")).unwrap();
        settings.parse::<Only>().unwrap().layers
    }

    const NAMES: [&str; 5] = ["conv1", "conv10", "/block.0/conv1/Conv", "fc[1]", "head"];

    #[test]
    fn globs_and_regexes_match_whole_names() {
        for (toml, expected) in [
            ("'conv1'", vec![0]),
            ("'conv?'", vec![0]),
            ("'conv*'", vec![0, 1]),
            ("'*conv1*'", vec![0, 1, 2]),
            ("'/block.*'", vec![2]),
            ("'re:conv1'", vec![0]),
            ("'re:conv1|head'", vec![0, 4]),
            ("'re:.*conv.*'", vec![0, 1, 2]),
            ("'fc[1]'", vec![3]),
            ("['head', 'conv1']", vec![0, 4]),
            ("{ exclude = ['conv*', 'head'] }", vec![2, 3]),
            ("{ include = 'conv*', exclude = '*0' }", vec![0]),
            ("{}", vec![0, 1, 2, 3, 4]),
            ("[]", vec![0, 1, 2, 3, 4]),
        ] {
            assert_eq!(filter(toml).select(&NAMES).unwrap(), expected, "{toml}");
        }
        assert_eq!(LayerFilter::all().select::<&str>(&[]).unwrap(), Vec::<usize>::new());
    }

    #[test]
    fn every_unmatched_pattern_is_reported_unless_allowed() {
        let strict = filter("{ include = ['conv1', 'conv2'], exclude = ['heads'] }");
        let error = strict.select(&NAMES).unwrap_err();
        assert_eq!(error.patterns, ["conv2", "heads"]);
        assert_eq!(error.nearest, ["conv1", "conv10"]);
        let lenient = filter("{ include = ['conv1', 'conv2'], allow_unmatched = true }");
        assert_eq!(lenient.select(&NAMES).unwrap(), [0]);
        assert_eq!(lenient.unmatched(&NAMES).len(), 1);
    }

    #[test]
    fn canonical_form_reads_back() {
        let original = filter("{ include = ['conv*', 're:fc.'], exclude = 'head', allow_unmatched = true }");
        let json = serde_json::to_string(&original).unwrap();
        assert_eq!(serde_json::from_str::<LayerFilter>(&json).unwrap(), original);
    }
}
