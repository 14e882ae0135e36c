//! The fuzz corpus and the demo network, whole and damaged at random, through every step before a run.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use lissom_graph::Model;
use lissom_onnx::{ReadOptions, read_model_bytes};

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(relative)
}

/// True if the bytes are a model that loads.
fn load(bytes: Vec<u8>) -> bool {
    lissom_tensor::set_max_tensor_bytes(crate::MAX_TENSOR_BYTES);
    let Ok(file) = read_model_bytes(bytes.into(), &ReadOptions::default()) else { return false };
    let Ok(mut model) = Model::from_proto(file.model, lissom_ops::OPERATORS) else { return false };
    let _ = lissom_passes::simplify(&mut model);
    lissom_graph::verify(&model.graph).expect("sound");
    let _ = lissom_graph::to_text(&model.graph);
    let _ = lissom_passes::upgrade_opset(&mut model, 21);
    let _ = lissom_passes::run("fold_batch_norm", &mut model);
    let _ = model.to_proto();
    true
}

/// xorshift64*.
fn next(state: &mut u64) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize
}

fn damage(bytes: &mut Vec<u8>, state: &mut u64) {
    for _ in 0..=next(state) % 4 {
        if bytes.is_empty() {
            return;
        }
        let at = next(state) % bytes.len();
        match next(state) % 16 {
            0 => bytes.truncate(at),
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, next(state) as u8),
            3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][next(state) % 5],
            _ => bytes[at] ^= 1 << (next(state) % 8),
        }
    }
}

fn replay(name: &str, bytes: &[u8], n_damaged: usize) -> usize {
    let mut n_loaded = usize::from(load(bytes.to_vec()));
    for round in 0..n_damaged {
        let mut state = 0x9e37_79b9_7f4a_7c15 ^ ((round as u64 + 1) << 8);
        let mut damaged = bytes.to_vec();
        damage(&mut damaged, &mut state);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| load(damaged)));
        n_loaded += usize::from(outcome.unwrap_or_else(|_| panic!("{name}, damage {round}: see the panic above")));
    }
    n_loaded
}

#[test]
fn the_fuzz_corpus_loads_or_is_refused_whole_and_damaged() {
    let rounds = std::env::var("LISSOM_HOSTILE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let mut paths: Vec<PathBuf> = fs::read_dir(path("fuzz/corpus/read_model"))
        .expect("a folder")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 39, "the corpus has only {} files", paths.len());
    let n_loaded: usize =
        paths.iter().map(|path| replay(&path.display().to_string(), &fs::read(path).expect("a file"), rounds)).sum();
    println!("{n_loaded} of {} loaded", paths.len() * (rounds + 1));
    assert!(n_loaded >= 10, "only {n_loaded} models load");
}

#[test]
fn the_demo_network_loads_or_is_refused_however_it_is_damaged() {
    let rounds = std::env::var("LISSOM_HOSTILE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let bytes = fs::read(path("crates/cli/assets/fashion_resnet.onnx")).expect("the demo network");
    assert!(load(bytes.clone()), "the demo network loads");
    // Its weights take nearly all the bytes, and damage there is only another weight: most damage goes elsewhere.
    let tail = bytes.len() - bytes.len().min(20_000);
    let mut n_loaded = 0;
    for round in 0..rounds {
        let mut state = 0xd1b5_4a32_d192_ed03 ^ ((round as u64 + 1) << 8);
        let (head, end) = if round % 2 == 0 { (tail, bytes.len()) } else { (0, 20_000.min(bytes.len())) };
        let mut part = bytes[head..end].to_vec();
        damage(&mut part, &mut state);
        let damaged = [&bytes[..head], &part, &bytes[end..]].concat();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| load(damaged)));
        n_loaded += usize::from(outcome.unwrap_or_else(|_| panic!("damage {round}: see the panic above")));
    }
    println!("{n_loaded} of {rounds} loaded");
}
