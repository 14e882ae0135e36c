//! `bias_correction` and `cross_layer_equalization` on whole networks.

mod network;

use lissom_compress::MethodError;
use lissom_graph::{Attribute, Model};
use lissom_tensor::{Tensor, Weight};
use network::{Net, apply, cnn, numbers, rows, run, samples, tensor, weight};
use proptest::prelude::*;

/// Largest mean error of an output channel.
fn mean_error(model: &Model, result: &Model, n_channels: usize) -> f64 {
    let data = samples(model, 64, 5);
    let (expected, actual) = (run(model, &data), run(result, &data));
    let mut means = vec![0.0; n_channels];
    let n = (expected.len() / n_channels) as f64;
    for (i, (expected, actual)) in expected.iter().zip(&actual).enumerate() {
        means[i % n_channels] += f64::from(actual - expected) / n;
    }
    means.into_iter().fold(0.0, |most, mean| most.max(mean.abs()))
}

fn corrected(model: &Model, quantize: &str, n_channels: usize) -> (f64, f64, Model) {
    let data = samples(model, 64, 5);
    let mut result = model.clone();
    apply("quantize", quantize, &mut result, Some(&data), None).unwrap();
    let before = mean_error(model, &result, n_channels);
    apply("bias_correction", "samples = 64", &mut result, Some(&data), Some(model)).unwrap();
    (before, mean_error(model, &result, n_channels), result)
}

#[test]
fn the_mean_error_of_the_outputs_goes() {
    for settings in ["scheme = \"W4A32\"", "scheme = \"W3A8\"\nweights = { granularity = \"tensor\" }"] {
        let (before, after, _) = corrected(&cnn(17), settings, 4);
        assert!(before > 1e-3, "{settings}: {before}");
        assert!(after < 0.02 * before, "{settings}: {before} {after}");
    }
    let (before, after, _) = corrected(&rows(17), "scheme = \"W3A8\"", 8);
    assert!(after < 0.02 * before, "{before} {after}");
}

#[test]
fn integer_biases_stay_integer_and_missing_ones_come() {
    let (mut net, x) = Net::new(&[2, 5, 5], 17);
    let matrix = net.constant("weight", tensor(&[3, 2, 3, 3], 1));
    let bare = net.node("Conv", "bare", &[x, matrix], &[]);
    let relu = net.node("Relu", "relu", &[bare], &[]);
    let conv = net.conv("conv", relu, [4, 3], 1, 5);
    let model = net.finish(conv);
    let (_, _, result) = corrected(&model, "scheme = \"W4A8\"\nweights = { granularity = \"channel\" }", 4);
    for layer in result.graph.layers() {
        let bias = result.graph.constant(layer.bias.unwrap()).unwrap();
        assert!(matches!(bias, Weight::Affine(_)), "{}", layer.name);
    }
}

#[test]
fn correction_without_quantization_has_nothing_to_do() {
    let mut model = cnn(17);
    let reference = model.clone();
    let data = samples(&model, 4, 1);
    let error = apply("bias_correction", "", &mut model, Some(&data), None).unwrap_err();
    assert!(matches!(error, MethodError::NothingToDo { .. }));
    let error = apply("bias_correction", "", &mut model, Some(&data), Some(&reference)).unwrap_err();
    assert!(matches!(error, MethodError::NothingToDo { .. }));
}

/// Convolution, depthwise convolution, convolution, with what lies between them.
fn triple(between: &str, seed: u64) -> Model {
    let (mut net, x) = Net::new(&[3, 6, 6], 17);
    let mut value = net.conv("first", x, [4, 3], 1, seed);
    for (name, groups, seed) in [("depthwise", 4, seed + 1), ("last", 1, seed + 2)] {
        value = match between {
            "Clip" => {
                let bounds = [0.0f32, 6.0].map(|bound| net.constant("bound", Tensor::scalar(bound)));
                net.node("Clip", "clip", &[value, bounds[0], bounds[1]], &[])
            }
            "PRelu" => {
                let slope = net.constant("slope", tensor(&[4, 1, 1], 9));
                net.node("PRelu", "prelu", &[value, slope], &[])
            }
            op => net.node(op, "between", &[value], &[]),
        };
        value = net.conv(name, value, [4, 4], groups, seed);
    }
    net.finish(value)
}

/// Largest weight of each output channel, and of each input channel, of a weight without groups or a depthwise one.
fn largest(model: &Model, layer: &str) -> (Vec<f32>, Vec<f32>) {
    let weight = weight(model, layer).decode().unwrap();
    let (n_out, n_in, taps) = (weight.shape()[0], weight.shape()[1], 9);
    let values = weight.to_f32_vec().unwrap();
    let at = |out: usize, input: usize| {
        let start = (out * n_in + input) * taps;
        values[start..start + taps].iter().fold(0f32, |most, w| most.max(w.abs()))
    };
    let outs = (0..n_out).map(|out| (0..n_in).map(|i| at(out, i)).fold(0.0, f32::max)).collect();
    let ins = (0..n_in).map(|i| (0..n_out).map(|out| at(out, i)).fold(0.0, f32::max)).collect();
    (outs, ins)
}

#[test]
fn a_triple_ends_where_the_published_formula_does() {
    let model = triple("Relu", 3);
    let mut result = model.clone();
    let changes = apply("cross_layer_equalization", "", &mut result, None, None).unwrap();
    assert_eq!(changes.layers.len(), 3);
    for channel in 0..4 {
        let (r0, r1) = (largest(&model, "first").0[channel], largest(&model, "depthwise").0[channel]);
        let expected = (r0 * r1 * largest(&model, "last").1[channel]).cbrt();
        for own in [
            largest(&result, "first").0[channel],
            largest(&result, "depthwise").0[channel],
            largest(&result, "last").1[channel],
        ] {
            assert!((own - expected).abs() < 2e-3 * expected, "{own} {expected}");
        }
    }
}

#[test]
fn a_clip_between_is_left_alone_and_named() {
    let mut model = triple("Clip", 3);
    let before = format!("{:?}", model.to_proto().unwrap());
    let changes = apply("cross_layer_equalization", "", &mut model, None, None).unwrap();
    assert_eq!(before, format!("{:?}", model.to_proto().unwrap()));
    assert_eq!(changes.skipped.len(), 2);
    assert!(changes.skipped[0].reason.contains("`clip`"), "{:?}", changes.skipped);
}

#[test]
fn a_branch_and_a_dead_channel_are_left_alone() {
    // In `cnn` the first activation goes two ways.
    let mut model = cnn(17);
    let changes = apply("cross_layer_equalization", "", &mut model, None, None).unwrap();
    assert!(changes.layers.is_empty() && !changes.notes.is_empty());
    let mut dead = triple("Relu", 3);
    let first = dead.graph.layers()[0].weight;
    let mut values = numbers(4 * 27, 3);
    values[..27].fill(0.0);
    dead.graph.set_constant(first, Weight::Dense(Tensor::new([4, 3, 3, 3], values).unwrap()));
    let model = dead.clone();
    apply("cross_layer_equalization", "", &mut dead, None, None).unwrap();
    let data = samples(&model, 2, 1);
    for (expected, actual) in run(&model, &data).iter().zip(run(&dead, &data)) {
        assert!((expected - actual).abs() <= 1e-5 * expected.abs().max(1.0), "{expected} {actual}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn equalization_changes_no_output(seed in 0u64..10_000, between in prop::sample::select(vec!["Relu", "PRelu", "LeakyRelu", "MaxPool"])) {
        let model = if between == "MaxPool" { pooled(seed) } else { triple(between, seed) };
        let mut result = model.clone();
        let changes = apply("cross_layer_equalization", "", &mut result, None, None).unwrap();
        prop_assert!(!changes.layers.is_empty());
        let data = samples(&model, 2, seed + 7);
        let (expected, actual) = (run(&model, &data), run(&result, &data));
        let scale = expected.iter().fold(1f32, |most, x| most.max(x.abs()));
        for (expected, actual) in expected.iter().zip(actual) {
            prop_assert!((expected - actual).abs() <= 1e-5 * scale, "{expected} {actual}");
        }
    }
}

/// Two convolutions with a pool between them, and two matrix products.
fn pooled(seed: u64) -> Model {
    let (mut net, x) = Net::new(&[2, 6, 6], 17);
    let first = net.conv("first", x, [4, 2], 2, seed);
    let pool = net.node("MaxPool", "pool", &[first], &[("kernel_shape", Attribute::from(vec![2i64, 2]))]);
    let second = net.conv("second", pool, [6, 4], 2, seed + 1);
    let pool = net.node("GlobalAveragePool", "mean", &[second], &[]);
    let flat = net.node("Flatten", "flat", &[pool], &[]);
    let [a, b] = [[6, 5], [5, 3]].map(|shape| net.constant("matrix", tensor(&shape, seed + shape[0] as u64)));
    let hidden = net.node("Gemm", "hidden", &[flat, a], &[]);
    let relu = net.node("Relu", "relu", &[hidden], &[]);
    let end = net.node("Gemm", "end", &[relu, b], &[]);
    net.finish(end)
}
