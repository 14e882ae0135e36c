//! The long trainings in small: real images, real networks, the order of methods that the published ones have.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::lissom::{fashion, lissom};

/// A residual network of eight layers, on 1,000 images, in seconds.
const RECIPE: &str = "\
[model]
architecture = { name = \"resnet20\", channels = 1, size = 28, width = 8, blocks = 1, classes = 10 }

[train]
epochs = 20
batch = 50
optimizer = { name = \"sgd\", learning_rate = 0.1, momentum = 0.9, nesterov = true, weight_decay = 5e-4 }
schedule = { name = \"linear\", warmup_steps = 40 }
augment = [\"flip\", { name = \"crop\", padding = 2 }]
evaluate_every = 0
metrics_every = 20
";

/// Runs a verb and gives the report of `out`.
fn report(folder: &Path, words: &[&str], out: &str) -> Value {
    let fashion = fashion();
    // The carried test set is the larger one, and learned from here.
    let data = ["--data", &fashion.test, "--eval-data", &fashion.training, "--out", out, "--quiet"];
    lissom(folder, &[words, &data].concat()).expect(0);
    serde_json::from_slice(&fs::read(folder.join(out).join("report.json")).unwrap()).unwrap()
}

fn top1(report: &Value) -> f64 {
    report["compressed"]["judgement"]["top1"]["value"].as_f64().unwrap()
}

/// Trains with a step added to the recipe; gives the accuracy.
fn trained(folder: &Path, step: &str, out: &str) -> f64 {
    let recipe = format!("{out}.toml");
    fs::write(folder.join(&recipe), format!("{RECIPE}{step}")).unwrap();
    top1(&report(folder, &["train", &recipe], out))
}

/// What a trained network is worth after a preset without training.
fn one_shot(folder: &Path, network: &str, preset: &str) -> f64 {
    let model = format!("{network}/model.onnx");
    let words = ["compress", &model, "--recipe", preset, "--bench-seconds", "0"];
    top1(&report(folder, &words, &format!("{network}-{preset}")))
}

#[test]
fn a_network_trained_for_it_can_be_cut_to_several_budgets_without_training() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let plain = trained(folder, "", "sgd");
    assert!(plain > 0.72, "{plain}");
    let step = "[[step]]\nmethod = \"cram\"\nsparsities = [0.5, 0.7, 0.8, 0.9]\nradius = 0.1\n";
    let aware = trained(folder, step, "cram");
    assert!(aware > plain - 0.05, "{aware} beside {plain}");
    for (preset, most_lost) in [("prune50", 0.03), ("prune70", 0.05), ("prune90", 0.10)] {
        let cut = one_shot(folder, "cram", preset);
        assert!(cut > aware - most_lost, "{preset}: {cut} of {aware}");
    }
    let (aware, plain) = (one_shot(folder, "cram", "prune90"), one_shot(folder, "sgd", "prune90"));
    assert!(aware > plain + 0.10, "at 90 % zeros: {aware} beside {plain}");
}

#[test]
fn a_network_becomes_sparse_while_it_learns() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let dense = trained(folder, "", "dense");
    let ready = one_shot(folder, "dense", "prune70");
    for (name, step) in [
        ("gradual", "[[step]]\nmethod = \"gradual_magnitude\"\nsparsity = 0.8\nend = 14.0\nevery = 20\n"),
        ("acdc", "[[step]]\nmethod = \"acdc\"\nsparsity = 0.8\nwarm_up = 4\nsparse = 2\ndense = 2\nfinal = 8\n"),
    ] {
        let sparse = trained(folder, step, name);
        assert!(sparse > dense - 0.05, "{name}: {sparse} beside {dense}");
        let report: Value = serde_json::from_slice(&fs::read(folder.join(name).join("report.json")).unwrap()).unwrap();
        let number = |key: &str| report["compressed"][key].as_f64().unwrap();
        // Biases and norms count in both, and are not pruned.
        let kept = number("non_zeros") / number("parameters");
        assert!((0.19..0.23).contains(&kept), "{name}: {kept}");
        assert!(sparse > ready, "{name}: {sparse} at 80 % zeros beside {ready} of pruning 70 % without training");
    }
}
