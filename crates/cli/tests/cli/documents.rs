//! `--json`: exactly one document on stdout, whatever happens; messages on stderr.

use serde_json::Value;

use crate::lissom::{answer, command, lissom};
use crate::models::tiny;

#[test]
fn every_verb_prints_one_document() {
    let folder = tiny();
    let verbs: &[(&[&str], &str)] = &[
        (&["inspect", "tiny.onnx"], "/cost/parameters"),
        (&["run", "tiny.onnx", "--input", "train.npz", "--output", "y.npz"], "/outputs/0/shape"),
        (&["eval", "tiny.onnx", "--data", "test.npz"], "/judgement/top1/value"),
        (&["bench", "tiny.onnx", "--seconds", "0"], "/models/0/p50_ms"),
        (&["compare", "tiny.onnx", "tiny.onnx"], "/agreement/max_abs_error"),
        (&["compress", "tiny.onnx", "--recipe", "r.toml", "--dry-run"], "/predicted_bytes"),
        (&["compress", "tiny.onnx", "--recipe", "r.toml", "--out", "run", "--bench-seconds", "0"], "/report"),
        (&["resume", "run"], "/was_finished"),
        (&["methods"], "/methods/0/name"),
        (&["methods", "magnitude"], "/methods/0/example"),
        (&["ops"], "/operators/0/name"),
        (&["doctor"], "/checks/0/name"),
        (&["completions", "bash"], "/script"),
    ];
    std::fs::write(folder.path().join("r.toml"), "[[step]]\nmethod = \"magnitude\"\nsparsity = 0.5\n").unwrap();
    for (words, pointer) in verbs {
        let answer = lissom(folder.path(), &[words, &["--json"][..]].concat()).expect(0);
        let document = answer.json();
        assert!(document.pointer(pointer).is_some(), "{words:?} has no {pointer}:\n{}", answer.out);
        for key in keys(&document) {
            assert!(is_documented(key), "{words:?}: the key `{key}` is not in docs/json.md");
        }
    }
}

/// Every key of a document, but those that are data: names of operators, of domains, of metadata.
fn keys(document: &Value) -> Vec<&str> {
    match document {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| {
                let is_data = value.is_object() && ["operators", "opsets", "metadata"].contains(&key.as_str());
                let below = if is_data { Vec::new() } else { keys(value) };
                std::iter::once(key.as_str()).chain(below)
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(keys).collect(),
        _ => Vec::new(),
    }
}

fn is_documented(key: &str) -> bool {
    const TEXT: &str = include_str!("../../../../docs/json.md");
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    // Words of the prose do not count: a key stands in backticks or in the example.
    TEXT.split('`').skip(1).step_by(2).flat_map(|code| code.split(|c| !is_word(c))).any(|word| word == key)
        || TEXT.contains(&format!("\"{key}\""))
}

#[test]
fn errors_are_documents_too() {
    let folder = tiny();
    for (words, code) in [
        (&["inspect", "absent.onnx"][..], 74),
        (&["compress", "tiny.onnx", "--recipe", "prune-50"], 65),
        (&["compress", "tiny.onnx", "--recipe", "prune50", "--eval-data", "train.npz", "--max-drop", "1"], 2),
        (&["compress", "tiny.onnx"], 2),
        (&["inspekt", "tiny.onnx"], 2),
        (&["methods", "magnitud"], 2),
        (&["resume", "."], 2),
    ] {
        let answer = lissom(folder.path(), &[words, &["--json"]].concat()).expect(code);
        let document = answer.json();
        assert_eq!(document["error"]["exit_code"], code, "{}", answer.out);
        assert!(document["error"]["message"].as_str().is_some_and(|text| text.len() > 5), "{}", answer.out);
        assert!(answer.err.contains("error: "), "people read it on stderr: {}", answer.err);
    }
}

#[test]
fn misspelt_words_are_answered_with_the_nearest() {
    let folder = tiny();
    let missing = lissom(folder.path(), &["run", "tiny.onnx", "--json"]).expect(2).json();
    assert_eq!(
        missing["error"]["message"],
        "the following required arguments were not provided: --input <NPZ> --output <NPZ>"
    );
    let verb = lissom(folder.path(), &["inspekt", "tiny.onnx", "--json"]).refuses(2, &["inspekt", "inspect"]);
    assert!(verb.json()["error"]["hint"].as_str().unwrap().contains("inspect"));
    lissom(folder.path(), &["compress", "tiny.onnx", "--recepi", "int8"]).refuses(2, &["--recepi", "--recipe"]);
    lissom(folder.path(), &["methods", "magnitud"]).refuses(2, &["did you mean `magnitude`?"]);
}

#[test]
fn numbers_out_of_range_name_the_range() {
    let folder = tiny();
    for (option, value) in [
        ("--max-drop=-1", "points from 0 to 100"),
        ("--max-drop=NaN", "points from 0 to 100"),
        ("--bench-seconds=inf", "seconds from 0 to 86400"),
        ("--bench-seconds=-1", "seconds from 0 to 86400"),
        ("--eval-samples=0", "at least 1"),
        ("--threads=100000", "from 0 to 1024"),
        ("--max-memory=NaN", "GiB"),
        ("--target-size=0", "a share of the original must be more than 0"),
        ("--target-size=3 parsecs", "known units are"),
        ("--target-latency=2", "a time with its unit"),
        ("--target-bits=64", "bits from 0.01 to 32"),
    ] {
        lissom(folder.path(), &["compress", "tiny.onnx", "--recipe", "prune50", option]).refuses(2, &[value]);
    }
    let apart = ["compress", "tiny.onnx", "--recipe", "prune50", "--max-drop", "-1"];
    lissom(folder.path(), &apart).refuses(2, &["points from 0 to 100"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is() {
    let folder = tiny();
    let shell = |script: &str| {
        let lissom = command(folder.path(), &[]);
        let mut shell = std::process::Command::new("sh");
        shell.current_dir(folder.path()).args(["-c", script, "sh"]).arg(lissom.get_program());
        answer(&mut shell)
    };
    let gone = shell("{ \"$1\" ops; echo $? >&2; } | true");
    assert_eq!(gone.err.trim(), "0");
    if std::path::Path::new("/dev/full").exists() {
        shell("\"$1\" ops > /dev/full").refuses(74, &["no space to write `standard output`"]);
    } else {
        println!("SKIPPED in part: this machine has no /dev/full");
    }
}
