//! Order, subsets, labels and identity of data sets.

use std::path::Path;

use lissom_data::{DataError, DataSettings, Dataset, InputSpec, Labels, open, write_npz};
use lissom_tensor::{DType, Tensor};

fn dataset(labels: &[i64]) -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    let x = Tensor::new([labels.len(), 1], (0..labels.len()).map(|x| x as f32).collect()).unwrap();
    write_npz(&path, &[("x".into(), x), ("labels".into(), Tensor::vector(labels.to_vec()))]).unwrap();
    open(&path, &DataSettings::default(), &[InputSpec::new("x", DType::F32, [None, Some(1)])]).unwrap()
}

fn order(data: &Dataset) -> Vec<usize> {
    data.batches(3).flat_map(|batch| batch.unwrap().rows).collect()
}

#[test]
fn the_order_is_that_of_the_file_unless_drawn_and_then_the_same_for_a_seed() {
    let data = dataset(&[0, 1, 2, 0, 1, 2, 0, 1, 2, 0]);
    assert_eq!(order(&data), (0..10).collect::<Vec<_>>());
    let shuffled = data.shuffled(1);
    assert_eq!(order(&shuffled), order(&data.shuffled(1)));
    assert_ne!(order(&shuffled), order(&data.shuffled(2)));
    let mut sorted = order(&shuffled);
    sorted.sort_unstable();
    assert_eq!(sorted, order(&data));
    for batch in shuffled.batches(4).map(Result::unwrap) {
        let expected: Vec<f32> = batch.rows.iter().map(|&row| row as f32).collect();
        assert_eq!(batch.inputs[0].1.as_slice::<f32>().unwrap(), expected);
        let labels = batch.rows.iter().map(|&row| (row % 3) as i64).collect();
        assert_eq!(batch.labels, Some(Labels::Classes(labels)));
    }
}

#[test]
fn subsets_have_the_size_asked_for_and_keep_the_order() {
    let data = dataset(&[0, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
    assert_eq!(order(&data.first(3).unwrap()), [0, 1, 2]);
    let drawn = order(&data.subset(4, 9).unwrap());
    assert_eq!(drawn.len(), 4);
    assert!(drawn.is_sorted());
    assert_eq!(drawn, order(&data.subset(4, 9).unwrap()));
    let stratified = data.stratified_subset(5, 3).unwrap();
    assert_eq!(stratified.labels(), Some(Labels::Classes(vec![0, 0, 0, 1, 1])));
    assert!(matches!(data.subset(11, 0), Err(DataError::TooFewSamples { asked: 11, available: 10, .. })));
    assert!(matches!(data.first(0), Err(DataError::Empty { .. })));
    assert!(matches!(data.batch(&[10]), Err(DataError::TooFewSamples { .. })));
}

#[test]
fn labels_are_held_to_the_classes_of_the_model() {
    let data = dataset(&[0, 1, 5]);
    assert_eq!(data.require_classes(6).unwrap(), [0, 1, 5]);
    assert_eq!(data.class_count(), Some(6));
    let outside = data.require_classes(5).unwrap_err();
    assert!(matches!(outside, DataError::LabelRange { row: 2, label: 5, classes: 5, .. }));
    assert!(outside.hint().unwrap().contains("label_offset"));
    assert!(matches!(dataset(&[-1, 0]).require_classes(5), Err(DataError::LabelRange { row: 0, label: -1, .. })));
    assert!(matches!(dataset(&[2, 2, 2]).require_classes(5), Err(DataError::OneClass { label: 2, samples: 3, .. })));
    assert!(matches!(data.require_scores(), Err(DataError::MissingLabels { wanted: "scores", .. })));
}

#[test]
fn the_hash_is_that_of_content_order_and_settings() {
    let data = dataset(&[0, 1, 2, 0]);
    let hash = data.hash().unwrap();
    assert_eq!(hash, dataset(&[0, 1, 2, 0]).hash().unwrap());
    assert_ne!(hash, dataset(&[0, 1, 2, 1]).hash().unwrap());
    assert_ne!(hash, data.shuffled(4).hash().unwrap());
    assert_ne!(hash, data.first(3).unwrap().hash().unwrap());
}

#[test]
fn what_is_not_there_or_not_known_is_said() {
    let inputs = [InputSpec::new("x", DType::F32, [None, Some(1)])];
    let missing = open(Path::new("no/such/data"), &DataSettings::default(), &inputs).unwrap_err();
    assert!(matches!(missing, DataError::NotFound { .. }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.xyz");
    std::fs::write(&path, "?").unwrap();
    let unknown = open(&path, &DataSettings::default(), &inputs).unwrap_err();
    assert!(matches!(unknown, DataError::UnknownFormat { .. }));
    assert!(unknown.hint().unwrap().contains("cifar"));
}
