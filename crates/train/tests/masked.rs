//! Steps of networks whose weights are mostly masked: the kernels that skip zeros give what the graph says.

mod support;

use lissom_engine::SessionOptions;
use lissom_tensor::{DType, Tensor};
use lissom_train::{Role, Runner, Step, StepOptions, Trainer, TrainerOptions};
use support::{Named, all, architecture, forward, loss, numbers, optimizer, schedule, tensor};

const NET: &str = "size = 8\nwidth = 16\nblocks = 1\nclasses = 3\nshortcut = \"conv\"";
/// Enough images for the kernels whose lanes they are.
const BATCH: usize = 16;

/// Keeps one of ten.
fn mask(shape: &[usize], seed: u64) -> Tensor {
    let kept = numbers(shape.iter().product(), seed).into_iter().map(|x| if x > 0.8 { 1.0 } else { 0.0 });
    Tensor::new(shape, kept.collect::<Vec<f32>>()).unwrap()
}

fn batch() -> [(&'static str, Tensor); 2] {
    let labels = Tensor::vector((0..BATCH as i64).map(|i| i % 3).collect::<Vec<i64>>());
    [("input", tensor(DType::F32, &[BATCH, 3, 8, 8], 9)), ("labels", labels)]
}

/// What a step reads, masks and masked weights included.
fn inputs(step: &Step) -> Named {
    let mut named: Named = step.carried.iter().map(|own| (own.input.clone(), own.initial.clone())).collect();
    for (seed, carried) in step.carried.iter().enumerate() {
        match &carried.role {
            Role::Mask(of) => {
                let mask = mask(carried.initial.shape(), seed as u64);
                let weight = named.get_mut(of).unwrap().as_mut_slice::<f32>().unwrap();
                weight.iter_mut().zip(mask.as_slice::<f32>().unwrap()).for_each(|(weight, kept)| *weight *= kept);
                named.insert(carried.input.clone(), mask);
            }
            Role::State(_) => {
                let velocity = tensor(DType::F32, carried.initial.shape(), seed as u64);
                named.insert(carried.input.clone(), velocity);
            }
            _ => {}
        }
    }
    named.extend(step.scalars.iter().map(|name| (name.clone(), Tensor::scalar(0.1f32))));
    named.extend(batch().map(|(name, tensor)| (name.to_owned(), tensor)));
    named
}

fn step(settings: &str, dense_gradients: bool) -> Step {
    let forward = forward(&architecture("resnet20", NET), loss("cross_entropy", "")).unwrap();
    let options = StepOptions { masks: true, dense_gradients, ..StepOptions::default() };
    Step::training(&forward, &*optimizer("sgd", settings), &options).unwrap()
}

#[test]
fn a_masked_step_is_what_its_graph_says() {
    let settings = [
        "momentum = 0.9\nweight_decay = 0.01",
        "momentum = 0.8\nnesterov = true",
        "momentum = 0.0\nweight_decay = 0.1",
    ];
    for (settings, dense_gradients) in settings.into_iter().flat_map(|text| [(text, false), (text, true)]) {
        let step = step(settings, dense_gradients);
        let named = inputs(&step);
        let graph = step.model.graph.clone();
        let names: Vec<String> = graph.outputs().iter().map(|&id| graph.value(id).name.clone()).collect();
        let expected = support::run(&graph, &named);
        let mut made: Vec<Tensor> = expected.clone();
        let runner = Runner::new(step, &SessionOptions { threads: 2, ..SessionOptions::default() }).unwrap();
        let mut outputs: Vec<(&str, &mut Tensor)> =
            names.iter().map(String::as_str).zip(&mut made).filter(|(_, t)| t.dtype() == DType::F32).collect();
        runner.run(&[&named], &mut outputs).unwrap();
        for (name, (made, expected)) in names.iter().zip(made.iter().zip(&expected)) {
            let (made, expected) = (made.to_f64_vec().unwrap(), expected.to_f64_vec().unwrap());
            for (at, (made, expected)) in made.iter().zip(&expected).enumerate() {
                let is_near = (made - expected).abs() <= 2e-4 * expected.abs().max(1.0);
                assert!(is_near, "{settings}, {dense_gradients}: {name} {at}: {made} {expected}");
            }
        }
    }
}

#[test]
fn velocities_of_masked_weights_take_gradients_in_only_if_asked_for() {
    for dense_gradients in [false, true] {
        let mut trainer = trainer(2, dense_gradients);
        take(&mut trainer, 2);
        let velocity = trainer.tensor("layer2.0.conv2.weight.velocity").unwrap();
        let mask = trainer.mask("layer2.0.conv2.weight").unwrap();
        let pairs = velocity.as_slice::<f32>().unwrap().iter().zip(mask.as_slice::<f32>().unwrap());
        let moved = pairs.filter(|(velocity, kept)| **kept == 0.0 && **velocity != 0.0).count();
        assert_eq!(moved > 0, dense_gradients, "{moved}");
    }
}

fn trainer(threads: usize, dense_gradients: bool) -> Trainer {
    let mut options = TrainerOptions::new(
        loss("cross_entropy", ""),
        optimizer("sgd", "learning_rate = 0.05"),
        schedule("constant", ""),
        6,
    );
    options.threads = threads;
    (options.step.masks, options.step.dense_gradients) = (true, dense_gradients);
    let mut trainer = Trainer::new(&architecture("resnet20", NET), options, all).unwrap();
    let weights: Vec<_> = trainer.parameters().to_vec();
    for (seed, parameter) in weights.iter().enumerate() {
        if trainer.mask(&parameter.name).is_some() {
            trainer.set_mask(&parameter.name, mask(&parameter.shape, seed as u64)).unwrap();
        }
    }
    trainer
}

fn take(trainer: &mut Trainer, steps: usize) {
    let batch = batch();
    let batch: Vec<(&str, &Tensor)> = batch.iter().map(|(name, tensor)| (*name, tensor)).collect();
    for _ in 0..steps {
        trainer.step(&batch).unwrap();
    }
}

#[test]
fn a_masked_training_has_the_same_bytes_with_any_threads_and_after_a_resumption() {
    let folder = tempfile::tempdir().unwrap();
    let saved = |trainer: &Trainer| {
        let path = folder.path().join("state");
        trainer.save(&path).unwrap();
        std::fs::read(path).unwrap()
    };
    let mut whole = trainer(1, false);
    take(&mut whole, 6);
    let mut first = trainer(2, false);
    take(&mut first, 2);
    let path = folder.path().join("half");
    first.save(&path).unwrap();
    let mut second = trainer(2, false);
    second.load(&path).unwrap();
    take(&mut second, 4);
    assert!(saved(&whole) == saved(&second));
}
