//! Gradients of whole networks, held to finite differences in f64.

mod support;

use std::collections::BTreeMap;

use lissom_graph::{Model, Patch, ValueId, infer, interpret};
use lissom_ops::OPERATORS;
use lissom_tensor::{DType, Tensor};
use lissom_train::{
    Differentiation, GradientError, Missing, Objective, Recompute, Step, StepOptions, TrainError, differentiate,
};
use support::{Named, Net, all, architecture, forward, gradients, in_f64, initial, loss, run, tensor};

/// Holds every parameter's gradient to central differences along a few of its elements.
fn check(model: &Model, objective: impl Into<Objective>, data: &[(&str, Tensor)], what: &str) {
    let forward = forward(&in_f64(model), objective).unwrap();
    let step = Step::gradient(&forward, &StepOptions::default()).unwrap();
    let named = initial(&forward, data);
    let gradients = gradients(&step, &named);
    assert_eq!(gradients.len(), forward.parameters.len());
    let loss = |named: &Named| run(&forward.graph, named)[0].to_f64().unwrap();
    for (name, gradient) in &gradients {
        assert_eq!(gradient.shape(), named[name].shape(), "{what}: {name}");
        let gradient = gradient.to_f64_vec().unwrap();
        for at in [0, gradient.len() / 2, gradient.len() - 1] {
            let moved = |by: f64| {
                let mut named = named.clone();
                named.get_mut(name).unwrap().as_mut_slice::<f64>().unwrap()[at] += by;
                loss(&named)
            };
            let h = 1e-7;
            let numeric = (moved(h) - moved(-h)) / (2.0 * h);
            let error = (numeric - gradient[at]).abs();
            assert!(error <= 1e-7 + 1e-5 * numeric.abs(), "{what}: {name}[{at}]: {} by nodes, {numeric}", gradient[at]);
        }
    }
}

fn labels(n: usize, classes: usize) -> Tensor {
    Tensor::vector((0..n).map(|i| (i * 2 % classes) as i64).collect::<Vec<i64>>())
}

fn image_data(shape: &[usize], classes: usize) -> [(&'static str, Tensor); 2] {
    [("input", tensor(DType::F64, shape, 3)), ("labels", labels(shape[0], classes))]
}

#[test]
fn a_perceptron() {
    let model = architecture("mlp", "shape = [5]\nhidden = [7, 6]\nclasses = 3");
    let data = image_data(&[4, 5], 3);
    check(&model, loss("cross_entropy", "label_smoothing = 0.1"), &data, "mlp");
    let teacher = ("teacher.scores", tensor(DType::F64, &[4, 3], 9));
    let [input, labels] = data;
    let both = loss("distillation", "teacher_share = 0.6\ntemperature = 2.0");
    check(&model, both, &[input.clone(), labels, teacher], "distillation");
    let soft = Tensor::new([4, 3], [0.2, 0.3, 0.5].repeat(4)).unwrap();
    let objective = Objective {
        terms: vec![
            (0.5, loss("cross_entropy", "targets = \"probabilities\"")),
            (2.0, loss("hint", "values = [\"relu1_out\"]")),
        ],
    };
    let hint = ("teacher.relu1_out", tensor(DType::F64, &[4, 7], 10));
    check(&model, objective, &[input, ("probabilities", soft), hint], "two losses");
}

#[test]
fn residual_networks() {
    for shortcut in ["pad", "conv"] {
        let text = format!("size = 8\nwidth = 4\nblocks = 1\nclasses = 3\nshortcut = \"{shortcut}\"");
        let model = architecture("resnet20", &text);
        check(&model, loss("cross_entropy", ""), &image_data(&[4, 3, 8, 8], 3), shortcut);
    }
}

#[test]
fn attention_transfer() {
    let model = architecture("resnet20", "size = 4\nwidth = 4\nblocks = 1\nclasses = 3");
    let [input, labels] = image_data(&[3, 3, 4, 4], 3);
    let teacher = ("teacher.layer1.0.relu2_out", tensor(DType::F64, &[3, 6, 4, 4], 8));
    let at = loss("attention_transfer", "values = [\"layer1.0.relu2_out\"]");
    let objective = Objective { terms: vec![(1.0, loss("cross_entropy", "")), (100.0, at)] };
    check(&model, objective, &[input, labels, teacher], "attention transfer");
}

#[test]
fn a_mobile_network() {
    let model = architecture("mobilenet_v1", "size = 32\nwidth = 0.1\nclasses = 3");
    check(&model, loss("cross_entropy", ""), &image_data(&[3, 3, 32, 32], 3), "mobilenet");
}

#[test]
fn a_vision_transformer() {
    let model = architecture("vision_transformer", "size = 8\nwidth = 8\ndepth = 2\nheads = 2\nclasses = 3");
    check(&model, loss("cross_entropy", ""), &image_data(&[3, 3, 8, 8], 3), "vision transformer");
}

/// Σ relu(x W₁ + b₁) W₂, the sum as a product with ones.
fn scalar_net(op: &str) -> Model {
    let (mut net, x) = Net::new(&[3]);
    let hidden = net.linear("first", x, [3, 4], 1);
    let hidden = net.node(op, "middle", &[hidden], &[]);
    let weight = net.constant("second.weight", tensor(DType::F32, &[4, 1], 2));
    let rows = net.node("MatMul", "second", &[hidden, weight], &[]);
    let ones = net.constant("ones", Tensor::new([1, 2], vec![1f32; 2]).unwrap());
    let sum = net.node("MatMul", "sum", &[ones, rows], &[]);
    net.finish(sum)
}

/// The backward pass sees the values themselves.
static NONE: BTreeMap<ValueId, ValueId> = BTreeMap::new();

#[test]
fn a_value_with_several_users_gets_the_sum_of_their_gradients() {
    // y = (x + x) · x summed over one row: dy/dx = 4 x.
    let (mut net, x) = Net::new(&[1]);
    let twice = net.node("Add", "twice", &[x, x], &[]);
    let y = net.node("MatMul", "product", &[twice, x], &[]);
    let mut model = net.finish(y);
    model.graph.set_input_fact(0, lissom_graph::Fact::known(DType::F32, &[1, 1]));
    infer(&mut model.graph).unwrap();
    let mut patch = Patch::new(&model.graph, 20);
    let request = Differentiation {
        graph: &model.graph,
        operators: &OPERATORS,
        loss: y,
        wanted: &[x],
        missing: Missing::Refuse,
        backward: &NONE,
    };
    let gradient = differentiate(&request, &mut patch).unwrap().of[0].unwrap();
    model.graph.set_outputs(vec![gradient]);
    model.graph.apply(patch).unwrap();
    let at = |x: f32| interpret(&model.graph, &[Tensor::new([1, 1], vec![x]).unwrap()]).unwrap()[0].to_f64().unwrap();
    assert_eq!([1.0, -2.5].map(at), [4.0, -10.0]);
}

#[test]
fn an_operator_without_gradient_is_named_or_freezes_what_is_below() {
    let mut model = scalar_net("Bernoulli");
    let wanted: Vec<_> =
        ["first.weight", "second.weight"].iter().map(|name| model.graph.find_value(name).unwrap()).collect();
    let loss = model.graph.outputs()[0];
    model.graph.fact_mut(loss).shape = Some(Vec::new());
    let request = |missing| Differentiation {
        graph: &model.graph,
        operators: &OPERATORS,
        loss,
        wanted: &wanted,
        missing,
        backward: &NONE,
    };
    let error = differentiate(&request(Missing::Refuse), &mut Patch::new(&model.graph, 20)).unwrap_err();
    assert!(matches!(&error, GradientError::NoGradient { node, .. } if node == "middle"), "{error}");
    let frozen = differentiate(&request(Missing::Freeze), &mut Patch::new(&model.graph, 20)).unwrap();
    assert_eq!(frozen.frozen.len(), 1);
    assert!(frozen.of[0].is_none() && frozen.of[1].is_some());
}

#[test]
fn only_a_number_is_a_loss() {
    let model = architecture("mlp", "shape = [5]\nhidden = [4]\nclasses = 3");
    let loss = model.graph.outputs()[0];
    let request = Differentiation {
        graph: &model.graph,
        operators: &OPERATORS,
        loss,
        wanted: &[loss],
        missing: Missing::Refuse,
        backward: &NONE,
    };
    let error = differentiate(&request, &mut Patch::new(&model.graph, 20)).unwrap_err();
    assert!(matches!(error, GradientError::NotScalar { .. }));
}

#[test]
fn a_parameter_the_loss_does_not_see_is_named() {
    let (mut net, x) = Net::new(&[3]);
    let scores = net.linear("used", x, [3, 4], 1);
    let mut model = net.finish(scores);
    let mut patch = Patch::new(&model.graph, 20);
    let unused = patch.constant("unused.weight", lissom_tensor::Weight::Dense(tensor(DType::F32, &[3, 2], 4)));
    let other = patch.node(&OPERATORS, "MatMul", "unused", &[Some(x), Some(unused)], Default::default()).unwrap();
    model.graph.set_outputs(vec![scores, other]);
    model.graph.apply(patch).unwrap();
    infer(&mut model.graph).unwrap();
    let forward = forward(&model, loss("cross_entropy", "")).unwrap();
    let error = Step::gradient(&forward, &StepOptions::default()).unwrap_err();
    assert!(matches!(&error, TrainError::Unreached { names } if names == &["unused.weight"]), "{error}");
    let options = StepOptions { missing: Missing::Freeze, ..StepOptions::default() };
    assert_eq!(Step::gradient(&forward, &options).unwrap().outputs.tensors.len(), 2);
}

#[test]
fn values_computed_again_give_the_same_bytes() {
    let model = architecture("resnet20", "size = 8\nwidth = 4\nblocks = 1\nclasses = 3\nshortcut = \"conv\"");
    let data = [("input", tensor(DType::F32, &[4, 3, 8, 8], 3)), ("labels", labels(4, 3))];
    let forward = forward(&model, loss("cross_entropy", "")).unwrap();
    let named = initial(&forward, &data);
    let step = |recompute| Step::gradient(&forward, &StepOptions { recompute, ..StepOptions::default() }).unwrap();
    let kept = step(Recompute::Nothing);
    let again = step(Recompute::Cheap);
    let one = step(Recompute::Nodes(vec!["layer1.0.relu1".into()]));
    let n_nodes = |step: &Step| step.model.graph.nodes().len();
    assert_eq!(n_nodes(&one), n_nodes(&kept) + 1);
    assert!(n_nodes(&again) > n_nodes(&kept) + 10);
    let products = |step: &Step| step.model.graph.nodes().iter().filter(|node| node.op_type == "Conv").count();
    assert_eq!(products(&again), products(&kept));
    assert_eq!(gradients(&again, &named), gradients(&kept, &named));
    assert_eq!(gradients(&one, &named), gradients(&kept, &named));
}

#[test]
fn parameters_left_out_get_no_gradient_and_no_nodes() {
    let model = architecture("resnet20", "size = 8\nwidth = 4\nblocks = 1\nclasses = 3\nshortcut = \"conv\"");
    let objective = Objective::from(loss("cross_entropy", ""));
    let head = |parameter: &lissom_train::Parameter| parameter.name.starts_with("classifier");
    let options = Default::default();
    let some = lissom_train::Forward::new(&model, &objective, head, &options).unwrap();
    let every = lissom_train::Forward::new(&model, &objective, all, &options).unwrap();
    let count = |forward| {
        let step = Step::gradient(forward, &StepOptions::default()).unwrap();
        step.model.graph.nodes().iter().filter(|node| node.op_type == "ConvGrad").count()
    };
    assert_eq!((count(&some), count(&every)), (0, 9));
}
