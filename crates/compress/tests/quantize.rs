//! `quantize` on whole networks.

mod network;

use lissom_compress::MethodError;
use lissom_graph::{Attribute, Model};
use lissom_tensor::{Affine, DType, Tensor, Weight};
use network::{
    Net, apply, apply_with, cnn, count, numbers, relative_error, rows, run, samples, tensor, weight, written_and_read,
};
use proptest::prelude::*;

fn affine<'m>(model: &'m Model, layer: &str) -> &'m Affine {
    match weight(model, layer) {
        Weight::Affine(affine) => affine,
        Weight::Dense(_) => panic!("`{layer}` is not quantized"),
    }
}

fn quantized(model: &Model, settings: &str) -> Model {
    let mut result = model.clone();
    apply("quantize", settings, &mut result, Some(&samples(model, 32, 5)), None).unwrap();
    result
}

fn error_of(model: &Model, quantized: &Model) -> f64 {
    let data = samples(model, 8, 77);
    relative_error(&run(model, &data), &run(quantized, &data))
}

#[test]
fn a_cnn_stays_in_integers_from_input_to_classifier() {
    let model = cnn(17);
    let result = quantized(&model, "");
    // The input, both activations, the second convolution, the pool and its flat form: one pair each.
    assert_eq!((count(&result, "QuantizeLinear"), count(&result, "DequantizeLinear")), (6, 6));
    // Codes that saturate at zero clamp as `Relu` does.
    assert_eq!(count(&result, "Relu"), 0);
    let layers = result.graph.layers();
    for layer in &layers {
        let bias = result.graph.constant(layer.bias.unwrap()).unwrap();
        assert!(matches!(bias, Weight::Affine(bias) if bias.codes.dtype() == DType::I32), "{}", layer.name);
    }
    assert_eq!(result.graph.value(result.graph.outputs()[0]).fact.dtype, Some(DType::F32));
    assert!(error_of(&model, &result) < 2e-4, "{}", error_of(&model, &result));
}

#[test]
fn pool_and_flat_form_share_scale_and_zero_point() {
    let result = quantized(&cnn(17), "");
    let quantizers: Vec<_> = result.graph.nodes().iter().filter(|node| node.op_type == "QuantizeLinear").collect();
    let [.., pool, flat] = &quantizers[..] else { panic!() };
    assert_eq!(pool.inputs[1..], flat.inputs[1..]);
}

#[test]
fn every_calibration_is_close_and_symmetric_codes_are_signed() {
    let model = cnn(17);
    for (settings, most) in [
        ("activations = { calibrate = \"minmax\" }", 2e-4),
        ("activations = { calibrate = \"percentile\", percentile = 99.99 }", 2e-3),
        ("activations = { calibrate = \"mse\" }", 2e-4),
        ("activations = { calibrate = \"mse\", power = 2.4 }", 2e-4),
        ("activations = { calibrate = \"entropy\" }", 2e-2),
        ("activations = { momentum = 0.9 }", 2e-4),
        ("activations = { symmetric = true }", 5e-4),
        ("weights = { granularity = \"tensor\" }", 1e-3),
        ("weights = { symmetric = false }", 2e-4),
        ("reduce_range = true", 1e-3),
    ] {
        let error = error_of(&model, &quantized(&model, settings));
        assert!(error < most, "{settings}: {error}");
    }
    let symmetric = quantized(&model, "activations = { symmetric = true }");
    let zero_points =
        symmetric.graph.constants().filter(|(_, weight)| weight.dtype() == DType::I8 && weight.len() == 1);
    assert_eq!(zero_points.count(), 1);
    // Signed codes do not saturate at zero, so the activations stay.
    assert_eq!(count(&symmetric, "Relu"), 2);
}

#[test]
fn scales_lie_along_the_output_channels_and_groups_along_the_input() {
    let cnn = quantized(&cnn(17), "scheme = \"W8A32\"");
    assert_eq!((affine(&cnn, "conv1").axis, affine(&cnn, "conv1").scale.shape()), (0, &[8][..]));
    assert_eq!((affine(&cnn, "fc").axis, affine(&cnn, "fc").scale.shape()), (0, &[4][..]));
    let model = rows(17);
    let channel = quantized(&model, "scheme = \"W8A32\"");
    assert_eq!((affine(&channel, "a").axis, affine(&channel, "a").scale.shape()), (1, &[32][..]));
    let group = quantized(&model, "scheme = \"W4A32-g16\"");
    let a = affine(&group, "a");
    assert_eq!((a.axis, a.block_size, a.scale.shape(), a.codes.dtype()), (0, 16, &[4, 32][..], DType::I4));
    assert_eq!(group.opset(), 21);
    assert!(error_of(&model, &group) < 2e-2);
}

#[test]
fn fewer_bits_cost_more_and_take_less() {
    let model = rows(17);
    let mut last = (0.0, u64::MAX);
    for bits in [8, 4, 2] {
        let result = quantized(&model, &format!("scheme = \"W{bits}A32\""));
        let now = (error_of(&model, &result), weight(&result, "a").bits());
        assert!(now.0 > last.0 && now.1 < last.1, "{bits}: {now:?}");
        last = now;
    }
}

#[test]
fn every_form_reads_back_as_it_was_written() {
    for (model, settings) in [
        (cnn(17), ""),
        (cnn(17), "weights = { symmetric = false }"),
        (cnn(11), "scheme = \"W8A32\""),
        (rows(17), "scheme = \"W8A8\"\ndynamic = true"),
        (rows(17), "scheme = \"W4A32-g16\""),
        (rows(17), "scheme = \"W2A32\""),
        (rows(17), "scheme = \"W3A32\"\nweights = { symmetric = false, granularity = \"tensor\" }"),
        (rows(17), "scheme = \"W4A8\""),
    ] {
        let result = quantized(&model, settings);
        let again = written_and_read(&result);
        let data = samples(&model, 3, 9);
        assert_eq!(run(&result, &data), run(&again, &data), "{settings}");
        let bits = |model: &Model| model.graph.constants().map(|(_, weight)| weight.bits()).sum::<u64>();
        assert_eq!(bits(&result), bits(&again), "{settings}");
        for layer in result.graph.layers() {
            assert_eq!(weight(&again, &layer.name), weight(&result, &layer.name), "{settings}");
        }
    }
}

#[test]
fn dynamic_ranges_are_found_once_for_each_tensor() {
    let model = rows(17);
    let mut result = model.clone();
    let changes = apply("quantize", "dynamic = true", &mut result, None, None).unwrap();
    assert_eq!(changes.layers.len(), 3);
    assert_eq!(count(&result, "DynamicQuantizeLinear"), 2);
    assert!(error_of(&model, &result) < 2e-4, "{}", error_of(&model, &result));
}

#[test]
fn float_operators_keep_the_float_value_of_what_a_float_operator_makes() {
    // The sum goes to a product and to the end: the end sees it unrounded.
    let (mut net, x) = Net::new(&[16], 17);
    let shift = net.constant("shift", tensor(&[16], 1));
    let sum = net.node("Add", "sum", &[x, shift], &[]);
    let matrix = net.constant("weight", tensor(&[16, 16], 2));
    let product = net.node("MatMul", "product", &[sum, matrix], &[]);
    let end = net.node("Sub", "end", &[product, sum], &[]);
    let result = quantized(&net.finish(end), "");
    let node = &result.graph.nodes()[result.graph.find_node("end").unwrap()];
    assert_eq!(result.graph.value(node.inputs[1].unwrap()).name, "sum_out");
    assert_eq!(count(&result, "QuantizeLinear"), 1);
}

#[test]
fn a_table_is_looked_up_in_codes() {
    let (mut net, ids) = Net::of(DType::I64, &[7], 17);
    let table = net.constant("table", tensor(&[256, 32], 21));
    let rows = net.node("Gather", "lookup", &[table, ids], &[]);
    let matrix = net.constant("weight", tensor(&[32, 8], 22));
    let output = net.node("MatMul", "product", &[rows, matrix], &[]);
    let model = net.finish(output);
    for settings in ["scheme = \"W8A32\"", "dynamic = true"] {
        let mut result = model.clone();
        let changes = apply("quantize", settings, &mut result, None, None).unwrap();
        assert!(changes.layers.iter().any(|change| change.layer == "lookup"), "{settings}");
        let table = result.graph.find_value("table_quantized").unwrap();
        assert_eq!(result.graph.dense_constant(table).unwrap().dtype(), DType::I8);
        assert!(error_of(&model, &result) < 1e-3, "{settings}: {}", error_of(&model, &result));
    }
    let mut float_table = model.clone();
    apply("quantize", "scheme = \"W8A32\"\nembeddings = false", &mut float_table, None, None).unwrap();
    assert!(float_table.graph.find_value("table_quantized").is_none());
}

#[test]
fn an_old_model_is_upgraded_or_falls_back_to_one_scale() {
    let upgraded = quantized(&cnn(11), "");
    assert_eq!(upgraded.opset(), 13);
    let (mut net, x) = Net::new(&[4, 4], 11);
    let weight = net.constant("weight", tensor(&[4, 4], 1));
    let product = net.node("MatMul", "product", &[x, weight], &[]);
    // Before opset 13 this flattens two axes, which no later opset can say.
    let end = net.node("Softmax", "end", &[product], &[("axis", Attribute::from(1i64))]);
    let mut model = net.finish(end);
    let data = samples(&model, 4, 1);
    let changes = apply("quantize", "", &mut model, Some(&data), None).unwrap();
    assert_eq!((model.opset(), affine(&model, "product").scale.rank()), (11, 0));
    assert!(changes.notes[0].contains("one scale per tensor"), "{:?}", changes.notes);
    let refused = apply("quantize", "scheme = \"W4A32\"", &mut model, None, None).unwrap_err();
    assert!(matches!(&refused, MethodError::Layer { layer, .. } if layer == "end"), "{refused}");
}

#[test]
fn what_is_not_f32_or_quantized_already_is_skipped_and_nothing_left_is_an_error() {
    let mut model = quantized(&cnn(17), "scheme = \"W8A32\"");
    let error = apply("quantize", "scheme = \"W8A32\"", &mut model, None, None).unwrap_err();
    assert!(matches!(error, MethodError::NothingToDo { .. }));
    let mut none = cnn(17);
    let error = apply("quantize", "scheme = \"W8A32\"\noperators = [\"MatMul\"]", &mut none, None, None).unwrap_err();
    assert!(matches!(error, MethodError::NothingToDo { .. }));
}

#[test]
fn numbers_that_are_not_finite_are_named() {
    let mut model = cnn(17);
    let weights = model.graph.layers()[0].weight;
    let mut values = model.graph.dense_constant(weights).unwrap().to_f32_vec().unwrap();
    values[7] = f32::NAN;
    model.graph.set_constant(weights, Weight::Dense(Tensor::new([8, 3, 3, 3], values).unwrap()));
    let error = apply("quantize", "scheme = \"W8A32\"", &mut model, None, None).unwrap_err();
    assert!(matches!(&error, MethodError::NotFinite { layer, .. } if layer == "conv1"), "{error}");
    let mut model = cnn(17);
    let mut data = samples(&model, 4, 1);
    let mut values = data.inputs[0].1.to_f32_vec().unwrap();
    values[2 * 192 + 5] = f32::INFINITY;
    data.inputs[0].1 = Tensor::new([4, 3, 8, 8], values).unwrap();
    let error = apply("quantize", "", &mut model, Some(&data), None).unwrap_err();
    assert!(matches!(&error, MethodError::ActivationNotFinite { value, sample: 2 } if value == "x"), "{error}");
}

#[test]
fn a_bias_far_larger_than_its_weights_does_not_overflow() {
    let (mut net, x) = Net::new(&[4], 17);
    let matrix = net.constant("weight", Tensor::new([4, 2], numbers(8, 3).iter().map(|w| w * 1e-9).collect()).unwrap());
    let bias = net.constant("bias", Tensor::vector(vec![3e3f32, -1.0]));
    let end = net.node("Gemm", "fc", &[x, matrix, bias], &[]);
    let model = net.finish(end);
    let result = quantized(&model, "");
    let data = samples(&model, 2, 5);
    for (expected, actual) in run(&model, &data).iter().zip(run(&result, &data)) {
        assert!((expected - actual).abs() <= 1e-4 * expected.abs(), "{expected} {actual}");
    }
}

#[test]
fn layers_that_are_left_out_stay_float_and_the_rest_still_fits() {
    use lissom_compress::{Job, METHODS, Methods, Silent};
    use lissom_recipe::{Interrupt, LayerFilter, Settings};
    let model = cnn(17);
    for (exclude, pairs) in [("conv2", 2), ("conv1", 2), ("fc", 3)] {
        let mut result = model.clone();
        let method = (Methods(METHODS).find("quantize").unwrap().parse)(&Settings::empty()).unwrap();
        let layers = LayerFilter { exclude: vec![exclude.parse().unwrap()], ..LayerFilter::all() };
        let (data, interrupt) = (samples(&model, 8, 1), Interrupt::new());
        let calibration = Some(&data as &dyn lissom_compress::Calibration);
        let (progress, reference) = (&Silent, None);
        let (interrupt, training) = (&interrupt, None);
        let job = Job { layers: &layers, calibration, reference, seed: 0, threads: 1, progress, interrupt, training };
        method.apply(&mut result, &job).unwrap();
        assert!(matches!(weight(&result, exclude), Weight::Dense(_)));
        assert!(count(&result, "QuantizeLinear") >= pairs, "{exclude}: {}", count(&result, "QuantizeLinear"));
        assert!(error_of(&model, &result) < 2e-4, "{exclude}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let model = cnn(17);
    let data = samples(&model, 40, 3);
    let bytes = |threads: usize| {
        let mut result = model.clone();
        apply_with("quantize", "activations = { calibrate = \"mse\" }", &mut result, Some(&data), None, threads)
            .unwrap();
        format!("{:?}", result.to_proto().unwrap())
    };
    assert_eq!(bytes(1), bytes(3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_small_product_is_within_the_error_of_its_codes(k in 1usize..24, n in 1usize..9, seed in 0u64..1000) {
        let (mut net, x) = Net::new(&[k], 17);
        let matrix = net.constant("weight", tensor(&[k, n], seed));
        let output = net.node("MatMul", "product", &[x, matrix], &[]);
        let model = net.finish(output);
        let data = samples(&model, 6, seed + 1);
        let mut result = model.clone();
        apply("quantize", "", &mut result, Some(&data), None).unwrap();
        // Each factor is off by half a step of at most 2/255, in k products of numbers up to 1.
        let most = k as f32 * (0.5 * 2.0 / 255.0 + 0.5 / 127.0) * 1.05 + 1e-6;
        for (expected, actual) in run(&model, &data).iter().zip(run(&result, &data)) {
            prop_assert!((expected - actual).abs() <= most, "{expected} {actual} {most}");
        }
    }
}
