//! Tiny networks and their data, made in memory.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use lissom_onnx::messages::tensor_shape_proto::{Dimension, dimension};
use lissom_onnx::messages::{
    AttributeProto, AttributeType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use lissom_onnx::{WriteOptions, write_model};
use lissom_tensor::{Storage, Tensor};

/// Values of a sample.
pub const N_IN: usize = 8;
/// Values between the two layers.
pub const N_HIDDEN: usize = 16;
/// Classes.
pub const N_OUT: usize = 4;

/// ONNX's number for f32.
const FLOAT: i32 = 1;

/// Numbers from -1 to 1, the same every time.
pub fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// `y = fc2 · relu(fc1 · x)` with `x: f32[N, 8]`, `y: f32[N, 4]`; layers `fc1` and `fc2`.
pub fn two_layers() -> ModelProto {
    let graph = GraphProto {
        name: Some("tiny".into()),
        node: vec![gemm("fc1", "x", "hidden"), node("relu", "Relu", &["hidden"], "active"), gemm("fc2", "active", "y")],
        initializer: vec![weight("fc1.weight", [N_HIDDEN, N_IN], 1), weight("fc2.weight", [N_OUT, N_HIDDEN], 2)],
        input: vec![value("x", N_IN)],
        output: vec![value("y", N_OUT)],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
        producer_name: Some("tests".into()),
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// What [`two_layers`] answers, the plain way.
pub fn classes(samples: &[f32]) -> Vec<i64> {
    let (fc1, fc2) = (numbers(N_HIDDEN * N_IN, 1), numbers(N_OUT * N_HIDDEN, 2));
    let product = |weight: &[f32], x: &[f32]| -> Vec<f32> {
        weight.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
    };
    let class = |sample: &[f32]| {
        let active: Vec<f32> = product(&fc1, sample).into_iter().map(|x| x.max(0.0)).collect();
        let scores = product(&fc2, &active);
        let best = (0..N_OUT).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        best.unwrap_or(0) as i64
    };
    samples.chunks(N_IN).map(class).collect()
}

fn gemm(name: &str, input: &str, output: &str) -> NodeProto {
    let weight = format!("{name}.weight");
    let transposed = AttributeProto {
        name: Some("transB".into()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(1),
        ..AttributeProto::default()
    };
    NodeProto { attribute: vec![transposed], ..node(name, "Gemm", &[input, &weight], output) }
}

/// A node without attributes.
pub fn node(name: &str, op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        name: Some(name.into()),
        op_type: Some(op.into()),
        input: inputs.iter().map(|input| (*input).to_owned()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

fn weight(name: &str, shape: [usize; 2], seed: u32) -> TensorProto {
    let values = numbers(shape[0] * shape[1], seed);
    TensorProto {
        name: Some(name.into()),
        dims: shape.iter().map(|&length| length as i64).collect(),
        data_type: Some(FLOAT),
        raw_data: Some(Bytes::from(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())),
        ..TensorProto::default()
    }
}

fn value(name: &str, width: usize) -> ValueInfoProto {
    let axis = |value| Dimension { value: Some(value), denotation: None };
    let dim = vec![axis(dimension::Value::DimParam("N".into())), axis(dimension::Value::DimValue(width as i64))];
    let tensor = type_proto::Tensor { elem_type: Some(FLOAT), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None }),
        ..ValueInfoProto::default()
    }
}

/// The bytes of a model file.
pub fn bytes(model: ModelProto) -> Vec<u8> {
    write_model(model, &WriteOptions::default()).unwrap().bytes
}

/// Writes a model file.
pub fn save(path: &Path, model: ModelProto) {
    fs::write(path, bytes(model)).unwrap();
}

/// Writes an npz with `x` and, if given, `labels`.
pub fn save_data(path: &Path, samples: Vec<f32>, width: usize, labels: Option<Vec<i64>>) {
    let n = samples.len() / width;
    let mut arrays = vec![("x".to_owned(), tensor(vec![n, width], Storage::F32(samples)))];
    arrays.extend(labels.map(|labels| ("labels".to_owned(), tensor(vec![labels.len()], Storage::I64(labels)))));
    save_arrays(path, &arrays);
}

/// Writes an npz of any arrays.
pub fn save_arrays(path: &Path, arrays: &[(String, Tensor)]) {
    fs::write(path, lissom_data::npz_bytes(arrays).unwrap()).unwrap();
}

/// A tensor.
pub fn tensor(shape: Vec<usize>, storage: Storage) -> Tensor {
    Tensor::from_storage(shape, storage).unwrap()
}

/// A folder with `tiny.onnx`, `train.npz` (no labels) and `test.npz` (labelled by the network itself: accuracy 100 %).
pub fn tiny() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    save(&folder.path().join("tiny.onnx"), two_layers());
    save_data(&folder.path().join("train.npz"), numbers(200 * N_IN, 3), N_IN, None);
    let samples = numbers(300 * N_IN, 4);
    let labels = classes(&samples);
    save_data(&folder.path().join("test.npz"), samples, N_IN, Some(labels));
    folder
}
