//! npz files as data: what fits the inputs of a model, and what is said when it does not.

use std::path::PathBuf;

use lissom_data::{DataError, DataSettings, InputSpec, Labels, Notice, open, write_npz};
use lissom_tensor::{DType, Tensor};

struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn file(arrays: &[(&str, Tensor)]) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    let arrays: Vec<_> = arrays.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    write_npz(&path, &arrays).unwrap();
    File { _folder: folder, path }
}

fn floats(shape: &[usize]) -> Tensor {
    let len = shape.iter().product();
    Tensor::new(shape, (0..len).map(|x: usize| x as f32).collect()).unwrap()
}

fn spec(name: &str, dtype: DType, shape: &[Option<usize>]) -> InputSpec {
    InputSpec::new(name, dtype, shape)
}

fn error(file: &File, inputs: &[InputSpec]) -> DataError {
    open(&file.path, &DataSettings::default(), inputs).unwrap_err()
}

#[test]
fn arrays_of_the_right_type_are_fed_as_they_are() {
    let ids = Tensor::new([3, 2], vec![1i64, 2, 3, 4, 5, 6]).unwrap();
    let file = file(&[("x", floats(&[3, 2, 2])), ("ids", ids), ("labels", Tensor::vector(vec![1u8, 0, 1]))]);
    let inputs = [spec("ids", DType::I64, &[None, None]), spec("x", DType::F32, &[None, Some(2), Some(2)])];
    let data = open(&file.path, &DataSettings::default(), &inputs).unwrap();
    let batches: Vec<_> = data.batches(2).map(Result::unwrap).collect();
    assert_eq!(batches.len(), 2);
    assert_eq!(batches[0].labels, Some(Labels::Classes(vec![1, 0])));
    assert_eq!(batches[1].rows, [2]);
    let (name, last_ids) = &batches[1].inputs[0];
    assert_eq!((name.as_str(), last_ids.as_slice::<i64>().unwrap()), ("ids", &[5, 6][..]));
    assert_eq!(batches[1].inputs[1].1, Tensor::new([1, 2, 2], vec![8f32, 9., 10., 11.]).unwrap());
    assert!(data.notices().is_empty());
}

#[test]
fn a_mismatch_names_both_sides_and_the_fix() {
    let file = file(&[("input", floats(&[4, 28, 28]))]);
    let shape = error(&file, &[spec("input", DType::F32, &[None, Some(3), Some(32), Some(32)])]);
    let message = shape.to_string();
    assert!(message.contains("`input` f32[N,3,32,32]") && message.contains("f32[4,28,28]"), "{message}");
    let dtype = error(&file, &[spec("input", DType::I64, &[None, Some(28), Some(28)])]);
    assert!(dtype.hint().unwrap().contains("astype(\"int64\")"));
    let missing = error(&file, &[spec("a", DType::F32, &[None]), spec("b", DType::F32, &[None])]);
    assert!(missing.to_string().contains("`a` f32[N]") && missing.to_string().contains("`input`"), "{missing}");
}

#[test]
fn the_only_array_feeds_the_only_input_and_others_are_noticed() {
    let one = file(&[("pictures", floats(&[2, 3]))]);
    let inputs = [spec("input", DType::F32, &[None, Some(3)])];
    let data = open(&one.path, &DataSettings::default(), &inputs).unwrap();
    assert_eq!(data.notices(), [Notice::NameIgnored { array: "pictures".into(), input: "input".into() }]);
    let two = file(&[("input", floats(&[2, 3])), ("extra", floats(&[1]))]);
    let data = open(&two.path, &DataSettings::default(), &inputs).unwrap();
    assert_eq!(data.notices(), [Notice::ArraysUnused { arrays: vec!["extra".into()] }]);
}

#[test]
fn bytes_for_a_float_input_are_images() {
    let bytes = Tensor::new([2, 1, 2, 3], vec![0u8, 51, 102, 153, 204, 255, 0, 0, 0, 255, 255, 255]).unwrap();
    let file = file(&[("input", bytes)]);
    let inputs = [spec("input", DType::F32, &[None, Some(3), Some(1), Some(2)])];
    let data = open(&file.path, &DataSettings::default(), &inputs).unwrap();
    assert_eq!(data.notices(), [Notice::PixelsScaled]);
    let batch = data.batch(&[0]).unwrap();
    assert_eq!(batch.inputs[0].1.as_slice::<f32>().unwrap(), [0.0, 0.6, 0.2, 0.8, 0.4, 1.0]);
    let settings = DataSettings::parse("[image]\nmean = [0.1, 0.2]", "data.toml".as_ref()).unwrap();
    assert!(matches!(open(&file.path, &settings, &inputs), Err(DataError::Settings { .. })));
}

#[test]
fn settings_for_images_are_not_applied_to_floats_and_that_is_said() {
    let file = file(&[("input", floats(&[2, 3]))]);
    let settings = DataSettings::parse("[image]\nscale = 2.0", "data.toml".as_ref()).unwrap();
    let data = open(&file.path, &settings, &[spec("input", DType::F32, &[None, Some(3)])]).unwrap();
    assert_eq!(data.notices(), [Notice::SettingsUnused { input: "input".into(), found: "f32".into() }]);
    assert_eq!(data.batch(&[1]).unwrap().inputs[0].1.as_slice::<f32>().unwrap(), [3.0, 4.0, 5.0]);
}

#[test]
fn a_constant_is_shared_and_whole_inputs_go_one_at_a_time() {
    let rate = Tensor::scalar(16000i64);
    let file = file(&[("input", floats(&[3, 1, 4])), ("state", floats(&[3, 2, 1, 2])), ("sr", rate.clone())]);
    let inputs = [
        spec("input", DType::F32, &[None, None]),
        spec("state", DType::F32, &[Some(2), None, Some(2)]),
        spec("sr", DType::I64, &[]),
    ];
    let data = open(&file.path, &DataSettings::default(), &inputs).unwrap();
    assert!(matches!(data.notices(), [Notice::OneAtATime { .. }]));
    assert_eq!(data.fixed_batch(), Some(1));
    let batches: Vec<_> = data.batches(64).map(Result::unwrap).collect();
    assert_eq!(batches.len(), 3);
    assert_eq!(batches[1].inputs[1].1, Tensor::new([2, 1, 2], vec![4f32, 5., 6., 7.]).unwrap());
    assert_eq!(batches[2].inputs[2].1, rate);
}

#[test]
fn bad_values_and_labels_are_named_with_their_place() {
    let input = [spec("x", DType::F32, &[None, Some(2)])];
    let nan = file(&[("x", Tensor::new([2, 2], vec![1f32, 2., 3., f32::NAN]).unwrap())]);
    assert!(matches!(error(&nan, &input), DataError::NotFinite { index, .. } if index == [1, 1]));
    let few = file(&[("x", floats(&[2, 2])), ("labels", Tensor::vector(vec![1i64]))]);
    assert!(matches!(error(&few, &input), DataError::LabelCount { samples: 2, labels: 1, .. }));
    let real = file(&[("x", floats(&[2, 2])), ("labels", floats(&[2]))]);
    assert!(matches!(error(&real, &input), DataError::LabelType { .. }));
    let scores = file(&[("x", floats(&[2, 2])), ("scores", Tensor::vector(vec![1f32, f32::INFINITY]))]);
    assert!(matches!(error(&scores, &input), DataError::NotFinite { .. }));
    let empty = file(&[("x", floats(&[0, 2]))]);
    assert!(matches!(error(&empty, &input), DataError::Empty { .. }));
    let uneven = file(&[("x", floats(&[2, 2])), ("y", floats(&[3, 2]))]);
    let both = [input[0].clone(), spec("y", DType::F32, &[None, Some(2)])];
    assert!(matches!(error(&uneven, &both), DataError::InputMismatch { .. }));
}
