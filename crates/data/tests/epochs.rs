//! Training data: the order of epochs, augmentation and reading ahead.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lissom_data::{
    AUGMENTATIONS, Augmentations, DataError, DataSettings, Dataset, EpochSettings, InputSpec, Labels, SoftLabels,
    TrainingBatch, open, write_npz,
};
use lissom_tensor::{DType, Tensor};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Holder {
    augment: Augmentations,
}

fn augmentations(list: &str) -> Augmentations {
    toml::from_str::<Holder>(&format!("augment = {list}")).unwrap().augment
}

fn images(shape: [Option<usize>; 4]) -> InputSpec {
    InputSpec::new("input", DType::F32, shape)
}

/// `n` random RGB images of 12x12 in an npz of bytes, 5 classes.
fn dataset_of(n: usize, input: &InputSpec) -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("images.npz");
    let values: Vec<u8> = (0..n * 3 * 144).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let labels = Tensor::vector((0..n as i64).map(|at| at % 5).collect::<Vec<_>>());
    let pixels = Tensor::new([n, 3, 12, 12], values).unwrap();
    write_npz(&path, &[("input".into(), pixels), ("labels".into(), labels)]).unwrap();
    let settings = DataSettings::parse("[image]\nmean = [0.5]\nstd = [0.25]", Path::new("data.toml")).unwrap();
    open(&path, &settings, std::slice::from_ref(input)).unwrap()
}

fn dataset(n: usize) -> Dataset {
    dataset_of(n, &images([None, Some(3), None, None]))
}

fn all(dataset: &Dataset, settings: EpochSettings, from: (u64, usize)) -> Vec<TrainingBatch> {
    dataset.epochs(settings).unwrap().start(from.0, from.1).map(|batch| batch.unwrap()).collect()
}

/// The values of each sample, by epoch and row.
fn samples(batches: &[TrainingBatch]) -> Vec<((u64, usize), Vec<u32>)> {
    let mut samples = Vec::new();
    for batch in batches {
        let values = batch.batch.inputs[0].1.as_slice::<f32>().unwrap();
        let len = values.len() / batch.batch.rows.len();
        for (&row, sample) in batch.batch.rows.iter().zip(values.chunks_exact(len)) {
            samples.push(((batch.epoch, row), sample.iter().map(|v| v.to_bits()).collect()));
        }
    }
    samples.sort();
    samples
}

const EACH: &str = r#"["flip", { crop = { padding = 2 } }, { cutout = { size = 4 } }, "random_erase", "resized_crop"]"#;

#[test]
fn every_epoch_has_every_sample_once_in_an_order_of_its_own() {
    let data = dataset(23);
    let settings = EpochSettings { batch_size: 4, epochs: 3, drop_last: false, ..EpochSettings::default() };
    let batches = all(&data, settings.clone(), (0, 0));
    assert_eq!(batches.len(), 18);
    assert_eq!(batches[5].batch.rows.len(), 3);
    let mut orders = BTreeSet::new();
    for epoch in batches.chunks(6) {
        let order: Vec<usize> = epoch.iter().flat_map(|batch| batch.batch.rows.clone()).collect();
        assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), (0..23).collect());
        orders.insert(order);
    }
    assert_eq!(orders.len(), 3);
    let labels = batches[0].batch.rows.iter().map(|&row| row as i64 % 5).collect();
    assert_eq!(batches[0].batch.labels, Some(Labels::Classes(labels)));

    let dropped = all(&data, EpochSettings { drop_last: true, ..settings.clone() }, (0, 0));
    assert_eq!(dropped.len(), 15);
    assert!(dropped.iter().all(|batch| batch.batch.rows.len() == 4));
    let plain = all(&data, EpochSettings { shuffle: false, ..settings }, (1, 0));
    assert_eq!((plain[0].epoch, &plain[0].batch.rows[..]), (1, &[0, 1, 2, 3][..]));
    assert_eq!(plain[0].batch, data.batch(&[0, 1, 2, 3]).unwrap(), "without augmentation the samples are those judged");
}

#[test]
fn a_resumed_training_sees_what_it_would_have_seen() {
    let data = dataset(22);
    let list = r#"["flip", "crop", { mixup = { alpha = 0.4 } }]"#;
    let settings = EpochSettings {
        batch_size: 4,
        epochs: 3,
        seed: 9,
        augmentations: augmentations(list),
        ..EpochSettings::default()
    };
    let whole = all(&data, settings.clone(), (0, 0));
    assert_eq!(whole.len(), 15);
    for ahead in [0, 1, 2, 5] {
        let settings = EpochSettings { ahead, ..settings.clone() };
        assert_eq!(all(&data, settings.clone(), (0, 0)), whole, "{ahead} ahead");
        assert_eq!(all(&data, settings.clone(), (1, 3)), whole[8..], "{ahead} ahead");
        assert_eq!(all(&data, settings.clone(), (1, 5)), whole[10..]);
        assert!(all(&data, settings.clone(), (3, 0)).is_empty());
        assert!(all(&data, settings, (u64::MAX, 7)).is_empty());
    }
    let epochs = data.epochs(settings).unwrap();
    assert_eq!(epochs.batch(2, 1).unwrap(), whole[11]);
    assert!(matches!(epochs.batch(0, 5), Err(DataError::TooFewSamples { .. })));
    assert_eq!(epochs.start(1, 2).len(), 8);
}

#[test]
fn what_happens_to_a_sample_does_not_depend_on_its_batch() {
    let data = dataset(24);
    let of = |data: &Dataset, batch_size, shuffle, seed| {
        let augmentations = augmentations(EACH);
        let settings =
            EpochSettings { batch_size, epochs: 2, seed, shuffle, augmentations, ..EpochSettings::default() };
        samples(&all(data, settings, (0, 0)))
    };
    let expected = of(&data, 4, true, 1);
    assert_eq!(of(&data, 6, true, 1), expected);
    assert_eq!(of(&data, 24, false, 1), expected);
    assert_ne!(of(&data, 4, true, 2), expected);
    // The first and the second epoch differ for nearly every sample.
    let (first, second) = expected.split_at(24);
    assert!(first.iter().zip(second).filter(|(a, b)| a.1 == b.1).count() <= 2);
    // Half of the data gives half of the samples.
    let half = of(&data.subset(12, 3).unwrap(), 4, true, 1);
    assert!(half.iter().all(|sample| expected.contains(sample)));
}

#[test]
fn both_layouts_and_flat_rows_are_augmented_alike() {
    let planes = dataset(8);
    let woven = dataset_of(8, &images([None, None, None, Some(3)]));
    let flat = dataset_of(8, &InputSpec::new("input", DType::F32, [None, Some(432)]));
    let settings = EpochSettings { batch_size: 8, augmentations: augmentations(EACH), ..EpochSettings::default() };
    let of = |data: &Dataset| all(data, settings.clone(), (0, 0)).remove(0).batch.inputs.remove(0).1;
    let (planes, woven, flat) = (of(&planes), of(&woven), of(&flat));
    assert_eq!((woven.shape(), flat.shape()), (&[8, 12, 12, 3][..], &[8, 432][..]));
    assert_eq!(flat.as_slice::<f32>().unwrap(), planes.as_slice::<f32>().unwrap());
    let (planes, woven) = (planes.as_slice::<f32>().unwrap(), woven.as_slice::<f32>().unwrap());
    for (at, value) in planes.iter().enumerate() {
        let (n, c, pixel) = (at / 432, at / 144 % 3, at % 144);
        assert_eq!(*value, woven[(n * 144 + pixel) * 3 + c]);
    }
}

#[test]
fn arrays_of_floats_are_images_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("floats.npz");
    let values: Vec<f32> = (0..4 * 2 * 25).map(|at| at as f32 + 1.0).collect();
    write_npz(&path, &[("input".into(), Tensor::new([4, 2, 5, 5], values).unwrap())]).unwrap();
    let data = open(&path, &DataSettings::default(), &[images([None, Some(2), None, None])]).unwrap();
    let augmentations = augmentations("[{ crop = { padding = 4 } }]");
    let settings = EpochSettings { batch_size: 4, augmentations, ..EpochSettings::default() };
    let batch = all(&data, settings, (0, 0)).remove(0);
    let values = batch.batch.inputs[0].1.as_slice::<f32>().unwrap();
    assert!(values.contains(&0.0) && values.iter().any(|&v| v > 0.0));
    assert_eq!((batch.batch.labels, batch.soft_labels), (None, None));
}

#[test]
fn stages_of_low_resolution_change_the_size() {
    let data = dataset(16);
    let list = "[{ low_resolution = { stages = [{ share = 0.25, side = 6 }, { share = 0.5, side = 9 }] } }]";
    let settings =
        EpochSettings { batch_size: 4, epochs: 2, augmentations: augmentations(list), ..EpochSettings::default() };
    let batches = all(&data, settings.clone(), (0, 0));
    let sides: Vec<usize> = batches.iter().map(|batch| batch.batch.inputs[0].1.shape()[3]).collect();
    assert_eq!(sides, [6, 6, 9, 9, 9, 9, 12, 12]);
    let fixed = dataset_of(16, &images([None, Some(3), Some(12), Some(12)]));
    let error = fixed.epochs(settings).unwrap_err();
    assert!(error.to_string().contains("one size only"), "{error}");
}

#[test]
fn mixed_samples_have_mixed_labels() {
    let data = dataset(20);
    let plain = EpochSettings { batch_size: 5, seed: 4, ..EpochSettings::default() };
    let mixed = EpochSettings {
        augmentations: augmentations("[{ mixup = { alpha = 1.0 } }]"),
        soft_labels: Some(SoftLabels { classes: None, smoothing: 0.1 }),
        ..plain.clone()
    };
    for (plain, mixed) in all(&data, plain, (0, 0)).iter().zip(all(&data, mixed, (0, 0))) {
        let labels = mixed.soft_labels.unwrap();
        assert_eq!(labels.shape(), [5, 5]);
        let labels = labels.as_slice::<f32>().unwrap();
        let (before, after) = (plain.batch.inputs[0].1.as_slice::<f32>(), mixed.batch.inputs[0].1.as_slice::<f32>());
        let (before, after) = (before.unwrap(), after.unwrap());
        assert_eq!(plain.batch.labels, mixed.batch.labels);
        let Some(Labels::Classes(classes)) = &plain.batch.labels else { panic!() };
        for sample in 0..5 {
            let row = &labels[sample * 5..(sample + 1) * 5];
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            // Some partner and share explain the sample, and the label in the same way.
            let values = |of: &[f32], at: usize| of[at * 432..(at + 1) * 432].to_vec();
            let (own, result) = (values(before, sample), values(after, sample));
            let explains = |partner: usize| {
                let other = values(before, partner);
                let products =
                    (0..432).map(|at| ((result[at] - other[at]) * (own[at] - other[at]), own[at] - other[at]));
                let (dot, square) =
                    products.fold((0.0, 0.0), |(dot, square), (product, d)| (dot + product, square + d * d));
                let share = if square == 0.0 { 1.0 } else { dot / square };
                let label = |of: usize, class: usize| if classes[of] as usize == class { 0.92 } else { 0.02 };
                let mixed = |a: f32, b: f32| share * a + (1.0 - share) * b;
                (0..432).all(|at| (result[at] - mixed(own[at], other[at])).abs() < 1e-3)
                    && (0..5)
                        .all(|class| (row[class] - mixed(label(sample, class), label(partner, class))).abs() < 1e-3)
            };
            assert!((0..5).any(explains), "sample {sample}");
        }
    }
}

#[test]
fn what_cannot_be_done_is_refused_at_once() {
    let data = dataset(10);
    let refused = |data: &Dataset, settings: EpochSettings| data.epochs(settings).map(|_| ()).unwrap_err();
    let settings = EpochSettings { batch_size: 5, ..EpochSettings::default() };
    let error = refused(&data, EpochSettings { batch_size: 0, ..settings.clone() });
    assert!(matches!(error, DataError::BatchSize { asked: 0, .. }), "{error}");
    let error = refused(&data, EpochSettings { batch_size: 11, ..settings.clone() });
    assert!(matches!(error, DataError::TooFewSamples { asked: 11, available: 10, .. }), "{error}");
    let soft_labels = Some(SoftLabels { classes: Some(4), smoothing: 0.0 });
    let error = refused(&data, EpochSettings { soft_labels, ..settings.clone() });
    assert!(matches!(error, DataError::LabelRange { row: 4, label: 4, classes: 4, .. }), "{error}");
    let crop = augmentations("[{ crop = { padding = 12 } }]");
    let error = refused(&data, EpochSettings { augmentations: crop, ..settings.clone() });
    assert!(error.to_string().contains("too much for images of 12x12"), "{error}");
    let fixed = dataset_of(10, &images([Some(2), Some(3), None, None]));
    let error = refused(&fixed, settings.clone());
    assert!(error.to_string().contains("the model takes 2 at once"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.npz");
    write_npz(&path, &[("x".into(), Tensor::new([10, 3], vec![1.0f32; 30]).unwrap())]).unwrap();
    let rows = open(&path, &DataSettings::default(), &[InputSpec::new("x", DType::F32, [None, Some(3)])]).unwrap();
    let error = refused(&rows, EpochSettings { augmentations: augmentations("[\"flip\"]"), ..settings.clone() });
    assert!(error.to_string().contains("are no images"), "{error}");
    let error = refused(&rows, EpochSettings { soft_labels: Some(SoftLabels::default()), ..settings.clone() });
    assert!(matches!(error, DataError::MissingLabels { .. }), "{error}");
    assert_eq!(all(&rows, settings, (0, 0)).len(), 2, "rows without images are shuffled all the same");
}

#[test]
fn image_files_are_kept_decoded_without_changing_a_byte() {
    let folder = tempfile::tempdir().unwrap();
    for (class, shade) in [("a", 10u8), ("b", 200)] {
        fs::create_dir(folder.path().join(class)).unwrap();
        for at in 0..3u8 {
            let pixels: Vec<u8> = (0..8 * 8 * 3).map(|p| shade.wrapping_add(at * 20).wrapping_add(p as u8)).collect();
            let path = folder.path().join(class).join(format!("{at}.png"));
            image::RgbImage::from_raw(8, 8, pixels).unwrap().save(path).unwrap();
        }
    }
    let data = open(folder.path(), &DataSettings::default(), &[images([None, Some(3), None, None])]).unwrap();
    let settings = |keep_bytes| EpochSettings {
        batch_size: 2,
        epochs: 2,
        augmentations: augmentations("[\"flip\"]"),
        keep_bytes,
        ..EpochSettings::default()
    };
    let read = all(&data, settings(0), (0, 0));
    // Room for four images of six, then for all.
    assert_eq!(all(&data, settings(4 * 192), (0, 0)), read);
    assert_eq!(all(&data, settings(1 << 20), (0, 0)), read);
    fs::remove_dir_all(folder.path()).unwrap();
    assert_eq!(all(&data, settings(1 << 20), (0, 0)), read, "no file is needed any more");
}

#[test]
fn an_error_ends_the_epochs_and_dropping_them_ends_the_thread() {
    let folder = tempfile::tempdir().unwrap();
    for at in 0..3 {
        image::RgbImage::new(8, 8).save(folder.path().join(format!("{at}.png"))).unwrap();
    }
    let data = open(folder.path(), &DataSettings::default(), &[images([None, Some(3), None, None])]).unwrap();
    fs::write(folder.path().join("1.png"), b"no image").unwrap();
    for ahead in [0, 2] {
        let settings = EpochSettings { batch_size: 1, shuffle: false, ahead, ..EpochSettings::default() };
        let mut batches = data.epochs(settings).unwrap().start(0, 0);
        assert!(batches.next().unwrap().is_ok());
        assert!(matches!(batches.next(), Some(Err(DataError::Image { .. }))));
        assert!(batches.next().is_none() && batches.next().is_none());
    }
    let endless = EpochSettings { batch_size: 4, epochs: u64::MAX, ahead: 3, ..EpochSettings::default() };
    let start = Instant::now();
    let mut batches = dataset(16).epochs(endless).unwrap().start(0, 0);
    assert!(batches.next().unwrap().is_ok());
    drop(batches);
    assert!(start.elapsed() < Duration::from_secs(60), "dropping joins the thread");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any augmentations, any place to start, any number ahead: the same batches.
    #[test]
    fn batches_follow_from_their_place_alone(
        n in 1usize..20, batch_size in 1usize..6, epoch in 0u64..3, step in 0usize..8, ahead in 0usize..4,
        seed: u64, drop_last: bool, which in proptest::collection::vec(0..AUGMENTATIONS.len(), 0..4)
    ) {
        let data = dataset(n);
        let list: Vec<String> = which
            .iter()
            .map(|&at| &AUGMENTATIONS[at])
            .map(|spec| format!("{{ {} = {{ {} }} }}", spec.name, spec.example.replace('\n', ", ").replace("size = 16", "size = 5")))
            .collect();
        let augmentations = augmentations(&format!("[{}]", list.join(", ")));
        let settings = EpochSettings { batch_size, epochs: 3, seed, drop_last, augmentations, ahead, ..EpochSettings::default() };
        let Ok(epochs) = data.epochs(settings) else {
            prop_assert!(drop_last && batch_size > n);
            return Ok(());
        };
        let batches: Vec<TrainingBatch> = epochs.start(epoch, step).map(|batch| batch.unwrap()).collect();
        for batch in &batches {
            prop_assert_eq!(&epochs.batch(batch.epoch, batch.step).unwrap(), batch);
        }
        let first = if step < epochs.steps() { (epoch, step) } else { (epoch + 1, 0) };
        prop_assert_eq!(batches.len(), ((3 - first.0.min(3)) as usize * epochs.steps()).saturating_sub(first.1));
        prop_assert!(batches.first().is_none_or(|batch| (batch.epoch, batch.step) == first));
    }
}
