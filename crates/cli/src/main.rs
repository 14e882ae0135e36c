//! The `lissom` binary: arguments, progress, exit codes. Everything else happens in `lissom-job`.

// A job fails at most once, so the size of its error costs nothing.
#![allow(clippy::result_large_err)]

mod arguments;
mod numbers;
mod print;
mod progress;
mod show;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode as ProcessExit;
use std::sync::Once;

use clap::Parser;
use lissom_job::JobError;
use lissom_kernels::memory::LargePages;
use lissom_recipe::{ExitCode, Interrupt, interrupt};

use arguments::{Arguments, Common};
use print::{note, out};

/// Models are large buffers.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

fn main() -> ProcessExit {
    let words: Vec<OsString> = std::env::args_os().collect();
    let is_json = wants_json(&words);
    end_at_panics(is_json);
    run(words, None).into()
}

/// A panic is our bug; a script must see that it is, by exit code and document. The released program cannot unwind (that
/// costs it a tenth of its length), so the place to say it is the hook.
fn end_at_panics(is_json: bool) {
    let say_where = std::panic::take_hook();
    let first = Once::new();
    std::panic::set_hook(Box::new(move |panic| {
        say_where(panic);
        // Other threads that panic meanwhile wait here for the end.
        first.call_once(|| {
            let message = "lissom itself failed; the lines above say where";
            let hint = "this is a bug: please report it with the command and, if you can, the files";
            show_error(message, &[], Some(hint), ExitCode::Bug, is_json);
            std::process::exit(i32::from(ExitCode::Bug.code()));
        });
    }));
}

fn wants_json(words: &[OsString]) -> bool {
    words.iter().any(|word| word == "--json")
}

/// Runs a command line; `resume` comes through here again with the words of the run and with its own `common`.
fn run(words: Vec<OsString>, common: Option<&Common>) -> ExitCode {
    let command: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => return not_understood(&error, wants_json(&words)),
    };
    if let Some(common) = common {
        arguments.common.resumed_with(common);
    }
    let is_json = arguments.common.json;
    if let Some(gib) = arguments.common.max_memory {
        lissom_tensor::set_max_tensor_bytes((gib * f64::from(1 << 30)) as u64);
    }
    let interrupt = match handlers(&arguments) {
        Ok(interrupt) => interrupt,
        Err(error) => {
            show_error(&error.to_string(), &[], None, ExitCode::Io, is_json);
            return ExitCode::Io;
        }
    };
    let context = verbs::Context { common: arguments.common, command, interrupt };
    match verbs::dispatch(arguments.verb, &context) {
        Ok(code) => code,
        Err(error) => {
            report_error(&error, is_json);
            error.exit_code()
        }
    }
}

/// Signals are caught where work is kept; elsewhere they end the process at once, as everybody expects.
fn handlers(arguments: &Arguments) -> Result<Interrupt, interrupt::InterruptError> {
    if arguments.verb.keeps_work() { interrupt::install() } else { Ok(Interrupt::new()) }
}

/// Help, version, or what is wrong with the words.
fn not_understood(error: &clap::Error, is_json: bool) -> ExitCode {
    let _ = error.print();
    // Help and version are no errors.
    if !error.use_stderr() {
        return ExitCode::Done;
    }
    if is_json {
        let text = error.render().to_string();
        // What is missing stands on lines of its own, down to the first empty one.
        let said: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
        let message = said.join(" ");
        let hint = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
        document(message.trim_start_matches("error: "), &[], hint, ExitCode::Usage);
    }
    ExitCode::Usage
}

/// The chain of causes, then what to do.
fn report_error(error: &JobError, is_json: bool) {
    let mut causes = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    show_error(&error.to_string(), &causes, error.hint().as_deref(), error.exit_code(), is_json);
}

/// For people on stderr; with `--json` also as a document.
fn show_error(message: &str, causes: &[String], hint: Option<&str>, code: ExitCode, is_json: bool) {
    note(&format!("error: {message}"));
    for cause in causes {
        note(&format!("  cause: {cause}"));
    }
    if let Some(hint) = hint {
        note(&format!("  hint: {hint}"));
    }
    if is_json {
        document(message, causes, hint, code);
    }
}

/// An error as a document on stdout.
fn document(message: &str, causes: &[String], hint: Option<&str>, code: ExitCode) {
    let document = serde_json::json!({
        "schema_version": lissom_job::SCHEMA_VERSION,
        "error": { "message": message, "causes": causes, "hint": hint, "exit_code": code.code() },
    });
    // The error that is being told matters more than one of telling it.
    let _ = out(&format!("{document:#}\n"));
}
