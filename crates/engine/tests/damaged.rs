//! The fuzz corpus and the demo network, damaged at random, compiled and run: an answer or a typed error, never a panic.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use lissom_engine::{Session, SessionOptions};
use lissom_graph::Model;
use lissom_onnx::{ReadOptions, read_model_bytes};
use lissom_tensor::{DType, Tensor};

/// Small, so that a damaged shape cannot make a run long.
const MAX_TENSOR_BYTES: u64 = 32 << 20;

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(relative)
}

/// True if the bytes are a model that a session can be made of.
fn run(bytes: Vec<u8>) -> bool {
    let Ok(file) = read_model_bytes(bytes.into(), &ReadOptions::default()) else { return false };
    let Ok(model) = Model::from_proto(file.model, lissom_ops::OPERATORS) else { return false };
    let Ok(session) = Session::new(&model, &SessionOptions { threads: 1, ..SessionOptions::default() }) else {
        return false;
    };
    let zeros = |input: &lissom_engine::Input| {
        let shape: Vec<usize> = input.shape.iter().flatten().map(|length| length.unwrap_or(1)).collect();
        Some((input.name.clone(), Tensor::zeros(input.dtype.unwrap_or(DType::F32), shape).ok()?))
    };
    let Some(inputs) = session.inputs().iter().map(zeros).collect::<Option<Vec<_>>>() else { return true };
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let _ = session.run(&inputs);
    true
}

/// xorshift64*.
fn next(state: &mut u64) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize
}

fn damage(bytes: &mut [u8], state: &mut u64) {
    for _ in 0..=next(state) % 4 {
        let at = next(state) % bytes.len();
        match next(state) % 3 {
            0 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][next(state) % 5],
            _ => bytes[at] ^= 1 << (next(state) % 8),
        }
    }
}

#[test]
fn damaged_models_run_or_are_refused() {
    lissom_tensor::set_max_tensor_bytes(MAX_TENSOR_BYTES);
    let rounds = std::env::var("LISSOM_HOSTILE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let corpus = fs::read_dir(path("fuzz/corpus/read_model")).expect("a folder");
    let mut paths: Vec<PathBuf> = corpus.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths.push(path("crates/cli/assets/fashion_resnet.onnx"));
    let mut n_run = 0;
    for path in &paths {
        let bytes = fs::read(path).expect("a file");
        for round in 0..if bytes.is_empty() { 0 } else { rounds } {
            let mut state = 0xd1b5_4a32_d192_ed03 ^ ((round as u64 + 1) << 8);
            let mut damaged = bytes.clone();
            // Most bytes of a network are weights, where damage is only another weight; the rest is at its two ends.
            let head = if bytes.len() > 20_000 && round % 2 == 0 { bytes.len() - 20_000 } else { 0 };
            let end = bytes.len().min(head + 20_000);
            if round > 0 {
                damage(&mut damaged[head..end], &mut state);
            }
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| run(damaged)));
            n_run += usize::from(
                outcome.unwrap_or_else(|_| panic!("{}, round {round}: see the panic above", path.display())),
            );
        }
    }
    println!("{n_run} of {} reached a session", paths.len() * rounds);
    assert!(n_run > rounds / 2, "only {n_run} reached a session");
}
