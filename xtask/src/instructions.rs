//! `cargo xtask instructions`: counts the instructions of kernels, reading and planning under Valgrind and compares them
//! with the committed counts, which says more than a time does on a machine that is busy.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::command::{cargo, find_program, root, run as run_command, shown};

/// A count this much above the committed one fails, as a share of it.
const MAX_GROWTH: f64 = 0.03;
/// Has to be the version of the crate `gungraun` in `Cargo.toml`.
const RUNNER_VERSION: &str = "0.20.0";

/// Instructions by name of what was counted.
type Counts = BTreeMap<String, u64>;

/// Entry of the task.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let update = match arguments {
        [] => false,
        [word] if word == "--update" => true,
        _ => return Err("usage: cargo xtask instructions [--update]".to_owned()),
    };
    if find_program("valgrind").is_none() {
        return Err("counting needs Valgrind\n  hint: sudo apt-get install -y valgrind libc6-dbg".to_owned());
    }
    install_runner()?;
    let counts = count()?;
    if update {
        return write(&counts);
    }
    let (committed, compiler) = read()?;
    let failed = compare(&committed, &counts);
    let here = rustc_version()?;
    if failed.is_empty() {
        println!("{} counts, none more than {:.0} % above the committed one", counts.len(), MAX_GROWTH * 100.0);
        return Ok(());
    }
    let hint = if compiler == here {
        "  hint: if this is meant, `cargo xtask instructions --update`, and say why in the commit".to_owned()
    } else {
        format!("  hint: they were counted with {compiler}, this is {here}")
    };
    Err(format!("{}\n{hint}", failed.join("\n")))
}

/// Gungraun starts Valgrind through a program of its own; it takes some minutes to compile, once.
fn install_runner() -> Result<(), String> {
    if std::env::var_os("GUNGRAUN_RUNNER").is_some() || find_program("gungraun-runner").is_some() {
        return Ok(());
    }
    println!("gungraun-runner is not installed: compiling it, which takes some minutes, once");
    run_command(&mut cargo(&["install", "gungraun-runner", "--version", RUNNER_VERSION, "--locked"]))
}

fn count() -> Result<Counts, String> {
    let bench = ["bench", "--package", "lissom-engine", "--bench", "instructions", "--", "--output-format=json"];
    let mut command = cargo(&bench);
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot run `{}`: {error}", shown(&command)))?;
    if !output.status.success() {
        return Err(format!("`{}` failed: {}", shown(&command), output.status));
    }
    let counts = String::from_utf8_lossy(&output.stdout).lines().map(counted).collect::<Result<Counts, String>>()?;
    if counts.is_empty() { Err(format!("`{}` counted nothing", shown(&command))) } else { Ok(counts) }
}

/// Name and count in a line of Gungraun's JSON.
fn counted(line: &str) -> Result<(String, u64), String> {
    let summary: Value = serde_json::from_str(line).map_err(|error| format!("Gungraun said `{line}`: {error}"))?;
    let function = summary["function_name"].as_str().unwrap_or_default();
    let name = match summary["id"].as_str() {
        Some(id) => format!("{function} {id}"),
        None => function.to_owned(),
    };
    let total = &summary["profiles"][0]["data"]["total"];
    let count = instructions(total).ok_or_else(|| format!("{name}: no count in `{total}`"))?;
    Ok((name, count))
}

/// The metric `Ir`, instructions read, whichever tool it is listed under.
fn instructions(value: &Value) -> Option<u64> {
    let object = value.as_object()?;
    match object.get("Ir") {
        Some(metric) => metric["values"]["new"].as_u64(),
        None => object.values().find_map(instructions),
    }
}

/// What is wrong, one line each; prints the rest.
fn compare(committed: &Counts, counts: &Counts) -> Vec<String> {
    let mut failed = Vec::new();
    for (name, &count) in counts {
        let Some(&before) = committed.get(name) else {
            failed.push(format!("{name}: {count} instructions, and no committed count"));
            continue;
        };
        let growth = count as f64 / before as f64 - 1.0;
        let line = format!("{name:28} {before:>12} {count:>12} {:+6.1} %", growth * 100.0);
        println!("{line}");
        if growth > MAX_GROWTH {
            failed.push(line);
        }
    }
    let gone = committed.keys().filter(|name| !counts.contains_key(*name));
    failed.extend(gone.map(|name| format!("{name}: committed, but not counted")));
    failed
}

fn file() -> PathBuf {
    root().join("crates/engine/benches/instructions.json")
}

/// The committed counts and the compiler they were made with.
fn read() -> Result<(Counts, String), String> {
    let cannot = |error: &dyn std::fmt::Display| format!("cannot read `{}`: {error}", file().display());
    let text = std::fs::read_to_string(file()).map_err(|error| cannot(&error))?;
    let document: Value = serde_json::from_str(&text).map_err(|error| cannot(&error))?;
    let counts = document["instructions"].as_object().into_iter().flatten();
    let counts = counts.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect();
    Ok((counts, document["rustc"].as_str().unwrap_or_default().to_owned()))
}

fn write(counts: &Counts) -> Result<(), String> {
    let document = serde_json::json!({ "rustc": rustc_version()?, "instructions": counts });
    let cannot = |error| format!("cannot write `{}`: {error}", file().display());
    std::fs::write(file(), format!("{document:#}\n")).map_err(cannot)?;
    println!("{} counts in `{}`", counts.len(), file().display());
    Ok(())
}

fn rustc_version() -> Result<String, String> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output();
    let output = output.map_err(|error| format!("cannot run `rustc`: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_found_in_what_gungraun_says() {
        let line = r#"{"function_name": "gemm", "id": "avx2", "profiles": [{"data": {"total": {"metrics":
            {"Callgrind": {"Ir": {"values": {"new": 123, "old": 100}}}}, "regressions": []}}}]}"#;
        assert_eq!(counted(line), Ok(("gemm avx2".to_owned(), 123)));
    }

    #[test]
    fn growth_and_strangers_fail_and_savings_do_not() {
        let counts = |list: &[(&str, u64)]| list.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<Counts>();
        let committed = counts(&[("a", 100), ("b", 100), ("c", 100), ("gone", 1)]);
        let failed = compare(&committed, &counts(&[("a", 102), ("b", 104), ("c", 50), ("new", 1)]));
        assert_eq!(failed.len(), 3, "{failed:?}");
    }
}
