use lissom_graph::{Patch, infer, interpret};
use lissom_ops::OPERATORS;
use lissom_tensor::{DType, Tensor};

use super::*;
use crate::floats;

const CLASSES: usize = 3;

fn loss(name: &str, settings: &str) -> Box<dyn Loss> {
    let spec = LOSSES.iter().find(|spec| spec.name == name).unwrap();
    (spec.parse)(&Settings::from_toml("test", settings).unwrap()).unwrap()
}

/// The loss of a network that is nothing but its input, `hidden`, of this shape, in f64.
fn value(loss: &dyn Loss, shape: &[usize], x: &[f64], targets: &[(&str, Tensor)]) -> f64 {
    let mut graph = Graph::new("loss");
    let scores = graph.add_input("hidden", Fact::known(DType::F64, shape));
    let asked = loss.targets(&Network { graph: &graph, scores }).unwrap();
    let values: Vec<ValueId> = asked.iter().map(|target| graph.add_input(&target.name, target.fact.clone())).collect();
    let mut patch = Patch::new(&graph, crate::nodes::OPSET);
    let mut nodes = Nodes::new(&mut patch, &OPERATORS, DType::F64);
    let made = loss.build(&mut nodes, &Network { graph: &graph, scores }, &values).unwrap();
    graph.set_outputs(vec![made]);
    graph.apply(patch).unwrap();
    infer(&mut graph).unwrap();
    assert_eq!(graph.value(made).fact.rank(), Some(0));
    let mut inputs = vec![floats(DType::F64, shape, x).unwrap()];
    for target in &asked {
        inputs.push(targets.iter().find(|(name, _)| *name == target.name).unwrap().1.clone());
    }
    interpret(&graph, &inputs).unwrap()[0].to_f64().unwrap()
}

fn log_softmax_of(scores: &[f64]) -> Vec<f64> {
    let sum: f64 = scores.iter().map(|score| score.exp()).sum();
    scores.iter().map(|score| score - sum.ln()).collect()
}

const X: [f64; 6] = [0.5, -1.0, 2.0, 0.1, 0.2, -0.3];

#[test]
fn cross_entropy_is_the_mean_over_the_batch() {
    let labels = Tensor::vector(vec![2i64, 0]);
    let rows: Vec<Vec<f64>> = X.chunks(CLASSES).map(log_softmax_of).collect();
    let plain = -(rows[0][2] + rows[1][0]) / 2.0;
    let of = |settings: &str| value(&*loss("cross_entropy", settings), &[2, 3], &X, &[("labels", labels.clone())]);
    assert!((of("") - plain).abs() < 1e-14);
    let spread: f64 = rows.iter().flatten().sum::<f64>() / 3.0 / 2.0;
    assert!((of("label_smoothing = 0.1") - (0.9 * plain - 0.1 * spread)).abs() < 1e-14);
}

#[test]
fn probabilities_of_one_are_labels() {
    let labels = Tensor::vector(vec![2i64, 0]);
    let soft = floats(DType::F64, &[2, 3], &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]).unwrap();
    for smoothing in ["", "\nlabel_smoothing = 0.2"] {
        let hard = format!("targets = \"labels\"{smoothing}");
        let hard = value(&*loss("cross_entropy", &hard), &[2, 3], &X, &[("labels", labels.clone())]);
        let own = format!("targets = \"probabilities\"{smoothing}");
        let own = value(&*loss("cross_entropy", &own), &[2, 3], &X, &[("probabilities", soft.clone())]);
        assert!((hard - own).abs() < 1e-14, "{hard} {own}");
    }
}

#[test]
fn a_student_that_answers_as_its_teacher_has_no_loss() {
    let teacher = floats(DType::F64, &[2, 3], &X).unwrap();
    let alone = loss("distillation", "teacher_share = 1.0\ntemperature = 3.0");
    assert!(value(&*alone, &[2, 3], &X, &[("teacher.scores", teacher)]).abs() < 1e-14);
}

#[test]
fn distillation_weighs_teacher_and_labels() {
    let y = [1.0, 0.0, -1.0, 0.3, 0.3, 0.3];
    let teacher = floats(DType::F64, &[2, 3], &y).unwrap();
    let labels = Tensor::vector(vec![2i64, 0]);
    let both = loss("distillation", "teacher_share = 0.7\ntemperature = 2.0");
    let actual = value(&*both, &[2, 3], &X, &[("teacher.scores", teacher), ("labels", labels)]);
    let mut expected = 0.0;
    for ((x, y), label) in X.chunks(3).zip(y.chunks(3)).zip([2, 0]) {
        let soft = |scores: &[f64]| log_softmax_of(&scores.iter().map(|score| score / 2.0).collect::<Vec<f64>>());
        let kl: f64 = soft(y).iter().zip(soft(x)).map(|(t, s)| t.exp() * (t - s)).sum();
        expected += (0.7 * 4.0 * kl - 0.3 * log_softmax_of(x)[label]) / 2.0;
    }
    assert!((actual - expected).abs() < 1e-14, "{actual} {expected}");
}

#[test]
fn the_gradient_of_distillation_is_the_published_one() {
    let y = [1.0, 0.0, -1.0, 0.3, 0.5, -0.2];
    let (share, temperature, step) = (0.7, 3.0, 1e-5);
    let hard = [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]].concat();
    let labels = Tensor::vector(vec![2i64, 0]);
    let shares = floats(DType::F64, &[2, 3], &hard).unwrap();
    for targets in ["labels", "probabilities"] {
        let settings = format!("teacher_share = {share}\ntemperature = {temperature:?}\ntargets = \"{targets}\"");
        let loss = loss("distillation", &settings);
        let teacher = floats(DType::F64, &[2, 3], &y).unwrap();
        let given = [("teacher.scores", teacher), ("labels", labels.clone()), ("probabilities", shares.clone())];
        let softmax = |scores: &[f64], temperature: f64| -> Vec<f64> {
            let scaled = |row: &[f64]| row.iter().map(|score| score / temperature).collect::<Vec<f64>>();
            scores.chunks(CLASSES).flat_map(|row| log_softmax_of(&scaled(row))).map(f64::exp).collect()
        };
        let (own, soft, teachers) = (softmax(&X, 1.0), softmax(&X, temperature), softmax(&y, temperature));
        for i in 0..X.len() {
            let at = |by: f64| {
                let mut x = X;
                x[i] += by;
                value(&*loss, &[2, 3], &x, &given)
            };
            let numeric = (at(step) - at(-step)) / (2.0 * step);
            let batch = 2.0;
            let expected = (share * temperature * (soft[i] - teachers[i]) + (1.0 - share) * (own[i] - hard[i])) / batch;
            assert!((numeric - expected).abs() < 1e-9, "{targets} {i}: {numeric} {expected}");
        }
    }
}

#[test]
fn a_hint_is_a_mean_square() {
    let teacher = floats(DType::F64, &[2, 3], &[0.5, -1.0, 2.0, 0.1, 0.2, 0.7]).unwrap();
    let actual = value(&*loss("hint", "values = [\"hidden\"]"), &[2, 3], &X, &[("teacher.hidden", teacher)]);
    assert!((actual - 1.0 / 6.0).abs() < 1e-14, "{actual}");
}

#[test]
fn attention_does_not_see_scale_or_the_number_of_channels() {
    let x = [1.0, 2.0, 3.0, -1.0, 0.5, 4.0, 1.0, 1.0];
    // Twice as many channels, each half of one of the student's: the same map times a number.
    let doubled: Vec<f64> = x.chunks(2).flat_map(|pair| [pair[0], pair[1], pair[0], pair[1]]).collect();
    let teacher = floats(DType::F64, &[1, 8, 2], &doubled).unwrap();
    for settings in ["values = [\"hidden\"]", "values = [\"hidden\"]\npower = 3.0"] {
        let loss = loss("attention_transfer", settings);
        let same = value(&*loss, &[1, 4, 2], &x, &[("teacher.hidden", teacher.clone())]);
        assert!(same.abs() < 1e-14, "{same}");
        let other = floats(DType::F64, &[1, 1, 2], &[1.0, 0.0]).unwrap();
        assert!(value(&*loss, &[1, 4, 2], &x, &[("teacher.hidden", other)]) > 0.01);
    }
}

#[test]
fn what_the_network_has_not_is_named() {
    let mut graph = Graph::new("loss");
    let scores = graph.add_input("hidden", Fact::known(DType::F64, &[2, 3]));
    let network = Network { graph: &graph, scores };
    let error = loss("hint", "values = [\"hiden\"]").targets(&network).unwrap_err();
    assert_eq!(error.hint().unwrap(), "did you mean `hidden`?");
    let one = graph.add_input("one", Fact::known(DType::F64, &[2, 1]));
    let error = loss("cross_entropy", "").targets(&Network { graph: &graph, scores: one }).unwrap_err();
    assert!(matches!(error, TrainError::Shape { .. }));
}

#[test]
fn every_example_parses_and_the_list_is_sorted() {
    for spec in LOSSES {
        assert_eq!(loss(spec.name, spec.example).name(), spec.name);
    }
    assert!(LOSSES.windows(2).all(|pair| pair[0].name < pair[1].name));
}
