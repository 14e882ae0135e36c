//! Models that are broken, hostile or beyond what lissom knows: place, cause, fix, exit code, nothing left behind.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use lissom_onnx::messages::{AttributeProto, AttributeType, ModelProto};

use crate::lissom::{Answer, assert_nothing_half_written, fashion, lissom, names};
use crate::models::{bytes, node, save, tiny, two_layers};

const RECIPE: &str = "[[step]]\nmethod = \"magnitude\"\nsparsity = 0.5\n";

/// Compresses `bad.onnx` into `run`.
fn compress(folder: &Path) -> Answer {
    fs::write(folder.join("r.toml"), RECIPE).unwrap();
    let words = ["compress", "bad.onnx", "--recipe", "r.toml", "--eval-data", "test.npz", "--out", "run"];
    lissom(folder, &[&words[..], &["--bench-seconds", "0"]].concat())
}

fn graph(model: &mut ModelProto) -> &mut lissom_onnx::messages::GraphProto {
    model.graph.as_mut().unwrap()
}

#[test]
fn files_that_are_no_models_are_named_for_what_they_are() {
    let folder = tiny();
    for (content, parts) in [
        (&b""[..], &["empty"][..]),
        (b"<!DOCTYPE html><html><body>not found</body></html>", &["a web page"]),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", &["LFS"]),
        (b"PK\x03\x04\x14\x00\x00\x00\x00\x00rest of an archive", &["a ZIP archive"]),
        (b"The quick brown fox jumps over the lazy dog.\n", &["not an ONNX model"]),
    ] {
        fs::write(folder.path().join("bad.onnx"), content).unwrap();
        for answer in [lissom(folder.path(), &["inspect", "bad.onnx"]), compress(folder.path())] {
            answer.refuses(65, &[&["`bad.onnx`", "hint: "], parts].concat());
        }
        assert!(!folder.path().join("run").exists());
    }
}

#[test]
fn missing_models_and_folders_are_told_apart() {
    let folder = tiny();
    lissom(folder.path(), &["inspect", "absent.onnx"]).refuses(74, &["`absent.onnx`", "hint: check the path"]);
    lissom(folder.path(), &["inspect", "."]).refuses(65, &["not a regular file", "hint: "]);
}

#[test]
fn a_truncated_model_is_refused_wherever_it_ends() {
    let folder = tiny();
    let whole = bytes(two_layers());
    for end in (1..whole.len()).step_by(whole.len() / 20) {
        fs::write(folder.path().join("bad.onnx"), &whole[..end]).unwrap();
        lissom(folder.path(), &["inspect", "bad.onnx"]).refuses(65, &["`bad.onnx`", "cause: ", "hint: "]);
    }
    let model = fs::read(&fashion().model).unwrap();
    fs::write(folder.path().join("bad.onnx"), &model[..model.len() / 2]).unwrap();
    compress(folder.path()).refuses(65, &["byte ", "truncated or damaged"]);
    assert!(!folder.path().join("run").exists());
}

#[test]
fn flipped_bits_never_crash() {
    let folder = tiny();
    let whole = bytes(two_layers());
    let mut codes = [0, 0];
    for place in (0..whole.len()).step_by(whole.len() / 60) {
        let mut flipped = whole.clone();
        flipped[place] ^= 1 << (place % 8);
        fs::write(folder.path().join("bad.onnx"), &flipped).unwrap();
        let answer = lissom(folder.path(), &["eval", "bad.onnx", "--data", "test.npz"]);
        match answer.code {
            Some(0) => codes[0] += 1,
            _ => {
                answer.refuses(65, &[]);
                codes[1] += 1;
            }
        }
    }
    assert!(codes[0] > 0 && codes[1] > 0, "{codes:?}: flips in weights are values, flips in the graph are errors");
}

#[test]
fn an_unknown_operator_can_be_looked_at_but_not_run() {
    let folder = tiny();
    let mut model = two_layers();
    graph(&mut model).node[1] = node("strange", "Frobnicate", &["hidden"], "active");
    save(&folder.path().join("bad.onnx"), model);
    let document = lissom(folder.path(), &["inspect", "bad.onnx", "--json"]).expect(0).json();
    assert_eq!(document["unsupported"][0][0], "strange");
    assert_eq!(document["unsupported"][0][1], "Frobnicate");
    let text = lissom(folder.path(), &["inspect", "bad.onnx"]).expect(0).out;
    assert!(text.contains("not supported: node strange (Frobnicate)"), "{text}");
    let run = ["run", "bad.onnx", "--input", "train.npz", "--output", "y.npz"];
    for answer in [lissom(folder.path(), &run), compress(folder.path())] {
        answer.refuses(65, &["`strange`", "Frobnicate", "lissom ops"]);
    }
    assert!(!folder.path().join("run").exists() && !folder.path().join("y.npz").exists());
}

#[test]
fn an_unknown_attribute_is_named_with_its_node() {
    let folder = tiny();
    let mut model = two_layers();
    graph(&mut model).node[0].attribute.push(AttributeProto {
        name: Some("tranB".into()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(1),
        ..AttributeProto::default()
    });
    save(&folder.path().join("bad.onnx"), model);
    for answer in [lissom(folder.path(), &["eval", "bad.onnx", "--data", "test.npz"]), compress(folder.path())] {
        answer.refuses(65, &["fc1", "tranB"]);
    }
    assert!(!folder.path().join("run").exists());
}

#[test]
fn a_graph_that_does_not_hang_together_is_refused() {
    let folder = tiny();
    type Break = fn(&mut ModelProto);
    let break_graph: &[(&str, Break)] = &[
        ("missing_value", |model| graph(model).node[2].input[0] = "missing_value".into()),
        ("fc2.weight", |model| graph(model).initializer[1].dims = vec![4, 17]),
        ("hidden", |model| graph(model).node[1].output[0] = "hidden".into()),
        ("y", |model| graph(model).output[0].name = Some("yy".into())),
        ("opset", |model| model.opset_import.clear()),
        ("opset", |model| model.opset_import[0].version = Some(999)),
    ];
    for (name, change) in break_graph {
        let mut model = two_layers();
        change(&mut model);
        save(&folder.path().join("bad.onnx"), model);
        println!("{name}");
        compress(folder.path()).refuses(65, &[name]);
        assert!(!folder.path().join("run").exists());
    }
}

#[test]
fn weights_that_are_not_numbers_are_found() {
    let folder = tiny();
    let mut model = two_layers();
    let weight = &mut graph(&mut model).initializer[0];
    let mut raw = weight.raw_data.clone().unwrap().to_vec();
    raw[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
    weight.raw_data = Some(Bytes::from(raw));
    save(&folder.path().join("bad.onnx"), model);
    compress(folder.path()).refuses(65, &["fc1", "NaN", "hint: "]);
    assert_nothing_half_written(folder.path());
    assert!(!folder.path().join("run/model.onnx").exists());
    lissom(folder.path(), &["eval", "bad.onnx", "--data", "test.npz"]).refuses(65, &["NaN"]);
}

#[test]
fn a_tensor_beyond_the_memory_limit_is_refused_with_its_size() {
    let folder = tiny();
    let before = names(folder.path());
    let words = ["bench", "tiny.onnx", "--seconds", "0", "--batch", "100000000", "--max-memory", "1"];
    lissom(folder.path(), &words)
        .refuses(65, &["of 3200000000 bytes", "the limit of 1073741824 bytes", "--max-memory"]);
    assert_eq!(names(folder.path()), before);
}
