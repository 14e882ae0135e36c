//! `cargo xtask check`: what a change must hold besides its tests.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::command::{cargo, root, run as run_command, shown};

/// The checks, as arguments of cargo, cheapest first.
const CHECKS: &[&[&str]] = &[
    &["fmt", "--all", "--check"],
    &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
    &["doc", "--workspace", "--no-deps"],
    &["deny", "--workspace", "check"],
];

/// The released program may be at most this long.
const MAX_PROGRAM_BYTES: u64 = 12_000_000;

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
    failed.extend(program_size(&target_folder().join("release").join(PROGRAM)).err());
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

#[cfg(windows)]
const PROGRAM: &str = "lissom.exe";
#[cfg(not(windows))]
const PROGRAM: &str = "lissom";

/// Where cargo builds.
fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// That the released program is small, if it was built: `cargo build --release` takes minutes, which no check waits for.
fn program_size(program: &Path) -> Result<(), String> {
    let Ok(metadata) = program.metadata() else {
        println!("not checked: the size of the program, as there is no `{}`", program.display());
        return Ok(());
    };
    match metadata.len() {
        bytes if bytes > MAX_PROGRAM_BYTES => {
            Err(format!("`{}` has {bytes} bytes, the limit is {MAX_PROGRAM_BYTES}", program.display()))
        }
        _ => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_too_long_is_refused_and_a_missing_one_is_not() {
        let path = std::env::temp_dir().join(format!("lissom-program-{}", std::process::id()));
        assert!(program_size(&path).is_ok());
        let file = std::fs::File::create(&path).unwrap();
        for (bytes, is_ok) in [(MAX_PROGRAM_BYTES, true), (MAX_PROGRAM_BYTES + 1, false)] {
            file.set_len(bytes).unwrap();
            assert_eq!(program_size(&path).is_ok(), is_ok);
        }
        std::fs::remove_file(path).unwrap();
    }
}
