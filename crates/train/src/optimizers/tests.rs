use lissom_graph::{Fact, Graph, Patch, interpret};
use lissom_ops::OPERATORS;
use lissom_tensor::{DType, Tensor};

use super::*;

fn optimizer(name: &str, settings: &str) -> Box<dyn Optimizer> {
    let spec = OPTIMIZERS.iter().find(|spec| spec.name == name).unwrap();
    (spec.parse)(&Settings::from_toml("test", settings).unwrap()).unwrap()
}

/// The weights after each of several steps with these gradients, in f64.
fn run(optimizer: &dyn Optimizer, group: Group, weight: &[f64], gradients: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let shape = [weight.len()];
    let mut graph = Graph::new("update");
    let fact = Fact::known(DType::F64, &shape);
    let [w, g] = ["weight", "gradient"].map(|name| graph.add_input(name, fact.clone()));
    let states: Vec<ValueId> = optimizer.states().iter().map(|name| graph.add_input(name, fact.clone())).collect();
    let scalar = |name: &&str| graph.add_input(name, Fact::known(DType::F64, &[]));
    let scalars: Vec<ValueId> = optimizer.scalars().iter().map(scalar).collect();
    let (name, node) = ("weight".to_owned(), "node".to_owned());
    let parameter = Parameter { name, value: w, group, node, shape: shape.to_vec(), dtype: DType::F64 };
    let mut patch = Patch::new(&graph, crate::nodes::OPSET);
    let mut nodes = Nodes::new(&mut patch, &OPERATORS, DType::F64);
    let gradient = optimizer.prepare(&mut nodes, vec![g]).unwrap()[0];
    let slot = Slot { parameter: &parameter, weight: w, gradient, states: &states };
    let updated = optimizer.update(&mut nodes, &slot, &scalars).unwrap();
    graph.set_outputs(std::iter::once(updated.weight).chain(updated.states).collect());
    graph.apply(patch).unwrap();
    let mut carried = vec![Tensor::vector(weight.to_vec())];
    carried.resize(1 + states.len(), Tensor::vector(vec![0.0f64; weight.len()]));
    let mut after = Vec::new();
    for (step, gradient) in gradients.iter().enumerate() {
        let mut inputs = vec![carried[0].clone(), Tensor::vector(gradient.clone())];
        inputs.extend_from_slice(&carried[1..]);
        inputs.extend(optimizer.values(step as u64 + 1, optimizer.learning_rate()).into_iter().map(Tensor::scalar));
        carried = interpret(&graph, &inputs).unwrap();
        after.push(carried[0].to_f64_vec().unwrap());
    }
    after
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn assert_close(actual: &[f64], expected: &[f64], what: &str) {
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-13 * b.abs().max(1.0);
    assert!(
        actual.len() == expected.len() && actual.iter().zip(expected).all(close),
        "{what}: {actual:?} {expected:?}"
    );
}

/// The numbers were computed with numpy in f64 from the published rules, two steps each, apart from this code.
#[test]
fn every_rule_gives_the_numbers_computed_apart_from_it() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("golden.json")).unwrap();
    let gradients: Vec<Vec<f64>> = golden["gradients"].as_array().unwrap().iter().map(numbers).collect();
    let mut seen = std::collections::BTreeSet::new();
    for case in golden["cases"].as_array().unwrap() {
        let (name, settings) = (case["optimizer"].as_str().unwrap(), case["settings"].as_str().unwrap());
        let after = run(&*optimizer(name, settings), Group::Weight, &numbers(&golden["weight"]), &gradients);
        for (actual, expected) in after.iter().zip(case["weights"].as_array().unwrap()) {
            assert_close(actual, &numbers(expected), &format!("{name} with {settings}"));
        }
        seen.insert(name.to_owned());
    }
    assert!(OPTIMIZERS.iter().all(|spec| spec.name == "sam" || seen.contains(spec.name)));
}

/// SAM on ½ wᵀ A w.
#[test]
fn sam_moves_uphill_by_its_radius() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("golden.json")).unwrap();
    let golden = &golden["sam"];
    let (a, w) = (numbers(&golden["matrix"]), numbers(&golden["weight"]));
    let gradient = |w: &[f64]| vec![a[0] * w[0] + a[1] * w[1], a[2] * w[0] + a[3] * w[1]];
    let moved = |length: Length| {
        let mut graph = Graph::new("moved");
        let fact = Fact::known(DType::F64, &[2]);
        let inputs = ["weight", "gradient"].map(|name| graph.add_input(name, fact.clone()));
        let mut patch = Patch::new(&graph, crate::nodes::OPSET);
        let mut nodes = Nodes::new(&mut patch, &OPERATORS, DType::F64);
        let radius = golden["radius"].as_f64().unwrap();
        let out = Perturbation { radius, length }.moved(&mut nodes, &inputs[..1], &inputs[1..]).unwrap();
        graph.set_outputs(out);
        graph.apply(patch).unwrap();
        let inputs = [w.clone(), gradient(&w)].map(Tensor::vector);
        interpret(&graph, &inputs).unwrap()[0].to_f64_vec().unwrap()
    };
    assert_close(&moved(Length::Normalized), &numbers(&golden["moved"]), "normalized");
    assert_close(&gradient(&moved(Length::Normalized)), &numbers(&golden["gradient"]), "gradient there");
    assert_close(&moved(Length::Adaptive), &numbers(&golden["adaptive"]), "adaptive");
    // The compression-aware minimizer's perturbed point: 1 + 0.1 · 2.06, 0.2 + 0.1 · 0.5.
    assert_close(&moved(Length::Raw), &[1.206, 0.25], "raw");
}

#[test]
fn lion_moves_every_weight_by_the_rate() {
    let lion = optimizer("lion", "learning_rate = 0.25");
    let after = run(&*lion, Group::Weight, &[1.0, 2.0, 3.0], &[vec![0.1, -5.0, 0.0], vec![0.1, -5.0, 0.0]]);
    assert_eq!(after, [[0.75, 2.25, 3.0], [0.5, 2.5, 3.0]]);
}

#[test]
fn only_weights_decay_unless_others_are_asked_to() {
    for (name, settings) in [
        ("sgd", "momentum = 0.0\nweight_decay = 0.5"),
        ("adamw", "weight_decay = 0.5"),
        ("lion", "weight_decay = 0.5"),
        ("lamb", "weight_decay = 0.5"),
        ("lars", "weight_decay = 0.5"),
    ] {
        let still = |group| run(&*optimizer(name, settings), group, &[4.0, 2.0], &[vec![0.0, 0.0]])[0] == [4.0, 2.0];
        assert!(!still(Group::Weight) && still(Group::Bias) && still(Group::Norm) && still(Group::Step), "{name}");
    }
}

#[test]
fn tensors_of_zeros_move_too() {
    for name in ["lamb", "lars"] {
        let after = run(&*optimizer(name, ""), Group::Weight, &[0.0, 0.0], &[vec![0.1, -0.1]]);
        assert!(after[0][0] < 0.0 && after[0][1] > 0.0 && after[0].iter().all(|w| w.is_finite()), "{name}: {after:?}");
    }
}

#[test]
fn every_example_parses_and_the_list_is_sorted() {
    for spec in OPTIMIZERS {
        assert!(optimizer(spec.name, spec.example).learning_rate() > 0.0);
    }
    assert!(OPTIMIZERS.windows(2).all(|pair| pair[0].name < pair[1].name));
}

#[test]
fn wrong_settings_are_named() {
    for (name, settings, key) in [
        ("sgd", "learning_rate = 0.0", "learning_rate"),
        ("sgd", "momentum = 0.0\nnesterov = true", "nesterov"),
        ("adamw", "beta2 = 1.0", "beta2"),
        ("lars", "trust = -1.0", "trust"),
        ("sam", "base = { sgd = { momentum = 2.0 } }", "base.sgd.momentum"),
        ("sam", "base = { sdg = {} }", "base"),
    ] {
        let spec = OPTIMIZERS.iter().find(|spec| spec.name == name).unwrap();
        let error = (spec.parse)(&Settings::from_toml("test", settings).unwrap()).unwrap_err();
        assert!(error.key.starts_with(key), "{name}: {} instead of {key}", error.key);
        assert!(error.place.is_some(), "{name}: {error}");
    }
}
