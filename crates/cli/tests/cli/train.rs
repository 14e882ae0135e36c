//! Training from outside: from nothing and from a model, killed and resumed, with mistakes.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::lissom::{Answer, lissom, names};
use crate::models::{N_IN, classes, numbers, save_data, tiny};

/// A network from nothing, in about a second.
pub const SCRATCH: &str = "\
[model]
architecture = { name = \"mlp\", shape = [8], hidden = [32], classes = 4 }

[train]
epochs = 12
batch = 20
optimizer = { name = \"sgd\", learning_rate = 0.1, momentum = 0.9 }
schedule = { name = \"cosine\", warmup_steps = 10 }
checkpoint_seconds = 0.01
";

/// A folder with `tiny.onnx`, `learn.npz` and `test.npz`, both labelled by that network.
pub fn labelled() -> tempfile::TempDir {
    let folder = tiny();
    let samples = numbers(600 * N_IN, 30);
    let labels = classes(&samples);
    save_data(&folder.path().join("learn.npz"), samples, N_IN, Some(labels));
    folder
}

/// The words of a training of `r.toml` into `out`.
pub fn words(out: &str) -> Vec<&str> {
    vec!["train", "r.toml", "--data", "learn.npz", "--eval-data", "test.npz", "--out", out, "--quiet"]
}

fn train(folder: &Path, recipe: &str, more: &[&str]) -> Answer {
    fs::write(folder.join("r.toml"), recipe).unwrap();
    lissom(folder, &[&words("run")[..], more].concat())
}

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("run/report.json")).unwrap()).unwrap()
}

fn curve<'a>(report: &'a Value, label: &str, series: &str) -> &'a Value {
    let list = |value: &'a Value| value.as_array().unwrap().iter();
    let curve = list(&report["curves"]).find(|curve| curve["label"] == label).unwrap();
    list(&curve["series"]).find(|own| own["name"] == series).unwrap()
}

#[test]
fn a_recipe_that_asks_for_bf16_gets_about_the_same_network() {
    let trained = |recipe: &str| {
        let folder = labelled();
        train(folder.path(), recipe, &["--json"]).expect(0);
        let report = report(folder.path());
        let last = |label: &str, series: &str| {
            let values = curve(&report, label, series)["values"].as_array().unwrap().clone();
            values.last().and_then(Value::as_f64).unwrap()
        };
        (last("Accuracy", "validation"), last("Loss", "training"))
    };
    let rounded = SCRATCH.replace("batch = 20", "batch = 20\nprecision = \"bf16\"");
    let (exact, rounded) = (trained(SCRATCH), trained(&rounded));
    assert_ne!(exact.1, rounded.1, "nothing was rounded");
    assert!(rounded.0 > 0.85 && (exact.0 - rounded.0).abs() < 0.03, "{exact:?} {rounded:?}");
}

#[test]
fn a_network_is_trained_from_nothing() {
    let folder = labelled();
    let answer = train(folder.path(), SCRATCH, &["--json"]).expect(0);
    assert_eq!(answer.json()["was_finished"], false);
    let report = report(folder.path());
    assert!(report["original"].is_null() && report["comparison"].is_null(), "there is nothing to compare with");
    let top1 = &report["compressed"]["judgement"];
    assert!(top1.to_string().contains("per_class"), "{top1}");
    let accuracy = curve(&report, "Accuracy", "validation")["values"].as_array().unwrap();
    assert_eq!(accuracy.len(), 12);
    assert!(accuracy[11].as_f64().unwrap() > 0.85, "{accuracy:?}");
    assert_eq!(curve(&report, "Loss", "training")["values"].as_array().unwrap().len(), 12 * 30);
    assert_eq!(curve(&report, "Sparsity", "training")["steps"][0], 0);
    let page = fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    assert!(page.contains("What changed with every step of the training"));
    let files = names(&folder.path().join("run/training"));
    let has = |part: &str| files.iter().any(|name| name.starts_with("1-fine_tune/") && name.contains(part));
    assert!(
        has("metrics.jsonl") && has("checkpoint.safetensors") && has("tensorboard/events.out.tfevents"),
        "{files:?}"
    );
    let eval = lissom(folder.path(), &["eval", "run/model.onnx", "--data", "test.npz", "--json"]).expect(0).json();
    assert!(eval["judgement"].to_string().len() > 10);
    let again = train(folder.path(), SCRATCH, &["--json"]).expect(0).json();
    assert_eq!(again["was_finished"], true);
}

#[test]
fn a_pruned_network_learns_again_and_its_zeros_stay() {
    let folder = labelled();
    let recipe = "\
[train]
epochs = 5
batch = 20
optimizer = { name = \"sgd\", learning_rate = 0.2 }
[[step]]
method = \"magnitude\"
sparsity = 0.7
[[step]]
method = \"fine_tune\"
keep_zeros = true
[step.train]
epochs = 8
ema = 0.9
";
    fs::write(folder.path().join("r.toml"), recipe).unwrap();
    let words = ["compress", "tiny.onnx", "--recipe", "r.toml", "--data", "learn.npz", "--eval-data", "test.npz"];
    lissom(folder.path(), &[&words[..], &["--out", "run", "--bench-seconds", "0"]].concat()).expect(0);
    let report = report(folder.path());
    let sparsity = curve(&report, "Sparsity", "training")["values"].as_array().unwrap();
    assert_eq!(sparsity.len(), 9, "the step's own epochs, and the state before");
    assert!(sparsity.iter().all(|share| share == &sparsity[0] && share.as_f64().unwrap() > 0.69), "{sparsity:?}");
    let zeros: Vec<f64> =
        report["layers"].as_array().unwrap().iter().map(|layer| layer["sparsity"].as_f64().unwrap()).collect();
    assert!(zeros.iter().any(|share| *share > 0.69), "{zeros:?}");
    assert!(!report["comparison"].is_null(), "before and after are compared");
    // `train` goes the same way.
    let model = || fs::read(folder.path().join("run/model.onnx")).unwrap();
    let compressed = model();
    train(folder.path(), recipe, &["--model", "tiny.onnx", "--force"]).expect(0);
    assert!(model() == compressed, "the same bytes");
}

#[test]
fn one_layer_alone_learns() {
    let folder = labelled();
    for (settings, changed) in [("linear = true", &["fc2"][..]), ("layers = \"fc1\"", &["fc1"])] {
        let recipe = format!("[train]\nepochs = 1\n[[step]]\nmethod = \"fine_tune\"\n{settings}\n");
        train(folder.path(), &recipe, &["--model", "tiny.onnx", "--force"]).expect(0);
        let report = report(folder.path());
        let steps = report["steps"][0]["changes"].as_array().unwrap();
        let layers: Vec<&str> = steps.iter().map(|change| change["layer"].as_str().unwrap()).collect();
        assert_eq!(layers, changed, "{settings}");
    }
}

#[test]
fn the_dense_network_of_a_pair_is_written_and_judged() {
    let folder = labelled();
    let recipe = SCRATCH.to_owned() + "[[step]]\nmethod = \"acdc\"\nsparsity = 0.75\n";
    train(folder.path(), &recipe, &[]).expect(0);
    let report = report(folder.path());
    let [pair] = &report["pairs"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&pair["name"], &pair["path"]), (&"dense".into(), &"training/1-acdc/dense.onnx".into()));
    let top1 = |value: &Value| value["top1"]["value"].as_f64().unwrap();
    let words = ["eval", "run/training/1-acdc/dense.onnx", "--data", "test.npz", "--json"];
    let judged = lissom(folder.path(), &words).expect(0).json();
    assert_eq!(top1(&judged["judgement"]), top1(&pair["judgement"]), "the file is what was judged");
    assert_eq!(top1(&report["compressed"]["judgement"]), top1(&pair["result"]));
    // The same as `compare` finds.
    let words = ["compare", "run/training/1-acdc/dense.onnx", "run/model.onnx", "--data", "test.npz", "--json"];
    let compared = lissom(folder.path(), &words).expect(0).json();
    assert_eq!(compared["comparison"], pair["comparison"]);
    let agreement = &pair["comparison"]["agreement"];
    let number = |key: &str| agreement[key].as_f64().unwrap();
    assert!(
        number("mean_cross_entropy") > number("mean_kl") && agreement["same_top1"]["value"].as_f64().unwrap() > 0.5
    );
    assert!(!pair["comparison"]["classes"].as_array().unwrap().is_empty());
    let page = fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    assert!(page.contains("Step 1 (acdc): dense") && page.contains("training/1-acdc/dense.onnx"));
    let files = report["provenance"]["files"].to_string();
    assert!(files.contains("dense, step 1 (acdc)"), "{files}");
}

#[test]
fn a_student_learns_from_a_teacher_in_a_file() {
    let folder = labelled();
    train(folder.path(), SCRATCH, &[]).expect(0);
    let recipes = folder.path().join("recipes");
    fs::create_dir(&recipes).unwrap();
    fs::copy(folder.path().join("run/model.onnx"), recipes.join("teacher.onnx")).unwrap();
    let recipe = SCRATCH.replace("[32]", "[12]") + "[[step]]\nmethod = \"distill\"\nteacher = \"teacher.onnx\"\n";
    fs::write(recipes.join("s.toml"), &recipe).unwrap();
    let words = |out| ["train", "recipes/s.toml", "--data", "learn.npz", "--eval-data", "test.npz", "--out", out];
    lissom(folder.path(), &words("student")).expect(0);
    let model = |out: &str| fs::read(folder.path().join(out).join("model.onnx")).unwrap();
    let text = fs::read_to_string(folder.path().join("student/report.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert!(report["provenance"]["files"].to_string().contains("recipes/teacher.onnx"));
    assert!(report["compressed"]["judgement"]["top1"]["value"].as_f64().unwrap() > 0.8);
    // Another teacher under the same name is another training.
    fs::copy(folder.path().join("tiny.onnx"), recipes.join("teacher.onnx")).unwrap();
    lissom(folder.path(), &words("student")).refuses(2, &["teacher"]);
    lissom(folder.path(), &words("other")).expect(0);
    assert!(model("student") != model("other"));
    fs::remove_file(recipes.join("teacher.onnx")).unwrap();
    lissom(folder.path(), &words("third")).refuses(74, &["teacher.onnx"]);
}

#[test]
fn the_teacher_is_the_network_before_unless_one_is_named() {
    let folder = labelled();
    let recipe = "\
[train]
epochs = 5
batch = 20
optimizer = { name = \"sgd\", learning_rate = 0.1, momentum = 0.9 }
[[step]]
method = \"magnitude\"
sparsity = 0.5
[[step]]
method = \"distill\"
teacher_share = 1.0
temperature = 1.0
keep_zeros = true
";
    train(folder.path(), recipe, &["--model", "tiny.onnx"]).expect(0);
    let loss = curve(&report(folder.path()), "Loss", "training")["values"].clone();
    let loss: Vec<f64> = loss.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    // Of the pruned network itself there would be nothing to learn.
    assert!(loss[0] > 0.01 && loss[loss.len() - 1] < 0.5 * loss[0], "{loss:?}");
    let alone = SCRATCH.to_owned() + "[[step]]\nmethod = \"distill\"\n";
    train(folder.path(), &alone, &["--force"]).refuses(65, &["no network was trained before it", "`teacher`"]);
}

#[test]
fn a_network_is_carried_over_to_other_classes() {
    let folder = labelled();
    let samples = numbers(400 * N_IN, 31);
    let labels: Vec<i64> = classes(&samples).into_iter().map(|class| class % 2).collect();
    save_data(&folder.path().join("learn.npz"), samples.clone(), N_IN, Some(labels.clone()));
    save_data(&folder.path().join("test.npz"), samples.iter().map(|x| x * 0.999).collect(), N_IN, Some(labels));
    for (mode, changed) in [("linear", &["fc2"][..]), ("full", &["fc1", "fc2"])] {
        let recipe = format!(
            "[train]\nepochs = 6\nbatch = 20\noptimizer = {{ name = \"sgd\", learning_rate = 0.1, momentum = 0.9 }}\n\
             [[step]]\nmethod = \"magnitude\"\nsparsity = 0.5\nlayers = \"fc1\"\n\
             [[step]]\nmethod = \"transfer\"\nmode = \"{mode}\"\nhead = {{ classes = 2 }}\n"
        );
        train(folder.path(), &recipe, &["--model", "tiny.onnx", "--force"]).expect(0);
        let report = report(folder.path());
        let steps = report["steps"][1]["changes"].as_array().unwrap();
        let layers: Vec<&str> = steps.iter().map(|change| change["layer"].as_str().unwrap()).collect();
        assert_eq!(layers, changed, "{mode}");
        assert_eq!(report["layers"][0]["sparsity"], 0.5, "{mode}: zeros stay");
        assert_eq!(report["layers"][1]["shape"][0], 2, "{mode}");
        assert!(report["comparison"].is_null() && report["original"]["judgement"].is_null());
        assert!(report["not_measured"].to_string().contains("another task"));
        assert!(report["notices"].to_string().contains("layer `fc2` is new: 2 classes in place of 4"));
        let top1 = report["compressed"]["judgement"]["top1"]["value"].as_f64().unwrap();
        assert!(top1 > 0.6, "{mode}: {top1}");
    }
}

#[test]
fn mixed_samples_and_several_losses_are_trained_on() {
    let folder = labelled();
    let recipe = SCRATCH.replace(
        "epochs = 12",
        "epochs = 1\naugment = [{ name = \"mixup\", alpha = 0.2 }]\nclip_norm = 1.0\nema = 0.9",
    ) + "loss = [{ name = \"cross_entropy\", weight = 0.5 }, { name = \"cross_entropy\", targets = \"labels\" }]\n";
    train(folder.path(), &recipe, &[]).expect(0);
    let report = report(folder.path());
    assert!(curve(&report, "Gradient norm", "l2")["values"].as_array().unwrap().len() == 30);
}

#[test]
fn a_loss_that_breaks_says_where() {
    let folder = labelled();
    let recipe = SCRATCH.replace("learning_rate = 0.1", "learning_rate = 1e30");
    let parts =
        ["step 1 (fine_tune)", "cause: step ", "not finite is", "made by node", "hint: lower the learning rate"];
    train(folder.path(), &recipe, &[]).refuses(65, &parts);
    assert!(!folder.path().join("run/model.onnx").exists());
}

#[test]
fn mistakes_are_found_before_any_work() {
    let folder = labelled();
    let with =
        |change: &[(&str, &str)]| change.iter().fold(SCRATCH.to_owned(), |text, (from, to)| text.replace(from, to));
    for (recipe, parts) in [
        (with(&[("\"sgd\"", "\"sdg\"")]), &["r.toml:7:", "`train.optimizer`", "did you mean `sgd`?"][..]),
        (with(&[("epochs", "epoch")]), &["r.toml:5:1", "`train.epoch`", "`epochs`"]),
        (with(&[("\"mlp\"", "\"mpl\"")]), &["r.toml:2:", "`model.architecture`", "`mlp`"]),
        (with(&[("[train]", "[trian]")]), &["r.toml:4:2", "did you mean `train`?"]),
        ("[train]\n[[step]]\nmethod = \"fold_batch_norm\"\n".to_owned(), &["`train`: no step of the recipe trains"]),
        (
            "[[step]]\nmethod = \"fold_batch_norm\"\n[step.train]\nepochs = 1\n".to_owned(),
            &["r.toml:3:", "`train`: this method does not train"],
        ),
    ] {
        train(folder.path(), &recipe, &[]).refuses(65, parts);
    }
    train(folder.path(), SCRATCH, &["--model", "tiny.onnx"]).refuses(2, &["names an architecture", "hint: "]);
    train(folder.path(), "[train]\nepochs = 1\n", &[]).refuses(2, &["nothing to begin with", "architecture"]);
    fs::write(folder.path().join("r.toml"), SCRATCH).unwrap();
    lissom(folder.path(), &["train", "r.toml", "--data", "train.npz", "--out", "run"])
        .refuses(2, &["needs data with labels", "--data PATH"]);
    assert!(!folder.path().join("run").exists());
}
