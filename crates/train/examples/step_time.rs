//! Times a training step: `step_time NETWORK SETTINGS BATCH THREADS STEPS [parts]`, e.g. `step_time resnet20 "" 128 2 10 parts`.
//!
//! The network is a file that ends in `.onnx`, or an architecture with its settings: TOML on one line, keys separated by semicolons.
//! SGD with momentum on random images. `parts` lists what takes longest.

use std::error::Error;
use std::time::Instant;

use lissom_graph::Model;
use lissom_recipe::Settings;
use lissom_tensor::Tensor;
use lissom_train::{ARCHITECTURES, LOSSES, OPTIMIZERS, SCHEDULES, Trainer, TrainerOptions};

fn network(name: &str, settings: &str) -> Result<Model, Box<dyn Error>> {
    if name.ends_with(".onnx") {
        let file = lissom_onnx::read_model(name, &lissom_onnx::ReadOptions::default())?;
        return Ok(Model::from_proto(file.model, lissom_ops::OPERATORS)?);
    }
    let spec = ARCHITECTURES.iter().find(|spec| spec.name == name).ok_or("no such architecture")?;
    let settings = Settings::from_toml("settings", &settings.replace(';', "\n"))?;
    Ok((spec.parse)(&settings)?.build(0)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, settings, batch, threads, steps, rest @ ..] = &words[..] else {
        return Err("usage: step_time NETWORK SETTINGS BATCH THREADS STEPS [parts]".into());
    };
    let (batch, steps): (usize, usize) = (batch.parse()?, steps.parse()?);
    let model = network(name, settings)?;
    let input = model.graph.value(model.graph.inputs()[0]);
    let scores = model.graph.value(model.graph.outputs()[0]);
    let lengths = |fact: &lissom_graph::Fact| -> Vec<usize> {
        fact.shape.iter().flatten().skip(1).filter_map(lissom_graph::Dim::known).collect()
    };
    let shape: Vec<usize> = std::iter::once(batch).chain(lengths(&input.fact)).collect();
    let classes = lengths(&scores.fact).last().copied().unwrap_or(1);
    let len = shape.iter().product::<usize>();
    let x = Tensor::new(shape, (0..len).map(|i| (i * 7919 % 1999) as f32 / 1000.0 - 1.0).collect::<Vec<f32>>())?;
    let labels = Tensor::vector((0..batch).map(|i| (i * 31 % classes) as i64).collect::<Vec<i64>>());
    let loss = LOSSES.iter().find(|spec| spec.name == "cross_entropy").ok_or("no loss")?;
    let sgd = Settings::from_toml("optimizer", "learning_rate = 0.01\nmomentum = 0.9\nweight_decay = 5e-4")?;
    let optimizer = OPTIMIZERS.iter().find(|spec| spec.name == "sgd").ok_or("no sgd")?;
    let schedule = SCHEDULES.iter().find(|spec| spec.name == "constant").ok_or("no schedule")?;
    let mut options = TrainerOptions::new(
        (loss.parse)(&Settings::empty())?,
        (optimizer.parse)(&sgd)?,
        (schedule.parse)(&Settings::empty())?,
        steps as u64,
    );
    options.threads = threads.parse()?;
    let mut trainer = Trainer::new(&model, options, |_| true)?;
    let batch_tensors = [(input.name.as_str(), &x), ("labels", &labels)];
    let mut times = Vec::with_capacity(steps);
    for _ in 0..steps {
        let start = Instant::now();
        let progress = trainer.step(&batch_tensors)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        println!("step {}: loss {:.4}, {:.1} ms", progress.step, progress.loss, times[times.len() - 1]);
    }
    times.sort_by(f64::total_cmp);
    let (median, least) = (times[times.len() / 2], times[0]);
    println!("median {median:.1} ms, least {least:.1} ms, {:.0} samples/s", batch as f64 * 1e3 / median);
    println!("{:.0} MiB beside parameters", trainer.peak_bytes() as f64 / f64::from(1 << 20));
    if rest.iter().any(|word| word == "parts") {
        let mut parts = trainer.profile(&batch_tensors)?;
        parts.sort_by_key(|part| std::cmp::Reverse(part.time));
        for part in parts.iter().take(40) {
            println!(
                "{:9.3} ms  {} ({}, {})",
                part.time.as_secs_f64() * 1e3,
                part.info.name,
                part.info.op,
                part.info.kernel
            );
        }
    }
    println!("{} parts run their plain evaluation", trainer.notes().len());
    Ok(())
}
