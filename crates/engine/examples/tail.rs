//! How much a busy neighbour delays a network.
//!
//! `cargo run --release -p lissom-engine --example tail -- MODEL [threads] [seconds]`
//!
//! Times runs on a quiet machine, then beside a process that never sleeps: free to move, and, where `taskset` exists, pinned
//! to core 0. The three take turns, so that other noise meets all of them. Prints p50 and p99 of each, and the ratio of p99
//! to the quiet p50.

use std::error::Error;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lissom_engine::{Session, SessionOptions};
use lissom_graph::Model;
use lissom_tensor::{DType, Tensor};

/// Turns, and the time for a neighbour to start.
const TURNS: usize = 5;
const START: Duration = Duration::from_millis(50);

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args.first().ok_or("which model?")?;
    if path == "busy" {
        busy();
    }
    let threads = args.get(1).map_or(Ok(2), |n| n.parse())?;
    let seconds: f64 = args.get(2).map_or(Ok(5.0), |s| s.parse())?;
    let file = lissom_onnx::read_model(path, &lissom_onnx::ReadOptions::default())?;
    let model = Model::from_proto(file.model, lissom_ops::OPERATORS)?;
    let session = Session::new(&model, &SessionOptions { threads, ..SessionOptions::default() })?;
    let inputs = ones(&session)?;
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    (0..20).try_for_each(|_| session.run(&inputs).map(drop))?;

    let neighbours = ["quiet", "busy, free to move", "busy, pinned to core 0"];
    let mut times: [Vec<f64>; 3] = Default::default();
    for _ in 0..TURNS {
        for (neighbour, times) in neighbours.iter().zip(&mut times) {
            let Some(mut child) = start(neighbour)? else { continue };
            let started = Instant::now();
            while started.elapsed().as_secs_f64() < seconds / TURNS as f64 {
                let run = Instant::now();
                session.run(&inputs)?;
                times.push(run.elapsed().as_secs_f64() * 1e3);
            }
            if let Some(child) = &mut child {
                child.kill()?;
                child.wait()?;
            }
        }
    }
    let mut quiet = 0.0;
    for (neighbour, times) in neighbours.iter().zip(&mut times).filter(|(_, times)| !times.is_empty()) {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[(times.len() as f64 * share) as usize];
        if quiet == 0.0 {
            quiet = at(0.5);
        }
        let (p50, p90, p99) = (at(0.5), at(0.9), at(0.99));
        println!(
            "{neighbour:24} p50 {p50:7.3} ms, p90 {p90:7.3}, p99 {p99:7.3}: {:.2} of the quiet p50; {} runs",
            p99 / quiet,
            times.len()
        );
    }
    Ok(())
}

/// `None` if this neighbour cannot be had here; `Some(None)` if there is none.
fn start(neighbour: &str) -> Result<Option<Option<Child>>, Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let mut command = match neighbour {
        "quiet" => return Ok(Some(None)),
        "busy, free to move" => Command::new(own),
        _ => {
            let mut command = Command::new("taskset");
            command.args(["-c", "0"]).arg(own);
            command
        }
    };
    let child = command.arg("busy").stdin(Stdio::piped()).stderr(Stdio::null()).spawn();
    std::thread::sleep(START);
    Ok(child.ok().map(Some))
}

/// Works until the process that started it ends it.
fn busy() -> ! {
    // If that one dies, this one must not go on for ever.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
    loop {
        std::hint::spin_loop();
    }
}

/// Symbolic axes are 1 if they come first, else 128.
fn ones(session: &Session) -> Result<Vec<(String, Tensor)>, Box<dyn Error>> {
    let mut inputs = Vec::new();
    for input in session.inputs() {
        let lengths = input.shape.iter().flatten().enumerate();
        let shape: Vec<usize> = lengths.map(|(axis, n)| n.unwrap_or(if axis == 0 { 1 } else { 128 })).collect();
        let len = shape.iter().product();
        let tensor = match input.dtype {
            Some(DType::I64) => Tensor::new(shape, vec![1i64; len])?,
            Some(DType::F32) | None => Tensor::new(shape, vec![1f32; len])?,
            Some(dtype) => Tensor::zeros(dtype, shape)?,
        };
        inputs.push((input.name.clone(), tensor));
    }
    Ok(inputs)
}
