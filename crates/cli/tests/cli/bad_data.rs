//! Data that does not fit: both sides are named, nothing is left behind.

use std::fs;
use std::path::Path;

use lissom_tensor::Storage;

use crate::lissom::{Answer, fashion, lissom};
use crate::models::{N_IN, N_OUT, numbers, save_arrays, save_data, tensor, tiny};

/// Both verbs that judge must refuse `bad.npz` alike.
fn refused(folder: &Path, code: i32, parts: &[&str]) {
    lissom(folder, &["eval", "tiny.onnx", "--data", "bad.npz"]).refuses(code, parts);
    compress(folder).refuses(code, parts);
    assert!(!folder.join("run/manifest.json").exists() && !folder.join("run/model.onnx").exists());
}

fn compress(folder: &Path) -> Answer {
    let _ = fs::remove_dir_all(folder.join("run"));
    fs::write(folder.join("r.toml"), "[[step]]\nmethod = \"magnitude\"\nsparsity = 0.5\n").unwrap();
    let words = ["compress", "tiny.onnx", "--recipe", "r.toml", "--eval-data", "bad.npz", "--out", "run"];
    lissom(folder, &[&words[..], &["--bench-seconds", "0"]].concat())
}

fn labels(n: usize) -> Vec<i64> {
    (0..n as i64).map(|i| i % N_OUT as i64).collect()
}

#[test]
fn a_wrong_shape_names_what_the_model_wants_and_what_the_file_has() {
    let folder = tiny();
    save_data(&folder.path().join("bad.npz"), numbers(9 * 12, 5), 9, Some(labels(12)));
    refused(folder.path(), 65, &["`bad.npz`", "`x` f32[N,8]", "f32[12,9]"]);
}

#[test]
fn a_wrong_type_names_both_types() {
    let folder = tiny();
    let arrays = [
        ("x".to_owned(), tensor(vec![12, N_IN], Storage::I64(vec![1; 12 * N_IN]))),
        ("labels".to_owned(), tensor(vec![12], Storage::I64(labels(12)))),
    ];
    save_arrays(&folder.path().join("bad.npz"), &arrays);
    refused(folder.path(), 65, &["`bad.npz`", "f32", "i64"]);
}

#[test]
fn an_array_of_another_name_is_named_where_there_is_a_choice() {
    let folder = tiny();
    let arrays = [
        ("image".to_owned(), tensor(vec![12, N_IN], Storage::F32(numbers(12 * N_IN, 6)))),
        ("mask".to_owned(), tensor(vec![12, N_IN], Storage::F32(numbers(12 * N_IN, 7)))),
        ("labels".to_owned(), tensor(vec![12], Storage::I64(labels(12)))),
    ];
    save_arrays(&folder.path().join("bad.npz"), &arrays);
    refused(folder.path(), 65, &["wants input `x`", "`image`", "`mask`", "hint: "]);
}

#[test]
fn labels_must_be_there_and_fit() {
    let folder = tiny();
    let bad = folder.path().join("bad.npz");
    save_data(&bad, numbers(12 * N_IN, 5), N_IN, Some(labels(11)));
    refused(folder.path(), 65, &["12 samples and 11 labels"]);
    save_data(&bad, numbers(12 * N_IN, 5), N_IN, Some(vec![0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2]));
    refused(folder.path(), 65, &["sample 4 has label 4", "4 classes (0 to 3)", "hint: "]);
    save_data(&bad, numbers(12 * N_IN, 5), N_IN, Some(vec![2; 12]));
    refused(folder.path(), 65, &["all 12 samples have the label 2", "hint: "]);
    save_data(&bad, numbers(12 * N_IN, 5), N_IN, None);
    lissom(folder.path(), &["eval", "tiny.onnx", "--data", "bad.npz"]).refuses(65, &["has no labels", "hint: "]);
    let words = ["compress", "tiny.onnx", "--recipe", "prune50", "--eval-data", "bad.npz", "--max-drop", "1"];
    lissom(folder.path(), &words).refuses(2, &["needs data with labels", "hint: "]);
}

#[test]
fn empty_data_and_data_with_nan_are_refused() {
    let folder = tiny();
    let bad = folder.path().join("bad.npz");
    save_data(&bad, Vec::new(), N_IN, Some(Vec::new()));
    refused(folder.path(), 65, &["holds no samples"]);
    let mut samples = numbers(12 * N_IN, 5);
    samples[17] = f32::NAN;
    save_data(&bad, samples, N_IN, Some(labels(12)));
    refused(folder.path(), 65, &["`x` holds NaN at [2, 1]", "hint: "]);
}

#[test]
fn files_that_are_no_data_are_refused() {
    let folder = tiny();
    let bad = folder.path().join("bad.npz");
    let whole = fs::read(folder.path().join("test.npz")).unwrap();
    for content in [&b""[..], b"text, not an archive", &whole[..whole.len() / 2], &whole[..100]] {
        fs::write(&bad, content).unwrap();
        refused(folder.path(), 65, &["`bad.npz`"]);
    }
    fs::remove_file(&bad).unwrap();
    refused(folder.path(), 74, &["no data at `bad.npz`", "hint: check the path"]);
}

#[test]
fn images_of_another_size_name_both_sides() {
    let folder = tiny();
    let words = ["eval", "tiny.onnx", "--data", &fashion().test];
    lissom(folder.path(), &words).refuses(65, &["`x` f32[N,8]", "u8[1000,28,28]"]);
}

#[test]
fn run_names_the_input_that_is_missing_or_of_another_shape() {
    let folder = tiny();
    let run = ["run", "tiny.onnx", "--input", "bad.npz", "--output", "y.npz"];
    save_arrays(
        &folder.path().join("bad.npz"),
        &[("z".to_owned(), tensor(vec![1, N_IN], Storage::F32(vec![0.0; N_IN])))],
    );
    lissom(folder.path(), &run).refuses(65, &["`x`", "`z`"]);
    save_data(&folder.path().join("bad.npz"), numbers(9, 1), 9, None);
    lissom(folder.path(), &run).refuses(65, &["`x`", "8", "9"]);
    assert!(!folder.path().join("y.npz").exists());
}

#[test]
fn settings_beside_the_data_are_checked() {
    let folder = tiny();
    fs::write(folder.path().join("data.toml"), "[image]\nscal = 255\n").unwrap();
    let words = ["eval", "tiny.onnx", "--data", "test.npz"];
    lissom(folder.path(), &words).refuses(65, &["data.toml", "scal", "did you mean `scale`?"]);
    let words = ["eval", "tiny.onnx", "--data", "test.npz", "--data-settings", "absent.toml"];
    lissom(folder.path(), &words).refuses(74, &["`absent.toml`"]);
}
