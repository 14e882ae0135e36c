//! How long a training step takes, and where.
//!
//! `cargo run --release -p lissom-train --example step -- ARCHITECTURE [settings as TOML] [batch] [threads] [seconds] [layers]`
//!
//! Prints the median and the best time of a step (forward, backward, SGD with momentum and weight decay) on a batch of noise. `layers`
//! adds the time of every kernel, the slowest first.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use lissom_engine::{Session, SessionOptions};
use lissom_kernels::memory::LargePages;
use lissom_recipe::Settings;
use lissom_tensor::{DType, Tensor};
use lissom_train::{ARCHITECTURES, Forward, LOSSES, OPTIMIZERS, Objective, Step, StepOptions};

#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |at: usize, default: &str| args.get(at).cloned().unwrap_or_else(|| default.to_owned());
    let name = arg(0, "resnet20");
    let batch: usize = arg(2, "128").parse()?;
    let threads: usize = arg(3, "2").parse()?;
    let seconds: f64 = arg(4, "3").parse()?;
    let spec = ARCHITECTURES.iter().find(|spec| spec.name == name).ok_or("no such architecture")?;
    let model = (spec.parse)(&Settings::from_toml("arguments", &arg(1, ""))?)?.build(0)?;
    let empty = Settings::from_toml("defaults", "")?;
    let loss = LOSSES.iter().find(|spec| spec.name == "cross_entropy").ok_or("no such loss")?;
    let sgd = OPTIMIZERS.iter().find(|spec| spec.name == "sgd").ok_or("no such optimizer")?;
    let sgd = (sgd.parse)(&Settings::from_toml("defaults", "learning_rate = 0.1\nweight_decay = 5e-4")?)?;
    let forward = Forward::new(&model, &Objective::from((loss.parse)(&empty)?), |_| true, &Default::default())?;
    let step = Step::training(&forward, &*sgd, &StepOptions::default())?;
    let session = Session::new(&step.model, &SessionOptions { threads, ..SessionOptions::default() })?;
    let mut inputs: BTreeMap<String, Tensor> =
        step.carried.iter().map(|carried| (carried.input.clone(), carried.initial.clone())).collect();
    for (name, fact) in &step.data {
        let shape: Vec<usize> = fact.shape.iter().flatten().map(|dim| dim.known().unwrap_or(batch)).collect();
        let len = shape.iter().product::<usize>();
        let tensor = match fact.dtype {
            Some(DType::I64) => Tensor::new(shape, (0..len).map(|i| (i % 10) as i64).collect::<Vec<_>>())?,
            _ => Tensor::new(shape, (0..len).map(|i| (i * 7919 % 2001) as f32 / 1000.0 - 1.0).collect::<Vec<_>>())?,
        };
        inputs.insert(name.clone(), tensor);
    }
    for name in &step.scalars {
        inputs.insert(name.clone(), Tensor::scalar(0.1f32));
    }
    let named: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    session.run(&named)?;
    if arg(5, "") == "layers" {
        layers(&session, &named)?;
    }
    let started = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || started.elapsed().as_secs_f64() < seconds {
        let run = Instant::now();
        session.run(&named)?;
        times.push(run.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let (p50, best) = (times[times.len() / 2], times[0]);
    println!("{name} batch {batch}, {threads} threads: p50 {p50:.2} ms, best {best:.2} ms, {} steps", times.len());
    println!("arena {} MiB", session.peak_bytes() >> 20);
    session.notes().iter().for_each(|note| println!("  {note}"));
    Ok(())
}

fn layers(session: &Session, inputs: &[(&str, &Tensor)]) -> Result<(), Box<dyn Error>> {
    let mut best = session.profile(inputs)?;
    for _ in 0..10 {
        for (best, step) in best.iter_mut().zip(session.profile(inputs)?) {
            best.time = best.time.min(step.time);
        }
    }
    let total: f64 = best.iter().map(|step| step.time.as_secs_f64()).sum();
    let mut kinds: BTreeMap<(&str, &str), (Duration, usize, u64)> = BTreeMap::new();
    for step in &best {
        let kind = kinds.entry((step.info.kernel, &step.info.op)).or_default();
        *kind = (kind.0 + step.time, kind.1 + 1, kind.2 + step.info.bytes);
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, (time, ..))| std::cmp::Reverse(*time));
    for ((kernel, op), (time, count, bytes)) in kinds {
        let time = time.as_secs_f64();
        println!(
            "{:9.2} ms {:5.1} % {:6.1} GB/s {count:4} x {kernel:30} {op}",
            time * 1e3,
            time / total * 100.0,
            bytes as f64 / time / 1e9
        );
    }
    best.sort_by_key(|step| std::cmp::Reverse(step.time));
    for step in best.iter().take(25) {
        let time = step.time.as_secs_f64();
        println!("{:9.1} us {:30} {:30} {}", time * 1e6, step.info.kernel, step.info.op, step.info.name);
    }
    println!("sum of the best of each kernel: {:.2} ms", total * 1e3);
    Ok(())
}
