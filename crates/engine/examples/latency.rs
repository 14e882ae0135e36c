//! How long a network takes.
//!
//! `cargo run --release -p lissom-engine --example latency -- MODEL [threads] [seconds] [layers|serve|check]`
//!
//! Prints the median of the runs in milliseconds. `layers` adds the time of every step, `check` compares with the plain
//! evaluation, `serve` answers each line `run SECONDS` of its input with a JSON list of the seconds of each run, so that
//! another program can alternate it with a peer. Inputs are noise; symbolic axes are 1 if they come first, else 128.

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use lissom_engine::{Choosing, Session, SessionOptions};
use lissom_graph::Model;
use lissom_tensor::{DType, Tensor};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args.first().ok_or("which model?")?;
    let threads = args.get(1).map_or(Ok(2), |n| n.parse())?;
    let seconds = args.get(2).map_or(Ok(2.0), |s| s.parse())?;
    let file = lissom_onnx::read_model(path, &lissom_onnx::ReadOptions::default())?;
    let model = Model::from_proto(file.model, lissom_ops::OPERATORS)?;
    let started = Instant::now();
    let session = Session::new(&model, &SessionOptions { threads, choosing: choosing(), ..SessionOptions::default() })?;
    let inputs = noise(&session)?;
    let named: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    session.run(&named)?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    match args.get(3).map(String::as_str) {
        Some("serve") => return serve(&session, &named),
        Some("check") => check(&model, &session, &named)?,
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
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let Some(seconds) = line.strip_prefix("run ") else { break };
        let times = measure(session, inputs, seconds.trim().parse()?)?;
        println!("[{}]", times.iter().map(f64::to_string).collect::<Vec<_>>().join(","));
        std::io::stdout().flush()?;
    }
    Ok(())
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

fn check(model: &Model, session: &Session, inputs: &[(&str, &Tensor)]) -> Result<(), Box<dyn Error>> {
    let plain = Session::new(model, &SessionOptions { fast: false, ..SessionOptions::default() })?;
    for ((name, fast), plain) in session.output_names().iter().zip(session.run(inputs)?).zip(plain.run(inputs)?) {
        let (a, b) = (fast.to_f64_vec()?, plain.to_f64_vec()?);
        let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let largest = b.iter().map(|b| b.abs()).fold(0.0, f64::max);
        println!("{name} {:?}: differs by at most {worst:.2e}, values up to {largest:.2e}", fast.shape());
    }
    Ok(())
}

fn noise(session: &Session) -> Result<Vec<(String, Tensor)>, Box<dyn Error>> {
    let mut inputs = Vec::new();
    for input in session.inputs() {
        let shape: Vec<usize> = input
            .shape
            .iter()
            .flatten()
            .enumerate()
            .map(|(axis, length)| length.unwrap_or(if axis == 0 { 1 } else { 128 }))
            .collect();
        let len: usize = shape.iter().product();
        let state = |i: usize| (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        let tensor = match input.dtype {
            Some(DType::I64) if input.name.contains("mask") => Tensor::new(shape, vec![1i64; len])?,
            Some(DType::I64) if input.name.contains("type") => Tensor::new(shape, vec![0i64; len])?,
            Some(DType::I64) => Tensor::new(shape, (0..len).map(|i| (state(i) % 1000) as i64).collect::<Vec<_>>())?,
            Some(DType::F32) | None => {
                Tensor::new(shape, (0..len).map(|i| (state(i) % 2001) as f32 / 1000.0 - 1.0).collect::<Vec<_>>())?
            }
            Some(dtype) => Tensor::zeros(dtype, shape)?,
        };
        inputs.push((input.name.clone(), tensor));
    }
    Ok(inputs)
}
