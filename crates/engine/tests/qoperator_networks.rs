//! Networks of operators that carry their scales (`QuantFormat.QOperator` of ONNX Runtime's quantizer) run in integers.

mod networks;

use lissom_graph::{Attributes, Model, ValueId};
use lissom_tensor::Tensor;
use networks::{Net, both, noise, noise_tensor, session, window};

/// Scale and zero point.
type Grid = [ValueId; 2];

fn grid(net: &mut Net, scale: f32, zero: u8) -> Grid {
    [net.scalar(scale), net.constant(Tensor::scalar(zero))]
}

/// Codes may differ by `steps`.
fn assert_within(model: &Model, input: &Tensor, steps: i64) {
    let (plain, fast) = both(model, input);
    assert_eq!(plain.len(), fast.len());
    for (index, (plain, fast)) in plain.iter().zip(&fast).enumerate() {
        assert_eq!((plain.dtype(), plain.shape()), (fast.dtype(), fast.shape()), "output {index}");
        let (a, b) = (plain.to_i64_vec().unwrap(), fast.to_i64_vec().unwrap());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= steps), "output {index}: {a:?} {b:?}");
        assert!(a.iter().any(|code| *code != a[0]), "output {index} says nothing: {a:?}");
    }
}

fn kernels(model: &Model, input: &Tensor) -> Vec<String> {
    let steps = session(model, true, 1).profile(&[("x", input)]).unwrap();
    steps.into_iter().map(|step| format!("{}: {}", step.info.op, step.info.kernel)).collect()
}

fn assert_no_evaluation(model: &Model, input: &Tensor) {
    assert_eq!(session(model, true, 1).notes(), Vec::<String>::new(), "{:?}", kernels(model, input));
}

fn conv(net: &mut Net, (x, from): (ValueId, Grid), to: Grid, channels: usize, seed: u64) -> ValueId {
    let codes: Vec<i8> = noise(channels * channels * 9, seed).into_iter().map(|x| (x * 127.0) as i8).collect();
    let weight = net.constant(Tensor::new([channels, channels, 3, 3], codes).unwrap());
    let w_scale = net.constant(Tensor::vector((0..channels).map(|i| 0.001 * (i + 1) as f32).collect::<Vec<_>>()));
    let w_zero = net.constant(Tensor::vector(vec![0i8; channels]));
    net.node("QLinearConv", &[x, from[0], from[1], weight, w_scale, w_zero, to[0], to[1]], window(3, 1))
}

/// Codes of noise, two kinds of each operator, each an output.
#[test]
fn every_expanded_operator_stays_within_one_step() {
    let (mut net, x) = Net::new(&[2, 4, 6, 6], 13, 1);
    let (a_grid, b_grid, y_grid) = (grid(&mut net, 0.01, 120), grid(&mut net, 0.02, 90), grid(&mut net, 0.015, 128));
    let a = net.plain("QuantizeLinear", &[x, a_grid[0], a_grid[1]]);
    let b = net.plain("QuantizeLinear", &[x, b_grid[0], b_grid[1]]);
    let [binary, unary] = [
        vec![a, a_grid[0], a_grid[1], b, b_grid[0], b_grid[1], y_grid[0], y_grid[1]],
        vec![a, a_grid[0], a_grid[1], y_grid[0], y_grid[1]],
    ];
    let pool = || window(3, 2).with("channels_last", 0i64);
    let parts = [&y_grid[..], &binary[..6]].concat();
    let outputs = vec![
        net.microsoft("QLinearAdd", &binary, Attributes::new()),
        net.microsoft("QLinearMul", &binary, Attributes::new()),
        net.microsoft("QLinearSigmoid", &unary, Attributes::new()),
        net.microsoft("QLinearLeakyRelu", &unary, Attributes::new().with("alpha", 0.2f32)),
        net.microsoft("QLinearSoftmax", &unary, Attributes::new().with("opset", 13i64).with("axis", 1i64)),
        net.microsoft("QLinearAveragePool", &unary, pool()),
        net.microsoft("QLinearAveragePool", &unary, pool().with("count_include_pad", 1i64)),
        net.microsoft("QLinearGlobalAveragePool", &unary, Attributes::new().with("channels_last", 0i64)),
        net.microsoft("QLinearConcat", &parts, Attributes::new().with("axis", 1i64)),
        net.microsoft("QLinearConcat", &parts, Attributes::new().with("axis", -1i64)),
    ];
    let model = net.finish(outputs);
    let input = noise_tensor(&[2, 4, 6, 6], 2);
    assert_within(&model, &input, 1);
    assert_no_evaluation(&model, &input);
}

#[test]
fn a_constant_operand_and_absent_zero_points_are_expanded() {
    let (mut net, x) = Net::new(&[2, 4, 6, 6], 13, 1);
    let (a_grid, b_grid) = (grid(&mut net, 0.01, 120), grid(&mut net, 0.02, 90));
    let a = net.plain("QuantizeLinear", &[x, a_grid[0], a_grid[1]]);
    let b = net.constant(Tensor::new([4, 1, 1], vec![3u8, 90, 200, 255]).unwrap());
    let inputs = [a, a_grid[0], a_grid[1], b, b_grid[0], b_grid[1], b_grid[0]];
    let sum = net.microsoft("QLinearAdd", &inputs, Attributes::new());
    let model = net.finish(vec![sum]);
    let input = noise_tensor(&[2, 4, 6, 6], 2);
    assert_within(&model, &input, 1);
    assert_no_evaluation(&model, &input);
}

#[test]
fn products_of_codes_run_in_integers() {
    let cases = [(true, true, 1.0f32), (true, false, 1.0), (false, true, 1.0), (false, false, 0.5)];
    for (case, (trans_b, is_per_column, alpha)) in cases.into_iter().enumerate() {
        for gives_codes in [true, false] {
            let (k, n) = (24, 10);
            let (mut net, x) = Net::new(&[7, k], 13, 3);
            let (from, to) = (grid(&mut net, 0.01, 120), grid(&mut net, 0.02, 128));
            let a = net.plain("QuantizeLinear", &[x, from[0], from[1]]);
            let codes: Vec<i8> = noise(k * n, case as u64 + 5).into_iter().map(|x| (x * 127.0) as i8).collect();
            let weight = net.constant(Tensor::new(if trans_b { [n, k] } else { [k, n] }, codes).unwrap());
            let [w_scale, w_zero] = if is_per_column {
                let scales: Vec<f32> = (0..n).map(|i| 0.002 * (1 + i % 3) as f32).collect();
                [Tensor::vector(scales), Tensor::vector(vec![0i8; n])]
            } else {
                [Tensor::scalar(0.004f32), Tensor::scalar(3i8)]
            };
            let (w_scale, w_zero) = (net.constant(w_scale), net.constant(w_zero));
            let bias = net.constant(Tensor::vector((0..n as i32).map(|i| 700 * (i - 5)).collect::<Vec<_>>()));
            let mut inputs = vec![a, from[0], from[1], weight, w_scale, w_zero, bias];
            if gives_codes {
                inputs.extend(to);
            }
            let attributes = Attributes::new().with("alpha", alpha).with("transB", i64::from(trans_b));
            let y = net.microsoft("QGemm", &inputs, attributes);
            let model = net.finish(vec![y]);
            let input = noise_tensor(&[7, k], 9);
            if gives_codes {
                assert_within(&model, &input, 1);
            } else {
                let (plain, fast) = both(&model, &input);
                networks::assert_close(&plain, &fast, 1e-6);
            }
            let kernels = kernels(&model, &input);
            assert!(kernels[1].contains("qgemm"), "{kernels:?}");
            assert_no_evaluation(&model, &input);
        }
    }
}

/// A residual block, a pool and a product, as the quantizer writes them.
#[test]
fn a_whole_network_stays_in_codes() {
    let (mut net, x) = Net::new(&[1, 8, 6, 6], 13, 4);
    let grids: Vec<Grid> = (0..5).map(|i| grid(&mut net, 0.01 * (i + 1) as f32, 120 + i)).collect();
    let codes = net.plain("QuantizeLinear", &[x, grids[0][0], grids[0][1]]);
    let conv = conv(&mut net, (codes, grids[0]), grids[1], 8, 11);
    let inputs = [conv, grids[1][0], grids[1][1], codes, grids[0][0], grids[0][1], grids[2][0], grids[2][1]];
    let sum = net.microsoft("QLinearAdd", &inputs, Attributes::new());
    let inputs = [sum, grids[2][0], grids[2][1], grids[0][0], grids[0][1]];
    let pooled = net.microsoft("QLinearGlobalAveragePool", &inputs, Attributes::new().with("channels_last", 0i64));
    let flat = net.plain("Flatten", &[pooled]);
    let weight = noise(8 * 5, 12).into_iter().map(|x| (x * 100.0 + 128.0) as u8).collect::<Vec<_>>();
    let weight = net.constant(Tensor::new([5, 8], weight).unwrap());
    let [w_scale, w_zero] = grid(&mut net, 0.003, 128);
    let bias = net.constant(Tensor::vector(vec![100i32, -500, 3000, 0, -2000]));
    let inputs = [flat, grids[0][0], grids[0][1], weight, w_scale, w_zero, bias, grids[1][0], grids[1][1]];
    let logits = net.microsoft("QGemm", &inputs, Attributes::new().with("transB", 1i64));
    let model = net.finish(vec![logits]);
    let input = noise_tensor(&[3, 8, 6, 6], 5);
    assert_within(&model, &input, 1);
    assert_no_evaluation(&model, &input);
    let kernels = kernels(&model, &input);
    assert_eq!(kernels.iter().filter(|kernel| kernel.contains("qgemm")).count(), 2, "{kernels:?}");
    assert!(kernels.iter().any(|kernel| kernel.contains("Add+QuantizeLinear: elementwise")), "{kernels:?}");
}
