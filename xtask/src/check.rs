//! `cargo xtask check`: what a change must hold besides its tests.

use std::process::Stdio;

use crate::command::{cargo, run as run_command, shown};

/// The checks, as arguments of cargo, cheapest first.
const CHECKS: &[&[&str]] = &[
    &["fmt", "--all", "--check"],
    &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
    &["doc", "--workspace", "--no-deps"],
    &["deny", "--workspace", "check"],
];

/// Entry of the task. All checks run, whatever the earlier ones say.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    if let Some(unknown) = arguments.first() {
        return Err(format!("unknown option `{unknown}`"));
    }
    install_deny()?;
    let mut failed = Vec::new();
    for arguments in CHECKS {
        let mut command = cargo(arguments);
        command.env("RUSTDOCFLAGS", "-D warnings");
        println!("running `{}`", shown(&command));
        failed.extend(run_command(&mut command).err());
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

/// cargo-deny is no part of Rust; it takes some minutes to compile, once.
fn install_deny() -> Result<(), String> {
    let mut version = cargo(&["deny", "--version"]);
    if version.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    println!("cargo-deny is not installed: compiling it, which takes some minutes, once");
    run_command(&mut cargo(&["install", "cargo-deny", "--locked"]))
}
