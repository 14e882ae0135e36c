//! The verbs, one file each: ask `lissom-job`, show the answer.

mod bench;
mod compare;
mod compress;
mod demo;
mod doctor;
mod eval;
mod inspect;
mod lists;
mod train;

use std::ffi::OsString;
use std::path::Path;

use clap::CommandFactory;
use lissom_job::{JobError, SCHEMA_VERSION, run};
use lissom_onnx::ReadOptions;
use lissom_recipe::run::{FileError, RunRequest};
use lissom_recipe::{ExitCode, Interrupt};
use serde::Serialize;

use crate::arguments::{Arguments, Common, Completions, Resume, RunModel, Verb};
use crate::print::{note, out};
use crate::progress::Watcher;

/// What every verb is given.
pub(crate) struct Context {
    pub(crate) common: Common,
    pub(crate) command: Vec<String>,
    pub(crate) interrupt: Interrupt,
}

impl Context {
    /// How far model files are trusted.
    pub(crate) fn read_options(&self) -> ReadOptions {
        ReadOptions {
            allow_external_roots: self.common.allow_external_root.clone(),
            untrusted: self.common.untrusted,
            ..ReadOptions::default()
        }
    }

    pub(crate) fn watcher(&self) -> Watcher {
        Watcher::new(self.common.quiet)
    }

    /// Prints a document or, without `--json`, what `text` makes of it.
    pub(crate) fn print<T: Serialize>(&self, document: &T, text: impl FnOnce(&T) -> String) -> Result<(), JobError> {
        if self.common.json {
            let json = serde_json::to_string_pretty(document);
            out(&(json.map_err(|error| JobError::Stored { reason: error.to_string() })? + "\n"))
        } else {
            out(&text(document))
        }
    }
}

/// Runs a verb.
pub(crate) fn dispatch(verb: Verb, context: &Context) -> Result<ExitCode, JobError> {
    match verb {
        Verb::Demo(arguments) => demo::demo(&arguments, context),
        Verb::Compress(arguments) => compress::compress(&arguments, context),
        Verb::Train(arguments) => train::train(&arguments, context),
        Verb::Eval(arguments) => eval::eval(&arguments, context),
        Verb::Bench(arguments) => bench::bench(&arguments, context),
        Verb::Compare(arguments) => compare::compare(&arguments, context),
        Verb::Inspect(arguments) => inspect::inspect(&arguments, context),
        Verb::Run(arguments) => run_model(&arguments, context),
        Verb::Methods(arguments) => lists::methods(&arguments, context),
        Verb::Ops => lists::ops(context),
        Verb::Doctor => doctor::doctor(context),
        Verb::Resume(arguments) => resume(&arguments, context),
        Verb::Completions(arguments) => completions(&arguments, context),
    }
}

fn run_model(arguments: &RunModel, context: &Context) -> Result<ExitCode, JobError> {
    let options = context.read_options();
    let RunModel { model, input, output } = arguments;
    let result = run::run(model, input, output, context.common.threads, &options)?;
    context.print(&result, |result| {
        let line = |output: &run::OutputInfo| format!("{}: {}{:?}\n", output.name, output.dtype, output.shape);
        result.outputs.iter().map(line).collect()
    })?;
    Ok(ExitCode::Done)
}

fn resume(arguments: &Resume, context: &Context) -> Result<ExitCode, JobError> {
    let request = RunRequest::read(&arguments.run)?.ok_or_else(|| JobError::Usage {
        reason: format!("`{}` holds no run", arguments.run.display()),
        hint: "name the folder that `--out` named, or one under `runs`; that of a demo is its `run`".to_owned(),
    })?;
    if request.command.get(1).is_none_or(|verb| verb == "resume") {
        return Err(JobError::Usage {
            reason: "the run was not started by a verb that can be resumed".to_owned(),
            hint: "start it again".to_owned(),
        });
    }
    note(&format!("resuming: {}", request.command.join(" ")));
    if let Some(folder) = &request.folder
        && std::env::current_dir().ok().as_ref() != Some(folder)
    {
        std::env::set_current_dir(folder).map_err(|error| FileError::of("go to", folder, error))?;
        note(&format!("in: {}", folder.display()));
    }
    let words: Vec<OsString> = request.command.into_iter().map(OsString::from).collect();
    Ok(crate::run(words, Some(&context.common)))
}

/// The command that a run is resumed by: as given, but naming its folder.
pub(crate) fn with_out(command: &[String], out: &Path) -> Vec<String> {
    let mut command = command.to_vec();
    if !command.iter().any(|word| word == "--out" || word.starts_with("--out=")) {
        command.extend(["--out".to_owned(), out.display().to_string()]);
    }
    command
}

#[derive(Serialize)]
struct Script {
    schema_version: u32,
    shell: String,
    script: String,
}

fn completions(arguments: &Completions, context: &Context) -> Result<ExitCode, JobError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "lissom", &mut script);
    let script = Script {
        schema_version: SCHEMA_VERSION,
        shell: arguments.shell.to_string(),
        script: String::from_utf8_lossy(&script).into_owned(),
    };
    context.print(&script, |script| script.script.clone())?;
    Ok(ExitCode::Done)
}
