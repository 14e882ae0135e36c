//! Every verb answers what it is asked.

use lissom_tensor::Tensor;

use crate::lissom::{fashion, lissom};
use crate::models::{N_IN, N_OUT, classes, numbers, tiny};

#[test]
fn inspect_counts_the_demo_network() {
    let folder = tempfile::tempdir().unwrap();
    let document = lissom(folder.path(), &["inspect", &fashion().model, "--json"]).expect(0).json();
    assert_eq!(document["cost"]["parameters"], 99_622);
    assert_eq!(document["operators"]["Conv"], 15);
    assert_eq!(document["unsupported"], serde_json::json!([]));
    let text = lissom(folder.path(), &["inspect", &fashion().model]).expect(0).out;
    for part in ["99.6 k", "MACs        11.37 M", "layer1.0.conv1", "Conv 15"] {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
}

#[test]
fn inspect_shows_the_graph_of_a_tiny_network() {
    let folder = tiny();
    let document = lissom(folder.path(), &["inspect", "tiny.onnx", "--json"]).expect(0).json();
    // 16 x 8 and 4 x 16 weights, one multiply-accumulate each.
    assert_eq!((&document["cost"]["parameters"], &document["cost"]["macs"]), (&192.into(), &192.into()));
    assert_eq!(document["inputs"][0]["fact"], "f32[N,8]");
    let graph = lissom(folder.path(), &["inspect", "tiny.onnx", "--graph"]).expect(0).out;
    assert!(graph.contains("Gemm") && graph.contains("fc1.weight"), "{graph}");
}

#[test]
fn run_writes_what_the_plain_way_computes() {
    let folder = tiny();
    let words = ["run", "tiny.onnx", "--input", "train.npz", "--output", "y.npz"];
    let answer = lissom(folder.path(), &words).expect(0);
    assert!(answer.out.contains("y: f32[200, 4]"), "{}", answer.out);
    let arrays = lissom_data::read_npz(&folder.path().join("y.npz")).unwrap();
    let (name, y): &(String, Tensor) = &arrays[0];
    assert_eq!((name.as_str(), y.shape()), ("y", &[200, N_OUT][..]));
    let values = y.to_f32_vec().unwrap();
    let best = |row: &[f32]| (0..N_OUT).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as i64;
    let found: Vec<i64> = values.chunks(N_OUT).map(best).collect();
    assert_eq!(found, classes(&numbers(200 * N_IN, 3)));
}

#[test]
fn eval_agrees_with_labels_the_network_made() {
    let folder = tiny();
    let document = lissom(folder.path(), &["eval", "tiny.onnx", "--data", "test.npz", "--json"]).expect(0).json();
    assert_eq!(document["judgement"]["top1"]["value"], 1.0);
    assert_eq!(document["samples"], 300);
    let some = lissom(folder.path(), &["eval", "tiny.onnx", "--data", "test.npz", "--samples", "100"]).expect(0).out;
    assert!(some.contains("(100 samples)") && some.contains("100.00 %"), "{some}");
}

#[test]
fn a_model_compared_with_itself_is_the_same() {
    let folder = tiny();
    for data in [&[][..], &["--data", "test.npz"]] {
        let words = [&["compare", "tiny.onnx", "tiny.onnx", "--json"], data].concat();
        let document = lissom(folder.path(), &words).expect(0).json();
        assert_eq!(document["agreement"]["max_abs_error"], 0.0);
        assert_eq!(document["agreement"]["same_top1"]["value"], 1.0);
        assert!(document["divergence"].is_null());
        assert_eq!(document["layers"].as_array().unwrap().len(), 3);
    }
    let text = lissom(folder.path(), &["compare", "tiny.onnx", "tiny.onnx", "--data", "test.npz"]).expect(0).out;
    assert!(text.contains("no value of 3 diverges") && text.contains("300 of 300 (100.00 %)"), "{text}");
}

#[test]
fn compare_finds_the_layer_that_was_pruned() {
    let folder = tiny();
    let recipe = "[[step]]\nmethod = \"magnitude\"\nsparsity = 0.9\nlayers = { include = [\"fc2\"] }\n";
    std::fs::write(folder.path().join("r.toml"), recipe).unwrap();
    let words = ["compress", "tiny.onnx", "--recipe", "r.toml", "--out", "run", "--bench-seconds", "0"];
    lissom(folder.path(), &words).expect(0);
    let words = ["compare", "tiny.onnx", "run/model.onnx", "--data", "test.npz", "--json"];
    let document = lissom(folder.path(), &words).expect(0).json();
    assert_eq!(document["divergence"]["layer"]["name"], "y");
    assert!(document["comparison"].is_object());
}

#[test]
fn bench_times_models_in_turn() {
    let folder = tiny();
    let words = ["bench", "tiny.onnx", "tiny.onnx", "--seconds", "0.05", "--batch", "4", "--threads", "1", "--json"];
    let document = lissom(folder.path(), &words).expect(0).json();
    assert_eq!((&document["batch"], &document["threads"]), (&4.into(), &1.into()));
    for times in document["models"].as_array().unwrap() {
        let at = |name: &str| times[name].as_f64().unwrap();
        assert!(at("p50_ms") > 0.0 && at("p50_ms") <= at("p90_ms") && at("p90_ms") <= at("p99_ms"), "{times}");
    }
    assert_eq!(document["models"].as_array().unwrap().len(), 2);
}

#[test]
fn methods_and_operators_list_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let methods = lissom(folder.path(), &["methods", "--json"]).expect(0).json();
    assert_eq!(methods["methods"].as_array().unwrap().len(), lissom_compress::METHODS.len());
    assert_eq!(methods["presets"].as_array().unwrap().len(), lissom_recipe::PRESETS.len());
    for spec in lissom_compress::METHODS {
        let text = lissom(folder.path(), &["methods", spec.name]).expect(0).out;
        assert!(text.contains(spec.summary) && text.contains(spec.source) && text.contains("[[step]]"), "{text}");
    }
    let ops = lissom(folder.path(), &["ops", "--json"]).expect(0).json();
    assert_eq!(ops["operators"].as_array().unwrap().len(), lissom_ops::OPS.len());
}

#[test]
fn doctor_and_completions_say_something_true() {
    let folder = tempfile::tempdir().unwrap();
    let doctor = lissom(folder.path(), &["doctor"]).expect(0).out;
    assert!(doctor.contains(&format!("lissom {}", env!("CARGO_PKG_VERSION"))), "{doctor}");
    for shell in ["bash", "zsh", "fish"] {
        let script = lissom(folder.path(), &["completions", shell]).expect(0).out;
        assert!(script.contains("target-size") && script.contains("lissom"), "{shell}");
    }
}

#[test]
fn a_plan_predicts_the_size_and_writes_nothing() {
    let folder = tiny();
    let before = crate::lissom::names(folder.path());
    let words = ["compress", "tiny.onnx", "--recipe", "prune50", "--data", "train.npz", "--dry-run"];
    let text = lissom(folder.path(), &words).expect(0).out;
    assert!(text.contains("1. magnitude") && text.contains("predicted"), "{text}");
    assert_eq!(crate::lissom::names(folder.path()), before);
}

#[test]
fn without_a_folder_runs_are_numbered_and_found_again() {
    let folder = tiny();
    std::fs::write(folder.path().join("half.toml"), "[[step]]\nmethod = \"magnitude\"\nsparsity = 0.5\n").unwrap();
    let words = ["compress", "tiny.onnx", "--recipe", "half.toml", "--bench-seconds", "0"];
    lissom(folder.path(), &words).expect(0);
    let again = lissom(folder.path(), &words).expect(0).out;
    assert!(again.contains("finished before") && again.contains("runs/tiny-half-01"), "{again}");
    let other = lissom(folder.path(), &[&words[..], &["--seed", "1"]].concat()).expect(0).out;
    assert!(other.contains("runs/tiny-half-02"), "{other}");
    // From elsewhere, with an option of its own.
    let elsewhere = tempfile::tempdir().unwrap();
    let run = folder.path().join("runs/tiny-half-01");
    let resumed = lissom(elsewhere.path(), &["resume", run.to_str().unwrap(), "--json"]).expect(0).json();
    assert_eq!(resumed["was_finished"], true);
}
