//! Budgets are contracts: exit code 3, and the report says which was missed and by how much.

use std::fs;

use crate::lissom::{fashion, lissom};
use crate::models::tiny;

const PRUNE: &str = "[[step]]\nmethod = \"magnitude\"\nsparsity = 0.5\n";
/// Two bits a weight cost the tiny network much of its accuracy.
const TWO_BITS: &str = "[[step]]\nmethod = \"quantize\"\nscheme = \"W2A32\"\n";

fn words<'a>(extra: &[&'a str]) -> Vec<&'a str> {
    let words = ["compress", "tiny.onnx", "--recipe", "r.toml", "--data", "train.npz", "--eval-data", "test.npz"];
    [&words[..], &["--bench-seconds", "0", "--out", "run", "--json"], extra].concat()
}

#[test]
fn a_size_that_cannot_be_met_ends_with_3_and_says_by_how_much() {
    let folder = tiny();
    fs::write(folder.path().join("r.toml"), PRUNE).unwrap();
    let document = lissom(folder.path(), &words(&["--target-size", "1%"])).expect(3).json();
    assert_eq!(document["budgets_met"], false);
    let contract = &document["report"]["budgets"][0];
    assert_eq!((&contract["name"], &contract["is_met"]), (&"target-size".into(), &false.into()));
    let at = |name: &str| contract[name].as_f64().unwrap();
    let original = fs::metadata(folder.path().join("tiny.onnx")).unwrap().len();
    let written = fs::metadata(folder.path().join("run/model.onnx")).unwrap().len();
    assert_eq!((at("target"), at("actual")), ((original / 100) as f64, written as f64));
    assert_eq!(at("missed_by"), at("actual") - at("target"));
    let report = fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    assert!(report.contains("target-size"));
    // The finished run answers the same, for people too.
    let mut again = words(&["--target-size", "1%"]);
    again.retain(|word| *word != "--json");
    let text = lissom(folder.path(), &again).expect(3).out;
    assert!(text.contains("budget target-size NOT MET") && text.contains("too much"), "{text}");
}

#[test]
fn budgets_that_are_met_end_with_0() {
    let folder = tiny();
    fs::write(folder.path().join("r.toml"), PRUNE).unwrap();
    let budgets = ["--target-size", "110%", "--max-drop", "100", "--max-class-drop", "100"];
    lissom(folder.path(), &words(&budgets)).expect(2);
    let budgets = ["--target-size", "1 MB", "--max-drop", "100", "--max-class-drop", "100"];
    let document = lissom(folder.path(), &words(&budgets)).expect(0).json();
    assert_eq!(document["budgets_met"], true);
    assert_eq!(document["report"]["budgets"].as_array().unwrap().len(), 3);
}

#[test]
fn layers_fall_back_to_float_until_the_drop_holds() {
    let folder = tiny();
    fs::write(folder.path().join("r.toml"), TWO_BITS).unwrap();
    let drop = |document: &serde_json::Value| {
        let card = |name: &str| document["report"][name]["judgement"]["top1"]["value"].as_f64().unwrap();
        card("original") - card("compressed")
    };
    let free = lissom(folder.path(), &words(&[])).expect(0).json();
    assert!(drop(&free) > 0.05, "two bits cost {}", drop(&free));
    let held = lissom(folder.path(), &words(&["--max-drop", "5", "--force"])).expect(0).json();
    assert!(drop(&held) < 0.05 + 1e-9, "{}", drop(&held));
    let contract = &held["report"]["budgets"][0];
    assert_eq!((&contract["name"], &contract["is_met"]), (&"max-drop".into(), &true.into()));
    let notices = held["report"]["notices"].to_string();
    assert!(notices.contains("fc1") || notices.contains("fc2"), "the report names what fell back: {notices}");
}

#[test]
fn a_drop_that_no_fallback_can_hold_ends_with_3() {
    let folder = tiny();
    fs::write(folder.path().join("r.toml"), PRUNE.replace("0.5", "0.95")).unwrap();
    let document = lissom(folder.path(), &words(&["--max-drop", "0.1"])).expect(3).json();
    let contract = &document["report"]["budgets"][0];
    assert!(contract["missed_by"].as_f64().unwrap() > 0.0, "{contract}");
}

#[test]
fn judging_on_the_calibration_data_is_refused() {
    let folder = tiny();
    fs::write(folder.path().join("r.toml"), PRUNE).unwrap();
    fs::copy(folder.path().join("test.npz"), folder.path().join("copy.npz")).unwrap();
    for (data, extra) in [("test.npz", &[][..]), ("copy.npz", &[]), ("copy.npz", &["--eval-samples", "50"])] {
        let words = ["compress", "tiny.onnx", "--recipe", "r.toml", "--data", data, "--eval-data", "test.npz"];
        lissom(folder.path(), &[&words[..], extra].concat()).refuses(2, &["use the same data", "hint: "]);
    }
    let fashion = fashion();
    let words =
        ["compress", &fashion.model, "--recipe", "r.toml", "--data", &fashion.test, "--eval-data", &fashion.test];
    lissom(folder.path(), &words).refuses(2, &["use the same data"]);
    assert!(!folder.path().join("runs").exists());
}
