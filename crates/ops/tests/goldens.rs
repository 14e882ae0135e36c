//! Operators the ONNX corpus has no cases for, against what ONNX Runtime 1.31.1 on a CPU gives for the same node.

use lissom_graph::{Attribute, Attributes, Graph, Inputs, NodeReader};
use lissom_ops::OPERATORS;
use lissom_tensor::Tensor;

/// The first output of a node of `com.microsoft`.
fn run(op: &str, attributes: &[(&str, Attribute)], inputs: &[Tensor]) -> Tensor {
    let mut graph = Graph::new("golden");
    let ids: Vec<_> = inputs.iter().map(|x| Some(graph.add_input("x", lissom_graph::Fact::constant(x)))).collect();
    let mut all = Attributes::new();
    for (name, value) in attributes {
        all.set(*name, value.clone());
    }
    let op = NodeReader::read_op(&OPERATORS, "com.microsoft", op, 1, &ids, &[], &all).unwrap();
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(Some).collect();
    op.evaluate(&Inputs(&inputs)).unwrap().remove(0)
}

fn codes(values: &[u8]) -> Tensor {
    Tensor::vector(values.to_vec())
}

fn reals(values: &[f32]) -> Tensor {
    Tensor::vector(values.to_vec())
}

fn assert_close(actual: &Tensor, expected: &[f32]) {
    let actual = actual.as_slice::<f32>().unwrap();
    assert_eq!(actual.len(), expected.len());
    for (a, e) in actual.iter().zip(expected) {
        assert!((a - e).abs() <= 1e-6 + 1e-5 * e.abs(), "{actual:?}, expected {expected:?}");
    }
}

fn two_codes() -> Vec<Tensor> {
    let a = [codes(&[0, 10, 128, 255]), Tensor::scalar(0.02f32), Tensor::scalar(128u8)];
    let b = [codes(&[10, 250, 7, 255]), Tensor::scalar(0.05f32), Tensor::scalar(100u8)];
    let y = [Tensor::scalar(0.06f32), Tensor::scalar(120u8)];
    a.into_iter().chain(b).chain(y).collect()
}

#[test]
fn sums_and_products_of_codes_saturate() {
    assert_eq!(run("QLinearAdd", &[], &two_codes()).as_slice::<u8>().unwrap(), [2, 206, 42, 255]);
    assert_eq!(run("QLinearMul", &[], &two_codes()).as_slice::<u8>().unwrap(), [255, 0, 120, 255]);
}

#[test]
fn the_sigmoid_of_codes_is_rounded_once() {
    let inputs = [
        codes(&[0, 100, 128, 160, 255]),
        Tensor::scalar(0.05f32),
        Tensor::scalar(128u8),
        Tensor::scalar(1f32 / 256.0),
        Tensor::scalar(0u8),
    ];
    assert_eq!(run("QLinearSigmoid", &[], &inputs).as_slice::<u8>().unwrap(), [0, 51, 128, 213, 255]);
}

#[test]
fn gelu_and_its_approximation_differ_in_the_fourth_digit() {
    let x = [reals(&[-2.0, -0.5, 0.0, 1.0, 3.0])];
    assert_close(&run("Gelu", &[], &x), &[-0.045_500_28, -0.154_268_77, 0.0, 0.841_344_7, 2.995_950_2]);
    assert_close(&run("FastGelu", &[], &x), &[-0.045_402_35, -0.154_286, 0.0, 0.841_192, 2.996_362_7]);
}

#[test]
fn the_skip_is_added_before_normalizing() {
    let row = |values: &[f32]| reals(values).reshape([1, 4]).unwrap();
    let inputs = [
        row(&[1.0, 2.0, 4.0, -3.0]),
        row(&[0.5, 0.0, -1.0, 2.0]),
        reals(&[1.0, 2.0, 0.5, 1.0]),
        reals(&[0.0, 1.0, 0.0, -1.0]),
    ];
    let y = run("SkipLayerNormalization", &[("epsilon", 1e-5f32.into())], &inputs);
    assert_close(&y, &[0.084_818_7, 1.848_187, 0.551_321_57, -2.611_555_3]);
}

#[test]
fn four_bit_codes_are_unpacked_low_half_first() {
    let x = reals(&(0..32).map(|i| (i % 5) as f32 - 2.0).collect::<Vec<_>>()).reshape([1, 32]).unwrap();
    let packed = codes(&(0..16u32).map(|i| (i * 37 % 251) as u8).collect::<Vec<_>>()).reshape([1, 1, 16]).unwrap();
    let attributes = [("K", 32i64), ("N", 1), ("bits", 4), ("block_size", 32)].map(|(name, n)| (name, n.into()));
    assert_close(&run("MatMulNBits", &attributes, &[x, packed, reals(&[0.25])]), &[-1.75]);
}

#[test]
fn the_bias_of_a_product_of_codes_is_scaled_like_the_product() {
    let matrix = |values: Tensor| values.reshape([2, 3]).unwrap();
    let mut inputs = vec![
        matrix(codes(&[11, 7, 3, 255, 0, 2])),
        Tensor::scalar(0.05f32),
        Tensor::scalar(100u8),
        matrix(Tensor::vector(vec![1i8, -4, 127, -128, 3, 6])),
        reals(&[0.1, 0.3]),
        Tensor::vector(vec![0i8, 0]),
        Tensor::vector(vec![1000i32, -500]),
    ];
    let attributes = [("transB", 1i64.into()), ("alpha", 0.5f32.into())];
    let y = run("QGemm", &attributes, &inputs);
    assert_close(&y, &[-27.590_002, 75.232_506, -27.227_503, -159.21]);
    inputs.extend([Tensor::scalar(0.9f32), Tensor::scalar(7u8)]);
    assert_eq!(run("QGemm", &attributes[..1], &inputs).as_slice::<u8>().unwrap(), [0, 174, 0, 0]);
    assert_eq!(run("QGemm", &attributes, &inputs).as_slice::<u8>().unwrap(), [0, 91, 0, 0]);
}

#[test]
fn the_softmax_of_codes_knows_the_version_it_was_made_from() {
    let inputs = [
        codes(&[0, 10, 128, 200, 255, 77, 3, 3, 3, 9, 90, 250]).reshape([2, 2, 3]).unwrap(),
        Tensor::scalar(0.05f32),
        Tensor::scalar(128u8),
        Tensor::scalar(1f32 / 256.0),
        Tensor::scalar(0u8),
    ];
    let y = run("QLinearSoftmax", &[("opset", 13i64.into())], &inputs);
    assert_eq!(y.as_slice::<u8>().unwrap(), [0, 1, 255, 15, 241, 0, 85, 85, 85, 0, 0, 255]);
    let y = run("QLinearSoftmax", &[("opset", 12i64.into()), ("axis", 1i64.into())], &inputs);
    assert_eq!(y.as_slice::<u8>().unwrap(), [0, 0, 0, 15, 240, 0, 0, 0, 0, 0, 0, 255]);
}
