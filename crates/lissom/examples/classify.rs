//! Says what is in a picture.
//!
//! `cargo run --release -p lissom --example classify -- MODEL.onnx [PICTURE]`
//!
//! The model takes one f32 image `[1, channels, height, width]` and gives a score a class. The picture is brought to this
//! size, with values from 0 to 1; without one, noise is classified. Prints the five best classes and the time of a run.

use std::error::Error;
use std::time::{Duration, Instant};

use image::imageops::FilterType;
use lissom::{Input, Session, View, ViewMut};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let session = Session::open(args.next().ok_or("usage: classify MODEL.onnx [PICTURE]")?)?;
    let [input] = session.inputs() else { return Err("the model has more than one input".into()) };
    let shape = shape(input)?;
    let pixels = match args.next() {
        Some(path) => picture(&path, shape)?,
        None => noise(shape.iter().product()),
    };
    let image = View::new(&shape, &pixels)?;

    // The number of classes is the first run's to say; from then on nothing is copied.
    let scores = session.run(&[(&input.name, &image.to_tensor())])?;
    let mut scores = scores[0].to_f32_vec()?;
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let started = Instant::now();
        session.run_into(&[(&input.name, image)], &mut [(&session.outputs()[0], ViewMut::new(&mut scores))])?;
        best = best.min(started.elapsed());
    }
    for (class, probability) in ranked(&scores).into_iter().take(5) {
        println!("class {class:4}  {:5.1} %", probability * 100.0);
    }
    println!("{:.3} ms a run", best.as_secs_f64() * 1e3);
    session.notes().iter().for_each(|note| println!("{note}"));
    Ok(())
}

/// The input's shape for one image.
fn shape(input: &Input) -> Result<[usize; 4], Box<dyn Error>> {
    let shape = input.shape.as_deref().unwrap_or_default();
    let [_, Some(channels @ (1 | 3)), Some(height), Some(width)] = *shape else {
        return Err(format!("the model wants {input}, which is no image").into());
    };
    Ok([1, channels, height, width])
}

/// Channels first, values from 0 to 1.
fn picture(path: &str, [_, channels, height, width]: [usize; 4]) -> Result<Vec<f32>, Box<dyn Error>> {
    let picture = image::open(path)?.resize_exact(width as u32, height as u32, FilterType::Triangle);
    let bytes = if channels == 1 { picture.into_luma8().into_raw() } else { picture.into_rgb8().into_raw() };
    let channel = |c: usize| bytes.iter().skip(c).step_by(channels).map(|&byte| f32::from(byte) / 255.0);
    Ok((0..channels).flat_map(channel).collect())
}

fn noise(len: usize) -> Vec<f32> {
    let hash = |i: usize| (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    (0..len).map(|i| hash(i) as f32 / (1 << 24) as f32).collect()
}

/// Classes with their probabilities, the likeliest first.
fn ranked(scores: &[f32]) -> Vec<(usize, f32)> {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = scores.iter().map(|score| (score - largest).exp()).sum();
    let mut ranked: Vec<_> = scores.iter().map(|score| (score - largest).exp() / sum).enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked
}
