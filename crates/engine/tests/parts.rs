//! A batch in parts gives what the whole batch gives, in less memory; networks that mix the items of a batch run whole.

mod networks;

use lissom_engine::{Session, SessionOptions};
use lissom_graph::{Attributes, Model, ValueId};
use lissom_tensor::{Tensor, View, ViewMut};
use networks::{Net, assert_close, noise_tensor, session};

const ITEMS: usize = 7;
const SHAPE: [usize; 4] = [ITEMS, 3, 12, 12];

fn in_parts(model: &Model, part_bytes: usize) -> Session {
    Session::new(model, &SessionOptions { threads: 2, part_bytes, ..SessionOptions::default() }).unwrap()
}

fn arena_bytes(session: &Session) -> usize {
    session.peak_bytes() - session.packed_bytes()
}

/// A residual network with a second output.
fn separable() -> Model {
    let (mut net, x) = Net::new(&SHAPE, 17, 3);
    let first = net.conv(x, [8, 3, 3], 1, 1);
    let first = net.plain("Relu", &[first]);
    let second = net.conv(first, [8, 8, 3], 1, 8);
    let sum = net.plain("Add", &[second, first]);
    let pooled = net.plain("GlobalAveragePool", &[sum]);
    let flat = net.plain("Flatten", &[pooled]);
    let weight = net.weight(&[8, 10], 0.5);
    let logits = net.plain("MatMul", &[flat, weight]);
    let probabilities = net.node("Softmax", &[logits], Attributes::new().with("axis", 1));
    net.finish(vec![sum, probabilities])
}

#[test]
fn parts_of_every_length_give_the_whole() {
    let (model, x) = (separable(), noise_tensor(&SHAPE, 9));
    let whole = in_parts(&model, usize::MAX);
    let expected = whole.run(&[("x", &x)]).unwrap();
    assert_close(&session(&model, false, 1).run(&[("x", &x)]).unwrap(), &expected, 1e-5);
    let steps = whole.profile(&[("x", &x)]).unwrap();
    let macs = |steps: &[lissom_engine::StepTime]| steps.iter().map(|step| step.info.macs).sum::<u64>();
    // The depthwise convolution reads and writes 8 channels of 12 x 12 an item.
    let item = 2 * 4 * 8 * 12 * 12;
    for len in 1..ITEMS {
        let session = in_parts(&model, len * item);
        assert_eq!(session.run(&[("x", &x)]).unwrap(), expected, "at most {len} at a time");
        assert!(arena_bytes(&session) < arena_bytes(&whole), "at most {len} at a time");
        assert_eq!(macs(&session.profile(&[("x", &x)]).unwrap()), macs(&steps), "at most {len} at a time");
    }
}

#[test]
fn parts_are_read_and_written_where_the_caller_has_them() {
    let (model, x) = (separable(), noise_tensor(&SHAPE, 9));
    let session = in_parts(&model, 1);
    let expected = session.run(&[("x", &x)]).unwrap();
    let names = session.output_names().to_vec();
    let mut probabilities = vec![f32::NAN; ITEMS * 10];
    let input = View::of(&x).unwrap();
    session.run_into(&[("x", input)], &mut [(&names[1], ViewMut::new(&mut probabilities))]).unwrap();
    assert_eq!(probabilities, expected[1].as_slice::<f32>().unwrap());
    let mut short = vec![0f32; ITEMS * 10 - 1];
    assert!(session.run_into(&[("x", input)], &mut [(&names[1], ViewMut::new(&mut short))]).is_err());
}

/// A network of `[items, 6]` and what ends it.
fn mixing(end: impl Fn(&mut Net, ValueId) -> ValueId) -> (Model, Tensor) {
    let (mut net, x) = Net::new(&[ITEMS, 6], 17, 3);
    let weight = net.weight(&[6, 6], 0.5);
    let hidden = net.plain("MatMul", &[x, weight]);
    let end = end(&mut net, hidden);
    (net.finish(vec![hidden, end]), noise_tensor(&[ITEMS, 6], 8))
}

#[test]
fn networks_that_mix_items_run_whole() {
    let shape = |net: &mut Net, lengths: Vec<i64>| net.constant(Tensor::vector(lengths));
    let networks = [
        ("softmax over the batch", mixing(|net, x| net.node("Softmax", &[x], Attributes::new().with("axis", 0)))),
        (
            "a mean over the batch",
            mixing(|net, x| net.node("ReduceMean", &[x], Attributes::new().with("axes", vec![0]))),
        ),
        (
            "items beside each other",
            mixing(|net, x| net.node("Transpose", &[x], Attributes::new().with("perm", vec![1, 0]))),
        ),
        (
            "rows of two items",
            mixing(|net, x| {
                let to = shape(net, vec![6, -1]);
                net.plain("Reshape", &[x, to])
            }),
        ),
        (
            "a constant an item",
            mixing(|net, x| {
                let row = net.weight(&[ITEMS, 1], 1.0);
                net.plain("Add", &[x, row])
            }),
        ),
        (
            "products of items",
            mixing(|net, x| {
                let other = net.node("Transpose", &[x], Attributes::new().with("perm", vec![1, 0]));
                net.plain("MatMul", &[x, other])
            }),
        ),
        (
            "the next item",
            mixing(|net, x| {
                let (from, to, axes) = (shape(net, vec![1]), shape(net, vec![ITEMS as i64]), shape(net, vec![0]));
                let rest = net.plain("Slice", &[x, from, to, axes]);
                let (from, to) = (shape(net, vec![0]), shape(net, vec![1]));
                let first = net.plain("Slice", &[x, from, to, axes]);
                net.node("Concat", &[rest, first], Attributes::new().with("axis", 0))
            }),
        ),
        (
            "the number of items",
            mixing(|net, x| {
                let shape = net.plain("Shape", &[x]);
                let at = net.constant(Tensor::scalar(0i64));
                let items = net.plain("Gather", &[shape, at]);
                let items = net.node("Cast", &[items], Attributes::new().with("to", 1));
                net.plain("Div", &[x, items])
            }),
        ),
        (
            "a range over the batch",
            mixing(|net, x| {
                let weight = net.affine(&[6, 6], 1, 0.01);
                let codes = net.many("DynamicQuantizeLinear", &[x], 3);
                let scale = net.plain("CastLike", &[codes[1], x]);
                let real = net.plain("DequantizeLinear", &[codes[0], scale, codes[2]]);
                net.plain("MatMul", &[real, weight])
            }),
        ),
    ];
    for (what, (model, x)) in networks {
        let plain = session(&model, false, 1).run(&[("x", &x)]).unwrap();
        let parts = in_parts(&model, 1);
        assert_close(&plain, &parts.run(&[("x", &x)]).unwrap(), 2e-2);
        let whole = in_parts(&model, usize::MAX);
        whole.run(&[("x", &x)]).unwrap();
        assert_eq!(arena_bytes(&parts), arena_bytes(&whole), "{what}");
    }
}

/// One large product with few activations: its weights would be read once an item.
#[test]
fn weights_that_outweigh_the_batch_are_read_once() {
    let (mut net, x) = Net::new(&[ITEMS, 64], 17, 3);
    let weight = net.weight(&[64, 64], 0.1);
    let product = net.plain("MatMul", &[x, weight]);
    let model = net.finish(vec![product]);
    let x = noise_tensor(&[ITEMS, 64], 2);
    let [parts, whole] = [1, usize::MAX].map(|part_bytes| in_parts(&model, part_bytes));
    assert_eq!(parts.run(&[("x", &x)]).unwrap(), whole.run(&[("x", &x)]).unwrap());
    assert_eq!(arena_bytes(&parts), arena_bytes(&whole));
}
