//! Techniques in a small loop of their own.

use lissom_graph::{Attributes, Dim, Fact, Graph, Model, Patch, ValueId, infer};
use lissom_ops::OPERATORS;
use lissom_recipe::Settings;
use lissom_tensor::{DType, Tensor, Weight};
use lissom_train::{
    ARCHITECTURES, Due, LOSSES, Loss, Moment, Network, Nodes, OPTIMIZERS, Objective, SCHEDULES, Target, Technique,
    TrainError, Trainer, TrainerOptions,
};

use crate::{METHODS, Methods};

/// ½ Σ y² of the scores.
#[derive(Debug)]
struct HalfSquares;

impl Loss for HalfSquares {
    fn name(&self) -> &'static str {
        "half_squares"
    }

    fn targets(&self, _: &Network<'_>) -> Result<Vec<Target>, TrainError> {
        Ok(Vec::new())
    }

    fn build(&self, nodes: &mut Nodes<'_>, network: &Network<'_>, _: &[ValueId]) -> Result<ValueId, TrainError> {
        let squares = nodes.mul(network.scores, network.scores)?;
        let sum = nodes.reduce("ReduceSum", squares, &[], false)?;
        Ok(nodes.scaled(sum, 0.5)?)
    }
}

/// Rows whose products are A = [[2, 0.3], [0.3, 1]].
fn root_of_a() -> Tensor {
    let (a, b) = (2f64.sqrt(), 0.3 / 2f64.sqrt());
    Tensor::new([2, 2], vec![a as f32, b as f32, 0.0, (1.0 - b * b).sqrt() as f32]).unwrap()
}

/// x · θ with θ = (1, 0.2).
fn product() -> Model {
    let mut graph = Graph::new("product");
    let x = graph.add_input("x", Fact::new(DType::F32, vec![Dim::symbol("n"), Dim::from(2)]));
    let mut patch = Patch::new(&graph, 20);
    let theta = patch.constant("theta", Weight::Dense(Tensor::new([2, 1], vec![1f32, 0.2]).unwrap()));
    let y = patch.node(&OPERATORS, "MatMul", "product", &[Some(x), Some(theta)], Attributes::new()).unwrap();
    graph.set_outputs(vec![y]);
    graph.apply(patch).unwrap();
    infer(&mut graph).unwrap();
    Model::new(graph, OPERATORS, 20)
}

pub(super) fn options(objective: impl Into<Objective>, optimizer: &str, steps: u64) -> TrainerOptions {
    let settings = |text| Settings::from_toml("test", text).unwrap();
    let spec = OPTIMIZERS.iter().find(|spec| spec.name == "sgd").unwrap();
    let schedule = SCHEDULES.iter().find(|spec| spec.name == "constant").unwrap();
    let schedule = (schedule.parse)(&Settings::empty()).unwrap();
    let mut options = TrainerOptions::new(objective, (spec.parse)(&settings(optimizer)).unwrap(), schedule, steps);
    options.threads = 1;
    options
}

/// A quadratic ½ θᵀ A θ at θ = (1, 0.2), ready to be trained at the plain rate 0.1.
pub(super) fn quadratic_trainer(technique: &mut dyn Technique) -> Trainer {
    let objective: Box<dyn Loss> = Box::new(HalfSquares);
    let mut options = options(objective, "learning_rate = 0.1\nmomentum = 0.0", 10);
    let mut model = product();
    technique.prepare(&mut model, &mut options).unwrap();
    Trainer::new(&model, options, |_| true).unwrap()
}

/// x · A · B, half the squares of which are the loss, ready to be trained at the plain rate 0.1.
pub(super) fn products_trainer(technique: &mut dyn Technique, weights: [[f32; 4]; 2]) -> Trainer {
    let mut graph = Graph::new("products");
    let mut value = graph.add_input("x", Fact::new(DType::F32, vec![Dim::symbol("n"), Dim::from(2)]));
    let mut patch = Patch::new(&graph, 20);
    for (name, weight) in ["a", "b"].into_iter().zip(weights) {
        let weight = patch.constant(name, Weight::Dense(Tensor::new([2, 2], weight.to_vec()).unwrap()));
        let inputs = [Some(value), Some(weight)];
        value = patch.node(&OPERATORS, "MatMul", &format!("times_{name}"), &inputs, Attributes::new()).unwrap();
    }
    graph.set_outputs(vec![value]);
    graph.apply(patch).unwrap();
    infer(&mut graph).unwrap();
    let mut model = Model::new(graph, OPERATORS, 20);
    let objective: Box<dyn Loss> = Box::new(HalfSquares);
    let mut options = options(objective, "learning_rate = 0.1\nmomentum = 0.0", 10);
    technique.prepare(&mut model, &mut options).unwrap();
    Trainer::new(&model, options, |_| true).unwrap()
}

/// The batch that makes it so.
pub(super) fn quadratic_batch() -> Tensor {
    root_of_a()
}

/// θ after steps of the plain rate 0.1 on the quadratic.
pub(super) fn quadratic(technique: &mut dyn Technique, steps: u64) -> Vec<f32> {
    let mut trainer = quadratic_trainer(technique);
    let x = root_of_a();
    go(technique, &mut trainer, (1, steps), 0..steps, |_| vec![("x".into(), x.clone())]);
    trainer.tensor("theta").unwrap().to_f32_vec().unwrap()
}

/// The loop: epochs and steps of an epoch, and which steps of them all.
fn go(
    technique: &mut dyn Technique,
    trainer: &mut Trainer,
    (epochs, steps_an_epoch): (u64, u64),
    steps: std::ops::Range<u64>,
    batch: impl Fn(u64) -> Vec<(String, Tensor)>,
) {
    for step in steps {
        let mut batch = batch(step);
        let at = |step: u64| Moment { epoch: step / steps_an_epoch, step, steps_an_epoch, epochs };
        let named: Vec<(&str, &Tensor)> = batch.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let targets = technique.targets(&at(step), &named).unwrap();
        batch.extend(targets);
        let batch: Vec<(&str, &Tensor)> = batch.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        if step == 0 {
            technique.begin(trainer, &batch).unwrap();
        }
        if technique.before_step(trainer, &at(step), &batch).unwrap() == Due::Train {
            let progress = trainer.step(&batch).unwrap();
            assert!(progress.loss.is_finite());
        } else {
            trainer.skip_step();
        }
        technique.after_step(trainer, &at(step + 1)).unwrap();
    }
}

/// A loss of these scores, two classes a row.
pub(super) fn loss_of(loss: Box<dyn Loss>, scores: &[f32], labels: &[i64]) -> f64 {
    let mut model = product();
    let theta = model.graph.find_value("theta").unwrap();
    model.graph.set_constant(theta, Weight::Dense(Tensor::new([2, 2], vec![1f32, 0.0, 0.0, 1.0]).unwrap()));
    infer(&mut model.graph).unwrap();
    let evaluator = lissom_train::Evaluator::new(&model, &loss.into(), &Default::default()).unwrap();
    let x = Tensor::new([labels.len(), 2], scores.to_vec()).unwrap();
    evaluator.run(&[("x", &x), ("labels", &Tensor::vector(labels.to_vec()))]).unwrap().loss
}

pub(super) fn clouds(step: u64) -> Vec<(String, Tensor)> {
    let mut state = 0x9E37_79B9u64.wrapping_mul(step % 12 + 1) | 1;
    let mut number = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let labels: Vec<i64> = (0..24).map(|i| i % 3).collect();
    let x: Vec<f32> = labels
        .iter()
        .flat_map(|&label| (0..8).map(move |feature| if feature % 3 == label { 1.5 } else { -0.5 }))
        .map(|center| center + 0.4 * number())
        .collect();
    vec![("input".into(), Tensor::new([24, 8], x).unwrap()), ("labels".into(), Tensor::vector(labels))]
}

pub(super) fn perceptron() -> Model {
    let spec = ARCHITECTURES.iter().find(|spec| spec.name == "mlp").unwrap();
    let settings = Settings::from_toml("test", "shape = [8]\nhidden = [16]\nclasses = 3").unwrap();
    (spec.parse)(&settings).unwrap().build(1).unwrap()
}

const EPOCHS: u64 = 20;
const STEPS: u64 = 12;

/// A perceptron with a technique, before its first step.
fn perceptron_trainer(technique: &mut dyn Technique) -> Trainer {
    let loss = LOSSES.iter().find(|spec| spec.name == "cross_entropy").unwrap();
    let loss = (loss.parse)(&Settings::empty()).unwrap();
    let mut model = perceptron();
    let mut options = options(loss, "learning_rate = 0.05\nmomentum = 0.9", EPOCHS * STEPS);
    technique.prepare(&mut model, &mut options).unwrap();
    Trainer::new(&model, options, |_| true).unwrap()
}

fn technique(name: &str, text: &str) -> Box<dyn Technique> {
    let settings = Settings::from_toml("test", text).unwrap();
    (Methods(METHODS).find(name).unwrap().parse)(&settings).unwrap().technique().unwrap()
}

/// The settings each method is tried with, which fit a training of 20 epochs of 12 steps, and the share of zeros it ends with, if that is known.
const CASES: &[(&str, &str, f64)] = &[
    ("acdc", "sparsity = 0.75", 0.75),
    ("acdc", "sparsity = \"2:4\"", 0.5),
    ("binary_relax", "bits = 1", 0.0),
    ("binary_relax", "bits = 2\nrelaxed = 0.5\nends = true", 0.0),
    // The classifier has 3 classes: 64 of the 128 + 48 weights.
    ("bdwp", "sparsity = \"2:4\"", 0.3636),
    ("class_dependent", "class = 1\nweight = 2.0\nprunings = 2", 0.75),
    ("cram", "sparsities = [0.5, \"2:4\", 0.75]\nradius = 0.01\nmask_every = 3", 0.0),
    ("early_bird", "sparsity = 0.5", 0.5),
    ("gradual_magnitude", "sparsity = 0.75\nbegin = 1\nend = 12\nevery = 6", 0.75),
    ("gradual_magnitude", "sparsity = 0.75\nallocate = \"uniform\"", 0.75),
    ("grasp", "sparsity = 0.5", 0.5),
    ("lottery_ticket", "share = 0.5\nprunings = 2\nrewind = 5", 0.75),
    ("pq_index", "prunings = 2\nscope = \"layer\"", f64::NAN),
    ("qat", "weight_bits = 4\nactivation_bits = 4\nteacher_share = 0.05", 0.0),
    ("qat", "activation_bits = 32\nlearned = false\nteacher_share = 0", 0.0),
    ("quantized_distillation", "bits = 3\nbucket = 64\nteacher_share = 0.05", 0.0),
    ("quantized_distillation", "bits = 3\npoints = true\nrate = 1e-3\nteacher_share = 0", 0.0),
    ("rigl", "sparsity = 0.5\nallocate = \"uniform\"\nevery = 10", 0.5),
    ("set", "sparsity = 0.5\nallocate = \"uniform\"", 0.5),
    ("snip", "sparsity = 0.75", 0.75),
    ("sr_ste", "sparsity = \"2:4\"", 0.5),
    ("synflow", "sparsity = 0.75", 0.75),
];

fn sparsity(model: &Model) -> f64 {
    let layers = model.graph.layers();
    let weights = layers.iter().filter_map(|layer| model.graph.dense_constant(layer.weight));
    let (zeros, len) = weights.fold((0, 0), |(zeros, len), weight| (zeros + weight.count_zeros(), len + weight.len()));
    zeros as f64 / len.max(1) as f64
}

#[test]
fn every_technique_has_an_example_a_case_and_a_line_in_the_documentation() {
    let documentation = include_str!("../../../../docs/training.md");
    for spec in METHODS {
        let settings = Settings::from_toml("test", spec.example).unwrap();
        let method = (spec.parse)(&settings).unwrap();
        if method.technique().is_some() {
            assert!(CASES.iter().any(|(name, ..)| *name == spec.name), "{}", spec.name);
        }
        // `fine_tune` is what the others stand in place of.
        if method.is_training() && spec.name != "fine_tune" {
            let line = format!("| `{}` | {} | ", spec.name, spec.summary);
            assert!(documentation.contains(&line) && documentation.contains(spec.source), "{}", spec.name);
        }
    }
}

#[test]
fn every_technique_learns_and_ends_with_the_zeros_asked_for() {
    for (name, text, expected) in CASES {
        let mut technique = technique(name, text);
        let mut trainer = perceptron_trainer(&mut *technique);
        go(&mut *technique, &mut trainer, (EPOCHS, STEPS), 0..EPOCHS * STEPS, clouds);
        let model = technique.finish(&trainer).unwrap();
        let sparsity = sparsity(&model);
        // A weight that may be anything may be zero: what grows where no gradient comes.
        let is_right = if expected.is_nan() { sparsity > 0.1 } else { (-0.006..0.05).contains(&(sparsity - expected)) };
        assert!(is_right, "{name} {text}: {sparsity}");
        let loss = LOSSES.iter().find(|spec| spec.name == "cross_entropy").unwrap();
        let objective = (loss.parse)(&Settings::empty()).unwrap().into();
        let evaluator = lissom_train::Evaluator::new(&model, &objective, &Default::default()).unwrap();
        let batch = clouds(500);
        let batch: Vec<(&str, &Tensor)> = batch.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let evaluation = evaluator.run(&batch).unwrap();
        assert!(evaluation.loss < 0.4, "{name} {text}: {evaluation:?}");
        for (_, other) in technique.others(&trainer) {
            assert!(self::sparsity(&other) < 0.3, "{name}: {}", self::sparsity(&other));
        }
    }
}

#[test]
fn a_technique_that_stopped_goes_on_as_if_it_had_not() {
    let folder = std::env::temp_dir().join(format!("lissom-techniques-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (index, (name, text, _)) in CASES.iter().enumerate() {
        let path = folder.join(format!("{index}"));
        for stop in [12, 101, 150, 222] {
            let mut first = technique(name, text);
            let mut trainer = perceptron_trainer(&mut *first);
            go(&mut *first, &mut trainer, (EPOCHS, STEPS), 0..stop, clouds);
            trainer.save(&path).unwrap();
            let kept = first.save();
            go(&mut *first, &mut trainer, (EPOCHS, STEPS), stop..EPOCHS * STEPS, clouds);
            let mut second = technique(name, text);
            let mut resumed = perceptron_trainer(&mut *second);
            resumed.load(&path).unwrap();
            second.load(&kept).unwrap();
            go(&mut *second, &mut resumed, (EPOCHS, STEPS), stop..EPOCHS * STEPS, clouds);
            for parameter in trainer.parameters() {
                assert_eq!(trainer.tensor(&parameter.name), resumed.tensor(&parameter.name), "{name} {text} {stop}");
            }
            let models = |own: &dyn Technique, trainer: &Trainer| -> Vec<f64> {
                own.others(trainer).iter().map(|(_, model)| sparsity(model)).collect()
            };
            assert_eq!(models(&*first, &trainer), models(&*second, &resumed), "{name}");
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
