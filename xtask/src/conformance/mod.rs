//! Runs the ONNX operator cases and holds the outcome of each to a checked-in manifest.
//!
//! `conformance/manifest.tsv` has a line a case: name, tab, expected outcome. Any other outcome fails, a better one too, so
//! that the manifest stays true; `--update` rewrites it. The number of cases is asserted: a missing corpus is not green.

mod case;
mod compare;
mod containers;
mod corpus;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use case::Outcome;

/// Cases of each suite in the wheel onnx 1.22.0.
const SUITES: [(&str, usize); 5] =
    [("node", 1765), ("simple", 23), ("pytorch-converted", 82), ("pytorch-operator", 35), ("light", 9)];

/// Entry of the task.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let mut filter = None;
    let mut update = false;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--filter" => filter = Some(arguments.next().ok_or("--filter wants a text")?.clone()),
            "--update" => update = true,
            other => return Err(format!("unknown option `{other}`")),
        }
    }
    let cases = corpus::cases(&corpus::fetch()?)?;
    for (suite, expected) in SUITES {
        let actual = cases.iter().filter(|case| case.suite == suite).count();
        if actual != expected {
            return Err(format!("suite {suite}: {actual} cases found, {expected} expected"));
        }
    }
    // A panic is an outcome here; its message would only be noise between the others.
    std::panic::set_hook(Box::new(|_| {}));
    let outcomes: BTreeMap<String, Outcome> = cases
        .iter()
        .filter(|case| filter.as_ref().is_none_or(|text| case.name().contains(text.as_str())))
        .map(|case| (case.name(), case.run()))
        .collect();
    let _ = std::panic::take_hook();
    print_summary(&outcomes, filter.is_some());
    let path = manifest_path();
    if update && filter.is_none() {
        return write_manifest(&path, &outcomes);
    }
    check_manifest(&path, &outcomes)
}

fn manifest_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/manifest.tsv")
}

fn print_summary(outcomes: &BTreeMap<String, Outcome>, is_verbose: bool) {
    for (suite, _) in SUITES {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, outcome) in outcomes.iter().filter(|(name, _)| name.starts_with(&format!("{suite}/"))) {
            *counts.entry(outcome.kind()).or_default() += 1;
        }
        let counts: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        println!("{suite:18} {}", counts.join(", "));
    }
    if is_verbose {
        for (name, outcome) in outcomes.iter().filter(|(_, outcome)| **outcome != Outcome::Pass) {
            println!("{name}\t{outcome}");
        }
    }
}

fn write_manifest(path: &Path, outcomes: &BTreeMap<String, Outcome>) -> Result<(), String> {
    let mut text = String::from("# Expected outcome of each case; rewritten by `cargo xtask conformance --update`.\n");
    for (name, outcome) in outcomes {
        let _ = writeln!(text, "{name}\t{}", outcome.expectation());
    }
    std::fs::create_dir_all(path.parent().unwrap_or(path)).map_err(|error| error.to_string())?;
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn check_manifest(path: &Path, outcomes: &BTreeMap<String, Outcome>) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let expected: BTreeMap<&str, &str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t')).collect();
    let mut wrong = Vec::new();
    for (name, outcome) in outcomes {
        match expected.get(name.as_str()) {
            Some(&expectation) if expectation == outcome.expectation() => {}
            Some(expectation) => wrong.push(format!("{name}: expected {expectation}, found {outcome}")),
            None => wrong.push(format!("{name}: not in the manifest, found {outcome}")),
        }
    }
    if wrong.is_empty() {
        let passing = outcomes.values().filter(|outcome| **outcome == Outcome::Pass).count();
        println!("{passing} passed, 0 failed, {} not supported, all as the manifest says", outcomes.len() - passing);
        return Ok(());
    }
    Err(format!("{} cases differ from the manifest:\n{}", wrong.len(), wrong.join("\n")))
}
