//! Recipes that are right: presets, extension, the canonical form and its hash.

mod catalog;

use catalog::{Allocate, Catalog, Magnitude};
use lissom_recipe::{Budget, Latency, PRESETS, Pattern, Recipe, RecipeText, TargetSize};
use proptest::prelude::*;

fn read(text: &str) -> Recipe {
    match Recipe::parse(&RecipeText::new("r.toml", text), &Catalog) {
        Ok(recipe) => recipe,
        Err(error) => panic!("{error}\n{text}"),
    }
}

fn methods(recipe: &Recipe) -> Vec<&str> {
    recipe.steps.iter().map(|step| step.method.as_str()).collect()
}

#[test]
fn every_preset_is_a_good_recipe_and_says_what_it_does() {
    for preset in PRESETS {
        let recipe = Recipe::load(preset.name, &Catalog).unwrap();
        assert_eq!(recipe.name, preset.name);
        assert!(recipe.description.is_some_and(|line| line.len() > 20), "{}", preset.name);
        assert!(!recipe.steps.is_empty(), "{}", preset.name);
        assert!(recipe.budget.is_empty(), "{}", preset.name);
    }
}

#[test]
fn every_preset_file_is_listed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/presets");
    let mut files: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    let mut listed: Vec<String> = PRESETS.iter().map(|preset| format!("{}.toml", preset.name)).collect();
    listed.sort();
    assert_eq!(files, listed);
}

/// A preset that changes changes what users get: this shows it in review.
#[test]
fn presets_in_canonical_form() {
    let show = |preset: &lissom_recipe::Preset| {
        let recipe = Recipe::load(preset.name, &Catalog).unwrap();
        let steps: Vec<String> = recipe.steps.iter().map(|step| format!("  {}", step.to_json())).collect();
        format!("{}\n{}", preset.name, steps.join("\n"))
    };
    let shown: Vec<String> = PRESETS.iter().map(show).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn a_step_gives_its_method_typed_settings_and_layers() {
    let recipe = read(
        r#"
        name = "mine"
        [[step]]
        method = "magnitude"
        sparsity = { fraction = 0.8, pattern = "1x4" }
        allocate = "uniform_plus"
        layers = { include = ["conv*", "re:fc[12]"], exclude = "conv9" }
        "#,
    );
    let step = &recipe.steps[0];
    let magnitude: Magnitude = step.settings.parse().unwrap();
    assert_eq!(magnitude.sparsity.fraction(), 0.8);
    assert_eq!(magnitude.sparsity.pattern(), Pattern::Block { rows: 1, cols: 4 });
    assert_eq!(magnitude.allocate, Allocate::UniformPlus);
    assert_eq!(magnitude.layers, step.layers);
    let names = ["conv1", "conv9", "fc1", "fc3", "fc12"];
    assert_eq!(step.layers.select(&names).unwrap(), [0, 2]);
    assert_eq!(recipe.name, "mine");
    assert_eq!(step.place().unwrap().line, 3);
}

#[test]
fn budgets_are_read_by_their_usual_names() {
    let recipe = read(
        r#"
        extends = "int8"
        [budget]
        target_size = "25%"
        max_drop = 0.5
        max_class_drop = 2
        target_latency = "2ms"
        target_bits = 4.5
        "#,
    );
    let expected = Budget {
        target_size: Some(TargetSize::Ratio(0.25)),
        target_latency: Some(Latency { ms: 2.0 }),
        target_bits: Some(4.5),
        max_drop: Some(0.5),
        max_class_drop: Some(2.0),
    };
    assert_eq!(recipe.budget, expected);
}

#[test]
fn presets_are_joined_changed_and_added_to() {
    let joined = read("extends = ['prune70', 'int8']");
    let expected = [
        "magnitude",
        "reestimate_batch_norm",
        "fold_batch_norm",
        "cross_layer_equalization",
        "quantize",
        "bias_correction",
    ];
    assert_eq!(methods(&joined), expected);
    assert_eq!(joined.digest(), Recipe::load("prune70-int8", &Catalog).unwrap().digest());

    let changed = read(
        r#"
        extends = "int8"
        without = ["bias_correction"]
        [[step]]
        method = "quantize"
        activations = { calibrate = "entropy" }
        layers = { exclude = ["head"] }
        [[step]]
        method = "magnitude"
        sparsity = 0.5
        before = "fold_batch_norm"
        [[step]]
        method = "reestimate_batch_norm"
        samples = 10
        "#,
    );
    let expected = ["magnitude", "fold_batch_norm", "cross_layer_equalization", "quantize", "reestimate_batch_norm"];
    assert_eq!(methods(&changed), expected);
    let quantize = changed.steps[3].to_json();
    assert_eq!(quantize["scheme"], "W8A8", "what is not named stays");
    assert_eq!(quantize["activations"]["calibrate"], "entropy");
    assert_eq!(quantize["weights"]["granularity"], "channel");
    assert!(!changed.steps[3].layers.matches("head"));
}

/// The example at the head of `recipe/mod.rs`, read from there so that it stays true.
#[test]
fn the_documented_example_is_a_good_recipe() {
    let source = include_str!("../src/recipe/mod.rs");
    let example = source.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let example: Vec<&str> = example.lines().map(|line| line.trim_start_matches("//!")).collect();
    let recipe = read(&example.join("\n"));
    let expected = [
        "fold_batch_norm",
        "magnitude",
        "reestimate_batch_norm",
        "fold_batch_norm",
        "cross_layer_equalization",
        "quantize",
        "fine_tune",
    ];
    assert_eq!(methods(&recipe), expected);
    assert_eq!(recipe.steps[6].to_json()["train"]["epochs"], 30);
    assert!(!recipe.steps[5].layers.matches("head"));
}

#[test]
fn a_second_step_of_a_method_is_added_not_merged() {
    let recipe = read(
        "extends = 'prune50'\n[[step]]\nmethod = 'magnitude'\nsparsity = 0.6\n[[step]]\nmethod = 'magnitude'\nsparsity = 0.7",
    );
    assert_eq!(methods(&recipe), ["magnitude", "reestimate_batch_norm", "magnitude"]);
    assert_eq!(recipe.steps[0].to_json()["sparsity"], 0.6);
    assert_eq!(recipe.steps[2].to_json()["sparsity"], 0.7);
}

#[test]
fn files_are_read_and_named_after_their_stem() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, "extends = 'int8'").unwrap();
    let recipe = Recipe::load(path.to_str().unwrap(), &Catalog).unwrap();
    assert_eq!(recipe.name, "mine");
}

/// The hash keeps runs resumable across releases of the same version, so it must not drift by accident.
#[test]
fn the_hash_is_fixed_and_ignores_form() {
    let one = read("name = 'a'\n[[step]]\nmethod = 'magnitude'\nsparsity = 0.5\nallocate = 'erk' # why\n");
    let other = read("description = 'b'\nstep = [{ allocate = \"erk\", sparsity = 0.50, method = 'magnitude' }]");
    assert_eq!(one.digest(), other.digest());
    assert_eq!(
        one.to_json().to_string(),
        r#"{"budget":{},"step":[{"method":"magnitude","allocate":"erk","sparsity":0.5}]}"#
    );
    assert_eq!(one.digest().to_string(), blake3::hash(one.to_json().to_string().as_bytes()).to_hex().to_string());
    let changed = read("[[step]]\nmethod = 'magnitude'\nsparsity = 0.6\nallocate = 'erk'");
    assert_ne!(one.digest(), changed.digest());
    let budget = read("[[step]]\nmethod = 'magnitude'\nsparsity = 0.5\nallocate = 'erk'\n[budget]\nmax_drop = 1");
    assert_ne!(one.digest(), budget.digest());
}

proptest! {
    /// Whatever bytes come, the reader answers; it never panics.
    #[test]
    fn any_text_is_read_or_refused(text in "[ -~\n\u{e9}]{0,200}") {
        let _ = Recipe::parse(&RecipeText::new("r.toml", text), &Catalog).map_err(|error| {
            (error.to_string(), error.hint())
        });
    }

    /// Good recipes with one byte changed: still an answer.
    #[test]
    fn any_damaged_preset_is_read_or_refused(which in 0..PRESETS.len(), at in 0usize..1000, byte in 32u8..127) {
        let mut bytes = PRESETS[which].text.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let _ = Recipe::parse(&RecipeText::new("r.toml", text), &Catalog).map_err(|error| {
            (error.to_string(), error.hint())
        });
    }
}

#[test]
fn deep_nesting_is_refused_without_a_stack_overflow() {
    for text in ["a = ".to_string() + &"[".repeat(100_000), "a = ".to_string() + &"{b=".repeat(100_000)] {
        assert!(Recipe::parse(&RecipeText::new("r.toml", text), &Catalog).is_err());
    }
}
