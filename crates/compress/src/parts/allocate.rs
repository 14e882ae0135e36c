//! How much from which layer: a target over all layers becomes a number of weights to keep in each.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::score;

/// A rule that shares a sparsity target out over layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allocate {
    /// One threshold on `|w|` over all layers.
    #[default]
    Global,
    /// The same density everywhere.
    Uniform,
    /// Uniform, but the first convolution stays dense and the last layer keeps at least a fifth (Gale et al. 2019).
    UniformPlus,
    /// Density in proportion to (sum of the axes) / (product of the axes), Erdős–Rényi–Kernel (Evci et al. 2020).
    Erk,
    /// One threshold on the LAMP score over all layers (Lee et al. 2021).
    Lamp,
}

impl fmt::Display for Allocate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "global",
            Self::Uniform => "uniform",
            Self::UniformPlus => "uniform_plus",
            Self::Erk => "erk",
            Self::Lamp => "lamp",
        })
    }
}

/// A layer as the rules see it.
#[derive(Debug, Clone, Copy)]
pub struct LayerWeights<'a> {
    /// Elements in the weight's own order.
    pub weights: &'a [f32],
    /// Shape of the weight.
    pub shape: &'a [usize],
    /// True for convolutions, whose kernel axes count in ERK.
    pub is_first_conv: bool,
    /// True for the last layer of the network.
    pub is_last: bool,
}

/// Number of weights to keep in each layer so that `round(sparsity · total)` weights go. Layers are never left without a
/// single weight unless they had none.
pub fn keep_counts(rule: Allocate, layers: &[LayerWeights<'_>], sparsity: f64) -> Vec<usize> {
    let sizes: Vec<usize> = layers.iter().map(|layer| layer.weights.len()).collect();
    let total: usize = sizes.iter().sum();
    let keep_total = total - (sparsity * total as f64).round() as usize;
    let counts = match rule {
        Allocate::Global => {
            let scores = layers.iter().map(|l| score::magnitude(l.weights).into_iter().map(f64::from).collect());
            top_counts(scores.collect(), keep_total)
        }
        Allocate::Lamp => top_counts(layers.iter().map(|layer| score::lamp(layer.weights)).collect(), keep_total),
        Allocate::Uniform => from_densities(&sizes, &vec![1.0 - sparsity; sizes.len()]),
        Allocate::UniformPlus => from_densities(&sizes, &uniform_plus(layers, &sizes, 1.0 - sparsity)),
        Allocate::Erk => {
            let shapes: Vec<&[usize]> = layers.iter().map(|layer| layer.shape).collect();
            from_densities(&sizes, &erk_densities(&shapes, 1.0 - sparsity))
        }
    };
    counts.into_iter().zip(sizes).map(|(count, size)| count.clamp(size.min(1), size)).collect()
}

/// How many of the `keep` best scores over all layers fall into each. Ties go to earlier layers and earlier weights.
fn top_counts(scores: Vec<Vec<f64>>, keep: usize) -> Vec<usize> {
    let mut all: Vec<(f64, u32, u32)> = Vec::with_capacity(scores.iter().map(Vec::len).sum());
    for (layer, scores) in scores.iter().enumerate() {
        all.extend(scores.iter().enumerate().map(|(i, &score)| (score, layer as u32, i as u32)));
    }
    let mut counts = vec![0; scores.len()];
    if keep == 0 || all.is_empty() {
        return counts;
    }
    let better = |a: &(f64, u32, u32), b: &(f64, u32, u32)| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2)));
    if keep < all.len() {
        all.select_nth_unstable_by(keep - 1, better);
        all.truncate(keep);
    }
    for (_, layer, _) in all {
        counts[layer as usize] += 1;
    }
    counts
}

fn from_densities(sizes: &[usize], densities: &[f64]) -> Vec<usize> {
    // The number of zeros is rounded down, as the published code of ERK does.
    sizes.iter().zip(densities).map(|(&n, &d)| n - (((1.0 - d) * n as f64) + 1e-9).floor() as usize).collect()
}

/// Densities of ERK for an overall density: `ε · Σ axes / Π axes`, layers that would pass 1 made dense one by one.
pub fn erk_densities(shapes: &[&[usize]], density: f64) -> Vec<f64> {
    let sizes: Vec<f64> = shapes.iter().map(|shape| shape.iter().product::<usize>() as f64).collect();
    let raw: Vec<f64> =
        shapes.iter().zip(&sizes).map(|(shape, size)| shape.iter().sum::<usize>() as f64 / size.max(1.0)).collect();
    let mut is_dense = vec![false; shapes.len()];
    loop {
        let (mut wanted, mut divisor) = (0.0, 0.0);
        for i in 0..shapes.len() {
            // Zeros are whole weights, rounded down a layer, as in the published code.
            let zeros = ((1.0 - density) * sizes[i] + 1e-9).floor();
            if is_dense[i] {
                wanted -= zeros;
            } else {
                wanted += sizes[i] - zeros;
                divisor += raw[i] * sizes[i];
            }
        }
        let epsilon = if divisor > 0.0 { (wanted / divisor).max(0.0) } else { 0.0 };
        let open = (0..shapes.len()).filter(|&i| !is_dense[i]);
        let largest = open.clone().map(|i| raw[i]).fold(0.0, f64::max);
        if largest * epsilon > 1.0 {
            open.filter(|&i| raw[i] == largest).collect::<Vec<_>>().into_iter().for_each(|i| is_dense[i] = true);
            continue;
        }
        return (0..shapes.len()).map(|i| if is_dense[i] { 1.0 } else { epsilon * raw[i] }).collect();
    }
}

/// First convolution dense, last layer at least a fifth, the rest shares the deficit equally.
fn uniform_plus(layers: &[LayerWeights<'_>], sizes: &[usize], density: f64) -> Vec<f64> {
    const LAST_DENSITY: f64 = 0.2;
    let fixed = |layer: &LayerWeights<'_>| {
        if layer.is_first_conv {
            Some(1.0)
        } else if layer.is_last && density < LAST_DENSITY {
            Some(LAST_DENSITY)
        } else {
            None
        }
    };
    let total: f64 = sizes.iter().map(|&n| n as f64).sum();
    let (mut kept, mut open) = (0.0, 0.0);
    for (layer, &size) in layers.iter().zip(sizes) {
        match fixed(layer) {
            Some(density) => kept += density * size as f64,
            None => open += size as f64,
        }
    }
    let rest = if open > 0.0 { ((density * total - kept) / open).clamp(0.0, 1.0) } else { 1.0 };
    layers.iter().map(|layer| fixed(layer).unwrap_or(rest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(actual: &[f64], expected: &[f64]) {
        assert!(actual.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{actual:?} {expected:?}");
    }

    #[test]
    fn erk_gives_the_worked_densities() {
        let shapes: [&[usize]; 4] = [&[16, 3, 3, 3], &[32, 16, 3, 3], &[64, 32, 3, 3], &[10, 64]];
        close(&erk_densities(&shapes, 0.1), &[0.566874, 0.114792, 0.054207, 1.0]);
        close(&erk_densities(&shapes, 0.2), &[1.0, 0.281851, 0.133096, 1.0]);
    }

    fn layer(weights: &[f32]) -> LayerWeights<'_> {
        LayerWeights { weights, shape: &[], is_first_conv: false, is_last: false }
    }

    #[test]
    fn global_keeps_the_largest_wherever_they_are() {
        let layers = [layer(&[1.0, 2.0, 3.0, 4.0]), layer(&[10.0, 20.0, 30.0, 40.0])];
        assert_eq!(keep_counts(Allocate::Global, &layers, 0.5), [1, 4]); // one weight a layer is the floor
        assert_eq!(keep_counts(Allocate::Lamp, &layers, 0.5), [2, 2]);
        assert_eq!(keep_counts(Allocate::Uniform, &layers, 0.75), [1, 1]);
    }

    #[test]
    fn ties_are_cut_to_the_exact_count() {
        let layers = [layer(&[1.0; 7]), layer(&[1.0; 5])];
        assert_eq!(keep_counts(Allocate::Global, &layers, 0.25).iter().sum::<usize>(), 9);
    }

    #[test]
    fn uniform_plus_leaves_the_first_convolution_dense() {
        let (first, middle, last) = ([1.0; 10], [1.0; 100], [1.0; 10]);
        let mut layers = [layer(&first), layer(&middle), layer(&last)];
        layers[0].is_first_conv = true;
        layers[2].is_last = true;
        let counts = keep_counts(Allocate::UniformPlus, &layers, 0.85);
        assert_eq!((counts[0], counts[2]), (10, 2));
        assert_eq!(counts.iter().sum::<usize>(), 18);
    }
}
