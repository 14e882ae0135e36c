//! Attention, however exporters write it, is one step and gives what the plain evaluation gives.

mod networks;

use lissom_engine::{Session, SessionOptions};
use lissom_graph::{Attributes, Model, ValueId};
use lissom_tensor::Tensor;
use networks::{Net, assert_close, both, noise_tensor, session};
use proptest::prelude::*;

/// Where the scale is applied.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scale {
    None,
    DivAfter,
    MulAfter,
    MulBothBefore,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mask {
    None,
    /// `[1, 1, 1, keys]`.
    Keys,
    /// `[1, 1, queries, keys]`.
    Pairs,
    /// `[heads, queries, keys]`, added from the left.
    Heads,
    /// `[queries, 1]`: no mask of keys.
    Queries,
}

/// One layer of attention on `[n, tokens, heads · d]`.
#[derive(Debug, Clone, Copy)]
struct Layer {
    tokens: usize,
    heads: usize,
    d: usize,
    scale: Scale,
    mask: Mask,
    /// Every operand and result of the products is quantized to u8 and back.
    is_quantized: bool,
    /// Somebody sees what softmax gives.
    is_seen: bool,
}

impl Layer {
    fn model(self, seed: u64) -> Model {
        let Self { tokens, heads, d, .. } = self;
        let (mut net, x) = Net::new(&[1, tokens, heads * d], 13, seed);
        let net = &mut net;
        let [q, k, v] = [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]].map(|perm: [i64; 4]| {
            let weight = net.weight(&[heads * d, heads * d], 2.0 / ((heads * d) as f32).sqrt());
            let projected = net.plain("MatMul", &[x, weight]);
            let shape = net.constant(Tensor::vector(vec![-1i64, tokens as i64, heads as i64, d as i64]));
            let split = net.plain("Reshape", &[projected, shape]);
            net.node("Transpose", &[split], Attributes::new().with("perm", perm.to_vec()))
        });
        let [q, k] =
            [q, k].map(|side| if self.scale == Scale::MulBothBefore { scaled(net, "Mul", side, 0.7) } else { side });
        let [q, k, v] = [q, k, v].map(|side| self.rounded(net, side, 0.02, 120));
        let product = net.plain("MatMul", &[q, k]);
        let product = self.rounded(net, product, 0.05, 130);
        let scores = match self.scale {
            Scale::DivAfter => scaled(net, "Div", product, (d as f32).sqrt()),
            Scale::MulAfter => scaled(net, "Mul", product, 0.4),
            _ => product,
        };
        let masked = self.masked(net, scores);
        let weights = net.node("Softmax", &[masked], Attributes::new().with("axis", -1i64));
        let rounded = self.rounded(net, weights, 1.0 / 255.0, 0);
        let context = net.plain("MatMul", &[rounded, v]);
        let merged = net.node("Transpose", &[context], Attributes::new().with("perm", vec![0i64, 2, 1, 3]));
        let shape = net.constant(Tensor::vector(vec![-1i64, tokens as i64, (heads * d) as i64]));
        let flat = net.plain("Reshape", &[merged, shape]);
        let outputs = if self.is_seen { vec![flat, weights] } else { vec![flat] };
        std::mem::replace(net, Net::new(&[1], 13, 0).0).finish(outputs)
    }

    fn rounded(self, net: &mut Net, x: ValueId, scale: f32, zero_point: u8) -> ValueId {
        if self.is_quantized { net.quantized(x, scale, zero_point).1 } else { x }
    }

    fn masked(self, net: &mut Net, scores: ValueId) -> ValueId {
        let Self { tokens, heads, .. } = self;
        let shape = match self.mask {
            Mask::None => return scores,
            Mask::Keys => vec![1, 1, 1, tokens],
            Mask::Pairs => vec![1, 1, tokens, tokens],
            Mask::Heads => vec![heads, tokens, tokens],
            Mask::Queries => vec![tokens, 1],
        };
        let mask = net.weight(&shape, 4.0);
        if self.mask == Mask::Heads { net.plain("Add", &[mask, scores]) } else { net.plain("Add", &[scores, mask]) }
    }
}

fn scaled(net: &mut Net, op: &str, x: ValueId, factor: f32) -> ValueId {
    let factor = net.scalar(factor);
    net.plain(op, &[x, factor])
}

/// How many steps are attention.
fn fused(model: &Model, input: &Tensor) -> usize {
    let steps = session(model, true, 2).profile(&[("x", input)]).unwrap();
    steps.iter().filter(|step| step.info.kernel.starts_with("attention")).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn attention_agrees(
        batch in 1usize..3, tokens in 1usize..70, heads in 1usize..4, d in 1usize..40,
        scale in prop_oneof![Just(Scale::None), Just(Scale::DivAfter), Just(Scale::MulAfter), Just(Scale::MulBothBefore)],
        mask in prop_oneof![
            Just(Mask::None), Just(Mask::Keys), Just(Mask::Pairs), Just(Mask::Heads), Just(Mask::Queries),
        ],
        is_seen in prop::bool::weighted(0.2), seed in 0u64..1000,
    ) {
        let layer = Layer { tokens, heads, d, scale, mask, is_quantized: false, is_seen };
        let model = layer.model(seed);
        let input = noise_tensor(&[batch, tokens, heads * d], seed + 7);
        let (plain, fast) = both(&model, &input);
        assert_close(&plain, &fast, 1e-5);
        let is_mask_of_keys = mask != Mask::Queries || tokens == 1;
        prop_assert_eq!(fused(&model, &input), usize::from(!is_seen && is_mask_of_keys));
    }
}

#[test]
fn quantized_attention_is_one_step_and_rounds_as_the_graph_says() {
    for (tokens, heads, d, scale, mask) in [
        (1, 1, 3, Scale::None, Mask::None),
        (33, 2, 20, Scale::DivAfter, Mask::Keys),
        (70, 3, 16, Scale::MulAfter, Mask::Pairs),
    ] {
        let layer = Layer { tokens, heads, d, scale, mask, is_quantized: true, is_seen: false };
        let model = layer.model(3);
        let input = noise_tensor(&[2, tokens, heads * d], 5);
        let (plain, fast) = both(&model, &input);
        assert_eq!(fused(&model, &input), 1);
        assert_eq!(session(&model, true, 1).notes(), Vec::<String>::new());
        // A number between two codes may go either way, which all numbers of its row then show a little.
        let (a, b) = (plain[0].to_f64_vec().unwrap(), fast[0].to_f64_vec().unwrap());
        let far = a.iter().zip(&b).filter(|(a, b)| (**a - **b).abs() > 1e-5).count();
        assert!(far * 50 <= a.len(), "{far} of {} differ", a.len());
        assert_close(&plain, &fast, 0.02);
    }
}

#[test]
fn observed_scores_stay() {
    let layer = Layer {
        tokens: 9,
        heads: 2,
        d: 5,
        scale: Scale::DivAfter,
        mask: Mask::Keys,
        is_quantized: false,
        is_seen: false,
    };
    let model = layer.model(1);
    let input = noise_tensor(&[1, 9, 10], 2);
    let scores = model.graph.nodes().iter().find(|node| node.op_type == "Softmax").unwrap().inputs[0].unwrap();
    let run = |fast: bool| {
        let options = SessionOptions { threads: 2, observe: vec![scores], fast, ..SessionOptions::default() };
        Session::new(&model, &options).unwrap().run(&[("x", &input)]).unwrap()
    };
    assert_close(&run(false), &run(true), 1e-5);
}
