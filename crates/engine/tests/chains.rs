//! Chains of functions of each element are one step and mean the same.

mod networks;

use lissom_graph::{Attributes, Model, ValueId};
use lissom_tensor::{DType, Tensor};
use networks::{Net, both, noise_tensor, session, window};
use proptest::prelude::*;

fn kernels(model: &Model, input: &Tensor) -> Vec<String> {
    let steps = session(model, true, 1).profile(&[("x", input)]).unwrap();
    steps.into_iter().map(|step| format!("{}: {}", step.info.op, step.info.kernel)).collect()
}

/// What comes next in a chain. No function is steeper than 1, so an error never grows on the way.
#[derive(Debug, Clone, Copy)]
enum Next {
    Unary(&'static str),
    Scalar(&'static str),
    /// A constant by last axis; true if it is the first operand.
    Row(&'static str, bool),
    /// The beginning of the chain, as codes or as real numbers.
    Same(&'static str, bool),
    Round(f32),
}

fn next() -> impl Strategy<Value = Next> {
    let binary = prop_oneof![Just("Add"), Just("Sub"), Just("Max"), Just("Min")];
    prop_oneof![
        prop_oneof![Just("Relu"), Just("Tanh"), Just("Sigmoid"), Just("Neg")].prop_map(Next::Unary),
        binary.clone().prop_map(Next::Scalar),
        (prop_oneof![binary.clone(), Just("Mul")], any::<bool>()).prop_map(|(op, is_first)| Next::Row(op, is_first)),
        (binary, any::<bool>()).prop_map(|(op, is_codes)| Next::Same(op, is_codes)),
        (0.01f32..0.03).prop_map(Next::Round),
    ]
}

struct Growing {
    net: Net,
    row: Vec<usize>,
    /// The same numbers as codes and as they were.
    begin: [ValueId; 2],
    /// How far two ways of rounding may be apart.
    slack: f64,
}

impl Growing {
    fn grow(&mut self, x: ValueId, next: Next) -> ValueId {
        let net = &mut self.net;
        match next {
            Next::Unary(op) => net.plain(op, &[x]),
            Next::Scalar(op) => {
                let scalar = net.scalar(0.3);
                net.plain(op, &[x, scalar])
            }
            Next::Row(op, is_first) => {
                let row = net.weight(&self.row.clone(), 1.0);
                if is_first { net.plain(op, &[row, x]) } else { net.plain(op, &[x, row]) }
            }
            Next::Same(op, is_codes) => net.plain(op, &[x, self.begin[usize::from(!is_codes)]]),
            Next::Round(step) => {
                self.slack += f64::from(step);
                net.quantized(x, step, 120).1
            }
        }
    }
}

/// Compares in real numbers: codes are times `step`.
fn assert_near(model: &Model, input: &Tensor, slack: f64, step: f64) {
    let (plain, fast) = both(model, input);
    for (plain, fast) in plain.iter().zip(&fast) {
        assert_eq!((plain.dtype(), plain.shape()), (fast.dtype(), fast.shape()));
        let unit = if plain.dtype() == DType::F32 { 1.0 } else { step };
        let (a, b) = (plain.to_f64_vec().unwrap(), fast.to_f64_vec().unwrap());
        for (at, (a, b)) in a.iter().zip(&b).enumerate() {
            let allowed = (slack + if unit == 1.0 { 0.0 } else { step }) * 1.001 + 1e-5;
            assert!((a - b).abs() * unit <= allowed, "element {at}: plain {a}, fast {b}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn random_chains_mean_what_their_nodes_mean(
        links in prop::collection::vec(next(), 0..7), begins_coded in any::<bool>(), is_image in any::<bool>(),
        ends_coded in any::<bool>(), is_normed in any::<bool>(), rows in 1usize..40, width in 1usize..300, seed in 0u64..500,
    ) {
        let shape = if is_image { vec![1, width % 20 + 1, rows % 6 + 2, 5] } else { vec![1, rows, width] };
        let (mut net, x) = Net::new(&shape, 20, seed);
        // What a pool makes lies channels last.
        let x = if is_image { net.node("MaxPool", &[x], window(1, 1)) } else { x };
        let (_, coded) = net.quantized(x, 0.011, 117);
        let row = if is_image { vec![shape[1], 1, 1] } else { vec![width] };
        let mut growing = Growing { net, row, begin: [coded, x], slack: 0.0 };
        let mut value = if begins_coded { coded } else { growing.net.plain("Abs", &[x]) };
        if is_normed && shape[shape.len() - 1] > 3 {
            let scale = growing.net.weight(&shape[shape.len() - 1..], 0.2);
            value = growing.net.plain("LayerNormalization", &[value, scale]);
        }
        for &link in &links {
            value = growing.grow(value, link);
        }
        let step = 0.017;
        let output = if ends_coded { growing.net.quantized(value, step, 128).0 } else { value };
        // An output that is a chain's beginning too is computed once, as what it is.
        let Growing { net, slack, .. } = growing;
        let model = net.finish(vec![output]);
        let mut shape = shape;
        shape[0] = 2;
        assert_near(&model, &noise_tensor(&shape, seed + 1), slack + 0.011, f64::from(step));
    }
}

/// What somebody else needs is still there.
#[test]
fn a_chain_ends_where_a_value_is_seen() {
    let (mut net, x) = Net::new(&[1, 8, 33], 20, 3);
    let row = net.weight(&[33], 0.5);
    let a = net.plain("Add", &[x, row]);
    let b = net.plain("Tanh", &[a]);
    let c = net.plain("Mul", &[b, row]);
    let d = net.plain("Sub", &[c, b]);
    let (codes, real) = net.quantized(d, 0.02, 128);
    let e = net.plain("Relu", &[real]);
    let model = net.finish(vec![b, codes, e]);
    let input = noise_tensor(&[2, 8, 33], 4);
    assert_near(&model, &input, 0.02, 0.02);
    let kernels = kernels(&model, &input);
    let steps: Vec<&str> = kernels.iter().map(String::as_str).filter(|kernel| !kernel.contains("copy")).collect();
    let expected = ["Add+Tanh: elementwise", "Mul+Sub+QuantizeLinear: elementwise", "Relu: elementwise"];
    assert_eq!(steps.len(), 3, "{kernels:#?}");
    assert!(steps.iter().zip(expected).all(|(step, expected)| *step == expected), "{kernels:#?}");
}

/// The half of a transformer's layer that is not attention, as ONNX Runtime quantizes it.
#[test]
fn a_quantized_feed_forward_block_is_a_step_a_product_and_one_between() {
    let (mut net, x) = Net::new(&[1, 16, 64], 20, 5);
    let (_, first) = net.quantized(x, 0.011, 128);
    let hidden = net.affine(&[64, 128], 1, 0.0004);
    let product = net.plain("MatMul", &[first, hidden]);
    let (_, product) = net.quantized(product, 0.02, 128);
    let bias = net.weight(&[128], 0.3);
    let sum = net.plain("Add", &[bias, product]);
    let gelu = net.plain("Gelu", &[sum]);
    let (_, gelu) = net.quantized(gelu, 0.01, 20);
    let last = net.affine(&[128, 64], 1, 0.0004);
    let product = net.plain("MatMul", &[gelu, last]);
    let (_, product) = net.quantized(product, 0.02, 128);
    let bias = net.weight(&[64], 0.3);
    let sum = net.plain("Add", &[bias, product]);
    let sum = net.plain("Add", &[sum, first]);
    let (scale, shift) = (net.weight(&[64], 1.0), net.weight(&[64], 0.1));
    let norm = net.node("LayerNormalization", &[sum, scale, shift], Attributes::new().with("axis", -1i64));
    let (codes, _) = net.quantized(norm, 0.03, 128);
    let model = net.finish(vec![codes]);
    let input = noise_tensor(&[2, 16, 64], 6);
    assert_near(&model, &input, 0.2, 0.03);
    let kernels = kernels(&model, &input);
    assert_eq!(kernels.len(), 6, "{kernels:#?}");
    assert_eq!(kernels.iter().filter(|kernel| kernel.contains("qgemm") || kernel.contains("qspmm")).count(), 2);
    assert!(kernels[2].starts_with("Add+Gelu+QuantizeLinear: "), "{kernels:#?}");
    assert!(kernels[4].starts_with("Add+Add+LayerNormalization+QuantizeLinear: "), "{kernels:#?}");
}

/// A row of another length than the block, rows that no task takes, and one element.
#[test]
fn chains_of_odd_sizes() {
    for shape in [[1, 1, 1], [1, 3, 5000], [1, 2, 20000], [1, 700, 7]] {
        let (mut net, x) = Net::new(&shape, 20, 5);
        let row = net.weight(&shape[2..], 0.3);
        let a = net.plain("Add", &[x, row]);
        let b = net.plain("Mul", &[a, row]);
        let (_, c) = net.quantized(b, 0.01, 128);
        let d = net.plain("Tanh", &[c]);
        let norm = net.plain("LayerNormalization", &[d, row]);
        let model = net.finish(vec![d, norm]);
        assert_near(&model, &noise_tensor(&[2, shape[1], shape[2]], 6), 0.01, 0.01);
    }
}
