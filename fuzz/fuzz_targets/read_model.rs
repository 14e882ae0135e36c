//! Reads any bytes as a model, turns its tensors into values, writes it again and loads it as a graph.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use lissom_onnx::{
    ReadOptions, WriteOptions, read_model_bytes, sparse_tensor_from_proto, tensor_from_proto, write_model,
};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(file) = read_model_bytes(bytes.to_vec().into(), &ReadOptions::default()) else {
        return Corpus::Keep;
    };
    if let Some(graph) = &file.model.graph {
        // Sparse tensors may rightly ask for more memory than a fuzzer has.
        let is_small = |dims: &[i64]| {
            dims.iter().try_fold(1i64, |len, &dim| len.checked_mul(dim)).is_some_and(|len| len < 1 << 20)
        };
        graph.initializer.iter().for_each(|proto| drop(tensor_from_proto(proto)));
        for sparse in &graph.sparse_initializer {
            if !is_small(&sparse.dims) {
                return Corpus::Reject;
            }
            drop(sparse_tensor_from_proto(sparse));
        }
    }
    let written = write_model(file.model.clone(), &WriteOptions::default()).expect("what was read can be written");
    let again =
        read_model_bytes(written.bytes.clone().into(), &ReadOptions::default()).expect("what was written can be read");
    let rewritten = write_model(again.model, &WriteOptions::default()).expect("and written again");
    assert_eq!(rewritten.bytes, written.bytes);
    drop(lissom_graph::Model::from_proto(file.model, lissom_ops::OPERATORS));
    Corpus::Keep
});
