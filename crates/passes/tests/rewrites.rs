//! Passes on graphs in text: what goes in, what comes out, and that the meaning stays.

use lissom_graph::{Attributes, Dim, Fact, Graph, Model, Patch, interpret, to_text, verify};
use lissom_ops::OPERATORS;
use lissom_passes::{PASSES, foldable_batch_norms, run, simplify, upgrade_opset};
use lissom_tensor::{DType, Tensor, Weight};

/// Builds a graph node by node: `(name, operator, inputs by value name, attributes)`.
fn model(
    opset: u32,
    input: (&str, Vec<Dim>),
    constants: Vec<(&str, Tensor)>,
    nodes: Vec<(&str, &str, &[&str], Attributes)>,
    output: &str,
) -> Model {
    let mut graph = Graph::new("test");
    graph.add_input(input.0, Fact::new(DType::F32, input.1));
    for (name, tensor) in constants {
        graph.add_constant(name, Weight::Dense(tensor));
    }
    // Constants that nobody uses yet would be dropped, so everything goes in as one patch.
    let mut patch = Patch::new(&graph, opset);
    let mut made: Vec<(String, lissom_graph::ValueId)> = Vec::new();
    for (name, op, inputs, attributes) in nodes {
        let ids: Vec<_> = inputs
            .iter()
            .map(|input| {
                let known = made.iter().find(|(made, _)| made == input).map(|(_, id)| *id);
                known.or_else(|| graph.find_value(input))
            })
            .collect();
        let id = patch.node(&OPERATORS, op, name, &ids, attributes).unwrap();
        made.push((name.to_owned(), id));
    }
    let output = made.iter().find(|(name, _)| name == output).unwrap().1;
    let mut bare = graph.clone();
    bare.set_outputs(vec![bare.inputs()[0]]);
    patch.replace_uses(bare.inputs()[0], output);
    bare.apply(patch).unwrap();
    verify(&bare).unwrap();
    let mut model = Model::new(bare, OPERATORS, opset);
    lissom_graph::infer(&mut model.graph).unwrap();
    model
}

fn none() -> Attributes {
    Attributes::new()
}

fn operators(model: &Model) -> Vec<&str> {
    model.graph.nodes().iter().map(|node| node.op_type.as_str()).collect()
}

fn ramp(shape: &[usize]) -> Tensor {
    let len = shape.iter().product::<usize>();
    Tensor::new(shape, (0..len).map(|i| ((i * 7) % 13) as f32 / 6.0 - 1.0).collect::<Vec<_>>()).unwrap()
}

fn conv_norm() -> Model {
    model(
        17,
        ("x", vec![Dim::symbol("N"), 2.into(), 4.into(), 4.into()]),
        vec![
            ("w", ramp(&[3, 2, 3, 3])),
            ("gamma", Tensor::vector(vec![1.5f32, 0.5, -2.0])),
            ("beta", Tensor::vector(vec![0.1f32, -0.2, 0.3])),
            ("mean", Tensor::vector(vec![0.4f32, 0.0, -1.0])),
            ("variance", Tensor::vector(vec![0.9f32, 2.0, 0.25])),
        ],
        vec![
            ("conv", "Conv", &["x", "w"], none().with("pads", vec![1i64, 1, 1, 1])),
            ("norm", "BatchNormalization", &["conv", "gamma", "beta", "mean", "variance"], none()),
            ("relu", "Relu", &["norm"], none()),
        ],
        "relu",
    )
}

#[test]
fn batch_norm_moves_into_the_convolution() {
    let mut folded = conv_norm();
    assert_eq!(foldable_batch_norms(&folded.graph), [("conv".to_owned(), "norm".to_owned())]);
    assert_eq!(run("fold_batch_norm", &mut folded).unwrap(), Some(1));
    assert_eq!(operators(&folded), ["Conv", "Relu"]);
    let x = ramp(&[2, 2, 4, 4]);
    let before = interpret(&conv_norm().graph, std::slice::from_ref(&x)).unwrap();
    let after = interpret(&folded.graph, &[x]).unwrap();
    for (a, b) in before[0].as_slice::<f32>().unwrap().iter().zip(after[0].as_slice::<f32>().unwrap()) {
        assert!((a - b).abs() <= 1e-5 * (1.0 + a.abs()), "{a} {b}");
    }
}

#[test]
fn batch_norm_stays_where_another_node_sees_the_convolution() {
    let mut shared = conv_norm();
    let conv = shared.graph.nodes()[0].outputs[0].unwrap();
    let mut outputs = shared.graph.outputs().to_vec();
    outputs.push(conv);
    shared.graph.set_outputs(outputs);
    assert_eq!(run("fold_batch_norm", &mut shared).unwrap(), Some(0));
}

/// What exporters write to pad channels: amounts computed from the shape of an input with a symbolic batch.
#[test]
fn pad_amounts_computed_from_a_shape_fold_away() {
    let mut padded = model(
        17,
        ("x", vec![Dim::symbol("N"), 4.into(), 6.into(), 6.into()]),
        vec![
            ("zero", Tensor::vector(vec![0i64])),
            ("one", Tensor::vector(vec![1i64])),
            ("two", Tensor::vector(vec![2i64])),
            ("zeros6", Tensor::vector(vec![0i64; 6])),
        ],
        vec![
            ("shape", "Shape", &["x"], none()),
            ("channels", "Slice", &["shape", "one", "two", "zero"], none()),
            ("half", "Div", &["channels", "two"], none()),
            ("begin", "Concat", &["zero", "half"], none().with("axis", 0i64)),
            ("pads", "Concat", &["begin", "zeros6"], none().with("axis", 0i64)),
            ("cast", "Cast", &["pads"], none().with("to", 7i64)),
            ("pad", "Pad", &["x", "cast"], none()),
        ],
        "pad",
    );
    simplify(&mut padded).unwrap();
    assert_eq!(operators(&padded), ["Pad"]);
    let output = padded.graph.outputs()[0];
    assert_eq!(padded.graph.value(output).fact.to_string(), "f32[N,6,6,6]");
}

/// `pad` adds to the convolution's own padding; uneven amounts stay uneven.
#[test]
fn zero_padding_moves_into_the_convolution() {
    let padded = |value: f32, channels: i64| {
        model(
            17,
            ("x", vec![Dim::symbol("N"), 2.into(), 5.into(), 4.into()]),
            vec![
                ("pads", Tensor::vector(vec![0i64, channels, 0, 1, 0, 0, 2, 1])),
                ("value", Tensor::scalar(value)),
                ("w", ramp(&[3, 2 + channels as usize, 3, 3])),
            ],
            vec![
                ("pad", "Pad", &["x", "pads", "value"], none()),
                (
                    "conv",
                    "Conv",
                    &["pad", "w"],
                    none().with("pads", vec![1i64, 0, 0, 1]).with("strides", vec![2i64, 1]),
                ),
            ],
            "conv",
        )
    };
    let mut moved = padded(0.0, 0);
    simplify(&mut moved).unwrap();
    assert_eq!(operators(&moved), ["Conv"]);
    let x = ramp(&[2, 2, 5, 4]);
    let before = interpret(&padded(0.0, 0).graph, std::slice::from_ref(&x)).unwrap();
    assert_eq!(interpret(&moved.graph, &[x]).unwrap(), before);
    for mut stays in [padded(1.0, 0), padded(0.0, 1)] {
        simplify(&mut stays).unwrap();
        assert_eq!(operators(&stays), ["Pad", "Conv"]);
    }
}

#[test]
fn nodes_that_give_back_their_input_go() {
    let mut same = model(
        17,
        ("x", vec![Dim::symbol("N"), 3.into()]),
        vec![("zeros4", Tensor::vector(vec![0i64; 4]))],
        vec![
            ("identity", "Identity", &["x"], none()),
            ("dropout", "Dropout", &["identity"], none()),
            ("cast", "Cast", &["dropout"], none().with("to", 1i64)),
            ("transpose", "Transpose", &["cast"], none().with("perm", vec![0i64, 1])),
            ("pad", "Pad", &["transpose", "zeros4"], none()),
            ("relu", "Relu", &["pad"], none()),
        ],
        "relu",
    );
    simplify(&mut same).unwrap();
    assert_eq!(operators(&same), ["Relu"]);
}

#[test]
fn an_input_that_is_an_output_keeps_a_node_between_the_names() {
    let mut through =
        model(17, ("x", vec![3.into()]), vec![], vec![("identity", "Identity", &["x"], none())], "identity");
    simplify(&mut through).unwrap();
    assert_eq!(operators(&through), ["Identity"]);
}

#[test]
fn a_huge_constant_is_not_made_by_folding() {
    let mut huge = model(
        17,
        ("x", vec![1.into()]),
        vec![("shape", Tensor::vector(vec![1i64 << 20, 1 << 10]))],
        vec![
            ("zeros", "ConstantOfShape", &["shape"], none()),
            ("sum", "ReduceSum", &["zeros"], none()),
            ("add", "Add", &["x", "sum"], none()),
        ],
        "add",
    );
    simplify(&mut huge).unwrap();
    assert!(operators(&huge).contains(&"ConstantOfShape"), "{}", to_text(&huge.graph));
}

#[test]
fn attributes_that_became_inputs_are_moved_by_an_upgrade() {
    let mut old = model(
        11,
        ("x", vec![1.into(), Dim::symbol("N"), 3.into()]),
        vec![],
        vec![
            ("squeeze", "Squeeze", &["x"], none().with("axes", vec![0i64])),
            ("sum", "ReduceMean", &["squeeze"], none().with("axes", vec![1i64])),
            ("softmax", "Softmax", &["sum"], none().with("axis", 1i64)),
        ],
        "softmax",
    );
    let x = ramp(&[1, 4, 3]);
    let before = interpret(&old.graph, std::slice::from_ref(&x)).unwrap();
    assert!(upgrade_opset(&mut old, 21).unwrap());
    assert_eq!(old.opset(), 21);
    assert!(old.graph.nodes().iter().all(|node| node.opset == 21));
    assert_eq!(interpret(&old.graph, &[x]).unwrap(), before);
    assert!(!upgrade_opset(&mut old, 13).unwrap());
}

#[test]
fn a_softmax_that_flattens_cannot_be_upgraded_silently() {
    let mut old = model(
        11,
        ("x", vec![2.into(), 3.into(), 4.into()]),
        vec![],
        vec![("softmax", "Softmax", &["x"], none().with("axis", 1i64))],
        "softmax",
    );
    let error = upgrade_opset(&mut old, 13).unwrap_err().to_string();
    assert!(error.contains("softmax") && error.contains("flattens"), "{error}");
    assert_eq!(old.opset(), 11);
}

#[test]
fn every_pass_keeps_the_meaning_of_the_sample_graph() {
    let x = ramp(&[1, 2, 4, 4]);
    let before = interpret(&conv_norm().graph, std::slice::from_ref(&x)).unwrap();
    for pass in PASSES {
        let mut changed = conv_norm();
        (pass.run)(&mut changed).unwrap();
        verify(&changed.graph).unwrap();
        let after = interpret(&changed.graph, std::slice::from_ref(&x)).unwrap();
        for (a, b) in before[0].as_slice::<f32>().unwrap().iter().zip(after[0].as_slice::<f32>().unwrap()) {
            assert!((a - b).abs() <= 1e-5 * (1.0 + a.abs()), "{}: {a} {b}", pass.name);
        }
    }
}
