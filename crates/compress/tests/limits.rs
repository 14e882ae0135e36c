//! Where methods cannot go: shared weights, subgraphs, batches that cannot be filled.

mod network;

use lissom_compress::{Changes, MethodError};
use lissom_graph::{Model, interpret};
use lissom_onnx::{
    AttributeProto, AttributeType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto,
    tensor_to_proto,
};
use lissom_ops::OPERATORS;
use lissom_tensor::{Tensor, Weight};
use network::{Fixed, Net, apply, apply_without, branches, cnn, samples, tensor, tied, twins, weight};

fn is_dense(model: &Model, layer: &str) -> bool {
    matches!(weight(model, layer), Weight::Dense(_))
}

fn reason<'c>(changes: &'c Changes, layer: &str) -> &'c str {
    &changes.skipped.iter().find(|skipped| skipped.layer == layer).unwrap().reason
}

#[test]
fn too_few_samples_for_a_batch_are_an_error_of_every_method_that_looks_at_data() {
    let model = cnn(17);
    let data = Fixed(samples(&model, 3, 1), 4);
    let mut quantized = model.clone();
    apply("quantize", "scheme = \"W4A32\"", &mut quantized, None, None).unwrap();
    let (mut net, x) = Net::new(&[3, 4, 4], 17);
    let statistics = ["scale", "shift", "mean", "variance"].map(|name| net.constant(name, tensor(&[3], 2)));
    let [scale, shift, mean, variance] = statistics;
    let norm = net.node("BatchNormalization", "norm", &[x, scale, shift, mean, variance], &[]);
    let norm = net.finish(norm);
    let norm_data = Fixed(samples(&norm, 3, 1), 4);
    for (method, settings, model, data, reference) in [
        ("quantize", "", &model, &data, None),
        ("bias_correction", "", &quantized, &data, Some(&model)),
        ("reestimate_batch_norm", "form = \"absolute\"", &norm, &norm_data, None),
    ] {
        let error = apply(method, settings, &mut model.clone(), Some(data), reference).unwrap_err();
        assert!(matches!(error, MethodError::TooFewSamples { have: 3, fixed: 4 }), "{method}: {error}");
        assert!(error.hint().unwrap().contains("at least 4 samples"));
    }
}

#[test]
fn notes_count_the_samples_of_whole_batches() {
    let (mut net, x) = Net::new(&[3, 4, 4], 17);
    let [scale, shift, mean] = ["scale", "shift", "mean"].map(|name| net.constant(name, tensor(&[3], 2)));
    let variance = net.constant("variance", lissom_tensor::Tensor::vector(vec![1f32, 2.0, 3.0]));
    let norm = net.node("BatchNormalization", "norm", &[x, scale, shift, mean, variance], &[]);
    let model = net.finish(norm);
    for (wanted, used) in [(1000, 8), (7, 4), (2, 4)] {
        let data = Fixed(samples(&model, 10, 1), 4);
        let settings = format!("form = \"absolute\"\nsamples = {wanted}");
        let changes = apply("reestimate_batch_norm", &settings, &mut model.clone(), Some(&data), None).unwrap();
        assert!(changes.notes[0].ends_with(&format!("on {used} samples")), "{:?}", changes.notes);
    }
}

#[test]
fn a_weight_of_an_excluded_layer_is_not_quantized_for_another() {
    let model = twins();
    let data = samples(&model, 8, 1);
    for settings in ["", "dynamic = true", "scheme = \"W4A32\""] {
        let error = apply_without("fc2", "quantize", settings, &mut model.clone(), Some(&data)).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("`fc1`: its weight is shared with `fc2`, which stays as it is"), "{settings}: {said}");
        let mut both = model.clone();
        let changes = apply("quantize", settings, &mut both, Some(&data), None).unwrap();
        assert_eq!((changes.layers.len(), is_dense(&both, "fc1")), (2, false), "{settings}");
    }
}

#[test]
fn a_tied_embedding_stays_as_it_is() {
    for (method, settings) in [("magnitude", "sparsity = 0.5"), ("quantize", "scheme = \"W4A32\"")] {
        let mut model = tied();
        let before = weight(&model, "head").clone();
        let changes = apply(method, settings, &mut model, None, None).unwrap();
        assert_eq!(reason(&changes, "head"), "its weight is shared with `lookup`, which stays as it is");
        assert_eq!(weight(&model, "head"), &before, "{method}");
        assert_eq!(changes.layers.iter().map(|change| change.layer.as_str()).collect::<Vec<_>>(), ["fc"]);
    }
}

#[test]
fn a_weight_of_two_layers_is_pruned_once() {
    let mut model = twins();
    let changes = apply("magnitude", "sparsity = 0.5", &mut model, None, None).unwrap();
    let [change] = &changes.layers[..] else { panic!("{changes:?}") };
    assert_eq!((change.layer.as_str(), change.after.zeros), ("fc1", 32));
    assert_eq!(changes.notes, ["`fc2` uses the weight of `fc1`, pruned once"]);
    let error = apply_without("fc2", "magnitude", "sparsity = 0.5", &mut twins(), None).unwrap_err();
    assert!(error.to_string().contains("shared with `fc2`"), "{error}");
}

#[test]
fn layers_inside_subgraphs_are_named() {
    let inside = "it lies inside a subgraph, which this step does not enter";
    for (method, settings) in [("magnitude", "sparsity = 0.5"), ("quantize", ""), ("quantize", "dynamic = true")] {
        let mut model = branches(true);
        let data = samples(&model, 4, 1);
        let changes = apply(method, settings, &mut model, Some(&data), None).unwrap();
        assert_eq!((reason(&changes, "then"), reason(&changes, "else")), (inside, inside), "{method} {settings}");
        let error = apply(method, settings, &mut branches(false), Some(&data), None).unwrap_err();
        let is_nothing = matches!(&error, MethodError::NothingToDo { reason, .. } if reason.contains(inside));
        assert!(is_nothing, "{method} {settings}: {error}");
    }
    let changes = apply("quantize", "scheme = \"W8A32\"", &mut branches(true), None, None).unwrap();
    assert_eq!((changes.layers.len(), changes.skipped.len()), (3, 0));
}

/// `y = if flag { x · a } else { x · b }` with both weights outside of the branches, as exporters lift them.
#[test]
fn weights_that_branches_capture_become_integers() {
    let branch = |weight: &str, output: &str| {
        let node = NodeProto {
            op_type: Some("MatMul".into()),
            name: Some(format!("product_{weight}")),
            input: vec!["x".into(), weight.into()],
            output: vec![output.into()],
            ..NodeProto::default()
        };
        let output = vec![ValueInfoProto { name: Some(output.into()), ..ValueInfoProto::default() }];
        GraphProto { name: Some(weight.into()), node: vec![node], output, ..GraphProto::default() }
    };
    let attribute = |name: &str, graph: GraphProto| AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(Box::new(graph)),
        ..AttributeProto::default()
    };
    let values: Vec<f32> = (0..32).map(|i| (i % 11) as f32 - 5.0).collect();
    let weight = |name: &str| tensor_to_proto(name, &Tensor::new([8, 4], values.clone()).unwrap());
    let value = |name: &str| ValueInfoProto { name: Some(name.into()), ..ValueInfoProto::default() };
    let choice = NodeProto {
        op_type: Some("If".into()),
        input: vec!["flag".into()],
        output: vec!["y".into()],
        attribute: vec![
            attribute("then_branch", branch("a", "then_y")),
            attribute("else_branch", branch("b", "else_y")),
        ],
        ..NodeProto::default()
    };
    let graph = GraphProto {
        name: Some("g".into()),
        node: vec![choice],
        initializer: vec![weight("a"), weight("b")],
        input: vec![value("x"), value("flag")],
        output: vec![value("y")],
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(17) };
    let proto =
        ModelProto { ir_version: Some(8), opset_import: vec![opset], graph: Some(graph), ..ModelProto::default() };
    let original = Model::from_proto(proto, OPERATORS).unwrap();
    let mut model = original.clone();
    let changes = apply("quantize", "scheme = \"W8A32\"", &mut model, None, None).unwrap();
    assert_eq!(changes.layers.len(), 2);
    let written = Model::from_proto(model.to_proto().unwrap(), OPERATORS).unwrap();
    let n_affine = written.graph.constants().filter(|(_, weight)| matches!(weight, Weight::Affine(_))).count();
    assert_eq!(n_affine, 2);
    for flag in [true, false] {
        let inputs = [Tensor::new([1, 8], vec![1f32; 8]).unwrap(), Tensor::scalar(flag)];
        let (before, after) =
            (interpret(&original.graph, &inputs).unwrap(), interpret(&written.graph, &inputs).unwrap());
        // Each of eight weights is off by at most half a step of 5 / 127.
        for (a, b) in before[0].as_slice::<f32>().unwrap().iter().zip(after[0].as_slice::<f32>().unwrap()) {
            assert!((a - b).abs() <= 8.0 * 0.5 * 5.0 / 127.0 + 1e-4, "{a} {b}");
        }
    }
}
