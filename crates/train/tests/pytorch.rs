//! Losses, gradients and running statistics of whole networks, held to PyTorch's.
//!
//! `pytorch.json` holds what PyTorch computes: of each tensor its norm and some of its elements. `scripts/against_pytorch.py`
//! writes that file, and compares all elements: it has this test write its tensors to the folder `LISSOM_GRADIENTS`.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use lissom_engine::SessionOptions;
use lissom_graph::Model;
use lissom_tensor::{DType, Tensor, Weight};
use lissom_train::{Role, Runner, Step, StepOptions};
use serde::Deserialize;
use support::{Named, architecture, forward, initial, loss, numbers, tensor};

/// Name, architecture with settings, the shape of a batch. The script has each in PyTorch under the same name.
const NETWORKS: &[(&str, &str, &str, &[usize])] = &[
    ("mlp", "mlp", "shape = [20]\nhidden = [32, 16]\nclasses = 10", &[6, 20]),
    ("resnet20", "resnet20", "", &[4, 3, 32, 32]),
    ("resnet8_conv", "resnet20", "width = 8\nblocks = 1\nshortcut = \"conv\"", &[4, 3, 32, 32]),
    ("mobilenet_v1", "mobilenet_v1", "size = 32\nwidth = 0.25\nfirst_stride = 1\nclasses = 10", &[4, 3, 32, 32]),
    (
        "vision_transformer",
        "vision_transformer",
        "size = 16\npatch = 4\nwidth = 32\ndepth = 2\nheads = 2\nclasses = 10",
        &[3, 3, 16, 16],
    ),
];

/// What PyTorch says of a tensor.
#[derive(Debug, Deserialize)]
struct Expected {
    norm: f64,
    /// Elements at equal distances, the first among them.
    elements: Vec<f64>,
}

/// Everything a step has: parameters before it, the batch, the loss, gradients, statistics after it.
struct Tensors {
    given: Named,
    loss: f64,
    /// `gradient.NAME` and `statistic.NAME`.
    results: Named,
}

/// As it is built, but scales and biases are not all alike.
fn network(name: &str, settings: &str) -> Model {
    let mut model = architecture(name, settings);
    let vectors: Vec<_> = model
        .graph
        .constants()
        .filter_map(|(id, weight)| match weight {
            Weight::Dense(tensor) if tensor.dtype() == DType::F32 && tensor.rank() == 1 => Some((id, tensor.clone())),
            _ => None,
        })
        .collect();
    for (seed, (id, mut tensor)) in vectors.into_iter().enumerate() {
        let values = tensor.as_mut_slice::<f32>().unwrap();
        values
            .iter_mut()
            .zip(numbers(1 << 12, seed as u64 + 77))
            .for_each(|(value, more)| *value += 0.25 * more as f32);
        model.graph.set_constant(id, Weight::Dense(tensor));
    }
    model
}

fn tensors(model: &Model, shape: &[usize]) -> Tensors {
    let labels: Vec<i64> = (0..shape[0] as i64).map(|i| i * 3 % 10).collect();
    // A seed that brings no value within rounding of a ReLU's corner: there, gradients are one thing or another.
    let data = [("input", tensor(DType::F32, shape, 4)), ("labels", Tensor::vector(labels))];
    let forward = forward(model, loss("cross_entropy", "")).unwrap();
    let given = initial(&forward, &data);
    let step = Step::gradient(&forward, &StepOptions::default()).unwrap();
    let runner = Runner::new(step, &SessionOptions::default()).unwrap();
    let step = &runner.step;
    let mut outputs: Vec<(String, String, Tensor)> = Vec::new();
    let like = |name: &str| Tensor::new(given[name].shape(), vec![0f32; given[name].len()]).unwrap();
    for (name, output) in &step.outputs.tensors {
        outputs.push((format!("gradient.{name}"), output.clone(), like(name)));
    }
    for carried in step.carried.iter().filter(|carried| carried.role == Role::Statistic) {
        let output = carried.output.clone().unwrap();
        outputs.push((format!("statistic.{}", carried.input), output, like(&carried.input)));
    }
    let mut loss = Tensor::scalar(0f32);
    let loss_name = step.outputs.loss.clone().unwrap();
    let mut slots: Vec<(&str, &mut Tensor)> = vec![(&loss_name, &mut loss)];
    slots.extend(outputs.iter_mut().map(|(_, output, tensor)| (output.as_str(), tensor)));
    runner.run(&[&given], &mut slots).unwrap();
    let results = outputs.into_iter().map(|(name, _, tensor)| (name, tensor)).collect();
    Tensors { loss: loss.to_f64().unwrap(), given, results }
}

/// For the script: everything in one file.
fn write(folder: &str, name: &str, tensors: &Tensors) {
    let mut all: Vec<(String, Tensor)> = vec![("loss".to_owned(), Tensor::scalar(tensors.loss as f32))];
    all.extend(tensors.given.iter().chain(&tensors.results).map(|(name, tensor)| (name.clone(), tensor.clone())));
    lissom_data::write_npz(&Path::new(folder).join(format!("{name}.npz")), &all).unwrap();
}

#[test]
fn gradients_and_statistics_are_those_of_pytorch() {
    let all: BTreeMap<String, BTreeMap<String, Expected>> = serde_json::from_str(include_str!("pytorch.json")).unwrap();
    let folder = std::env::var("LISSOM_GRADIENTS").ok();
    for (name, architecture, settings, shape) in NETWORKS {
        let own = tensors(&network(architecture, settings), shape);
        if let Some(folder) = &folder {
            write(folder, name, &own);
            continue;
        }
        let expected = &all[*name];
        assert!((own.loss - expected["loss"].norm).abs() <= 1e-5 * own.loss, "{name}: {}", own.loss);
        assert_eq!(expected.len(), own.results.len() + 1, "{name}");
        // What is zero but for rounding is held to the norm of all gradients.
        let gradients = expected.iter().filter(|(what, _)| what.starts_with("gradient."));
        let floor = 1e-4 * gradients.map(|(_, one)| one.norm * one.norm).sum::<f64>().sqrt();
        for (what, own) in &own.results {
            let (values, expected) = (own.to_f64_vec().unwrap(), &expected[what]);
            let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
            let is_near = |own: f64, other: f64| (own - other).abs() <= 1e-4 * expected.norm.max(floor);
            assert!(is_near(norm, expected.norm), "{name}: ‖{what}‖ is {norm}, PyTorch's {}", expected.norm);
            let step = values.len().div_ceil(expected.elements.len());
            for (at, &other) in expected.elements.iter().enumerate() {
                let own = values[at * step];
                assert!(is_near(own, other), "{name}: {what}[{}] is {own}, PyTorch's {other}", at * step);
            }
        }
    }
}
