//! Weights in other files: where they may lie and what is refused.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use lissom_onnx::{
    DataLocation, ExternalCause, ExternalPolicy, GraphProto, ModelProto, ReadError, ReadOptions, ReadWarning,
    StringStringEntryProto, TensorProto, WriteError, WriteOptions, read_model, read_model_bytes, tensor_from_proto,
    write_model,
};
use prost::Message;
use tempfile::TempDir;

/// A tensor `f32[2]` with the given `external_data`.
fn tensor(name: &str, entries: &[(&str, &str)]) -> TensorProto {
    let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(1),
        dims: vec![2],
        data_location: Some(DataLocation::External.into()),
        external_data: entries.iter().map(entry).collect(),
        ..TensorProto::default()
    }
}

fn model(initializer: Vec<TensorProto>) -> ModelProto {
    let graph = GraphProto { initializer, ..GraphProto::default() };
    ModelProto { ir_version: Some(8), graph: Some(graph), ..ModelProto::default() }
}

/// A folder with `model/model.onnx`, whose only tensor lies at `location`, and a file `secret` outside of `model/`.
fn folder(location: &str) -> TempDir {
    folder_with(tensor("w", &[("location", location)]))
}

fn folder_with(tensor: TensorProto) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("model")).unwrap();
    fs::write(folder.path().join("model/model.onnx"), model(vec![tensor]).encode_to_vec()).unwrap();
    fs::write(folder.path().join("secret"), weights()).unwrap();
    folder
}

fn weights() -> Vec<u8> {
    [1.0f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn read(folder: &TempDir, options: &ReadOptions) -> Result<lissom_onnx::ModelFile, ReadError> {
    read_model(folder.path().join("model/model.onnx"), options)
}

fn cause(folder: &TempDir, options: &ReadOptions) -> ExternalCause {
    let error = read(folder, options).unwrap_err();
    assert!(!error.hint().is_empty());
    match error {
        ReadError::Model { source, .. } => match *source {
            ReadError::External(error) => error.cause,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn refused(folder: &TempDir) -> ExternalCause {
    cause(folder, &ReadOptions::default())
}

fn assert_weights(file: &lissom_onnx::ModelFile) {
    let proto = &file.model.graph.as_ref().unwrap().initializer[0];
    assert_eq!(tensor_from_proto(proto).unwrap().as_slice::<f32>().unwrap(), [1.0, 2.0]);
    assert_eq!((proto.data_location, proto.external_data.len()), (None, 0));
}

#[test]
fn data_beside_the_model_is_read() {
    for location in ["weights.bin", "./weights.bin", "data/weights.bin"] {
        let folder = folder(location);
        fs::create_dir(folder.path().join("model/data")).unwrap();
        fs::write(folder.path().join("model").join(location), weights()).unwrap();
        let file = read(&folder, &ReadOptions { untrusted: true, ..ReadOptions::default() }).unwrap();
        assert_weights(&file);
        assert_eq!((file.external_files[0].location.as_str(), file.external_files[0].file_bytes), (location, 8));
        assert_eq!(file.warnings, []);
    }
}

#[test]
fn data_that_is_not_to_be_loaded_stays_where_it_is() {
    let folder = folder("../secret");
    let file = read(&folder, &ReadOptions { load_external: false, ..ReadOptions::default() }).unwrap();
    let proto = &file.model.graph.as_ref().unwrap().initializer[0];
    assert_eq!(proto.external_data[0].value(), "../secret");
    let error = tensor_from_proto(proto).unwrap_err();
    assert_eq!(error.to_string(), "tensor `w`: the elements are in the file `../secret`, which was not read");
    let error = write_model(file.model, &WriteOptions::default()).unwrap_err();
    assert!(matches!(error, WriteError::ExternalNotLoaded { .. }));
}

#[test]
fn paths_that_lead_out_are_refused_unless_their_folder_is_trusted() {
    let absolute = tempfile::tempdir().unwrap();
    let secret = absolute.path().join("secret");
    fs::write(&secret, weights()).unwrap();
    for location in ["../secret", "x/../../secret", secret.to_str().unwrap()] {
        let folder = folder(location);
        fs::create_dir(folder.path().join("model/x")).unwrap();
        assert!(matches!(refused(&folder), ExternalCause::Escapes { .. }), "{location}");
        let roots = vec![folder.path().to_owned(), absolute.path().to_owned()];
        let options = ReadOptions { allow_external_roots: roots, untrusted: true, ..ReadOptions::default() };
        assert_weights(&read(&folder, &options).unwrap());
    }
}

#[test]
fn missing_and_truncated_files_say_so() {
    let missing = folder("weights.bin");
    assert!(matches!(refused(&missing), ExternalCause::File { .. }));
    fs::write(missing.path().join("model/weights.bin"), [0; 7]).unwrap();
    let cause = refused(&missing);
    assert!(matches!(cause, ExternalCause::OutOfRange { offset: 0, end: 8, file_bytes: 7 }), "{cause:?}");
    let directory = folder(".");
    assert!(matches!(refused(&directory), ExternalCause::NotAFile));
}

#[test]
fn offsets_and_lengths_are_checked_before_anything_is_read() {
    let past_the_end = u64::MAX.to_string();
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("offset", "0")], "no file name is given"),
        (&[("location", "w"), ("location", "x")], "`location` is given twice"),
        (&[("location", "w"), ("offset", "-1")], "`offset` is `-1`, expected a number of bytes"),
        (&[("location", "w"), ("length", "9")], "9 bytes are given, f32[2] takes 8"),
        (&[("location", "w"), ("offset", "1")], "bytes 1..9 are asked for, the file has 8"),
        (
            &[("location", "w"), ("offset", &past_the_end)],
            "bytes 18446744073709551615..18446744073709551623 are asked for, the file has 8",
        ),
    ];
    for (entries, expected) in cases {
        let folder = folder_with(tensor("w", entries));
        fs::write(folder.path().join("model/w"), weights()).unwrap();
        assert_eq!(refused(&folder).to_string(), *expected);
    }
    let mut huge = tensor("w", &[("location", "w")]);
    huge.dims = vec![1 << 40, 1 << 20];
    assert!(refused(&folder_with(huge)).to_string().contains("larger than the limit"));
    let mut strings = tensor("w", &[("location", "w")]);
    strings.data_type = Some(8);
    assert!(matches!(refused(&folder_with(strings)), ExternalCause::Tensor(_)));
}

#[test]
fn all_external_data_together_is_limited() {
    let folder = folder("weights.bin");
    fs::write(folder.path().join("model/weights.bin"), weights()).unwrap();
    let mut options = ReadOptions::default();
    options.limits.max_external_bytes = 7;
    assert!(matches!(cause(&folder, &options), ExternalCause::TooLarge { needed_bytes: 8, limit_bytes: 7 }));
}

#[test]
fn a_model_in_memory_has_no_folder() {
    let bytes = Bytes::from(model(vec![tensor("w", &[("location", "w")])]).encode_to_vec());
    let error = read_model_bytes(bytes, &ReadOptions::default()).unwrap_err();
    assert!(matches!(error, ReadError::External(error) if matches!(error.cause, ExternalCause::NoFolder)));
}

/// A thousand tensors over the same range must not take a thousand times the memory.
#[test]
fn overlapping_ranges_share_one_buffer() {
    let entries = |offset| [("location", "w"), ("offset", offset)];
    let folder = tempfile::tempdir().unwrap();
    let tensors = vec![tensor("a", &entries("0")), tensor("b", &entries("0")), tensor("c", &entries("4"))];
    fs::write(folder.path().join("m.onnx"), model(tensors).encode_to_vec()).unwrap();
    fs::write(folder.path().join("w"), [weights(), weights()].concat()).unwrap();
    let mut options = ReadOptions::default();
    options.limits.max_external_bytes = 12;
    let model = read_model(folder.path().join("m.onnx"), &options).unwrap().model;
    let raw: Vec<_> = model.graph.unwrap().initializer.into_iter().map(|proto| proto.raw_data.unwrap()).collect();
    assert_eq!(raw[0].as_ptr(), raw[1].as_ptr());
    assert_eq!(raw[0].as_ptr().wrapping_add(4), raw[2].as_ptr());
    assert_eq!(raw[2][..4], 2.0f32.to_le_bytes());
}

#[cfg(unix)]
mod links {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_within_the_folder_work_and_links_out_of_it_do_not() {
        let folder = folder("weights.bin");
        let link = folder.path().join("model/weights.bin");
        symlink("../secret", &link).unwrap();
        assert!(matches!(refused(&folder), ExternalCause::Escapes { .. }));
        fs::remove_file(&link).unwrap();
        symlink(folder.path().join("secret"), &link).unwrap();
        assert!(matches!(refused(&folder), ExternalCause::Escapes { .. }));
        fs::remove_file(&link).unwrap();
        fs::write(folder.path().join("model/real.bin"), weights()).unwrap();
        symlink("real.bin", &link).unwrap();
        assert_weights(&read(&folder, &ReadOptions::default()).unwrap());
    }

    #[test]
    fn a_linked_folder_that_leads_out_is_refused() {
        let folder = folder("data/secret");
        symlink("..", folder.path().join("model/data")).unwrap();
        assert!(matches!(refused(&folder), ExternalCause::Escapes { .. }));
    }

    #[test]
    fn hard_links_are_a_warning_and_an_error_for_untrusted_models() {
        let folder = folder("weights.bin");
        fs::hard_link(folder.path().join("secret"), folder.path().join("model/weights.bin")).unwrap();
        let file = read(&folder, &ReadOptions::default()).unwrap();
        assert_eq!(file.warnings, [ReadWarning::HardLink { location: "weights.bin".to_owned(), links: 2 }]);
        let options = ReadOptions { untrusted: true, ..ReadOptions::default() };
        assert!(matches!(cause(&folder, &options), ExternalCause::HardLink { links: 2 }));
    }

    /// `snapshots/x/model.onnx` and its data are links into `blobs/`, under names that say nothing.
    #[test]
    fn a_hugging_face_cache_is_read_without_further_roots() {
        let cache = folder("model.onnx_data");
        let snapshot = cache.path().join("snapshots/abc");
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir(cache.path().join("blobs")).unwrap();
        fs::rename(cache.path().join("model/model.onnx"), cache.path().join("blobs/1111")).unwrap();
        fs::rename(cache.path().join("secret"), cache.path().join("blobs/2222")).unwrap();
        symlink("../../blobs/1111", snapshot.join("model.onnx")).unwrap();
        symlink("../../blobs/2222", snapshot.join("model.onnx_data")).unwrap();
        let options = ReadOptions { untrusted: true, ..ReadOptions::default() };
        assert_weights(&read_model(snapshot.join("model.onnx"), &options).unwrap());
    }

    #[test]
    fn pipes_and_devices_are_not_opened() {
        let folder = folder("pipe");
        let made = std::process::Command::new("mkfifo").arg(folder.path().join("model/pipe")).status().unwrap();
        assert!(made.success());
        assert!(matches!(refused(&folder), ExternalCause::NotAFile));
        let error = read_model(folder.path().join("model/pipe"), &ReadOptions::default()).unwrap_err();
        assert!(matches!(error.innermost(), ReadError::NotAFile));
        let error = read_model("/dev/zero", &ReadOptions::default()).unwrap_err();
        assert!(matches!(error.innermost(), ReadError::NotAFile));
    }
}

/// Weights of 8, 5000 and 1500 bytes.
fn weighty() -> ModelProto {
    let dense = |name: &str, n_bytes: usize| TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(2),
        dims: vec![n_bytes as i64],
        raw_data: Some(Bytes::from(vec![n_bytes as u8; n_bytes])),
        ..TensorProto::default()
    };
    model(vec![dense("small", 8), dense("middle", 1500), dense("large", 5000)])
}

fn write_to(folder: &Path, options: &WriteOptions) -> lissom_onnx::WrittenModel {
    let written = write_model(weighty(), options).unwrap();
    fs::write(folder.join("m.onnx"), &written.bytes).unwrap();
    for file in &written.external {
        fs::write(folder.join(&file.name), file.parts.concat()).unwrap();
        assert_eq!(file.parts.concat().len() as u64, file.n_bytes());
    }
    written
}

#[test]
fn weights_written_outside_are_aligned_and_read_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let options = WriteOptions {
        external: ExternalPolicy::Always,
        external_file: "m.onnx.data".to_owned(),
        ..WriteOptions::default()
    };
    let written = write_to(folder.path(), &options);
    assert_eq!(written.external[0].n_bytes(), 4096 + 5000);
    assert_eq!(written, write_model(weighty(), &options).unwrap());
    let file = read_model(folder.path().join("m.onnx"), &ReadOptions::default()).unwrap();
    assert_eq!(file.model, weighty());
    assert_eq!(file.external_files[0].file_bytes, 9096);
}

#[test]
fn only_models_too_large_for_protobuf_need_another_file() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(write_to(folder.path(), &WriteOptions::default()).external, []);
    let small = WriteOptions { max_protobuf_bytes: 4000, ..WriteOptions::default() };
    assert_eq!(write_to(folder.path(), &small).external.len(), 1);
    assert_eq!(read_model(folder.path().join("m.onnx"), &ReadOptions::default()).unwrap().model, weighty());
    let never = WriteOptions { external: ExternalPolicy::Never, ..small.clone() };
    assert!(matches!(write_model(weighty(), &never), Err(WriteError::TooLarge { limit_bytes: 4000, .. })));
    let hopeless = WriteOptions { max_protobuf_bytes: 20, ..small.clone() };
    assert!(matches!(write_model(weighty(), &hopeless), Err(WriteError::TooLarge { limit_bytes: 20, .. })));
    for name in ["", "..", "a/b", "/a"] {
        let named = WriteOptions { external_file: name.to_owned(), ..small.clone() };
        assert!(matches!(write_model(weighty(), &named), Err(WriteError::ExternalName { .. })), "{name}");
    }
}
