//! Float networks through the plan give what the plain evaluation gives.

mod networks;

use lissom_graph::{Attributes, ValueId};
use networks::{Net, assert_close, both, noise_tensor, window};
use proptest::prelude::*;

/// One more operator at the end of a convolutional network.
#[derive(Debug, Clone, Copy)]
enum Part {
    Conv { k: usize, stride: usize, grow: usize },
    Depthwise { stride: usize },
    BatchNorm,
    Relu,
    Clip,
    Sigmoid,
    Silu,
    HardSwish,
    AddEarlier { back: usize },
    ConcatEarlier { back: usize },
    MaxPool,
    AveragePool,
    Gate,
    ScaleRow,
    Pad,
    Softmax,
    SliceChannels,
    Transpose,
    Observe,
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        4 => (0usize..2, 1usize..3, 1usize..9).prop_map(|(k, stride, grow)| Part::Conv { k: 2 * k + 1, stride, grow }),
        1 => (1usize..3).prop_map(|stride| Part::Depthwise { stride }),
        2 => Just(Part::BatchNorm),
        2 => Just(Part::Relu),
        1 => Just(Part::Clip),
        1 => Just(Part::Sigmoid),
        1 => Just(Part::Silu),
        1 => Just(Part::HardSwish),
        3 => (0usize..4).prop_map(|back| Part::AddEarlier { back }),
        1 => (0usize..4).prop_map(|back| Part::ConcatEarlier { back }),
        1 => Just(Part::MaxPool),
        1 => Just(Part::AveragePool),
        1 => Just(Part::Gate),
        1 => Just(Part::ScaleRow),
        1 => Just(Part::Pad),
        1 => Just(Part::Softmax),
        1 => Just(Part::SliceChannels),
        1 => Just(Part::Transpose),
        1 => Just(Part::Observe),
    ]
}

/// A value with its channels, height and width.
type Image = (ValueId, [usize; 3]);

struct Growing {
    net: Net,
    made: Vec<Image>,
    observed: Vec<ValueId>,
}

impl Growing {
    fn last(&self) -> Image {
        self.made[self.made.len() - 1]
    }

    fn earlier(&self, back: usize, fits: impl Fn([usize; 3]) -> bool) -> Option<Image> {
        self.made[..self.made.len() - 1].iter().rev().filter(|(_, size)| fits(*size)).nth(back).copied()
    }

    fn add(&mut self, part: Part) {
        let (x, [c, h, w]) = self.last();
        let net = &mut self.net;
        let made: Image = match part {
            Part::Conv { k, stride, grow } => {
                (net.conv(x, [grow, c, k], stride, 1), [grow, h.div_ceil(stride), w.div_ceil(stride)])
            }
            Part::Depthwise { stride } => {
                (net.conv(x, [c, c, 3], stride, c), [c, h.div_ceil(stride), w.div_ceil(stride)])
            }
            Part::BatchNorm => (net.batch_norm(x, c), [c, h, w]),
            Part::Relu => (net.plain("Relu", &[x]), [c, h, w]),
            Part::Sigmoid => (net.plain("Sigmoid", &[x]), [c, h, w]),
            Part::Softmax => (net.node("Softmax", &[x], Attributes::new().with("axis", 1i64)), [c, h, w]),
            Part::Clip => {
                let (low, high) = (net.scalar(-0.5), net.scalar(0.7));
                (net.plain("Clip", &[x, low, high]), [c, h, w])
            }
            Part::Silu => {
                let gate = net.plain("Sigmoid", &[x]);
                (net.plain("Mul", &[x, gate]), [c, h, w])
            }
            Part::HardSwish => {
                let (three, zero, six) = (net.scalar(3.0), net.scalar(0.0), net.scalar(6.0));
                let sum = net.plain("Add", &[x, three]);
                let clip = net.plain("Clip", &[sum, zero, six]);
                let product = net.plain("Mul", &[x, clip]);
                (net.plain("Div", &[product, six]), [c, h, w])
            }
            Part::AddEarlier { back } => match self.earlier(back, |size| size == [c, h, w]) {
                Some((other, size)) => (self.net.plain("Add", &[x, other]), size),
                None => (self.net.plain("Add", &[x, x]), [c, h, w]),
            },
            Part::ConcatEarlier { back } => match self.earlier(back, |size| size[1..] == [h, w]) {
                Some((other, [more, ..])) => {
                    let axis = Attributes::new().with("axis", 1i64);
                    (self.net.node("Concat", &[other, x], axis), [more + c, h, w])
                }
                None => return,
            },
            Part::MaxPool => (net.node("MaxPool", &[x], window(3, 2)), [c, h.div_ceil(2), w.div_ceil(2)]),
            Part::AveragePool => (net.node("AveragePool", &[x], window(3, 1)), [c, h, w]),
            Part::Gate => {
                let pooled = net.plain("GlobalAveragePool", &[x]);
                let squeezed = net.conv(pooled, [c, c, 1], 1, 1);
                let gate = net.plain("HardSigmoid", &[squeezed]);
                (net.plain("Mul", &[x, gate]), [c, h, w])
            }
            Part::ScaleRow => {
                let row = net.weight(&[c, 1, 1], 1.0);
                (net.plain("Mul", &[row, x]), [c, h, w])
            }
            Part::Pad => {
                let pads = net.constant(lissom_tensor::Tensor::vector(vec![0i64, 0, 1, 0, 0, 0, 0, 2]));
                (net.plain("Pad", &[x, pads]), [c, h + 1, w + 2])
            }
            Part::SliceChannels => {
                let bound = |net: &mut Net, value: i64| net.constant(lissom_tensor::Tensor::vector(vec![value]));
                let parts = [bound(net, 0), bound(net, c.div_ceil(2) as i64), bound(net, 1)];
                (net.plain("Slice", &[x, parts[0], parts[1], parts[2]]), [c.div_ceil(2), h, w])
            }
            Part::Transpose => {
                (net.node("Transpose", &[x], Attributes::new().with("perm", vec![0i64, 2, 3, 1])), [h, w, c])
            }
            Part::Observe => {
                self.observed.push(x);
                return;
            }
        };
        self.made.push(made);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn convolutional_networks_agree(
        parts in prop::collection::vec(part(), 1..14),
        batch in 1usize..4, c in 1usize..7, h in 3usize..9, w in 3usize..9, seed in 0u64..1000, head in any::<bool>(),
    ) {
        let (net, x) = Net::new(&[1, c, h, w], 13, seed);
        let mut growing = Growing { net, made: vec![(x, [c, h, w])], observed: Vec::new() };
        parts.iter().for_each(|&part| growing.add(part));
        let (mut last, [c_last, ..]) = growing.last();
        let mut net = growing.net;
        if head {
            let pooled = net.plain("GlobalAveragePool", &[last]);
            let flat = net.plain("Flatten", &[pooled]);
            let (weight, bias) = (net.weight(&[5, c_last], 1.0), net.weight(&[5], 1.0));
            last = net.node("Gemm", &[flat, weight, bias], Attributes::new().with("transB", 1i64));
        } else {
            last = net.plain("Neg", &[last]);
        }
        let mut outputs = vec![last];
        outputs.extend(growing.observed.into_iter().filter(|&id| id != x));
        let model = net.finish(outputs);
        let (plain, fast) = both(&model, &noise_tensor(&[batch, c, h, w], seed + 77));
        assert_close(&plain, &fast, 2e-5);
    }
}

/// `(x - mean) / √(var + ε) · γ + β`, as exporters without LayerNormalization write it.
fn decomposed_norm(net: &mut Net, x: ValueId, width: usize) -> ValueId {
    let axes = || Attributes::new().with("axes", vec![-1i64]).with("keepdims", 1i64);
    let mean = net.node("ReduceMean", &[x], axes());
    let centred = net.plain("Sub", &[x, mean]);
    let two = net.scalar(2.0);
    let square = net.plain("Pow", &[centred, two]);
    let variance = net.node("ReduceMean", &[square], axes());
    let epsilon = net.scalar(1e-5);
    let sum = net.plain("Add", &[variance, epsilon]);
    let root = net.plain("Sqrt", &[sum]);
    let norm = net.plain("Div", &[centred, root]);
    let (gamma, beta) = (net.weight(&[width], 1.0), net.weight(&[width], 1.0));
    let scaled = net.plain("Mul", &[norm, gamma]);
    net.plain("Add", &[scaled, beta])
}

fn gelu(net: &mut Net, x: ValueId) -> ValueId {
    let (root, one, half) = (net.scalar(std::f32::consts::SQRT_2), net.scalar(1.0), net.scalar(0.5));
    let scaled = net.plain("Div", &[x, root]);
    let erf = net.plain("Erf", &[scaled]);
    let sum = net.plain("Add", &[erf, one]);
    let product = net.plain("Mul", &[x, sum]);
    net.plain("Mul", &[product, half])
}

fn linear(net: &mut Net, x: ValueId, from: usize, to: usize) -> ValueId {
    let (weight, bias) = (net.weight(&[from, to], 0.3), net.weight(&[to], 0.3));
    let product = net.plain("MatMul", &[x, weight]);
    net.plain("Add", &[bias, product])
}

/// A transformer layer on `[n, tokens, heads · d]`.
fn transformer_layer(net: &mut Net, x: ValueId, [tokens, heads, d]: [usize; 3]) -> ValueId {
    let width = heads * d;
    let split = |net: &mut Net, x: ValueId, perm: [i64; 4]| {
        let projected = linear(net, x, width, width);
        let shape = net.constant(lissom_tensor::Tensor::vector(vec![-1i64, tokens as i64, heads as i64, d as i64]));
        let split = net.plain("Reshape", &[projected, shape]);
        net.node("Transpose", &[split], Attributes::new().with("perm", perm.to_vec()))
    };
    let q = split(net, x, [0, 2, 1, 3]);
    let k = split(net, x, [0, 2, 3, 1]);
    let v = split(net, x, [0, 2, 1, 3]);
    let product = net.plain("MatMul", &[q, k]);
    let root = net.scalar((d as f32).sqrt());
    let scores = net.plain("Div", &[product, root]);
    let mask = net.weight(&[1, 1, 1, tokens], 3.0);
    let masked = net.plain("Add", &[scores, mask]);
    let weights = net.node("Softmax", &[masked], Attributes::new().with("axis", -1i64));
    let context = net.plain("MatMul", &[weights, v]);
    let merged = net.node("Transpose", &[context], Attributes::new().with("perm", vec![0i64, 2, 1, 3]));
    let shape = net.constant(lissom_tensor::Tensor::vector(vec![-1i64, tokens as i64, width as i64]));
    let flat = net.plain("Reshape", &[merged, shape]);
    let attended = linear(net, flat, width, width);
    let sum = net.plain("Add", &[attended, x]);
    let x = decomposed_norm(net, sum, width);
    let hidden = linear(net, x, width, 3 * width);
    let hidden = gelu(net, hidden);
    let back = linear(net, hidden, 3 * width, width);
    let sum = net.plain("Add", &[x, back]);
    decomposed_norm(net, sum, width)
}

#[test]
fn transformers_agree_and_need_few_steps() {
    for (batch, tokens, heads, d) in [(1, 5, 2, 4), (3, 17, 3, 8)] {
        let (mut net, x) = Net::new(&[1, tokens, heads * d], 13, 5);
        let first = transformer_layer(&mut net, x, [tokens, heads, d]);
        let last = transformer_layer(&mut net, first, [tokens, heads, d]);
        let model = net.finish(vec![last]);
        let input = noise_tensor(&[batch, tokens, heads * d], 9);
        let (plain, fast) = both(&model, &input);
        assert_close(&plain, &fast, 2e-5);
        let session = networks::session(&model, true, 2);
        let steps = session.profile(&[("x", &input)]).unwrap();
        // Query, key, value, attention, output, norm, two of the feed-forward part, norm; and the copy out.
        assert_eq!(steps.len(), 2 * 9 + 1, "{:#?}", steps.iter().map(|step| &step.info.op).collect::<Vec<_>>());
        assert_eq!(session.notes(), Vec::<String>::new());
    }
}

#[test]
fn observed_values_are_not_fused_across() {
    let (mut net, x) = Net::new(&[1, 3, 6, 6], 13, 1);
    let conv = net.conv(x, [4, 3, 3], 1, 1);
    let norm = net.batch_norm(conv, 4);
    let relu = net.plain("Relu", &[norm]);
    let model = net.finish(vec![relu]);
    let input = noise_tensor(&[2, 3, 6, 6], 3);
    let id = |name: &str| model.graph.find_value(name).unwrap();
    let observe = vec![id("Conv1_out"), id("BatchNormalization2_out")];
    let run = |fast: bool| {
        let options =
            lissom_engine::SessionOptions { threads: 2, observe: observe.clone(), fast, ..Default::default() };
        let session = lissom_engine::Session::new(&model, &options).unwrap();
        assert_eq!(session.output_names()[1..], ["Conv1_out", "BatchNormalization2_out"]);
        session.run(&[("x", &input)]).unwrap()
    };
    assert_close(&run(false), &run(true), 1e-5);
}

#[test]
fn one_session_runs_many_shapes_from_many_threads() {
    let (mut net, x) = Net::new(&[1, 3, 8, 8], 13, 2);
    let conv = net.conv(x, [8, 3, 3], 2, 1);
    let relu = net.plain("Relu", &[conv]);
    let model = net.finish(vec![relu]);
    let (fast, plain) = (networks::session(&model, true, 2), networks::session(&model, false, 1));
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let (fast, plain) = (&fast, &plain);
            scope.spawn(move || {
                for batch in 1..24 {
                    let input = noise_tensor(&[batch % 20 + 1, 3, 8, 8], worker * 100 + batch as u64);
                    let expected = plain.run(&[("x", &input)]).unwrap();
                    assert_close(&expected, &fast.run(&[("x", &input)]).unwrap(), 1e-5);
                }
            });
        }
    });
}

#[test]
fn a_wrong_input_is_an_error_that_names_it() {
    let (mut net, x) = Net::new(&[1, 3, 8, 8], 13, 2);
    let relu = net.plain("Relu", &[x]);
    let model = net.finish(vec![relu]);
    let session = networks::session(&model, true, 2);
    let error = session.run(&[("x", &noise_tensor(&[1, 4, 8, 8], 0))]).unwrap_err();
    assert_eq!(error.to_string(), "input `x`: the model wants `x` f32[?,3,8,8], found f32[1,4,8,8]");
    assert!(session.run(&[]).unwrap_err().to_string().contains("`x` is missing"));
}
