//! Times of the sparse f32 kernels against the dense ones in the layers of five networks, batch 1, random zeros.
//!
//! `cargo run --release -p lissom-kernels --example sparse -- [threads] [network] [density] [4x1|1x4]`, all networks and
//! densities by default. Layers run one after the other, each with its own weights, so that caches are as warm as in
//! use; a figure is the best of several rounds. `peak` is the time against this core's dense f32 peak.

use lissom_kernels::conv::{Channels, ConvShape, Images, PackedConv, Window, conv};
use lissom_kernels::gemm::{PackedB, gemm};
use lissom_kernels::spmm::{PackedSpmm, spmm};
use lissom_kernels::spmv::{PackedSpmv, spmv};
use lissom_kernels::{Activation, Epilogue, Threads};
use std::cell::RefCell;
use std::time::Instant;

/// `(kernel, stride, c_in, c_out, height, width)` of the image.
type Layer = (usize, usize, usize, usize, usize, usize);

/// FLOP of dense f32 a nanosecond and thread: two multiply-adds of 16 lanes a cycle at 4.5 GHz.
const PEAK: f64 = 288.0;
/// A network's name and what lists its layers.
type Network = (&'static str, fn() -> Vec<Layer>);

const NETWORKS: [Network; 5] = [
    ("resnet50", resnet50),
    ("mobilenetv1", mobilenet_v1),
    ("resnet20", resnet20),
    ("minilm6", || transformer(6, 384)),
    ("bertbase", || transformer(12, 768)),
];

fn main() {
    let mut args = std::env::args().skip(1);
    let n_threads = args.next().and_then(|n| n.parse().ok()).unwrap_or(2);
    let network = args.next().unwrap_or_else(|| "all".into());
    let density: Option<f64> = args.next().and_then(|density| density.parse().ok());
    let block = match args.next().as_deref() {
        Some("4x1") => [4, 1],
        Some("1x4") => [1, 4],
        _ => [1, 1],
    };
    let threads = &Threads::new(n_threads);
    if network == "all" || network == "mlp" {
        few_rows(threads, density.unwrap_or(0.1));
    }
    for (name, layers) in NETWORKS.iter().filter(|(name, _)| network == "all" || network == *name) {
        for density in density.map_or(vec![0.2, 0.1, 0.05], |density| vec![density]) {
            println!("\n{name}, density {density}, {n_threads} threads: ms (times faster than the peak of dense)");
            run(threads, &layers(), density, block);
        }
    }
}

/// Layers of one row of input, against the dense product: an MLP's, and the classifiers of two networks.
fn few_rows(threads: &Threads, density: f64) {
    println!("\none row, density {density}, {} threads: us", threads.count());
    for (seed, (k, n)) in [(784, 1024), (1024, 1024), (1024, 10), (1024, 1000), (2048, 1000)].into_iter().enumerate() {
        let weight = sparse(k * n, k, density, [1, 1], seed as u64);
        let (x, mut out) = (vec![0.5f32; k], vec![0.0f32; n]);
        let dense = PackedB::from_transposed(&weight, k, n).expect("sizes fit");
        let packed = PackedSpmv::new(&weight, k, n, true).expect("sizes fit");
        let mut best = [f64::INFINITY; 2];
        for _ in 0..20000 {
            let begun = Instant::now();
            gemm(threads, &x, 1, &dense, &Epilogue::default(), &mut out).expect("sizes fit");
            best[0] = best[0].min(begun.elapsed().as_secs_f64());
            let begun = Instant::now();
            spmv(threads, &x, 1, &packed, &Epilogue::default(), &mut out).expect("sizes fit");
            best[1] = best[1].min(begun.elapsed().as_secs_f64());
        }
        println!("  {k}x{n:<8} dense {:8.2}  sparse {:8.2}", best[0] * 1e6, best[1] * 1e6);
    }
}

fn resnet20() -> Vec<Layer> {
    let mut layers = vec![];
    for stage in 0..3 {
        let (width, size) = (16 << stage, 32 >> stage);
        let (c_in, before) = if stage == 0 { (width, size) } else { (width / 2, size * 2) };
        layers.push((3, before / size, c_in, width, before, before));
        layers.extend([(3, 1, width, width, size, size); 5]);
    }
    layers
}

fn resnet50() -> Vec<Layer> {
    let mut layers = vec![];
    let mut c_in = 64;
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let (width, mut size) = (64 << stage, 56 >> stage.saturating_sub(1));
        for block in 0..blocks {
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            layers.push((1, 1, c_in, width, size, size));
            layers.push((3, stride, width, width, size, size));
            if block == 0 {
                layers.push((1, stride, c_in, 4 * width, size, size));
            }
            size /= stride;
            layers.push((1, 1, width, 4 * width, size, size));
            c_in = 4 * width;
        }
    }
    layers.push((1, 1, 2048, 1000, 1, 1));
    layers
}

fn mobilenet_v1() -> Vec<Layer> {
    let widths = [(32, 64, 112), (64, 128, 56), (128, 128, 56), (128, 256, 28), (256, 256, 28), (256, 512, 14)];
    let mut layers: Vec<Layer> = widths.iter().map(|&(c_in, c_out, size)| (1, 1, c_in, c_out, size, size)).collect();
    layers.extend([(1, 1, 512, 512, 14, 14); 5]);
    layers.extend([(1, 1, 512, 1024, 7, 7), (1, 1, 1024, 1024, 7, 7), (1, 1, 1024, 1000, 1, 1)]);
    layers
}

/// Linear layers of 128 tokens.
fn transformer(blocks: usize, width: usize) -> Vec<Layer> {
    let mut layers = vec![];
    for _ in 0..blocks {
        layers.extend([(1, 1, width, width, 1, 128); 4]);
        layers.extend([(1, 1, width, 4 * width, 1, 128), (1, 1, 4 * width, width, 1, 128)]);
    }
    layers
}

/// Values in -1..1, of which about `density` are left, in blocks of adjacent rows of `k` by adjacent inputs (of 1x1 layers).
fn sparse(len: usize, k: usize, density: f64, [outputs, inputs]: [usize; 2], seed: u64) -> Vec<f32> {
    let random = |at: usize| {
        let mut x = (at as u64 + (seed << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ x >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (x ^ x >> 32) as u32 as f64 / f64::from(u32::MAX)
    };
    (0..len)
        .map(|i| {
            if random(i / k / outputs * outputs * k + i % k / inputs * inputs) < density {
                random(len + i) as f32 - 0.5
            } else {
                0.0
            }
        })
        .collect()
}

/// A way to run a layer.
struct Way<'a> {
    work: Box<dyn FnMut() + 'a>,
    best: f64,
}

fn run(threads: &Threads, layers: &[Layer], density: f64, block: [usize; 2]) {
    const NAMES: [&str; 3] = ["dense", "sparse, last", "sparse, first"];
    const LARGEST: usize = 112 * 112 * 64;
    let input = (0..LARGEST).map(|i| (i % 101) as f32 * 0.01).collect();
    let memory = &Memory { input, out: RefCell::new(vec![0.0; LARGEST]) };
    let mut rows: Vec<(String, f64, Vec<Way<'_>>)> = layers
        .iter()
        .enumerate()
        .map(|(seed, layer)| {
            let &(kernel, stride, c_in, c_out, h, w) = layer;
            let window = Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [1, 1], pads: [kernel / 2; 4] };
            let shape = ConvShape { window, c_in, c_out, groups: 1 };
            let [out_h, out_w] = window.output_size(h, w).expect("the window fits");
            let name = format!("{kernel}x{kernel}/{stride} {c_in}->{c_out} at {h}x{w}");
            let weight = sparse(shape.weight_len(), kernel * kernel * c_in, density, block, seed as u64);
            let ways = ways(threads, memory, shape, Images { n: 1, h, w }, out_h * out_w, &weight);
            (name, 2.0 * shape.macs(out_h * out_w) as f64, ways)
        })
        .collect();
    let mut totals = [f64::INFINITY; 3];
    let started = Instant::now();
    let mut rounds = 0;
    while rounds < 5 || started.elapsed().as_millis() < 1500 {
        for (way, total) in totals.iter_mut().enumerate() {
            let begun = Instant::now();
            for (_, _, ways) in &mut rows {
                let begun = Instant::now();
                (ways[way].work)();
                ways[way].best = ways[way].best.min(begun.elapsed().as_secs_f64());
            }
            *total = total.min(begun.elapsed().as_secs_f64());
        }
        rounds += 1;
    }
    let line = |name: &str, flop: f64, seconds: &[f64]| {
        print!("  {name:32}");
        let peak = PEAK * 1e9 * threads.count() as f64;
        for (name, &seconds) in NAMES.iter().zip(seconds) {
            print!("  {name} {:8.4} ({:5.2})", seconds * 1e3, flop / peak / seconds);
        }
        println!();
    };
    let mut seen: Vec<&str> = vec![];
    for (name, flop, ways) in &rows {
        // Of layers alike, the first.
        if !seen.contains(&name.as_str()) {
            line(name, *flop, &ways.iter().map(|way| way.best).collect::<Vec<_>>());
            seen.push(name);
        }
    }
    let flop = rows.iter().map(|(_, flop, _)| flop).sum();
    let sum = |way: usize| rows.iter().map(|(_, _, ways)| ways[way].best).sum();
    line("all, each at its best", flop, &[sum(0), sum(1), sum(2)]);
    line("all, in one round", flop, &totals);
}

/// As in an engine that uses its memory again, all layers read and write the same place.
struct Memory {
    input: Vec<f32>,
    out: RefCell<Vec<f32>>,
}

fn ways<'a>(
    threads: &'a Threads,
    memory: &'a Memory,
    shape: ConvShape,
    images: Images,
    pixels: usize,
    weight: &[f32],
) -> Vec<Way<'a>> {
    let x = &memory.input[..images.h * images.w * shape.c_in];
    let len = pixels * shape.c_out;
    let bias = vec![0.1f32; shape.c_out];
    let (dense, packed) = (PackedConv::new(shape, weight), PackedSpmm::conv(shape, weight, pixels));
    let (dense, packed) = (dense.expect("sizes fit"), packed.expect("sizes fit"));
    let mut works: Vec<Box<dyn FnMut() + 'a>> = vec![];
    let b = bias.clone();
    works.push(Box::new(move || {
        let epilogue = Epilogue { bias: Some(&b), residual: None, activation: Activation::Relu };
        conv(threads, x, images, &dense, &epilogue, &mut memory.out.borrow_mut()[..len]).expect("sizes fit");
    }));
    for at in [Channels::Last, Channels::First] {
        let (b, packed) = (bias.clone(), packed.clone());
        works.push(Box::new(move || {
            let epilogue = Epilogue { bias: Some(&b), residual: None, activation: Activation::Relu };
            spmm(threads, x, images, at, &packed, &epilogue, at, &mut memory.out.borrow_mut()[..len])
                .expect("sizes fit");
        }));
    }
    works.into_iter().map(|work| Way { work, best: f64::INFINITY }).collect()
}
