//! Times a training step: `step_time NETWORK SETTINGS BATCH THREADS STEPS [bf16] [masked SHARE] [parts|kernels|serve]`, e.g.
//! `step_time resnet20 "" 128 2 10 bf16 parts`.
//!
//! The network is a file that ends in `.onnx`, or an architecture with its settings: TOML on one line, keys separated by semicolons.
//! SGD with momentum on random images. `masked 0.9` keeps that share of each weight at zero, at random. `parts` lists what takes longest,
//! `kernels` adds up the parts by what runs them (the least of as many profiles as there are steps, each part by itself). `serve` is for `cargo xtask train-bench`, which alternates
//! it with PyTorch: a line of JSON after `STEPS` steps, then each line `run SECONDS` is answered by a JSON list of the seconds of
//! each step (after one that does not count).

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Instant;

use lissom_graph::Model;
use lissom_kernels::memory::LargePages;
use lissom_recipe::Settings;
use lissom_tensor::Tensor;
use lissom_train::{
    ARCHITECTURES, Group, LOSSES, OPTIMIZERS, Parameter, Precision, SCHEDULES, Trainer, TrainerOptions,
};

#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

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
        return Err(
            "usage: step_time NETWORK SETTINGS BATCH THREADS STEPS [bf16] [masked SHARE] [parts|kernels|serve]".into(),
        );
    };
    let (batch, steps): (usize, usize) = (batch.parse()?, steps.parse()?);
    let resident = reset_peak().and_then(|()| status_bytes("VmRSS:"));
    let started = Instant::now();
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
    let masked = rest.iter().position(|word| word == "masked").and_then(|at| rest.get(at + 1));
    options.step.masks = masked.is_some();
    let asks = |word: &str| rest.iter().any(|own| own == word);
    options.precision = if asks("bf16") { Precision::Bf16 } else { Precision::F32 };
    let mut trainer = Trainer::new(&model, options, |_| true)?;
    if let Some(share) = masked {
        mask(&mut trainer, share.parse()?)?;
    }
    let batch_tensors = [(input.name.as_str(), &x), ("labels", &labels)];
    if asks("serve") {
        trainer.step(&batch_tensors)?;
        let load_ms = started.elapsed().as_secs_f64() * 1e3;
        for _ in 1..steps {
            trainer.step(&batch_tensors)?;
        }
        let peak = resident.and_then(|resident| Some(status_bytes("VmHWM:")?.saturating_sub(resident)));
        let peak_bytes = peak.map_or("null".to_owned(), |bytes| bytes.to_string());
        let version = env!("CARGO_PKG_VERSION");
        println!(r#"{{"engine": "lissom {version}", "load_ms": {load_ms}, "peak_bytes": {peak_bytes}}}"#);
        return serve(&mut trainer, &batch_tensors);
    }
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
    if asks("parts") || asks("kernels") {
        let mut parts = trainer.profile(&batch_tensors)?;
        for _ in 1..steps {
            let again = trainer.profile(&batch_tensors)?;
            parts.iter_mut().zip(again).for_each(|(part, again)| part.time = part.time.min(again.time));
        }
        let mut kernels: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
        for part in &parts {
            let (ms, count) = kernels.entry(part.info.kernel).or_default();
            (*ms, *count) = (*ms + part.time.as_secs_f64() * 1e3, *count + 1);
        }
        for (kernel, (ms, count)) in kernels.iter().filter(|_| asks("kernels")) {
            println!("{ms:9.3} ms  {kernel} ({count})");
        }
        parts.truncate(if asks("parts") { parts.len() } else { 0 });
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

/// Keeps `share` of each weight at zero, at random.
fn mask(trainer: &mut Trainer, share: f64) -> Result<(), Box<dyn Error>> {
    let weights: Vec<Parameter> =
        trainer.parameters().iter().filter(|parameter| parameter.group == Group::Weight).cloned().collect();
    for parameter in weights {
        let random = |at: usize| {
            let mut x = (at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            x = (x ^ x >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (x ^ x >> 32) as u32 as f64 / f64::from(u32::MAX)
        };
        let len = parameter.shape.iter().product::<usize>();
        let kept = (0..len).map(|at| if random(at) < share { 0.0 } else { 1.0 }).collect::<Vec<f32>>();
        trainer.set_mask(&parameter.name, Tensor::new(parameter.shape.clone(), kept)?)?;
    }
    Ok(())
}

fn serve(trainer: &mut Trainer, batch: &[(&str, &Tensor)]) -> Result<(), Box<dyn Error>> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut times: Vec<f64> = Vec::new();
        if let Some(seconds) = line.strip_prefix("run ") {
            let seconds: f64 = seconds.trim().parse()?;
            trainer.step(batch)?;
            let started = Instant::now();
            while times.len() < 3 || started.elapsed().as_secs_f64() < seconds {
                let step = Instant::now();
                trainer.step(batch)?;
                times.push(step.elapsed().as_secs_f64());
            }
        }
        println!("[{}]", times.iter().map(f64::to_string).collect::<Vec<_>>().join(","));
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// Starts counting the peak of memory anew; `None` where the system cannot.
fn reset_peak() -> Option<()> {
    std::fs::write("/proc/self/clear_refs", "5").ok()
}

/// A line of `/proc/self/status`, in bytes.
fn status_bytes(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 = text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}
