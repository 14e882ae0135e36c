//! `cargo xtask test`: every test the project has, with what they need.
//!
//! The workspace's tests, unit, integration and documentation; the report in a headless browser; the ONNX operator
//! cases. What the machine lacks is said before anything is compiled.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::command::{cargo, find_program, shown};

/// Programs one of which must be there, what for, and the Debian package that holds it.
const PROGRAMS: &[(&[&str], &str, &str)] = &[
    (
        &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
        "opens the report without a screen",
        "chromium",
    ),
    (&["python3"], "fetches the ONNX operator cases", "python3 python3-pip"),
];

/// Entry of the task.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    if let Some(unknown) = arguments.first() {
        return Err(format!("unknown option `{unknown}`"));
    }
    require_programs()?;
    let mut workspace = cargo(&["test", "--workspace", "--no-fail-fast"]);
    workspace.env("LISSOM_REQUIRE_CHROMIUM", "1");
    let this = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut conformance = Command::new(this);
    conformance.arg("conformance");

    let mut total = Counts::default();
    for command in [&mut workspace, &mut conformance] {
        total += counted(command)?;
    }
    println!("\n{} passed, {} failed", total.passed, total.failed);
    if total.failed == 0 { Ok(()) } else { Err(format!("{} tests failed", total.failed)) }
}

/// Says everything that is missing at once, with the command that gets it.
fn require_programs() -> Result<(), String> {
    let is_missing = |names: &[&str]| names.iter().all(|name| find_program(name).is_none());
    let mut missing: Vec<(String, &str)> = PROGRAMS
        .iter()
        .filter(|(names, _, _)| is_missing(names))
        .map(|(names, purpose, package)| (format!("{} ({purpose})", names.join(" or ")), *package))
        .collect();
    if missing.is_empty() && !has_pip() {
        missing.push(("pip (fetches the ONNX operator cases)".to_owned(), "python3-pip"));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let (what, packages): (Vec<String>, Vec<&str>) = missing.into_iter().unzip();
    Err(format!("the tests need {}\n  hint: sudo apt-get install -y {}", what.join(", "), packages.join(" ")))
}

fn has_pip() -> bool {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    pip.status().is_ok_and(|status| status.success())
}

/// What a run of tests came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs a program, passes its output on and adds up its closing lines. A program that fails without having counted a
/// failure (it did not compile, say) counts as one.
fn counted(command: &mut Command) -> Result<Counts, String> {
    let cannot = |what: &str, error: std::io::Error| format!("cannot {what} a program: {error}");
    println!("running `{}`", shown(command));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| cannot("start", error))?;
    let mut counts = Counts::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(|error| cannot("read from", error))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            counts += closing_line(&line).unwrap_or_default();
        }
    }
    let status = child.wait().map_err(|error| cannot("wait for", error))?;
    if !status.success() && counts.failed == 0 {
        eprintln!("`{}` failed: {status}", shown(command));
        counts.failed = 1;
    }
    Ok(counts)
}

/// The counts in `test result: ok. 3 passed; 0 failed; …` or `1700 passed, 0 failed, …`.
fn closing_line(line: &str) -> Option<Counts> {
    let counts = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")).map_or(line, |(_, c)| c);
    let mut parts = counts.split([';', ',']);
    let mut number = |word: &str| parts.next()?.trim().strip_suffix(word)?.trim().parse::<u64>().ok();
    Some(Counts { passed: number("passed")?, failed: number("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_both_kinds_are_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.20s";
        assert_eq!(closing_line(line), Some(Counts { passed: 12, failed: 3 }));
        let line = "1700 passed, 0 failed, 205 not supported, all as the manifest says";
        assert_eq!(closing_line(line), Some(Counts { passed: 1700, failed: 0 }));
    }

    #[test]
    fn other_lines_are_not_counted() {
        for line in
            ["", "test adds ... ok", "running 12 tests", "passed, failed", "node   1400 pass, 365 not supported"]
        {
            assert_eq!(closing_line(line), None, "{line}");
        }
    }

    #[test]
    fn a_program_that_fails_without_counting_is_one_failure() {
        let counts = counted(Command::new("cargo").arg("no-such-verb-of-cargo")).unwrap();
        assert_eq!(counts, Counts { passed: 0, failed: 1 });
    }
}
