//! The `lissom` binary: arguments, progress, exit codes. Everything else happens in `lissom-job`.

mod arguments;
mod progress;
mod show;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode as ProcessExit;

use clap::Parser;
use lissom_job::JobError;
use lissom_recipe::{ExitCode, interrupt};

use arguments::Arguments;

fn main() -> ProcessExit {
    let words: Vec<OsString> = std::env::args_os().collect();
    run(words).into()
}

/// Runs a command line; `resume` comes through here again with the words of the run.
fn run(words: Vec<OsString>) -> ExitCode {
    let command: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors.
            let code = if error.use_stderr() { ExitCode::Usage } else { ExitCode::Done };
            let _ = error.print();
            return code;
        }
    };
    let is_json = arguments.common.json;
    if let Some(gib) = arguments.common.max_memory {
        lissom_tensor::set_max_tensor_bytes((gib * f64::from(1 << 30)) as u64);
    }
    let flag = match interrupt::install() {
        Ok(flag) => flag,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::Io;
        }
    };
    let context = verbs::Context { common: arguments.common, command, interrupt: flag };
    match verbs::dispatch(arguments.verb, &context) {
        Ok(code) => code,
        Err(error) => {
            report_error(&error, is_json);
            error.exit_code()
        }
    }
}

/// The chain of causes, then what to do; with `--json` also as a document.
fn report_error(error: &JobError, is_json: bool) {
    let mut causes = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    eprintln!("error: {error}");
    for cause in &causes {
        eprintln!("  cause: {cause}");
    }
    if let Some(hint) = error.hint() {
        eprintln!("  hint: {hint}");
    }
    if is_json {
        let document = serde_json::json!({
            "schema_version": lissom_job::SCHEMA_VERSION,
            "error": {
                "message": error.to_string(),
                "causes": causes,
                "hint": error.hint(),
                "exit_code": error.exit_code().code(),
            },
        });
        println!("{document:#}");
    }
}
