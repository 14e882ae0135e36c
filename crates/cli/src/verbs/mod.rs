//! The verbs, one file each: ask `lissom-job`, show the answer.

mod bench;
mod compare;
mod compress;
mod demo;
mod doctor;
mod eval;
mod inspect;
mod lists;

use std::ffi::OsString;

use clap::CommandFactory;
use lissom_job::{JobError, run};
use lissom_onnx::ReadOptions;
use lissom_recipe::run::RunRequest;
use lissom_recipe::{ExitCode, Interrupt};
use serde::Serialize;

use crate::arguments::{Arguments, Common, Completions, Resume, RunModel, Verb};
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
            println!("{}", json.map_err(|error| JobError::Stored { reason: error.to_string() })?);
        } else {
            print!("{}", text(document));
        }
        Ok(())
    }
}

/// Runs a verb.
pub(crate) fn dispatch(verb: Verb, context: &Context) -> Result<ExitCode, JobError> {
    match verb {
        Verb::Demo(arguments) => demo::demo(&arguments, context),
        Verb::Compress(arguments) => compress::compress(&arguments, context),
        Verb::Eval(arguments) => eval::eval(&arguments, context),
        Verb::Bench(arguments) => bench::bench(&arguments, context),
        Verb::Compare(arguments) => compare::compare(&arguments, context),
        Verb::Inspect(arguments) => inspect::inspect(&arguments, context),
        Verb::Run(arguments) => run_model(&arguments, context),
        Verb::Methods(arguments) => lists::methods(&arguments, context),
        Verb::Ops => lists::ops(context),
        Verb::Doctor => doctor::doctor(context),
        Verb::Resume(arguments) => resume(&arguments),
        Verb::Completions(arguments) => completions(&arguments),
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

fn resume(arguments: &Resume) -> Result<ExitCode, JobError> {
    let request = RunRequest::read(&arguments.run)?.ok_or_else(|| JobError::Usage {
        reason: format!("`{}` holds no run", arguments.run.display()),
        hint: "name the folder that `--out` named, or one under `runs`".to_owned(),
    })?;
    eprintln!("resuming: {}", request.command.join(" "));
    let mut words: Vec<OsString> = request.command.into_iter().map(OsString::from).collect();
    if words.get(1).is_some_and(|verb| verb == "resume") {
        return Err(JobError::Usage {
            reason: "the run was not started by a verb that can be resumed".to_owned(),
            hint: "start it again".to_owned(),
        });
    }
    // The folder may have been chosen for the user; now it is known.
    if !words.iter().any(|word| word == "--out") {
        words.push("--out".into());
        words.push(arguments.run.clone().into());
    }
    Ok(crate::run(words))
}

fn completions(arguments: &Completions) -> Result<ExitCode, JobError> {
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "lissom", &mut std::io::stdout());
    Ok(ExitCode::Done)
}
