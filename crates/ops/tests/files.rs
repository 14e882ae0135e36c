//! Graphs from ONNX structs and back: what the file says is what runs, before and after.

use lissom_graph::{LoadError, Model, OpError, interpret, to_text};
use lissom_onnx::messages::tensor_shape_proto::{Dimension, dimension};
use lissom_onnx::messages::type_proto;
use lissom_onnx::{
    AttributeProto, AttributeType, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorShapeProto, TypeProto, ValueInfoProto, tensor_to_proto,
};
use lissom_ops::OPERATORS;
use lissom_tensor::{Affine, DType, Tensor, Weight};

fn value(name: &str, dtype: DType, shape: &[i64]) -> ValueInfoProto {
    let dim = |&length: &i64| Dimension { value: Some(dimension::Value::DimValue(length)), denotation: None };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: dtype.to_onnx(), shape: Some(shape) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(r#type), ..ValueInfoProto::default() }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    NodeProto {
        op_type: Some(op.to_owned()),
        input: names(inputs),
        output: names(outputs),
        attribute,
        ..NodeProto::default()
    }
}

fn tensor_attribute(name: &str, tensor: &Tensor) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Tensor as i32),
        t: Some(Box::new(tensor_to_proto("", tensor))),
        ..AttributeProto::default()
    }
}

fn graph_attribute(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(Box::new(graph)),
        ..AttributeProto::default()
    }
}

fn graph(
    input: Vec<ValueInfoProto>,
    node: Vec<NodeProto>,
    initializer: Vec<(&str, Tensor)>,
    output: Vec<ValueInfoProto>,
) -> GraphProto {
    let initializer = initializer.iter().map(|(name, tensor)| tensor_to_proto(name, tensor)).collect();
    GraphProto { name: Some("g".into()), input, node, initializer, output, ..GraphProto::default() }
}

fn proto(graph: GraphProto, functions: Vec<FunctionProto>) -> ModelProto {
    let opset_import = vec![
        OperatorSetIdProto { domain: Some(String::new()), version: Some(17) },
        OperatorSetIdProto { domain: Some("local".into()), version: Some(1) },
    ];
    ModelProto { ir_version: Some(8), opset_import, graph: Some(graph), functions, ..ModelProto::default() }
}

fn load(proto: ModelProto) -> Model {
    Model::from_proto(proto, OPERATORS).unwrap()
}

/// Reads what it writes, and gives the same answers.
fn round_trip(model: &Model, inputs: &[Tensor]) -> Model {
    let again = load(model.to_proto().unwrap());
    assert_eq!(interpret(&again.graph, inputs).unwrap(), interpret(&model.graph, inputs).unwrap());
    assert_eq!(again.to_proto().unwrap(), model.to_proto().unwrap());
    again
}

#[test]
fn an_affine_weight_is_written_as_dequantize_linear_and_comes_back() {
    let codes = Tensor::new([2, 3], vec![1i8, -2, 3, 4, -5, 6]).unwrap();
    let x = Tensor::new([1, 2], vec![1f32, 10.0]).unwrap();
    for (scale, axis, zero_point) in [
        (Tensor::scalar(0.5f32), 0, None),
        (Tensor::vector(vec![0.5f32, 1.0, 2.0]), 1, None),
        (Tensor::vector(vec![0.5f32, 2.0]), 0, Some(Tensor::vector(vec![1i8, -1]))),
    ] {
        let dense = proto(
            graph(
                vec![value("x", DType::F32, &[1, 2])],
                vec![node("MatMul", &["x", "w"], &["y"], vec![])],
                vec![("w", Tensor::zeros(DType::F32, [2, 3]).unwrap())],
                vec![value("y", DType::F32, &[1, 3])],
            ),
            vec![],
        );
        let mut model = load(dense);
        let weight = Weight::Affine(Affine { codes: codes.clone(), scale, zero_point, axis, block_size: 0 });
        let id = model.graph.find_value("w").unwrap();
        model.graph.set_constant(id, weight.clone());
        let again = round_trip(&model, std::slice::from_ref(&x));
        assert_eq!(again.graph.constant(again.graph.find_value("w").unwrap()), Some(&weight));
        let written = model.to_proto().unwrap().graph.unwrap();
        assert!(written.node.iter().any(|node| node.op_type() == "DequantizeLinear"));
    }
}

#[test]
fn four_bit_weights_need_a_newer_opset() {
    let dense = proto(
        graph(
            vec![value("x", DType::F32, &[1, 2])],
            vec![node("MatMul", &["x", "w"], &["y"], vec![])],
            vec![("w", Tensor::zeros(DType::F32, [2, 2]).unwrap())],
            vec![value("y", DType::F32, &[1, 2])],
        ),
        vec![],
    );
    let mut model = load(dense);
    let codes = Tensor::zeros(DType::I4, [2, 2]).unwrap();
    let affine = Affine { codes, scale: Tensor::scalar(1f32), zero_point: None, axis: 0, block_size: 0 };
    model.graph.set_constant(model.graph.find_value("w").unwrap(), Weight::Affine(affine));
    let error = model.to_proto().unwrap_err().to_string();
    assert!(error.contains("needs opset 21"), "{error}");
}

/// `y = if flag { x + c } else { x - c }` where `c` comes from a `Constant` node of the outer graph.
fn branching() -> ModelProto {
    let branch = |op: &str, out: &str| {
        graph(vec![], vec![node(op, &["x", "c"], &[out], vec![])], vec![], vec![value(out, DType::F32, &[2])])
    };
    proto(
        graph(
            vec![value("x", DType::F32, &[2]), value("flag", DType::Bool, &[])],
            vec![
                node("Constant", &[], &["c"], vec![tensor_attribute("value", &Tensor::vector(vec![1f32, 2.0]))]),
                node(
                    "If",
                    &["flag"],
                    &["y"],
                    vec![
                        graph_attribute("then_branch", branch("Add", "then_y")),
                        graph_attribute("else_branch", branch("Sub", "else_y")),
                    ],
                ),
            ],
            vec![],
            vec![value("y", DType::F32, &[2])],
        ),
        vec![],
    )
}

#[test]
fn subgraphs_see_values_of_the_graph_around_them() {
    let model = load(branching());
    let x = Tensor::vector(vec![10f32, 20.0]);
    for (flag, expected) in [(true, [11f32, 22.0]), (false, [9.0, 18.0])] {
        let inputs = [x.clone(), Tensor::scalar(flag)];
        let outputs = interpret(&model.graph, &inputs).unwrap();
        assert_eq!(outputs[0].as_slice::<f32>().unwrap(), expected);
        round_trip(&model, &inputs);
    }
}

/// The value a subgraph captures gets another name outside; the file must still say one name.
#[test]
fn a_captured_value_may_change_its_name_outside() {
    let mut model = load(branching());
    let mut patch = lissom_graph::Patch::new(&model.graph, 17);
    let old = model.graph.find_value("c").unwrap();
    let new = patch.constant("then_y", Weight::Dense(Tensor::vector(vec![5f32, 6.0])));
    patch.replace_uses(old, new);
    model.graph.apply(patch).unwrap();
    let inputs = [Tensor::vector(vec![0f32, 0.0]), Tensor::scalar(true)];
    assert_eq!(interpret(&model.graph, &inputs).unwrap()[0].as_slice::<f32>().unwrap(), [5.0, 6.0]);
    let again = load(model.to_proto().unwrap());
    assert_eq!(interpret(&again.graph, &inputs).unwrap()[0].as_slice::<f32>().unwrap(), [5.0, 6.0]);
}

/// `leaky(x; alpha) = max(x, 0) + alpha * min(x, 0)`, called twice with different attributes.
#[test]
fn calls_of_local_functions_are_inlined_with_their_attributes() {
    let function = FunctionProto {
        name: Some("leaky".into()),
        domain: Some("local".into()),
        input: vec!["a".into()],
        output: vec!["b".into()],
        attribute: vec!["alpha".into()],
        node: vec![node(
            "LeakyRelu",
            &["a"],
            &["b"],
            vec![AttributeProto {
                name: Some("alpha".into()),
                ref_attr_name: Some("alpha".into()),
                r#type: Some(AttributeType::Float as i32),
                ..AttributeProto::default()
            }],
        )],
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
        ..FunctionProto::default()
    };
    let call = |input: &str, output: &str, alpha: f32| NodeProto {
        domain: Some("local".into()),
        ..node(
            "leaky",
            &[input],
            &[output],
            vec![AttributeProto {
                name: Some("alpha".into()),
                r#type: Some(AttributeType::Float as i32),
                f: Some(alpha),
                ..AttributeProto::default()
            }],
        )
    };
    let model = load(proto(
        graph(
            vec![value("x", DType::F32, &[2])],
            vec![call("x", "t", 0.5), call("t", "y", 0.1)],
            vec![],
            vec![value("y", DType::F32, &[2])],
        ),
        vec![function],
    ));
    assert_eq!(model.graph.nodes().len(), 2);
    let x = Tensor::vector(vec![-2f32, 3.0]);
    let y = interpret(&model.graph, std::slice::from_ref(&x)).unwrap();
    assert_eq!(y[0].as_slice::<f32>().unwrap(), [-0.1, 3.0]);
    round_trip(&model, &[x]);
}

#[test]
fn an_unknown_operator_can_be_inspected_but_not_run() {
    let model = load(proto(
        graph(
            vec![value("x", DType::F32, &[2])],
            vec![node("Frobnicate", &["x"], &["y"], vec![])],
            vec![],
            vec![value("y", DType::F32, &[2])],
        ),
        vec![],
    ));
    assert_eq!(model.unsupported_nodes()[0].1, "Frobnicate");
    assert!(to_text(&model.graph).contains("Frobnicate(x)"));
    assert!(interpret(&model.graph, &[Tensor::vector(vec![0f32, 0.0])]).is_err());
}

#[test]
fn broken_graphs_are_refused_with_their_place() {
    let x = || vec![value("x", DType::F32, &[2])];
    let y = || vec![value("y", DType::F32, &[2])];
    let unknown_value = graph(x(), vec![node("Add", &["x", "z"], &["y"], vec![])], vec![], y());
    let twice =
        graph(x(), vec![node("Relu", &["x"], &["y"], vec![]), node("Abs", &["x"], &["y"], vec![])], vec![], y());
    let no_output = graph(x(), vec![], vec![], y());
    let bad_attribute = graph(
        x(),
        vec![node(
            "Relu",
            &["x"],
            &["y"],
            vec![AttributeProto {
                name: Some("slope".into()),
                r#type: Some(AttributeType::Float as i32),
                f: Some(1.0),
                ..AttributeProto::default()
            }],
        )],
        vec![],
        y(),
    );
    let error = |graph| Model::from_proto(proto(graph, vec![]), OPERATORS).unwrap_err();
    assert!(matches!(error(unknown_value), LoadError::UnknownValue { value, .. } if value == "z"));
    assert!(matches!(error(twice), LoadError::DuplicateValue { value, .. } if value == "y"));
    assert!(matches!(error(no_output), LoadError::UnknownOutput { value } if value == "y"));
    let refused = error(bad_attribute);
    assert!(
        matches!(&refused, LoadError::Operator { source: OpError::BadAttribute { name, .. }, .. } if name == "slope"),
        "{refused}"
    );
}
