//! Models made to harm: each is loaded and simplified, or refused with a typed error, in little time and memory.

mod build;
mod damage;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use build::{branch, call, constant, function, graph, int, model, node, subgraph, text, value, with};
use lissom_graph::{LoadError, Model, VerifyError};
use lissom_onnx::{GraphProto, ModelProto, NodeProto, SparseTensorProto, ValueInfoProto};
use lissom_tensor::Tensor;
use peak_alloc::PeakAlloc;
use prost::Message;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The promise of `docs`: this many bytes for each byte of the file, and the floor.
const MEMORY_MULTIPLE: usize = 64;
const MEMORY_FLOOR_BYTES: usize = 512 << 20;
/// Unoptimised code on a busy machine; quadratic behaviour takes minutes.
const MAX_TIME: Duration = Duration::from_secs(30);

/// One at a time, since all share the allocator.
static ONE: Mutex<()> = Mutex::new(());

fn load(proto: ModelProto) -> Result<Model, LoadError> {
    let _guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let start = Instant::now();
    let file_bytes = proto.encoded_len();
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let mut result = Model::from_proto(proto, lissom_ops::OPERATORS);
    if let Ok(model) = &mut result {
        let _ = lissom_passes::simplify(model);
        let _ = model.to_proto();
        let _ = lissom_graph::to_text(&model.graph);
        let _ = model.graph.layers();
    }
    let grown = ALLOCATOR.current_usage().saturating_sub(before);
    assert!(start.elapsed() < MAX_TIME, "took {:?}", start.elapsed());
    let limit = MEMORY_MULTIPLE * file_bytes + MEMORY_FLOOR_BYTES;
    assert!(grown <= limit, "holds {grown} bytes for a file of {file_bytes}");
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(peak <= 4 * limit, "held up to {peak} bytes for a file of {file_bytes}");
    result
}

fn error(proto: ModelProto) -> LoadError {
    load(proto).expect_err("the model is unsound")
}

#[test]
fn values_that_are_not_there_or_twice_are_refused_by_name() {
    let cycle = graph(vec![node("Add", &["x", "b"], &["a"]), node("Relu", &["a"], &["b"])], &["b"]);
    assert!(matches!(error(model(cycle)), LoadError::UnknownValue { value, .. } if value == "b"));
    let own = graph(vec![node("Add", &["x", "a"], &["a"])], &["a"]);
    assert!(matches!(error(model(own)), LoadError::UnknownValue { .. }));
    let twice = graph(vec![node("Relu", &["x"], &["a"]), node("Abs", &["x"], &["a"])], &["a"]);
    assert!(matches!(error(model(twice)), LoadError::DuplicateValue { value, .. } if value == "a"));
    let over_input = graph(vec![node("Relu", &["x"], &["x"])], &["x"]);
    assert!(matches!(error(model(over_input)), LoadError::DuplicateValue { .. }));
    let same = graph(vec![node("Split", &["x"], &["a", "a"])], &["a"]);
    assert!(matches!(error(model(same)), LoadError::DuplicateValue { .. }));
    assert!(matches!(error(model(graph(vec![], &["nowhere"]))), LoadError::UnknownOutput { .. }));
    assert!(matches!(error(ModelProto::default()), LoadError::NoGraph));
}

#[test]
fn names_may_repeat_where_nothing_depends_on_them() {
    let named = |input: &str, output: &str| NodeProto { name: text("same"), ..node("Relu", &[input], &[output]) };
    let mut proto = graph(vec![named("x", "a"), named("a", "b"), node("Identity", &["b"], &["c"])], &["c", "c"]);
    proto.input.push(value("x", 1, &[-1, 2]));
    let loaded = load(model(proto)).expect("repeated node names, inputs and outputs can be told apart");
    lissom_graph::verify(&loaded.graph).expect("sound");
}

#[test]
fn initializers_hide_inputs_and_outer_values_and_may_not_repeat() {
    let one = Tensor::vector(vec![1f32, 2.0]);
    let mut hidden = graph(vec![node("Relu", &["x"], &["y"])], &["y"]);
    constant(&mut hidden, "x", &one);
    let loaded = load(model(hidden.clone())).expect("a default value");
    assert!(loaded.graph.inputs().is_empty());
    constant(&mut hidden, "x", &one);
    assert!(matches!(error(model(hidden)), LoadError::Tensor { name, .. } if name == "x"));
    // Inside, the name means the inner value.
    let mut inner = branch(vec![node("Relu", &["x"], &["r"])], &["r"]);
    constant(&mut inner, "x", &one);
    let mut outer = graph(vec![if_node("c", inner.clone(), inner)], &["y"]);
    outer.input.push(value("c", 9, &[]));
    load(model(outer)).expect("shadowing is no error");
}

#[test]
fn sparse_tensors_with_bad_places_are_refused() {
    let sparse = |places: Vec<i64>, dims: Vec<i64>| {
        let values = lissom_onnx::tensor_to_proto("w", &Tensor::vector(vec![1f32; places.len()]));
        let indices = lissom_onnx::tensor_to_proto("", &Tensor::vector(places));
        let mut proto = graph(vec![node("Relu", &["x"], &["y"])], &["y"]);
        let tensor = SparseTensorProto { values: Some(values), indices: Some(indices), dims };
        proto.sparse_initializer.push(tensor);
        model(proto)
    };
    for (places, dims) in [
        (vec![4], vec![2, 2]),
        (vec![-1], vec![2, 2]),
        (vec![1, 1], vec![2, 2]),
        (vec![i64::MAX], vec![i64::MAX]),
        (vec![0], vec![i64::MAX, i64::MAX]),
        (vec![0], vec![-1]),
        (vec![0], vec![1 << 50]),
    ] {
        let places_text = format!("{places:?} in {dims:?}");
        assert!(matches!(error(sparse(places, dims)), LoadError::Tensor { .. }), "{places_text}");
    }
    load(sparse(vec![0, 3], vec![2, 2])).expect("good places");
}

#[test]
fn tensors_of_absurd_rank_are_refused() {
    let mut proto = graph(vec![node("Relu", &["w"], &["y"])], &["y"]);
    constant(&mut proto, "w", &Tensor::new(vec![1; 5000], vec![1f32]).expect("one element"));
    assert!(matches!(error(model(proto)), LoadError::Tensor { .. }));
    let mut proto = graph(vec![node("Reshape", &["x", "s"], &["y"])], &["y"]);
    constant(&mut proto, "s", &Tensor::vector(vec![1i64; 5000]));
    assert!(matches!(error(model(proto)), LoadError::Operator { .. }));
    let mut proto = graph(vec![node("Relu", &["z"], &["y"])], &["y"]);
    proto.input.push(value("z", 1, &[1; 5000]));
    load(model(proto)).expect("what is declared of an input is only ignored");
}

#[test]
fn functions_that_call_themselves_or_double_are_refused() {
    let recursive = vec![function("F", vec![call("F", "a", "b")])];
    let main = || graph(vec![call("F", "x", "y")], &["y"]);
    let refused = error(ModelProto { functions: recursive, ..model(main()) });
    assert!(matches!(refused, LoadError::Function { .. }), "{refused}");
    // Through a branch: both kinds of nesting at once.
    let inner = |graph: GraphProto| if_node("a", graph.clone(), graph);
    let through_if = function(
        "F",
        vec![NodeProto { output: vec!["b".to_owned()], ..inner(branch(vec![call("F", "a", "r")], &["r"])) }],
    );
    let refused = error(ModelProto { functions: vec![through_if], ..model(main()) });
    assert!(matches!(refused, LoadError::TooDeep { .. } | LoadError::Function { .. }), "{refused}");
    // 2^40 nodes.
    let double = |level: usize| {
        let next = format!("F{}", level + 1);
        function(&format!("F{level}"), vec![call(&next, "a", "m"), call(&next, "m", "b")])
    };
    let mut functions: Vec<_> = (0..40).map(double).collect();
    functions.push(function("F40", vec![node("Relu", &["a"], &["b"])]));
    let refused = error(ModelProto { functions, ..model(graph(vec![call("F0", "x", "y")], &["y"])) });
    assert!(matches!(refused, LoadError::Function { .. }), "{refused}");
}

#[test]
fn functions_that_repeat_a_large_attribute_are_refused() {
    let large = Tensor::new([1 << 20], vec![0f32; 1 << 20]).expect("4 MiB");
    let mut attribute = int("value", 0);
    attribute.t = Some(Box::new(lissom_onnx::tensor_to_proto("", &large)));
    attribute.r#type = Some(4);
    let constant = with(node("Constant", &[], &["c"]), attribute);
    let body = vec![constant, node("Add", &["a", "c"], &["b"])];
    let nodes = (0..500).map(|i| call("F", &format!("v{i}"), &format!("v{}", i + 1))).collect();
    let mut main = graph(nodes, &["v500"]);
    main.input = vec![value("v0", 1, &[1])];
    let refused = error(ModelProto { functions: vec![function("F", body)], ..model(main) });
    assert!(matches!(refused, LoadError::Function { .. }), "{refused}");
}

/// `If` on `condition`, into `y`.
fn if_node(condition: &str, then: GraphProto, other: GraphProto) -> NodeProto {
    let both = with(node("If", &[condition], &["y"]), subgraph("then_branch", then));
    with(both, subgraph("else_branch", other))
}

#[test]
fn deeply_nested_subgraphs_are_refused() {
    let nested = |depth: usize| {
        let mut inner = branch(vec![node("Relu", &["x"], &["y"])], &["y"]);
        for _ in 0..depth {
            inner =
                branch(vec![if_node("c", inner.clone(), branch(vec![node("Abs", &["x"], &["r"])], &["r"]))], &["y"]);
        }
        let mut outer = graph(inner.node, &["y"]);
        outer.input.push(value("c", 9, &[]));
        model(outer)
    };
    load(nested(20)).expect("twenty levels");
    assert!(matches!(error(nested(200)), LoadError::TooDeep { .. }));
}

#[test]
fn nested_loops_do_not_multiply_the_time_of_loading() {
    let carried = ["p", "q", "r", "s", "t", "u"];
    let mut initial: Vec<NodeProto> = Vec::new();
    for level in 0..18 {
        let name = |of: &str| format!("{of}{level}");
        let mut inputs = vec![value(&name("i"), 7, &[]), value(&name("k"), 9, &[])];
        inputs.extend(carried.iter().map(|of| value(&name(of), 1, &[1])));
        let mut nodes = std::mem::take(&mut initial);
        // Each value takes the shape of its neighbour, so shapes change run by run.
        let mut outputs = vec![name("k")];
        for (i, _) in carried.iter().enumerate() {
            let neighbour = name(carried[(i + 1) % carried.len()]);
            let out = format!("o{i}_{level}");
            nodes.push(with(node("Concat", &[&neighbour, &neighbour], &[&out]), int("axis", 0)));
            outputs.push(out);
        }
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let body = GraphProto { input: inputs, ..branch(nodes, &outputs) };
        let results: Vec<String> = carried.iter().map(|of| format!("{of}_after{level}")).collect();
        let mut all = vec!["trips", "go"];
        all.extend(["x"; 6]);
        let results: Vec<&str> = results.iter().map(String::as_str).collect();
        initial = vec![with(node("Loop", &all, &results), subgraph("body", body))];
    }
    let mut outer = graph(initial, &["p_after17"]);
    outer.input = vec![value("x", 1, &[1]), value("go", 9, &[])];
    constant(&mut outer, "trips", &Tensor::scalar(i64::MAX));
    load(model(outer)).expect("sound, if endless to run");
}

#[test]
fn an_endless_loop_is_not_run_while_loading() {
    let mut body = branch(vec![node("Add", &["v", "v"], &["w"]), node("Identity", &["c"], &["d"])], &["d", "w", "w"]);
    body.input = vec![value("i", 7, &[]), value("c", 9, &[]), value("v", 7, &[])];
    let mut outer = graph(vec![with(node("Loop", &["n", "t", "s"], &["y", "all"]), subgraph("body", body))], &["y"]);
    constant(&mut outer, "n", &Tensor::scalar(i64::MAX));
    constant(&mut outer, "t", &Tensor::scalar(true));
    constant(&mut outer, "s", &Tensor::scalar(1i64));
    let loaded = load(model(outer)).expect("sound");
    assert_eq!(loaded.graph.nodes().len(), 1);
    // Running it ends where the stacked values pass the limit.
    lissom_tensor::set_max_tensor_bytes(16 << 20);
    let run = lissom_graph::interpret(&loaded.graph, &[Tensor::new([1, 2], vec![0f32; 2]).expect("two values")]);
    lissom_tensor::set_max_tensor_bytes(16 << 30);
    assert!(run.is_err_and(|error| error.to_string().contains("limit")));
}

#[test]
fn branches_that_differ_load_and_missing_outputs_are_refused() {
    let one = branch(vec![node("Relu", &["x"], &["r"])], &["r"]);
    let two = branch(vec![node("Shape", &["x"], &["r"]), node("Abs", &["x"], &["q"])], &["r", "q"]);
    let none = branch(vec![], &[]);
    let pairs = [(one.clone(), two.clone()), (two, none.clone()), (none, one)];
    for (then, other) in pairs {
        let mut outer = graph(vec![if_node("c", then, other)], &["y"]);
        outer.input.push(value("c", 9, &[]));
        // Either answer is right as long as it is one.
        let _ = load(model(outer));
    }
    // A branch cannot see what is made after it.
    let late = branch(vec![node("Relu", &["later"], &["r"])], &["r"]);
    let mut outer = graph(vec![if_node("c", late.clone(), late), node("Abs", &["x"], &["later"])], &["y"]);
    outer.input.push(value("c", 9, &[]));
    assert!(matches!(error(model(outer)), LoadError::UnknownValue { .. }));
}

#[test]
fn constants_that_ask_for_huge_results_stay_in_the_graph() {
    let huge = Tensor::vector(vec![1i64 << 20, 1 << 12]);
    let one = Tensor::new([1, 1], vec![1f32]).expect("one value");
    let limit = Tensor::scalar(1i64 << 40);
    let cases: [(&str, &[&str]); 5] = [
        ("ConstantOfShape", &["huge"]),
        ("Expand", &["one", "huge"]),
        ("Tile", &["one", "huge"]),
        ("Range", &["zero", "limit", "step"]),
        ("Pad", &["one", "pads"]),
    ];
    for (op, inputs) in cases {
        let mut proto = graph(vec![node(op, inputs, &["y"])], &["y"]);
        constant(&mut proto, "huge", &huge);
        constant(&mut proto, "one", &one);
        constant(&mut proto, "limit", &limit);
        constant(&mut proto, "zero", &Tensor::scalar(0i64));
        constant(&mut proto, "step", &Tensor::scalar(1i64));
        constant(&mut proto, "pads", &Tensor::vector(vec![0i64, 0, 1 << 30, 1 << 3]));
        let loaded = load(model(proto)).expect("sound");
        assert_eq!(loaded.graph.nodes().len(), 1, "{op}");
    }
}

#[test]
fn a_chain_of_growing_constants_is_bounded() {
    // Each step doubles: 2^60 elements at the end.
    for (op, start) in [("Concat", Tensor::vector(vec![1i64; 8])), ("Concat", Tensor::vector(vec![1f32; 8]))] {
        let step = |i: usize| {
            let (from, to) = (format!("v{i}"), format!("v{}", i + 1));
            with(node(op, &[&from, &from], &[&to]), int("axis", 0))
        };
        let mut proto = graph((0..57).map(step).collect(), &["v57"]);
        constant(&mut proto, "v0", &start);
        load(model(proto)).expect("sound, if too large to run");
    }
    // Each step keeps a mebibyte: 20 GiB in all if every one is kept.
    let step = |i: usize| node("Neg", &[&format!("v{i}")], &[&format!("v{}", i + 1)]);
    let mut proto = graph((0..20_000).map(step).collect(), &["v20000"]);
    constant(&mut proto, "v0", &Tensor::vector(vec![1f32; 4096]));
    load(model(proto)).expect("sound");
}

#[test]
fn texts_and_containers_do_not_grow_while_loading() {
    let step = |op: &'static str| {
        move |i: usize| {
            let from = format!("v{i}");
            let inputs: Vec<&str> = if op == "Optional" { vec![&from] } else { vec![&from, &from] };
            node(op, &inputs, &[&format!("v{}", i + 1)])
        }
    };
    for (op, n) in [("StringConcat", 60), ("SequenceConstruct", 60), ("Optional", 20_000)] {
        let last = format!("v{n}");
        let mut proto = graph((0..n).map(step(op)).collect(), &[&last]);
        constant(&mut proto, "v0", &Tensor::vector(vec!["0123456789".to_owned()]));
        let Ok(loaded) = load(model(proto)) else { continue };
        lissom_tensor::set_max_tensor_bytes(16 << 20);
        let run = lissom_graph::interpret(&loaded.graph, &[Tensor::new([1, 2], vec![0f32; 2]).expect("two values")]);
        lissom_tensor::set_max_tensor_bytes(16 << 30);
        assert!(run.is_err(), "{op}");
    }
}

#[test]
fn symbols_do_not_grow_without_bound() {
    let mut nodes = vec![node("Shape", &["x"], &["v0"])];
    for i in 0..200 {
        let (from, to) = (format!("v{i}"), format!("v{}", i + 1));
        nodes.push(node(if i % 2 == 0 { "Mul" } else { "Add" }, &[&from, &from], &[&to]));
    }
    nodes.push(node("ConstantOfShape", &["v200"], &["y"]));
    load(model(graph(nodes, &["y"]))).expect("sound");
    let long = "N".repeat(1 << 20);
    let mut proto = graph(vec![node("Concat", &["x", "x"], &["y"])], &["y"]);
    proto.node[0].attribute.push(int("axis", 0));
    let mut input = value("x", 1, &[-1, 2]);
    if let Some(lissom_onnx::messages::type_proto::Value::TensorType(tensor)) =
        input.r#type.as_mut().and_then(|kind| kind.value.as_mut())
        && let Some(shape) = &mut tensor.shape
    {
        let name = lissom_onnx::messages::tensor_shape_proto::dimension::Value::DimParam(long);
        shape.dim[0].value = Some(name);
    }
    proto.input = vec![input];
    load(model(proto)).expect("sound");
}

const MANY: usize = 50_000;

fn chain(op: impl Fn(usize) -> &'static str, name: &str) -> Vec<NodeProto> {
    let step = |i: usize| {
        let from = if i == 0 { "x".to_owned() } else { format!("v{i}") };
        NodeProto { name: text(name), ..node(op(i), &[&from], &[&format!("v{}", i + 1)]) }
    };
    (0..MANY).map(step).collect()
}

#[test]
fn fifty_thousand_nodes_take_seconds() {
    let last = format!("v{MANY}");
    let all_ops: [(&dyn Fn(usize) -> &'static str, &str); 3] =
        [(&|_| "Relu", ""), (&|_| "Relu", "same"), (&|i| if i % 2 == 0 { "Identity" } else { "Relu" }, "same")];
    for (op, name) in all_ops {
        load(model(graph(chain(op, name), &[&last]))).expect("sound");
    }
    let only_identities = load(model(graph(chain(|_| "Identity", ""), &[&last]))).expect("sound");
    assert!(only_identities.graph.nodes().len() == 1);
}

#[test]
fn fifty_thousand_uses_and_outputs_take_seconds() {
    // A long chain of identities, and many nodes that use its end.
    let half = MANY / 2;
    let mut nodes = chain(|_| "Identity", "");
    nodes.truncate(half);
    let end = format!("v{half}");
    nodes.extend((0..half).map(|i| node("Relu", &[&end], &[&format!("r{i}")])));
    let mut proto = graph(nodes, &[]);
    proto.output = (0..half).map(|i| ValueInfoProto { name: Some(format!("r{i}")), ..Default::default() }).collect();
    load(model(proto)).expect("sound");
    // Every value is an output.
    let mut proto = graph(chain(|_| "Identity", ""), &[]);
    proto.output = (1..=MANY).map(|i| ValueInfoProto { name: Some(format!("v{i}")), ..Default::default() }).collect();
    load(model(proto)).expect("sound");
    let nodes = (0..MANY).map(|i| node("Shape", &["x"], &[&format!("s{i}")])).collect();
    let mut proto = graph(nodes, &[]);
    proto.output = (0..MANY).map(|i| ValueInfoProto { name: Some(format!("s{i}")), ..Default::default() }).collect();
    load(model(proto)).expect("sound");
}

#[test]
fn nodes_with_absurd_numbers_of_inputs_and_attributes_are_quick() {
    let inputs = vec!["x"; 100_000];
    load(model(graph(vec![with(node("Concat", &inputs, &["y"]), int("axis", 0))], &["y"]))).expect("sound");
    let _ = load(model(graph(vec![node("Sum", &inputs, &["y"])], &["y"])));
    let mut many = node("Relu", &["x"], &["y"]);
    many.attribute = (0..100_000).map(|i| int(&format!("a{i}"), 0)).collect();
    assert!(matches!(error(model(graph(vec![many], &["y"]))), LoadError::TooManyAttributes { .. }));
}

#[test]
fn a_list_of_nodes_in_the_wrong_order_is_sorted_in_seconds() {
    let last = format!("v{MANY}");
    let loaded = load(model(graph(chain(|_| "Relu", ""), &[&last]))).expect("sound");
    let mut graph = loaded.graph;
    let mut patch = lissom_graph::Patch::new(&graph, 21);
    for index in 0..MANY {
        patch.remove_node(index);
    }
    for node in graph.nodes().iter().rev() {
        patch.push_node(node.clone());
    }
    let start = Instant::now();
    let before: Vec<String> = graph.nodes().iter().map(|node| node.name.clone()).collect();
    graph.apply(patch).expect("sound");
    assert!(start.elapsed() < MAX_TIME, "{:?}", start.elapsed());
    assert!(graph.nodes().iter().map(|node| &node.name).eq(&before));
    // A closed chain is an error that names a node of it.
    let mut patch = lissom_graph::Patch::new(&graph, 21);
    let first = graph.nodes()[0].outputs[0].expect("an output");
    let mut looped = graph.nodes()[0].clone();
    looped.inputs = vec![graph.nodes()[9].outputs[0]];
    patch.remove_node(0);
    patch.push_node(looped);
    assert!(matches!(graph.apply(patch), Err(VerifyError::Cycle { .. })));
    assert_eq!(graph.nodes()[0].outputs[0], Some(first));
}
