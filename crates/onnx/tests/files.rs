//! Whole files: those that are no models, those made to exhaust the reader, and real ones when they are at hand.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lissom_onnx::{
    AttributeProto, FileKind, GraphProto, ModelProto, NodeProto, ReadError, ReadOptions, WireError, WriteOptions,
    read_model, read_model_bytes, write_model,
};

/// A model whose only node holds a graph whose only node holds a graph, `depth` times.
fn nested(depth: usize) -> Bytes {
    // Written from the inside out: the structs themselves would be dropped recursively.
    let delimited = |number: u8, content: &[u8]| {
        let mut bytes = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut bytes);
        [&bytes, content].concat()
    };
    let graph = (0..depth).fold(Vec::new(), |graph, _| delimited(1, &delimited(5, &delimited(6, &graph))));
    [vec![8, 8], delimited(7, &graph)].concat().into()
}

#[test]
fn five_thousand_nested_subgraphs_are_an_error_with_its_place() {
    let error = read_model_bytes(nested(5000), &ReadOptions::default()).unwrap_err();
    let ReadError::Protobuf { place, cause, .. } = error else { panic!("{error:?}") };
    assert_eq!(cause, WireError::TooDeep { limit: 64 });
    assert!(place.starts_with("graph.node[0].attribute[0].g.node[0].attribute[0].g"), "{place}");
}

#[test]
fn as_many_subgraphs_as_anyone_nests_are_read_and_written() {
    let mut graph = GraphProto::default();
    for _ in 0..20 {
        let attribute = AttributeProto { g: Some(Box::new(graph)), ..AttributeProto::default() };
        let node = NodeProto { attribute: vec![attribute], ..NodeProto::default() };
        graph = GraphProto { node: vec![node], ..GraphProto::default() };
    }
    let model = ModelProto { ir_version: Some(8), graph: Some(graph), ..ModelProto::default() };
    let bytes = write_model(model.clone(), &WriteOptions::default()).unwrap().bytes;
    assert_eq!(read_model_bytes(bytes.into(), &ReadOptions::default()).unwrap().model, model);
}

#[test]
fn an_announced_length_beyond_the_file_is_refused_without_allocating_it() {
    for announced in [&[0xff; 4][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
        let bytes = [&[8, 8, 0x3a][..], announced, &[0x7f]].concat();
        let error = read_model_bytes(bytes.into(), &ReadOptions::default()).unwrap_err();
        assert!(
            matches!(error, ReadError::Protobuf { offset: 2, cause: WireError::Truncated { .. }, .. }),
            "{error:?}"
        );
    }
}

#[test]
fn paths_that_are_no_models_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let missing = read_model(folder.path().join("m.onnx"), &ReadOptions::default()).unwrap_err();
    assert!(matches!(missing, ReadError::File { .. }));
    assert_eq!(missing.hint(), "check the path");
    let is_folder = read_model(folder.path(), &ReadOptions::default()).unwrap_err();
    assert!(matches!(is_folder.innermost(), ReadError::NotAFile));
    let path = folder.path().join("empty.onnx");
    fs::write(&path, b"").unwrap();
    let empty = read_model(&path, &ReadOptions::default()).unwrap_err();
    assert!(matches!(empty.innermost(), ReadError::NotOnnx { looks_like: FileKind::Empty }));
    assert_eq!(empty.to_string(), format!("cannot read the model `{}`", path.display()));
    let mut options = ReadOptions::default();
    options.limits.max_file_bytes = 3;
    fs::write(&path, b"1234").unwrap();
    let large = read_model(&path, &options).unwrap_err();
    assert!(matches!(large.innermost(), ReadError::TooLarge { file_bytes: 4, limit_bytes: 3 }));
}

fn models_in(folder: &Path, models: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            models_in(&path, models);
        } else if path.extension().is_some_and(|extension| extension == "onnx") {
            models.push(path);
        }
    }
}

/// `LISSOM_ONNX_MODELS` names a folder of models, such as `onnx/backend/test/data` of the onnx wheel.
#[test]
#[ignore = "needs models: set LISSOM_ONNX_MODELS to a folder that holds some"]
fn real_models_come_back_byte_for_byte() {
    let folder = std::env::var_os("LISSOM_ONNX_MODELS").expect("LISSOM_ONNX_MODELS is set");
    let mut models = Vec::new();
    models_in(Path::new(&folder), &mut models);
    assert!(!models.is_empty());
    for path in models {
        let file = read_model(&path, &ReadOptions::default()).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(file.warnings, [], "{}", path.display());
        let written = write_model(file.model, &WriteOptions::default()).unwrap();
        assert!(written.bytes == fs::read(&path).unwrap(), "{} changes", path.display());
    }
}
