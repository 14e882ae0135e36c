//! Replays the corpus of the fuzz target, and damages its models at random.
//!
//! File names say what must happen: `good_` is read, `bad_` is refused, `tensor_` is read but has a tensor that is not.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lissom_onnx::{
    FileKind, ModelProto, ReadError, ReadOptions, ReadWarning, WireError, WriteOptions, read_model, read_model_bytes,
    sparse_tensor_from_proto, tensor_from_proto, tensor_to_proto, write_model,
};
use proptest::prelude::*;
use prost::Message;

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/read_model");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap()
}

fn bytes_of(name: &str) -> Bytes {
    let path = corpus().into_iter().find(|path| path.ends_with(name)).unwrap();
    Bytes::from(fs::read(path).unwrap())
}

fn error_of(name: &str) -> ReadError {
    read_model_bytes(bytes_of(name), &ReadOptions::default()).unwrap_err()
}

/// Turns all tensors of the main graph into values; the number of those that cannot be.
fn n_bad_tensors(model: &ModelProto) -> usize {
    let graph = model.graph.as_ref().unwrap();
    let dense = graph.initializer.iter().filter(|proto| tensor_from_proto(proto).is_err()).count();
    dense + graph.sparse_initializer.iter().filter(|proto| sparse_tensor_from_proto(proto).is_err()).count()
}

#[test]
fn every_file_ends_as_its_name_says() {
    let paths = corpus();
    assert!(paths.len() >= 39, "the corpus has only {} files", paths.len());
    for path in paths {
        let name = name(&path);
        match (name.split('_').next().unwrap(), read_model(&path, &ReadOptions::default())) {
            ("good", Ok(file)) => {
                // The tensors of `every_field` fill fields that exclude each other.
                assert!(n_bad_tensors(&file.model) == 0 || name == "good_every_field.onnx", "{name}");
                let written = write_model(file.model.clone(), &WriteOptions::default()).unwrap();
                let again = read_model_bytes(written.bytes.clone().into(), &ReadOptions::default()).unwrap();
                assert_eq!(again.model, file.model, "{name}");
                assert_eq!(write_model(again.model, &WriteOptions::default()).unwrap(), written, "{name}");
            }
            ("tensor", Ok(file)) => assert!(n_bad_tensors(&file.model) > 0, "{name}"),
            ("bad", Err(error)) => {
                assert!(matches!(error, ReadError::Model { .. }), "{name}: {error:?}");
                assert!(!error.hint().is_empty(), "{name}");
            }
            (_, result) => panic!("{name}: {result:?}"),
        }
    }
}

#[test]
fn a_model_with_every_field_set_comes_back_byte_for_byte() {
    for name in ["good_every_field.onnx", "good_mlp.onnx", "good_every_type.onnx", "good_sparse.onnx", "good_if.onnx"] {
        let bytes = bytes_of(name);
        let file = read_model_bytes(bytes.clone(), &ReadOptions::default()).unwrap();
        assert_eq!(file.warnings, [], "{name}");
        assert_eq!(file.model.encode_to_vec(), bytes, "{name}");
    }
}

#[test]
fn refusals_say_what_is_wrong_and_where() {
    let protobuf = |name| match error_of(name) {
        ReadError::Protobuf { offset, place, cause } => (offset, place, cause),
        other => panic!("{name}: {other:?}"),
    };
    let (offset, place, cause) = protobuf("bad_truncated.onnx");
    assert_eq!((offset, place.as_str()), (17, "graph"));
    assert!(matches!(cause, WireError::Truncated { left: 245, .. }), "{cause:?}");
    let (_, place, cause) = protobuf("bad_nested_subgraphs.onnx");
    assert_eq!(cause, WireError::TooDeep { limit: 64 });
    assert!(place.starts_with("graph.node[0].attribute[0].g.node[0]"), "{place}");
    assert_eq!(protobuf("bad_nested_types.onnx").2, WireError::TooDeep { limit: 64 });
    assert_eq!(protobuf("bad_duplicate_graph.onnx").2, WireError::Duplicate);
    assert_eq!(protobuf("bad_not_utf8.onnx"), (2, "producer_name".to_owned(), WireError::NotUtf8));
    assert_eq!(protobuf("bad_group.onnx").2, WireError::WireType { wire_type: 3 });
    assert!(matches!(protobuf("bad_huge_length.onnx").2, WireError::Truncated { .. }));
    assert!(matches!(error_of("bad_no_graph.onnx"), ReadError::NoGraph));
    let kinds = [
        ("bad_empty.onnx", FileKind::Empty),
        ("bad_lfs.onnx", FileKind::GitLfsPointer),
        ("bad_html.onnx", FileKind::Html),
        ("bad_zip.onnx", FileKind::Zip),
        ("bad_text.onnx", FileKind::Text),
        ("bad_tensor.onnx", FileKind::OnnxTensor),
    ];
    for (name, expected) in kinds {
        let error = error_of(name);
        assert!(matches!(error, ReadError::NotOnnx { looks_like } if looks_like == expected), "{name}: {error:?}");
    }
}

#[test]
fn what_a_newer_onnx_added_is_warned_about() {
    let warnings = |name| read_model_bytes(bytes_of(name), &ReadOptions::default()).unwrap().warnings;
    let unknown = ReadWarning::UnknownField { place: "model".to_owned(), number: 77 };
    assert_eq!(warnings("good_unknown_field.onnx"), [unknown]);
    assert_eq!(warnings("good_newer_ir.onnx"), [ReadWarning::NewerIrVersion { found: 99, newest: 13 }]);
}

/// `typed_X` and `raw_X` were written by the onnx package from the same values.
#[test]
fn typed_and_raw_elements_of_every_type_are_equal() {
    let model = read_model_bytes(bytes_of("good_every_type.onnx"), &ReadOptions::default()).unwrap().model;
    let initializers = &model.graph.as_ref().unwrap().initializer;
    let mut n_pairs = 0;
    for typed in initializers.iter().filter(|proto| proto.name().starts_with("typed_")) {
        let value = tensor_from_proto(typed).unwrap();
        let ours = tensor_to_proto(&typed.name().replace("typed_", "raw_"), &value);
        if let Some(raw) = initializers.iter().find(|proto| proto.name() == ours.name()) {
            assert_eq!(&ours, raw, "written");
            assert_eq!(tensor_from_proto(raw).unwrap(), value, "read");
            n_pairs += 1;
        }
    }
    assert_eq!(n_pairs, 25, "every type of ONNX but strings");
}

#[test]
fn weights_share_the_buffer_of_the_file() {
    let bytes = bytes_of("good_mlp.onnx");
    let range = bytes.as_ptr_range();
    let model = read_model_bytes(bytes.clone(), &ReadOptions::default()).unwrap().model;
    let raw = model.graph.unwrap().initializer[0].raw_data.clone().unwrap();
    assert!(range.contains(&raw.as_ptr()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Any damage gives a model or an error, and whatever is read can be used and written.
    #[test]
    fn damaged_models_never_panic(
        file in 0usize..1000,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u32..8), 0..6),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let paths = corpus();
        let mut bytes = fs::read(&paths[file % paths.len()]).unwrap();
        for (place, bit) in flips {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] ^= 1 << bit;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        match read_model_bytes(bytes.into(), &ReadOptions::default()) {
            Ok(file) => {
                n_bad_tensors(&file.model);
                let written = write_model(file.model.clone(), &WriteOptions::default()).unwrap();
                let again = read_model_bytes(written.bytes.clone().into(), &ReadOptions::default()).unwrap();
                prop_assert_eq!(again.model.encode_to_vec(), written.bytes);
            }
            Err(error) => prop_assert!(!error.to_string().is_empty() && !error.hint().is_empty()),
        }
    }

    /// Bytes that never were a model.
    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_model_bytes(bytes.into(), &ReadOptions::default()).map_err(|error| error.to_string());
    }
}
