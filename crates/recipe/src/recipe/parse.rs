//! TOML text -> [`Recipe`]: top-level keys, presets and how a recipe extends them, steps.

use std::path::Path;
use std::sync::Arc;

use super::{MethodCatalog, Recipe, RecipeError, RecipeText, Step, TRAIN};
use crate::settings::{Entry, Node, Value};
use crate::{Budget, LayerFilter, PRESETS, Place, Settings, SettingsError, SettingsProblem, did_you_mean};

const TOP_KEYS: &[&str] = &["name", "description", "extends", "without", "budget", "model", TRAIN, "step"];

pub(super) fn parse(text: &RecipeText, methods: &dyn MethodCatalog) -> Result<Recipe, RecipeError> {
    let mut draft = Draft::read(text, 0)?;
    let start = || Place { file: Arc::from(text.name.as_str()), line: 1, column: 1 };
    if let (true, Some(train), Some(method)) = (draft.steps.is_empty(), &draft.train, methods.plain_training()) {
        let method_place = train.place().cloned().unwrap_or_else(start);
        let settings = Settings::empty();
        draft.steps.push(DraftStep { method: method.to_string(), method_place, before: None, settings });
    }
    if draft.steps.is_empty() {
        return Err(RecipeError::NoSteps { place: start() });
    }
    let train = draft.train;
    let steps = draft.steps.into_iter().map(|step| step.check(methods, train.as_ref()));
    let steps: Vec<Step> = steps.collect::<Result<_, _>>()?;
    if let Some(train) = &train
        && steps.iter().all(|step| step.train.is_none())
    {
        return Err(train.error_at("", "no step of the recipe trains").under(TRAIN).into());
    }
    if let Some(model) = &draft.model {
        methods.check_model(model).map_err(|error| error.under("model"))?;
    }
    Ok(Recipe {
        name: draft.name.unwrap_or_else(|| stem(&text.name)),
        description: draft.description,
        steps,
        budget: draft.budget,
        model: draft.model,
    })
}

/// `recipes/mine.toml` -> `mine`, `preset int8` -> `int8`.
fn stem(name: &str) -> String {
    let name = name.strip_prefix("preset ").unwrap_or(name);
    let stem = Path::new(name).file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// A recipe before its methods are checked.
struct Draft {
    name: Option<String>,
    description: Option<String>,
    steps: Vec<DraftStep>,
    budget: Budget,
    model: Option<Settings>,
    train: Option<Settings>,
}

/// `base` with what `over` sets in it.
fn extended(base: Option<Settings>, over: Option<Settings>) -> Option<Settings> {
    match (base, over) {
        (Some(base), Some(over)) => Some(base.merged(&over)),
        (base, over) => over.or(base),
    }
}

struct DraftStep {
    method: String,
    method_place: Place,
    /// Put before the step of this method instead of at the end.
    before: Option<(String, Place)>,
    settings: Settings,
}

/// Presets extend presets, but never this deep.
const MAX_EXTENDS: usize = 8;

impl Draft {
    fn read(text: &RecipeText, depth: usize) -> Result<Draft, RecipeError> {
        let mut top = Top { node: Node::parse(&text.name, &text.text)? };
        top.check_keys()?;
        let mut draft = Draft {
            name: top.text("name")?,
            description: top.text("description")?,
            steps: Vec::new(),
            budget: Budget::default(),
            model: None,
            train: None,
        };
        for (preset, place) in top.words("extends")? {
            let known = PRESETS.iter().find(|known| known.name == preset && depth < MAX_EXTENDS);
            let known = known.ok_or_else(|| RecipeError::unknown_preset(Some(place), &preset))?;
            let base = Draft::read(&known.recipe_text(), depth + 1)?;
            draft.steps.extend(base.steps);
            draft.budget = draft.budget.overridden_by(&base.budget);
            draft.model = extended(draft.model, base.model);
            draft.train = extended(draft.train, base.train);
        }
        for (method, place) in top.words("without")? {
            let known = draft.methods();
            draft.steps.retain(|step| step.method != method);
            if draft.steps.len() == known.len() {
                return Err(RecipeError::NoSuchStep { place, key: "without", name: method, known });
            }
        }
        if let Some(entry) = top.node.take("budget") {
            let budget = Settings::new(entry.node).parse().map_err(|error| error.under("budget"))?;
            draft.budget = draft.budget.overridden_by(&budget);
        }
        let (model, train) = (top.table("model")?, top.table(TRAIN)?);
        draft.model = extended(draft.model, model);
        draft.train = extended(draft.train, train);
        draft.extend(top.steps()?)?;
        Ok(draft)
    }

    fn methods(&self) -> Vec<String> {
        self.steps.iter().map(|step| step.method.clone()).collect()
    }

    /// The n-th new step of a method changes the n-th inherited step of it, key by key; one more is added.
    fn extend(&mut self, steps: Vec<DraftStep>) -> Result<(), RecipeError> {
        let mut inherited: Vec<Option<String>> = self.methods().into_iter().map(Some).collect();
        for step in steps {
            let same = inherited.iter().position(|method| method.as_ref() == Some(&step.method));
            match (same, &step.before) {
                (Some(at), None) => {
                    inherited[at] = None;
                    let settings = &mut self.steps[at].settings;
                    settings.node_mut().merge(step.settings.node().clone());
                }
                (_, None) => {
                    self.steps.push(step);
                    inherited.push(None);
                }
                (_, Some((method, place))) => {
                    let at = self.steps.iter().position(|other| other.method == *method);
                    let at = at.ok_or_else(|| RecipeError::NoSuchStep {
                        place: place.clone(),
                        key: "before",
                        name: method.clone(),
                        known: self.methods(),
                    })?;
                    self.steps.insert(at, step);
                    inherited.insert(at, None);
                }
            }
        }
        Ok(())
    }
}

impl DraftStep {
    fn check(self, methods: &dyn MethodCatalog, train: Option<&Settings>) -> Result<Step, RecipeError> {
        let DraftStep { method, method_place, mut settings, .. } = self;
        let known = methods.names();
        if !known.contains(&method.as_str()) {
            let known = known.into_iter().map(str::to_string).collect();
            return Err(RecipeError::UnknownMethod { place: method_place, name: method, known });
        }
        let in_step = |error| RecipeError::Step { error: Box::new(error), method: method.clone() };
        let own = settings.node_mut().take(TRAIN).map(|entry| table(TRAIN, entry)).transpose().map_err(in_step)?;
        methods.check(&method, &settings).map_err(in_step)?;
        let train = match (methods.is_training(&method, &settings), own) {
            (false, None) => None,
            (false, Some(own)) => return Err(in_step(own.error_at("", "this method does not train").under(TRAIN))),
            (true, own) => {
                let train = extended(train.cloned(), own).unwrap_or_else(Settings::empty);
                methods.check_train(&train).map_err(|error| in_step(error.under(TRAIN)))?;
                Some(train)
            }
        };
        let layers = match settings.node().get("layers") {
            Some(entry) => Settings::new(entry.node.clone()).parse().map_err(|error| in_step(error.under("layers")))?,
            None => LayerFilter::all(),
        };
        Ok(Step { method, settings, layers, train })
    }
}

/// The top level of a recipe's text.
struct Top {
    node: Node,
}

impl Top {
    fn check_keys(&self) -> Result<(), SettingsError> {
        let Value::Table(entries) = &self.node.value else {
            return Ok(());
        };
        match entries.iter().find(|entry| !TOP_KEYS.contains(&entry.key.as_str())) {
            None => Ok(()),
            Some(Entry { key, place, .. }) => {
                let known = TOP_KEYS.iter().map(|key| key.to_string()).collect();
                let problem = SettingsProblem::UnknownKey { known };
                Err(SettingsError { place: place.clone(), key: key.clone(), problem })
            }
        }
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, SettingsError> {
        self.node.take(key).map(|entry| text(key, entry.node).map(|(text, _)| text)).transpose()
    }

    fn table(&mut self, key: &str) -> Result<Option<Settings>, SettingsError> {
        self.node.take(key).map(|entry| table(key, entry)).transpose()
    }

    /// One word or a list of words.
    fn words(&mut self, key: &str) -> Result<Vec<(String, Place)>, SettingsError> {
        match self.node.take(key) {
            None => Ok(Vec::new()),
            Some(Entry { node: Node { value: Value::List(nodes), .. }, .. }) => {
                let word = |(at, node)| text(&format!("{key}[{at}]"), node);
                nodes.into_iter().enumerate().map(word).collect()
            }
            Some(entry) => Ok(vec![text(key, entry.node)?]),
        }
    }

    fn steps(&mut self) -> Result<Vec<DraftStep>, SettingsError> {
        match self.node.take("step") {
            None => Ok(Vec::new()),
            Some(Entry { node: Node { value: Value::List(nodes), .. }, .. }) => {
                let step = |(at, node)| read_step(&format!("step[{at}]"), node);
                nodes.into_iter().enumerate().map(step).collect()
            }
            Some(entry) => {
                let found = entry.node.describe();
                Err(wrong_type("step", entry.place, found, "`[[step]]` with double brackets"))
            }
        }
    }
}

fn read_step(key: &str, mut node: Node) -> Result<DraftStep, SettingsError> {
    if !matches!(node.value, Value::Table(_)) {
        return Err(wrong_type(key, node.place.clone(), node.describe(), "a table"));
    }
    let Some(entry) = node.take("method") else {
        return Err(missing_method(key, node));
    };
    let (method, method_place) = text(&format!("{key}.method"), entry.node)?;
    let before = node.take("before");
    let before = before.map(|entry| text(&format!("{key}.before"), entry.node)).transpose()?;
    Ok(DraftStep { method, method_place, before, settings: Settings::new(node) })
}

/// No `method`: perhaps it is misspelt.
fn missing_method(key: &str, node: Node) -> SettingsError {
    if let Value::Table(entries) = &node.value
        && let Some(entry) = entries.iter().find(|entry| did_you_mean(&entry.key, ["method"]).is_some())
    {
        let problem = SettingsProblem::UnknownKey { known: vec!["method".to_string()] };
        return SettingsError { place: entry.place.clone(), key: format!("{key}.{}", entry.key), problem };
    }
    SettingsError { place: node.place, key: format!("{key}.method"), problem: SettingsProblem::MissingKey }
}

/// A table, placed where its key stands.
fn table(key: &str, Entry { place, mut node, .. }: Entry) -> Result<Settings, SettingsError> {
    if !matches!(node.value, Value::Table(_)) {
        return Err(wrong_type(key, node.place.clone(), node.describe(), "a table"));
    }
    node.place = place;
    Ok(Settings::new(node))
}

fn text(key: &str, node: Node) -> Result<(String, Place), SettingsError> {
    let found = node.describe();
    match (node.value, node.place) {
        (Value::Text(text), Some(place)) => Ok((text, place)),
        (_, place) => Err(wrong_type(key, place, found, "text in quotes")),
    }
}

fn wrong_type(key: &str, place: Option<Place>, written: String, expected: &str) -> SettingsError {
    let problem = SettingsProblem::WrongType { written, expected: expected.to_string() };
    SettingsError { place, key: key.to_string(), problem }
}
