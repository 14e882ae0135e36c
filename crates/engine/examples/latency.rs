//! How long a network takes.
//!
//! `cargo run --release -p lissom-engine --example latency -- MODEL [threads] [seconds] [layers|serve|check] [batch]`
//!
//! Prints the median of the runs in milliseconds. `layers` adds the time of every step, `check` compares with the plain
//! evaluation; of a quantized network also each code with the plain evaluation of the codes before it. `serve` is for `cargo xtask peers`, which alternates it with other engines: a line of JSON when it is loaded,
//! then each line `run SECONDS` is answered by a JSON list of the seconds of each run (after one that does not count),
//! `answer FILE` by writing the first output as raw f32. Inputs are noise, the same as in `benches/peers/inputs.py`;
//! symbolic axes are the batch if they come first, else 128.

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use lissom_engine::{Choosing, Session, SessionOptions};
use lissom_graph::{Inputs, Model, ValueId};
use lissom_kernels::memory::LargePages;
use lissom_tensor::{DType, Tensor};

#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args.first().ok_or("which model?")?;
    let threads = args.get(1).map_or(Ok(2), |n| n.parse())?;
    let seconds = args.get(2).map_or(Ok(2.0), |s| s.parse())?;
    let batch = args.get(4).map_or(Ok(1), |n| n.parse())?;
    let resident = reset_peak().and_then(|()| status_bytes("VmRSS:"));
    let started = Instant::now();
    let options = SessionOptions { threads, choosing: choosing(), ..SessionOptions::default() };
    let session = Session::from_model(read(path)?, &options)?;
    let inputs = noise(&session, batch)?;
    let named: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    session.run(&named)?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    match args.get(3).map(String::as_str) {
        Some("serve") => {
            let peak = resident.and_then(|resident| Some(status_bytes("VmHWM:")?.saturating_sub(resident)));
            let peak_bytes = peak.map_or("null".to_owned(), |bytes| bytes.to_string());
            let version = env!("CARGO_PKG_VERSION");
            println!(r#"{{"engine": "lissom {version}", "load_ms": {load_ms}, "peak_bytes": {peak_bytes}}}"#);
            return serve(&session, &named);
        }
        Some("check") => check(read(path)?, &session, &named)?,
        Some("layers") => layers(&session, &named)?,
        _ => {}
    }
    let mut times = measure(&session, &named, seconds)?;
    times.sort_by(f64::total_cmp);
    let p50_ms = times[times.len() / 2] * 1e3;
    let mib = session.peak_bytes() as f64 / (1 << 20) as f64;
    println!(
        "{path}: p50 {p50_ms:.3} ms, best {:.3} ms, {} runs; first run {load_ms:.0} ms, {mib:.0} MiB",
        times[0] * 1e3,
        times.len()
    );
    session.notes().iter().for_each(|note| println!("  {note}"));
    Ok(())
}

fn read(path: &str) -> Result<Model, Box<dyn Error>> {
    let file = lissom_onnx::read_model(path, &lissom_onnx::ReadOptions::default())?;
    Ok(Model::from_proto(file.model, lissom_ops::OPERATORS)?)
}

/// Measured, unless `LISSOM_CHOOSE=estimated`.
fn choosing() -> Choosing {
    let is_estimated = std::env::var("LISSOM_CHOOSE").is_ok_and(|how| how == "estimated");
    Choosing::measured(if is_estimated { Duration::ZERO } else { Duration::from_secs(1) })
}

fn measure(session: &Session, inputs: &[(&str, &Tensor)], seconds: f64) -> Result<Vec<f64>, Box<dyn Error>> {
    let started = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || started.elapsed().as_secs_f64() < seconds {
        let run = Instant::now();
        session.run(inputs)?;
        times.push(run.elapsed().as_secs_f64());
    }
    Ok(times)
}

fn serve(session: &Session, inputs: &[(&str, &Tensor)]) -> Result<(), Box<dyn Error>> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut times = Vec::new();
        if let Some(seconds) = line.strip_prefix("run ") {
            session.run(inputs)?;
            times = measure(session, inputs, seconds.trim().parse()?)?;
        } else if let Some(path) = line.strip_prefix("answer ") {
            let outputs = session.run(inputs)?;
            let answer = outputs.first().ok_or("the network has no output")?.to_f32_vec()?;
            let bytes: Vec<u8> = answer.iter().flat_map(|value| value.to_le_bytes()).collect();
            std::fs::write(path.trim(), bytes)?;
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

fn layers(session: &Session, inputs: &[(&str, &Tensor)]) -> Result<(), Box<dyn Error>> {
    let mut best = session.profile(inputs)?;
    for _ in 0..50 {
        for (best, step) in best.iter_mut().zip(session.profile(inputs)?) {
            best.time = best.time.min(step.time);
        }
    }
    let total: f64 = best.iter().map(|step| step.time.as_secs_f64()).sum();
    for step in &best {
        let time = step.time.as_secs_f64();
        let rate = 2.0 * step.info.macs as f64 / time / 1e9;
        let share = time / total * 100.0;
        println!(
            "{:9.1} us {share:5.1} % {rate:6.0} GFLOP/s  {:28} {:26} {}  {}",
            time * 1e6,
            step.info.op,
            step.info.kernel,
            step.info.name,
            step.info.why
        );
    }
    println!("sum of the best of each step: {:.3} ms", total * 1e3);
    Ok(())
}

fn check(model: Model, session: &Session, inputs: &[(&str, &Tensor)]) -> Result<(), Box<dyn Error>> {
    let plain = Session::new(&model, &SessionOptions { fast: false, ..SessionOptions::default() })?;
    for ((name, fast), plain) in session.output_names().iter().zip(session.run(inputs)?).zip(plain.run(inputs)?) {
        let (a, b) = (fast.to_f64_vec()?, plain.to_f64_vec()?);
        let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let largest = b.iter().map(|b| b.abs()).fold(0.0, f64::max);
        println!("{name} {:?}: differs by at most {worst:.2e}, values up to {largest:.2e}", fast.shape());
    }
    check_codes(&model, inputs)
}

/// Compares what each QuantizeLinear gives with its plain evaluation from the codes that the engine had before it: a code that
/// was rounded the other way at a tie does not spoil what comes after, so no code may be more than a step off.
fn check_codes(model: &Model, inputs: &[(&str, &Tensor)]) -> Result<(), Box<dyn Error>> {
    let graph = &model.graph;
    let quantizers = graph.nodes().iter().filter(|node| node.op_type == "QuantizeLinear");
    let observe: Vec<ValueId> = quantizers.flat_map(|node| node.outputs.iter().flatten().copied()).collect();
    if observe.is_empty() {
        return Ok(());
    }
    let session = Session::new(model, &SessionOptions { observe: observe.clone(), ..SessionOptions::default() })?;
    let codes = session.run(inputs)?.split_off(graph.outputs().len());
    let mut engines: HashMap<ValueId, Tensor> = observe.into_iter().zip(codes).collect();
    let mut values: HashMap<ValueId, Tensor> = HashMap::new();
    for &id in graph.inputs() {
        let name = &graph.value(id).name;
        let (_, tensor) = inputs.iter().find(|(own, _)| own == name).ok_or("an input is missing")?;
        values.insert(id, (*tensor).clone());
    }
    for (id, weight) in graph.constants() {
        values.insert(id, weight.decode()?);
    }
    let (mut n_codes, mut n_off, mut worst) = (0, 0, 0);
    for node in graph.nodes() {
        let given: Vec<Option<&Tensor>> = node.inputs.iter().map(|id| id.and_then(|id| values.get(&id))).collect();
        let made = node.op.evaluate(&Inputs(&given))?;
        for (id, tensor) in node.outputs.iter().zip(made) {
            let Some(id) = *id else { continue };
            let Some(own) = engines.remove(&id) else {
                values.insert(id, tensor);
                continue;
            };
            for (a, b) in own.to_i64_vec()?.into_iter().zip(tensor.to_i64_vec()?) {
                n_codes += 1;
                n_off += usize::from(a != b);
                worst = worst.max((a - b).abs());
            }
            values.insert(id, own);
        }
    }
    println!("{n_codes} codes: {n_off} differ from the plain evaluation of the codes before them, by at most {worst}");
    Ok(())
}

/// 32 bits that look random: splitmix64.
fn scrambled(index: usize) -> u64 {
    let x = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ (x >> 31)) >> 32
}

/// Floats from -1 to 1; whole numbers below 1000, masks 1 and types 0.
fn noise(session: &Session, batch: usize) -> Result<Vec<(String, Tensor)>, Box<dyn Error>> {
    let mut inputs = Vec::new();
    for input in session.inputs() {
        let shape: Vec<usize> = input
            .shape
            .iter()
            .flatten()
            .enumerate()
            .map(|(axis, length)| length.unwrap_or(if axis == 0 { batch } else { 128 }))
            .collect();
        let len: usize = shape.iter().product();
        let tensor = match input.dtype {
            Some(DType::I64) if input.name.contains("mask") => Tensor::new(shape, vec![1i64; len])?,
            Some(DType::I64) if input.name.contains("type") => Tensor::new(shape, vec![0i64; len])?,
            Some(DType::I64) => Tensor::new(shape, (0..len).map(|i| (scrambled(i) % 1000) as i64).collect::<Vec<_>>())?,
            Some(DType::F32) | None => {
                Tensor::new(shape, (0..len).map(|i| (scrambled(i) % 2001) as f32 / 1000.0 - 1.0).collect::<Vec<_>>())?
            }
            Some(dtype) => Tensor::zeros(dtype, shape)?,
        };
        inputs.push((input.name.clone(), tensor));
    }
    Ok(inputs)
}
