//! Quantized networks run in integers and stay within one step of the plain evaluation.

mod networks;

use lissom_graph::{Attributes, Model, ValueId};
use lissom_tensor::{Affine, DType, Storage, Tensor};
use networks::{Net, both, noise_tensor, session, window};
use proptest::prelude::*;

/// Codes may differ by one; real numbers by `step`.
fn assert_within_one_step(model: &Model, input: &Tensor, step: f64) {
    let (plain, fast) = both(model, input);
    for (index, (plain, fast)) in plain.iter().zip(&fast).enumerate() {
        assert_eq!((plain.dtype(), plain.shape()), (fast.dtype(), fast.shape()), "output {index}");
        let allowed = if plain.dtype() == DType::F32 { step } else { 1.0 };
        let (a, b) = (plain.to_f64_vec().unwrap(), fast.to_f64_vec().unwrap());
        for (at, (a, b)) in a.iter().zip(&b).enumerate() {
            assert!((a - b).abs() <= allowed * 1.001, "output {index}, element {at}: plain {a}, fast {b}");
        }
    }
}

fn kernels(model: &Model, input: &Tensor) -> Vec<String> {
    let session = session(model, true, 1);
    let steps = session.profile(&[("x", input)]).unwrap();
    steps.into_iter().map(|step| format!("{}: {}", step.info.op, step.info.kernel)).collect()
}

fn qconv(net: &mut Net, x: ValueId, [c_out, c_in, k]: [usize; 3], stride: usize, groups: usize) -> ValueId {
    let weight = net.affine(&[c_out, c_in / groups, k, k], 0, 0.004);
    let bias = net.weight(&[c_out], 0.5);
    net.node("Conv", &[x, weight, bias], window(k, stride).with("group", groups as i64))
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Nothing,
    Relu,
    Clip,
    Residual,
    ResidualRelu,
    Sigmoid,
}

fn ending() -> impl Strategy<Value = Ending> {
    use Ending::*;
    prop_oneof![Just(Nothing), Just(Relu), Just(Clip), Just(Residual), Just(ResidualRelu), Just(Sigmoid)]
}

/// What comes between a convolution and its quantization. `other` is of the same shape.
fn end(net: &mut Net, x: ValueId, other: ValueId, ending: Ending) -> ValueId {
    match ending {
        Ending::Nothing => x,
        Ending::Relu => net.plain("Relu", &[x]),
        Ending::Sigmoid => net.plain("Sigmoid", &[x]),
        Ending::Clip => {
            let (low, high) = (net.scalar(-0.3), net.scalar(0.9));
            net.plain("Clip", &[x, low, high])
        }
        Ending::Residual => net.plain("Add", &[x, other]),
        Ending::ResidualRelu => {
            let sum = net.plain("Add", &[x, other]);
            net.plain("Relu", &[sum])
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_convolution_between_codes_is_one_integer_step(
        ending in ending(), k in 0usize..2, is_depthwise in any::<bool>(), batch in 1usize..3,
        c in 1usize..20, h in 3usize..9, w in 3usize..9, zero in 0u8..=255, seed in 0u64..500,
    ) {
        let k = 2 * k + 1;
        let (mut net, x) = Net::new(&[1, c, h, w], 13, seed);
        let (_, first) = net.quantized(x, 0.013, zero);
        let groups = if is_depthwise { c } else { 1 };
        let conv = qconv(&mut net, first, [c, c, k], 1, groups);
        let ended = end(&mut net, conv, first, ending);
        let (codes, _) = net.quantized(ended, 0.021, 100);
        let model = net.finish(vec![codes]);
        let input = noise_tensor(&[batch, c, h, w], seed + 1);
        assert_within_one_step(&model, &input, 0.0);
        if !matches!(ending, Ending::Sigmoid) {
            let kernels = kernels(&model, &input);
            // A single weight may be zero.
            let is_integer = |kernel: &&String| kernel.contains("qgemm") || kernel.contains("qspmm");
            let integer = kernels.iter().filter(is_integer).count();
            let real = kernels.iter().filter(|kernel| kernel.contains("dequantize")).count();
            prop_assert_eq!((integer, real), (1, 0), "{:?}", kernels);
        }
    }

    #[test]
    fn a_product_between_codes_is_one_integer_step(
        ending in ending(), m in 1usize..5, width in 1usize..40, zero in 0u8..=255, is_gemm in any::<bool>(), seed in 0u64..500,
    ) {
        let (mut net, x) = Net::new(&[1, width], 13, seed);
        let (_, first) = net.quantized(x, 0.013, zero);
        let bias = net.weight(&[width], 0.5);
        let product = if is_gemm {
            let weight = net.affine(&[width, width], 0, 0.004);
            net.node("Gemm", &[first, weight, bias], Attributes::new().with("transB", 1i64))
        } else {
            let weight = net.affine(&[width, width], 1, 0.004);
            let product = net.plain("MatMul", &[first, weight]);
            net.plain("Add", &[product, bias])
        };
        let ended = end(&mut net, product, first, ending);
        let (codes, _) = net.quantized(ended, 0.021, 100);
        let model = net.finish(vec![codes]);
        let input = noise_tensor(&[m, width], seed + 1);
        assert_within_one_step(&model, &input, 0.0);
        let kernels = kernels(&model, &input);
        prop_assert!(kernels.iter().any(|kernel| kernel.contains("qgemm")), "{:?}", kernels);
    }
}

#[test]
fn codes_move_and_pool_without_becoming_real() {
    let (mut net, x) = Net::new(&[1, 6, 9, 9], 13, 3);
    let (_, first) = net.quantized(x, 0.01, 128);
    let a = qconv(&mut net, first, [8, 6, 3], 1, 1);
    let (_, a) = net.quantized(a, 0.02, 120);
    let pooled = net.node("MaxPool", &[a], window(3, 2));
    let (_, pooled) = net.quantized(pooled, 0.02, 120);
    let b = qconv(&mut net, pooled, [8, 8, 1], 1, 1);
    let (_, b) = net.quantized(b, 0.02, 120);
    let joined = net.node("Concat", &[pooled, b], Attributes::new().with("axis", 1i64));
    let (_, joined) = net.quantized(joined, 0.02, 120);
    let c = qconv(&mut net, joined, [16, 16, 3], 1, 1);
    let (_, c) = net.quantized(c, 0.03, 110);
    let sum = net.plain("Add", &[c, joined]);
    let sum = net.plain("Relu", &[sum]);
    let (_, sum) = net.quantized(sum, 0.04, 0);
    let mean = net.plain("GlobalAveragePool", &[sum]);
    let (_, mean) = net.quantized(mean, 0.02, 0);
    let flat = net.plain("Flatten", &[mean]);
    let (_, flat) = net.quantized(flat, 0.02, 0);
    let weight = net.affine(&[10, 16], 0, 0.003);
    let head = net.node("Gemm", &[flat, weight], Attributes::new().with("transB", 1i64));
    let model = net.finish(vec![head]);
    let input = noise_tensor(&[2, 6, 9, 9], 4);
    let kernels = kernels(&model, &input);
    // Only the mean over the image and its own quantization need real numbers; the result itself is real.
    let real: Vec<&String> = kernels.iter().filter(|kernel| kernel.contains("dequantize")).collect();
    assert_eq!(real.len(), 1, "{kernels:#?}");
    assert_within_one_step(&model, &input, 0.25);
}

#[test]
fn weights_alone_in_integers_run_in_floats() {
    let (mut net, x) = Net::new(&[1, 6, 5, 5], 13, 3);
    let conv = qconv(&mut net, x, [8, 6, 3], 1, 1);
    let flat = net.plain("Flatten", &[conv]);
    let weight = net.affine(&[200, 3], 1, 0.003);
    let product = net.plain("MatMul", &[flat, weight]);
    let model = net.finish(vec![product]);
    let input = noise_tensor(&[1, 6, 5, 5], 4);
    let (plain, fast) = both(&model, &input);
    networks::assert_close(&plain, &fast, 1e-5);
    assert_eq!(session(&model, true, 1).notes(), Vec::<String>::new());
}

/// Weights in 8 and 4 bits, their scales for all, by column or by group, stay codes where few rows meet them.
#[test]
fn few_rows_times_codes_decode_in_the_kernel() {
    let (k, n) = (300, 260);
    for (dtype, is_transposed, block, has_zero) in [
        (DType::I8, false, 0, false),
        (DType::U8, true, 0, true),
        (DType::U8, true, 0, false),
        (DType::I4, false, 32, false),
        (DType::U4, true, 128, true),
        (DType::U4, true, 64, false),
    ] {
        let (mut net, x) = Net::new(&[1, k], 21, 3);
        let shape = if is_transposed { [n, k] } else { [k, n] };
        let (axis, parts) = match block {
            0 => (usize::from(!is_transposed), n),
            block => (usize::from(is_transposed), k.div_ceil(block)),
        };
        let mut scale_shape = if block == 0 { vec![parts] } else { shape.to_vec() };
        if block > 0 {
            scale_shape[axis] = parts;
        }
        let len: usize = scale_shape.iter().product();
        let code = |i: usize| (i * 37 + i / 11) % 16;
        let codes = |len: usize, shape: &[usize]| {
            let storage = match dtype {
                DType::I8 => Storage::I8((0..len).map(|i| code(i) as i8 * 5 - 40).collect()),
                DType::U8 => Storage::U8((0..len).map(|i| code(i) as u8 * 11).collect()),
                DType::I4 => Storage::SmallInt(dtype, (0..len).map(|i| code(i) as i8 - 8).collect()),
                _ => Storage::SmallUint(dtype, (0..len).map(|i| code(i) as u8).collect()),
            };
            Tensor::from_storage(shape.to_vec(), storage).unwrap()
        };
        let scale = (0..len).map(|i| 0.01 + (i % 7) as f32 * 0.003).collect::<Vec<_>>();
        let weight = net.encoded(Affine {
            codes: codes(k * n, &shape),
            scale: Tensor::new(scale_shape.clone(), scale).unwrap(),
            zero_point: has_zero.then(|| codes(len, &scale_shape)),
            axis,
            block_size: block,
        });
        let bias = net.weight(&[n], 1.0);
        let product = if is_transposed {
            net.node("Gemm", &[x, weight, bias], Attributes::new().with("transB", 1i64))
        } else {
            let product = net.plain("MatMul", &[x, weight]);
            net.plain("Add", &[product, bias])
        };
        let relu = net.plain("Relu", &[product]);
        let model = net.finish(vec![relu]);
        for m in [1, 5, 8, 9] {
            let input = noise_tensor(&[m, k], 4);
            let (plain, fast) = both(&model, &input);
            networks::assert_close(&plain, &fast, 1e-5);
            let steps = session(&model, true, 1).profile(&[("x", &input)]).unwrap();
            let is_decoding = steps[0].info.kernel.starts_with("wgemm");
            assert_eq!((steps.len(), is_decoding), (2, m <= 8), "{dtype} {m} {:?}", steps[0].info);
        }
    }
}

/// As ONNX Runtime's `quantize_dynamic` writes a linear layer.
#[test]
fn dynamic_quantization_is_one_step() {
    for (is_per_column, has_zero, seed) in [(false, false, 1), (true, true, 2), (false, true, 3)] {
        let (mut net, x) = Net::new(&[1, 7, 24], 13, seed);
        let codes: Vec<i8> = networks::noise(24 * 10, seed).into_iter().map(|x| (x * 127.0) as i8).collect();
        let weight = net.constant(Tensor::new([24, 10], codes).unwrap());
        let scale = if is_per_column {
            net.constant(Tensor::vector((1..11).map(|i| 0.01 / i as f32).collect::<Vec<_>>()))
        } else {
            net.scalar(0.007)
        };
        let zero = net.constant(Tensor::scalar(if has_zero { 3i8 } else { 0 }));
        let quantized = net.many("DynamicQuantizeLinear", &[x], 3);
        let sums = net.plain("MatMulInteger", &[quantized[0], weight, quantized[2], zero]);
        let sums = net.node("Cast", &[sums], Attributes::new().with("to", 1i64));
        let scales = net.plain("Mul", &[quantized[1], scale]);
        let product = net.plain("Mul", &[sums, scales]);
        let bias = net.weight(&[10], 0.5);
        let sum = net.plain("Add", &[product, bias]);
        let relu = net.plain("Relu", &[sum]);
        let model = net.finish(vec![relu]);
        let input = noise_tensor(&[3, 7, 24], seed + 8);
        let (plain, fast) = both(&model, &input);
        networks::assert_close(&plain, &fast, 1e-6);
        let kernels = kernels(&model, &input);
        assert_eq!(kernels.len(), 2, "{kernels:?}");
        assert!(kernels[0].contains("qgemm"), "{kernels:?}");
    }
}

/// As ONNX Runtime's `quantize_dynamic` writes a convolution.
#[test]
fn a_dynamically_quantized_convolution_is_one_step() {
    for (is_per_channel, groups, seed) in [(false, 1, 1), (true, 1, 2), (true, 6, 3)] {
        let (mut net, x) = Net::new(&[1, 6, 9, 8], 13, seed);
        let shape = [12, 6 / groups, 3, 3];
        let codes: Vec<i8> =
            networks::noise(shape.iter().product(), seed).into_iter().map(|x| (x * 127.0) as i8).collect();
        let weight = net.constant(Tensor::new(shape, codes).unwrap());
        let scale = if is_per_channel {
            net.constant(Tensor::new([1, 12, 1, 1], (1..13).map(|i| 0.01 / i as f32).collect::<Vec<_>>()).unwrap())
        } else {
            net.scalar(0.007)
        };
        let zero = net.constant(Tensor::scalar(0i8));
        let quantized = net.many("DynamicQuantizeLinear", &[x], 3);
        let attributes = Attributes::new().with("pads", vec![1i64; 4]).with("strides", vec![2i64, 1]);
        let attributes = attributes.with("group", groups as i64);
        let sums = net.node("ConvInteger", &[quantized[0], weight, quantized[2], zero], attributes);
        let sums = net.node("Cast", &[sums], Attributes::new().with("to", 1i64));
        let scales = net.plain("Mul", &[quantized[1], scale]);
        let product = net.plain("Mul", &[sums, scales]);
        let bias = net.weight(&[1, 12, 1, 1], 0.5);
        let sum = net.plain("Add", &[product, bias]);
        let relu = net.plain("Relu", &[sum]);
        let model = net.finish(vec![relu]);
        let input = noise_tensor(&[2, 6, 9, 8], seed + 8);
        let (plain, fast) = both(&model, &input);
        networks::assert_close(&plain, &fast, 1e-6);
        let kernels = kernels(&model, &input);
        assert!(kernels.iter().any(|kernel| kernel.contains("qgemm")), "{kernels:?}");
        assert!(!kernels.iter().any(|kernel| kernel == "evaluate"), "{kernels:?}");
    }
}

/// The same with weights in `DequantizeLinear` form: what `quantize` with `dynamic = true` writes.
#[test]
fn dynamic_quantization_of_affine_weights_is_one_step() {
    for (is_gemm, is_per_column, seed) in [(false, true, 1), (false, false, 2), (true, true, 3)] {
        let (mut net, x) = Net::new(&[7, 24], 13, seed);
        let codes: Vec<i8> = networks::noise(24 * 10, seed).into_iter().map(|x| (x * 127.0) as i8).collect();
        let shape = if is_gemm { [10, 24] } else { [24, 10] };
        let scale = if is_per_column {
            Tensor::vector((1..11).map(|i| 0.01 / i as f32).collect::<Vec<_>>())
        } else {
            Tensor::scalar(0.007f32)
        };
        let axis = usize::from(!is_gemm);
        let codes = Tensor::new(shape, codes).unwrap();
        let weight = net.encoded(Affine { codes, scale, zero_point: None, axis, block_size: 0 });
        let quantized = net.many("DynamicQuantizeLinear", &[x], 3);
        let real = net.plain("DequantizeLinear", &quantized);
        let bias = net.weight(&[10], 0.5);
        let sum = if is_gemm {
            net.node("Gemm", &[real, weight, bias], Attributes::new().with("transB", 1i64))
        } else {
            let product = net.plain("MatMul", &[real, weight]);
            net.plain("Add", &[product, bias])
        };
        let relu = net.plain("Relu", &[sum]);
        let model = net.finish(vec![relu]);
        let input = noise_tensor(&[7, 24], seed + 8);
        let (plain, fast) = both(&model, &input);
        networks::assert_close(&plain, &fast, 1e-5);
        let kernels = kernels(&model, &input);
        assert!(kernels.len() == 2 && kernels[0].contains("qgemm"), "{kernels:?}");
    }
}

#[test]
fn operators_that_carry_their_scales_run_in_integers() {
    for (groups, seed) in [(1, 4), (6, 5)] {
        let (mut net, x) = Net::new(&[1, 6, 9, 7], 13, seed);
        let (codes, _) = net.quantized(x, 0.01, 120);
        let grid = |net: &mut Net, scale: f32, zero: u8| [net.scalar(scale), net.constant(Tensor::scalar(zero))];
        let [x_scale, x_zero] = grid(&mut net, 0.01, 120);
        let [y_scale, y_zero] = grid(&mut net, 0.02, 130);
        let weights: Vec<i8> =
            networks::noise(6 * 6 / groups * 9, seed).into_iter().map(|x| (x * 127.0) as i8).collect();
        let weight = net.constant(Tensor::new([6, 6 / groups, 3, 3], weights).unwrap());
        let w_scale = net.constant(Tensor::vector((1..7).map(|i| 0.004 * i as f32).collect::<Vec<_>>()));
        let w_zero = net.constant(Tensor::vector(vec![0i8; 6]));
        let bias = net.constant(Tensor::vector(vec![100i32, -50, 0, 7, 2000, -900]));
        let inputs = [codes, x_scale, x_zero, weight, w_scale, w_zero, y_scale, y_zero, bias];
        let attributes = Attributes::new().with("pads", vec![1i64; 4]).with("group", groups as i64);
        let conv = net.node("QLinearConv", &inputs, attributes);
        let flat = net.plain("Flatten", &[conv]);
        let weights: Vec<u8> = networks::noise(378 * 5, seed).into_iter().map(|x| (x * 100.0 + 128.0) as u8).collect();
        let weight = net.constant(Tensor::new([378, 5], weights).unwrap());
        let [w_scale, w_zero] = grid(&mut net, 0.002, 128);
        let [z_scale, z_zero] = grid(&mut net, 0.05, 128);
        let product = net.plain("QLinearMatMul", &[flat, y_scale, y_zero, weight, w_scale, w_zero, z_scale, z_zero]);
        let model = net.finish(vec![product, conv]);
        let input = noise_tensor(&[2, 6, 9, 7], seed + 1);
        // A step of the convolution is at most a step of the product here.
        let (plain, fast) = both(&model, &input);
        for (plain, fast) in plain.iter().zip(&fast) {
            let (a, b) = (plain.to_i64_vec().unwrap(), fast.to_i64_vec().unwrap());
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1), "{a:?} {b:?}");
        }
        assert_eq!(session(&model, true, 1).notes(), Vec::<String>::new());
        let kernels = kernels(&model, &input);
        assert_eq!(kernels.iter().filter(|kernel| kernel.contains("qgemm")).count(), 2, "{kernels:?}");
    }
}
