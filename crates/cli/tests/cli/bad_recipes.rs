//! Recipes with mistakes: file, line, the nearest known word; found before any work is done.

use std::fs;
use std::path::Path;

use crate::lissom::{Answer, lissom};
use crate::models::tiny;

fn compress(folder: &Path, recipe: &str) -> Answer {
    fs::write(folder.join("r.toml"), recipe).unwrap();
    let words = ["compress", "tiny.onnx", "--recipe", "r.toml", "--data", "train.npz", "--eval-data", "test.npz"];
    lissom(folder, &[&words[..], &["--out", "run", "--bench-seconds", "0"]].concat())
}

#[test]
fn misspelt_words_are_answered_with_the_nearest() {
    let folder = tiny();
    for (recipe, parts) in [
        ("[[step]]\nmetod = \"magnitude\"\n", &["r.toml", "2:1", "metod", "did you mean `method`?"][..]),
        (
            "[[step]]\nmethod = \"magnitud\"\nsparsity = 0.5\n",
            &["r.toml:2", "unknown method `magnitud`", "`magnitude`"],
        ),
        ("[[step]]\nmethod = \"magnitude\"\nsparsty = 0.5\n", &["r.toml:3", "sparsty", "`sparsity`"]),
        ("[[step]]\nmethod = \"magnitude\"\nsparsity = 1.5\n", &["r.toml:3", "sparsity", "1.5"]),
        ("[[step]]\nmethod = \"magnitude\"\nsparsity = \n", &["r.toml:3"]),
        ("[[step]]\nmethod = \"magnitude\"\n", &["r.toml", "sparsity"]),
        ("[budget]\nmax_drp = 1\n[[step]]\nmethod = \"magnitude\"\nsparsity = 0.5\n", &["r.toml:2", "`max_drop`"]),
        ("", &["no steps", "hint: "]),
    ] {
        compress(folder.path(), recipe).refuses(65, parts);
        assert!(!folder.path().join("run").exists(), "{recipe}");
    }
}

#[test]
fn a_pattern_that_matches_no_layer_lists_near_ones() {
    let folder = tiny();
    let recipe = "[[step]]\nmethod = \"magnitude\"\nsparsity = 0.5\nlayers = { include = [\"fc3\"] }\n";
    compress(folder.path(), recipe).refuses(65, &["`fc3`", "fc1", "step 1", "hint: "]);
    assert!(!folder.path().join("run").exists(), "found before any work is done");
}

#[test]
fn absent_recipes_list_the_presets() {
    let folder = tiny();
    let words = ["compress", "tiny.onnx", "--recipe"];
    lissom(folder.path(), &[&words[..], &["prune5"]].concat()).refuses(65, &["unknown preset `prune5`", "`prune50`"]);
    lissom(folder.path(), &[&words[..], &["absent.toml"]].concat()).refuses(65, &["`absent.toml`", "prune50"]);
    lissom(folder.path(), &[&words[..], &["tiny.onnx"]].concat()).refuses(65, &["hint: "]);
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn a_step_that_needs_data_asks_for_it() {
    let folder = tiny();
    let words = ["compress", "tiny.onnx", "--recipe", "prune50", "--out", "run"];
    lissom(folder.path(), &words).refuses(2, &["reestimate_batch_norm", "--data PATH"]);
    assert!(!folder.path().join("run").exists());
}
