//! Trainings in bf16: they learn as those in f32 do, and repeat to the byte.

mod support;

use lissom_graph::Model;
use lissom_tensor::{DType, Tensor};
use lissom_train::{Precision, Trainer, TrainerOptions};
use support::{all, architecture, clouds, loss, numbers, optimizer, schedule, tensor};

const STEPS: u64 = 40;
const SMALL_RESNET: &str = "size = 8\nwidth = 8\nblocks = 1\nclasses = 3\nshortcut = \"conv\"";
const PADDED_RESNET: &str = "size = 8\nwidth = 8\nblocks = 2\nclasses = 3\nshortcut = \"pad\"";
const SMALL_TRANSFORMER: &str = "size = 8\nwidth = 16\ndepth = 1\nheads = 2\nclasses = 3";

fn options(precision: Precision, threads: usize) -> TrainerOptions {
    let sgd = optimizer("sgd", "learning_rate = 0.05\nmomentum = 0.9\nweight_decay = 1e-4");
    let options = TrainerOptions::new(loss("cross_entropy", ""), sgd, schedule("linear", ""), STEPS);
    TrainerOptions { threads, precision, ..options }
}

/// Three patterns in noise.
fn images(n: usize, seed: u64) -> (Tensor, Tensor) {
    let patterns: Vec<Tensor> = (0..3).map(|class| tensor(DType::F32, &[192], class + 1000)).collect();
    let labels: Vec<i64> = (0..n as i64).map(|i| (i + seed as i64) % 3).collect();
    let noise = numbers(192 * n, seed + 7);
    let pixel = |(i, noise): (usize, f64)| {
        patterns[labels[i / 192] as usize].as_slice::<f32>().unwrap()[i % 192] * 0.5 + noise as f32
    };
    let pixels: Vec<f32> = noise.into_iter().enumerate().map(pixel).collect();
    (Tensor::new([n, 3, 8, 8], pixels).unwrap(), Tensor::vector(labels))
}

fn step(trainer: &mut Trainer) -> f64 {
    let seed = trainer.steps_done() + 50;
    let name = trainer.data()[0].0.clone();
    let (x, labels) = if name == "input" && trainer.data()[0].1.shape.as_ref().is_some_and(|shape| shape.len() == 2) {
        clouds(32, 4, 3, seed)
    } else {
        images(24, seed)
    };
    trainer.step(&[(&name, &x), ("labels", &labels)]).unwrap().loss
}

fn losses(model: &Model, precision: Precision) -> Vec<f64> {
    let mut trainer = Trainer::new(model, options(precision, 2), all).unwrap();
    (0..STEPS).map(|_| step(&mut trainer)).collect()
}

fn saved(trainer: &Trainer) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    trainer.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn networks_learn_in_bf16_as_in_f32() {
    let perceptron = ("mlp", "shape = [4]\nhidden = [16]\nclasses = 3");
    for (name, text) in
        [("resnet20", SMALL_RESNET), ("resnet20", PADDED_RESNET), ("vision_transformer", SMALL_TRANSFORMER), perceptron]
    {
        let model = architecture(name, text);
        let (exact, rounded) = (losses(&model, Precision::F32), losses(&model, Precision::Bf16));
        assert_ne!(exact[0], rounded[0], "{name}: nothing was rounded");
        assert!((exact[0] - rounded[0]).abs() < 0.02 * exact[0], "{name}: {} {}", exact[0], rounded[0]);
        let end = |losses: &[f64]| losses[35..].iter().sum::<f64>() / 5.0;
        let (exact_end, rounded_end) = (end(&exact), end(&rounded));
        assert!(exact_end < 0.6 * exact[0], "{name}: {} to {exact_end}", exact[0]);
        assert!((exact_end - rounded_end).abs() < 0.05 * exact[0], "{name}: {exact_end} {rounded_end}");
    }
}

#[test]
fn a_training_in_bf16_has_the_same_bytes_with_any_number_of_threads_and_after_a_stop() {
    for (name, text) in [("resnet20", PADDED_RESNET), ("vision_transformer", SMALL_TRANSFORMER)] {
        let model = architecture(name, text);
        let of = |threads| Trainer::new(&model, options(Precision::Bf16, threads), all).unwrap();
        let [mut one, mut two, mut first, mut second] = [of(1), of(2), of(2), of(3)];
        for _ in 0..4 {
            step(&mut one);
            step(&mut two);
        }
        assert!(saved(&one) == saved(&two), "{name}: threads change bytes");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        (0..2).map(|_| step(&mut first)).for_each(drop);
        first.save(&path).unwrap();
        second.load(&path).unwrap();
        (0..2).map(|_| step(&mut second)).for_each(drop);
        assert!(saved(&second) == saved(&one), "{name}: a stop changes bytes");
    }
}
