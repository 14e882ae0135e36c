//! `lissom methods` and `lissom ops`: the lists, as they are.

use lissom_compress::METHODS;
use lissom_job::{JobError, SCHEMA_VERSION};
use lissom_ops::OPS;
use lissom_recipe::{ExitCode, PRESETS, did_you_mean};
use serde::Serialize;

use super::Context;
use crate::arguments::Methods;
use crate::show::table;

#[derive(Serialize)]
struct MethodList {
    schema_version: u32,
    methods: Vec<MethodEntry>,
    presets: Vec<PresetEntry>,
}

#[derive(Serialize)]
struct MethodEntry {
    name: &'static str,
    summary: &'static str,
    source: &'static str,
    example: &'static str,
}

#[derive(Serialize)]
struct PresetEntry {
    name: &'static str,
    toml: &'static str,
}

#[derive(Serialize)]
struct OpList {
    schema_version: u32,
    operators: Vec<OpEntry>,
}

#[derive(Serialize)]
struct OpEntry {
    name: &'static str,
    domain: &'static str,
    since: u32,
}

/// `lissom methods [NAME]`.
pub(crate) fn methods(arguments: &Methods, context: &Context) -> Result<ExitCode, JobError> {
    if let Some(name) = &arguments.name {
        let names = METHODS.iter().map(|spec| spec.name).chain(PRESETS.iter().map(|preset| preset.name));
        if !names.clone().any(|known| known == name) {
            let hint = match did_you_mean(name, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`lissom methods` lists them".to_owned(),
            };
            return Err(JobError::Usage { reason: format!("there is no method or preset `{name}`"), hint });
        }
    }
    let wanted = |name: &str| arguments.name.as_ref().is_none_or(|only| only == name);
    let list = MethodList {
        schema_version: SCHEMA_VERSION,
        methods: METHODS
            .iter()
            .filter(|spec| wanted(spec.name))
            .map(|spec| MethodEntry {
                name: spec.name,
                summary: spec.summary,
                source: spec.source,
                example: spec.example,
            })
            .collect(),
        presets: PRESETS
            .iter()
            .filter(|preset| wanted(preset.name))
            .map(|preset| PresetEntry { name: preset.name, toml: preset.text })
            .collect(),
    };
    let is_single = arguments.name.is_some();
    context.print(&list, |list| if is_single { one(list) } else { all(list) })?;
    Ok(ExitCode::Done)
}

fn one(list: &MethodList) -> String {
    let mut text = String::new();
    for method in &list.methods {
        text += &format!("{}: {}\n\nsource: {}\n\n", method.name, method.summary, method.source);
        text += &format!("[[step]]\nmethod = \"{}\"\n{}\n", method.name, method.example);
    }
    for preset in &list.presets {
        text += &format!("# preset {}\n{}", preset.name, preset.toml);
    }
    text
}

fn all(list: &MethodList) -> String {
    let rows: Vec<Vec<String>> =
        list.methods.iter().map(|method| vec![method.name.to_owned(), method.summary.to_owned()]).collect();
    let presets: Vec<&str> = list.presets.iter().map(|preset| preset.name).collect();
    format!(
        "{}\npresets: {}\n`lissom methods NAME` shows one\n",
        table(&["method", "what it does"], &rows),
        presets.join(", ")
    )
}

/// `lissom ops`.
pub(crate) fn ops(context: &Context) -> Result<ExitCode, JobError> {
    let entry = |spec: &lissom_graph::OpSpec| OpEntry { name: spec.name, domain: spec.domain, since: spec.since };
    let list = OpList { schema_version: SCHEMA_VERSION, operators: OPS.iter().map(entry).collect() };
    context.print(&list, |list| {
        let rows: Vec<Vec<String>> = list
            .operators
            .iter()
            .map(|op| {
                let domain = if op.domain.is_empty() { "ai.onnx" } else { op.domain };
                vec![op.name.to_owned(), domain.to_owned(), op.since.to_string()]
            })
            .collect();
        format!("{}\n{} operators\n", table(&["operator", "domain", "since opset"], &rows), rows.len())
    })?;
    Ok(ExitCode::Done)
}
