//! Whole trainings: they learn, they repeat, they go on where they stopped.

mod support;

use lissom_graph::Attribute;
use lissom_tensor::{DType, Tensor, Weight};
use lissom_train::{BatchNorm, Culprit, Missing, OPTIMIZERS, Recompute, TrainError, Trainer, TrainerOptions};
use support::{Net, all, architecture, clouds, loss, optimizer, schedule, tensor, with_dropout};

fn options(name: &str, text: &str, steps: u64) -> TrainerOptions {
    let schedule = schedule("linear", "warmup_steps = 2");
    TrainerOptions {
        threads: 1,
        ..TrainerOptions::new(loss("cross_entropy", ""), optimizer(name, text), schedule, steps)
    }
}

fn perceptron() -> lissom_graph::Model {
    architecture("mlp", "shape = [4]\nhidden = [16]\nclasses = 3")
}

fn train(trainer: &mut Trainer, steps: u64) -> Vec<f64> {
    (0..steps)
        .map(|_| {
            let (x, labels) = clouds(32, 4, 3, trainer.steps_done() + 50);
            let name = trainer.data()[0].0.clone();
            trainer.step(&[(&name, &x), ("labels", &labels)]).unwrap().loss
        })
        .collect()
}

#[test]
fn every_optimizer_learns() {
    for spec in OPTIMIZERS {
        let text = match spec.name {
            "adamw" | "lamb" => "learning_rate = 0.03",
            "lars" => "learning_rate = 20.0",
            "lion" => "learning_rate = 0.01",
            "sam" => "base = { sgd = { learning_rate = 0.1 } }",
            _ => "learning_rate = 0.1",
        };
        let mut trainer = Trainer::new(&perceptron(), options(spec.name, text, 80), all).unwrap();
        let losses = train(&mut trainer, 80);
        let last = losses[75..].iter().sum::<f64>() / 5.0;
        assert!(losses[0] > 0.5 && last < 0.12, "{}: {} to {last}", spec.name, losses[0]);
        let (x, labels) = clouds(99, 4, 3, 999);
        let progress = trainer.step(&[("input", &x), ("labels", &labels)]).unwrap();
        assert!(progress.correct.unwrap() >= 94, "{}: {progress:?}", spec.name);
    }
}

fn everything() -> TrainerOptions {
    let mut options = options("adamw", "learning_rate = 0.02", 12);
    (options.noise, options.average, options.seed) = (Some(0.01), Some(0.9), 5);
    options.step.clip_norm = Some(1.0);
    options
}

fn saved(trainer: &Trainer) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    trainer.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn a_training_that_stopped_goes_on_as_if_it_had_not() {
    let mut whole = Trainer::new(&with_dropout(), everything(), all).unwrap();
    train(&mut whole, 12);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut first = Trainer::new(&with_dropout(), everything(), all).unwrap();
    train(&mut first, 5);
    first.save(&path).unwrap();
    drop(first);
    let mut second = Trainer::new(&with_dropout(), everything(), all).unwrap();
    second.load(&path).unwrap();
    assert_eq!(second.steps_done(), 5);
    train(&mut second, 7);
    assert_eq!(saved(&second), saved(&whole));
    let mut other = everything();
    other.seed = 6;
    let mut other = Trainer::new(&with_dropout(), other, all).unwrap();
    assert!(matches!(other.load(&path), Err(TrainError::OtherTraining { .. })));
    let mut other = Trainer::new(&with_dropout(), options("sgd", "", 12), all).unwrap();
    assert!(matches!(other.load(&path), Err(TrainError::OtherTraining { .. })));
}

fn images(trainer: &mut Trainer, steps: u64) {
    for step in 0..steps {
        let x = tensor(DType::F32, &[8, 3, 8, 8], step + 9);
        let labels = Tensor::vector((0..8).map(|i| i % 3).collect::<Vec<i64>>());
        trainer.step(&[("input", &x), ("labels", &labels)]).unwrap();
    }
}

const SMALL_RESNET: &str = "size = 8\nwidth = 8\nblocks = 1\nclasses = 3\nshortcut = \"conv\"";

fn has_the_same_bytes_with_any_number_of_threads(name: &str, text: &str) {
    let of = |threads| {
        let mut options = options("sgd", "momentum = 0.9", 4);
        options.threads = threads;
        let mut trainer = Trainer::new(&architecture(name, text), options, all).unwrap();
        images(&mut trainer, 4);
        saved(&trainer)
    };
    assert!(of(1) == of(2), "{name}");
}

#[test]
fn a_residual_network_has_the_same_bytes_with_any_number_of_threads() {
    has_the_same_bytes_with_any_number_of_threads("resnet20", SMALL_RESNET);
}

#[test]
fn a_transformer_has_the_same_bytes_with_any_number_of_threads() {
    let text = "size = 8\nwidth = 8\ndepth = 1\nheads = 2\nclasses = 3";
    has_the_same_bytes_with_any_number_of_threads("vision_transformer", text);
}

#[test]
fn values_computed_again_change_no_byte() {
    let of = |recompute| {
        let mut options = options("sgd", "momentum = 0.9", 3);
        options.step.recompute = recompute;
        let mut trainer = Trainer::new(&architecture("resnet20", SMALL_RESNET), options, all).unwrap();
        images(&mut trainer, 3);
        saved(&trainer)
    };
    assert!(of(Recompute::Cheap) == of(Recompute::Nothing));
}

#[test]
fn what_is_not_finite_is_found() {
    let mut trainer = Trainer::new(&perceptron(), options("sgd", "learning_rate = 0.1", 9), all).unwrap();
    let (mut x, labels) = clouds(32, 4, 3, 1);
    x.as_mut_slice::<f32>().unwrap()[3] = f32::NAN;
    let error = trainer.step(&[("input", &x), ("labels", &labels)]).unwrap_err();
    let expected = Culprit::Input { name: "input".into() };
    assert!(matches!(&error, TrainError::NotFinite { step: 1, culprit, .. } if *culprit == expected), "{error}");
    // Nothing has changed: the training goes on.
    train(&mut trainer, 3);
    let mut model = perceptron();
    let id = model.graph.find_value("classifier.weight").unwrap();
    let huge = Tensor::new(model.graph.constant(id).unwrap().shape(), vec![3e38f32; 48]).unwrap();
    model.graph.set_constant(id, Weight::Dense(huge));
    let mut trainer = Trainer::new(&model, options("sgd", "learning_rate = 0.1", 9), all).unwrap();
    let (x, labels) = clouds(32, 4, 3, 1);
    let error = trainer.step(&[("input", &x), ("labels", &labels)]).unwrap_err();
    let TrainError::NotFinite { culprit: Culprit::Node { node, .. }, .. } = &error else { panic!("{error}") };
    assert_eq!(node, "classifier");
    assert!(error.hint().is_some());
    let error = trainer.step(&[("input", &x)]).unwrap_err();
    assert!(matches!(&error, TrainError::MissingInput { name } if name == "labels"), "{error}");
}

#[test]
fn running_statistics_move_unless_frozen() {
    for (batch_norm, moves) in [(BatchNorm::Train, true), (BatchNorm::Frozen, false)] {
        let model = architecture("resnet20", SMALL_RESNET);
        let mut options = options("sgd", "learning_rate = 0.01", 2);
        options.forward.batch_norm = batch_norm;
        let mut trainer = Trainer::new(&model, options, all).unwrap();
        images(&mut trainer, 2);
        let trained = trainer.model();
        let of = |model: &lissom_graph::Model, name: &str| {
            model.graph.dense_constant(model.graph.find_value(name).unwrap()).cloned().unwrap()
        };
        assert_eq!(of(&trained, "bn1.running_mean") != of(&model, "bn1.running_mean"), moves);
        assert_ne!(of(&trained, "bn1.weight"), of(&model, "bn1.weight"));
        assert_eq!(trained.graph.nodes().len(), model.graph.nodes().len());
    }
}

#[test]
fn an_average_lies_between_the_first_weights_and_the_last() {
    let mut options = options("sgd", "learning_rate = 0.1", 20);
    options.average = Some(0.999);
    let mut trainer = Trainer::new(&perceptron(), options, all).unwrap();
    train(&mut trainer, 20);
    let (now, average) = (trainer.model(), trainer.averaged_model().unwrap());
    let of = |model: &lissom_graph::Model| {
        let id = model.graph.find_value("linear1.weight").unwrap();
        model.graph.dense_constant(id).unwrap().to_f64_vec().unwrap()
    };
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let (first, now, average) = (of(&perceptron()), of(&now), of(&average));
    assert!(distance(&first, &average) > 0.0 && distance(&average, &now) > 0.0);
    assert!(distance(&average, &now) < distance(&first, &now));
}

#[test]
fn clipped_gradients_have_the_norm_asked_for() {
    let mut options = options("sgd", "learning_rate = 1.0\nmomentum = 0.0", 9);
    (options.step.clip_norm, options.step.norms) = (Some(1e-3), true);
    options.schedule = schedule("constant", "");
    options.step.missing = Missing::Refuse;
    let mut trainer = Trainer::new(&perceptron(), options, all).unwrap();
    let (x, labels) = clouds(32, 4, 3, 1);
    let before = trainer.model();
    let progress = trainer.step(&[("input", &x), ("labels", &labels)]).unwrap();
    assert!(progress.gradient_norm.unwrap() > 0.01);
    assert!(progress.gradient_norm_l1.unwrap() > progress.gradient_norm.unwrap());
    let after = trainer.model();
    let mut moved = 0.0;
    for parameter in trainer.parameters() {
        let of =
            |model: &lissom_graph::Model| model.graph.dense_constant(parameter.value).unwrap().to_f64_vec().unwrap();
        moved += of(&before).iter().zip(of(&after)).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    }
    assert!((moved.sqrt() - 1e-3).abs() < 1e-5, "{}", moved.sqrt());
}

#[test]
fn masked_weights_stay_zero_while_others_learn() {
    let mut options = options("adamw", "learning_rate = 0.03", 60);
    (options.step.masks, options.average) = (true, Some(0.9));
    let mut trainer = Trainer::new(&perceptron(), options, all).unwrap();
    let mask = Tensor::new([16, 4], (0..64).map(|i| (i % 2) as f32).collect::<Vec<f32>>()).unwrap();
    trainer.set_mask("linear1.weight", mask).unwrap();
    let losses = train(&mut trainer, 60);
    assert!(losses[59] < 0.2, "{}", losses[59]);
    for model in [trainer.model(), trainer.averaged_model().unwrap()] {
        let weight = model.graph.dense_constant(model.graph.find_value("linear1.weight").unwrap()).unwrap();
        assert_eq!(weight.count_zeros(), 32);
    }
    let error = trainer.set_mask("linear1.bias", Tensor::vector(vec![0f32; 16])).unwrap_err();
    assert!(matches!(error, TrainError::UnknownValue { .. }));
}

#[test]
fn an_evaluation_uses_running_statistics_and_no_dropout() {
    let mut trainer = Trainer::new(&with_dropout(), everything(), all).unwrap();
    train(&mut trainer, 3);
    let (x, labels) = clouds(32, 4, 3, 7);
    let batch = [("x", &x), ("labels", &labels)];
    let evaluation = trainer.evaluator().unwrap().run(&batch).unwrap();
    let shares = lissom_graph::interpret(&trainer.model().graph, std::slice::from_ref(&x)).unwrap().remove(0);
    let (shares, labels) = (shares.to_f64_vec().unwrap(), labels.to_i64_vec().unwrap());
    let loss: f64 = labels.iter().enumerate().map(|(row, &label)| -shares[3 * row + label as usize].ln()).sum();
    assert!((evaluation.loss - loss / 32.0).abs() < 1e-5, "{} {}", evaluation.loss, loss / 32.0);
    let best = |row: &[f64]| (0..3).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as i64;
    let correct = shares.chunks(3).zip(&labels).filter(|(row, label)| best(row) == **label).count();
    assert_eq!(evaluation.correct, Some(correct as u64));
}

#[test]
fn what_lies_below_an_operator_without_gradient_keeps_its_values_if_asked_for() {
    let (mut net, x) = Net::new(&[4]);
    let hidden = net.linear("first", x, [4, 8], 1);
    let hidden = net.node("Sigmoid", "sigmoid", &[hidden], &[]);
    let hidden = net.node("Bernoulli", "bernoulli", &[hidden], &[("seed", Attribute::from(1f32))]);
    let scores = net.linear("second", hidden, [8, 3], 2);
    let model = net.finish(scores);
    let new = |missing| {
        let mut options = options("sam", "base = { sgd = { weight_decay = 0.1 } }", 3);
        options.step.missing = missing;
        Trainer::new(&model, options, all)
    };
    let error = new(Missing::Refuse).unwrap_err();
    assert!(error.to_string().contains("bernoulli") && error.hint().is_some(), "{error}");
    let mut trainer = new(Missing::Freeze).unwrap();
    train(&mut trainer, 3);
    let trained = trainer.model();
    let is_same = |name: &str| {
        let id = model.graph.find_value(name).unwrap();
        model.graph.dense_constant(id) == trained.graph.dense_constant(id)
    };
    assert!(is_same("first.weight") && !is_same("second.weight"));
}
