//! `lissom demo`, as a stranger runs it first.

use std::fs;

use crate::lissom::{lissom, names};

#[test]
fn the_demo_runs_offline_and_answers_the_second_time_from_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["demo", "--out", "shown", "--json"];
    let first = lissom(folder.path(), &words).expect(0).json();
    let run = folder.path().join("shown/run");
    for name in ["model.onnx", "report.html", "report.json", "recipe.json", "manifest.json"] {
        assert!(run.join(name).is_file(), "{name} is missing in {:?}", names(&run));
    }
    let text = fs::read_to_string(run.join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(first["report"], report, "the document holds the report");
    let top1 = |card: &str| report[card]["judgement"]["top1"]["value"].as_f64().unwrap();
    let (before, after) = (top1("original"), top1("compressed"));
    assert!(before > 0.92, "the embedded network is worth {before}");
    assert!(after > 0.90 && after <= before, "{before} became {after}");
    let share = |of: &str| report["compressed"][of].as_f64().unwrap() / report["original"][of].as_f64().unwrap();
    assert!(share("non_zeros") < 0.55, "half of the weights are zero: {}", share("non_zeros"));
    assert!(share("size_bytes") < 0.35, "the file takes 8 bits a weight: {}", share("size_bytes"));
    let html = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(
        html.to_lowercase().starts_with("<!doctype html>") && !html.contains("src=\"http"),
        "one page that needs no network"
    );

    let model = fs::read(run.join("model.onnx")).unwrap();
    let again = lissom(folder.path(), &words).expect(0).json();
    assert_eq!((&first["was_finished"], &again["was_finished"]), (&false.into(), &true.into()));
    assert_eq!(again["report"], first["report"]);
    assert_eq!(fs::read(run.join("model.onnx")).unwrap(), model);
    let shown = lissom(folder.path(), &words[..3]).expect(0);
    let top1 = format!("{:.2} %", 100.0 * after);
    for part in ["finished before", "top1", &top1, "report.html"] {
        assert!(shown.out.contains(part), "`{part}` is missing in:\n{}", shown.out);
    }
    let resumed = lissom(folder.path(), &["resume", "shown/run"]).expect(0);
    assert_eq!(resumed.out, shown.out);
}

#[test]
fn a_recipe_that_is_not_there_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    lissom(folder.path(), &["demo", "--recipe", "prune07"]).refuses(65, &["unknown preset `prune07`", "prune70"]);
    assert!(names(folder.path()).is_empty());
}
