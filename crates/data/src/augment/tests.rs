use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Deserialize)]
struct Holder {
    augment: Augmentations,
}

fn parsed(list: &str) -> Result<Augmentations, String> {
    toml::from_str::<Holder>(&format!("augment = {list}"))
        .map(|holder| holder.augment)
        .map_err(|error| error.to_string())
}

fn of(spec: &AugmentationSpec) -> Arc<dyn Augmentation> {
    (spec.parse)(toml::from_str(spec.example).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", spec.name))
}

#[test]
fn the_list_is_sorted_complete_and_documented() {
    let names: Vec<&str> = AUGMENTATIONS.iter().map(|spec| spec.name).collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
    let page = include_str!("../../../../docs/augmentation.md");
    for spec in AUGMENTATIONS {
        assert!(!spec.summary.is_empty() && !spec.source.is_empty());
        of(spec);
        assert!(page.contains(&format!("| `{}` | {} |", spec.name, spec.summary)), "docs: `{}`", spec.name);
        assert!(page.contains(spec.source), "docs: source of `{}`", spec.name);
        assert!(page.contains(&spec.example.replace('\n', ", ")), "docs: example of `{}`", spec.name);
    }
}

#[test]
fn a_list_reads_names_and_tables_in_order() {
    let list = parsed(r#"["flip", { mixup = { alpha = 0.2 } }, { crop = { padding = 2, fill = "reflect" } }, "crop"]"#)
        .unwrap();
    assert_eq!(list.names().collect::<Vec<_>>(), ["flip", "mixup", "crop", "crop"]);
    assert!(list.is_mixing() && !list.is_empty());
    let named = parsed(r#"[{ padding = 2, name = "crop" }, { name = "flip" }]"#).unwrap();
    assert_eq!(named.names().collect::<Vec<_>>(), ["crop", "flip"]);
    assert!(parsed("[]").unwrap().is_empty());
}

#[test]
fn wrong_settings_are_refused_with_the_reason() {
    for (list, expected) in [
        (r#"["flop"]"#, "unknown variant `flop`"),
        (r#"[{ flop = {} }]"#, "unknown variant `flop`"),
        (r#"[{ name = "flop" }]"#, "unknown variant `flop`"),
        (r#"[{ name = "crop", paddng = 1 }]"#, "unknown field `paddng`"),
        (r#"[{ name = 1 }]"#, "a word in quotes"),
        (r#"[{ crop = 4 }]"#, "a table of settings"),
        (r#"[{ crop = { paddng = 1 } }]"#, "unknown field `paddng`"),
        (r#"[{ flip = { p = 1.5 } }]"#, "`p` is 1.5"),
        (r#"[{ flip = { p = nan } }]"#, "`p` is NaN"),
        (r#"[{ flip = {}, crop = {} }]"#, "one augmentation a table"),
        (r#"[{}]"#, "an augmentation has a name"),
        (r#"["mixup"]"#, "missing field `alpha`"),
        (r#"[{ mixup = { alpha = 0 } }]"#, "`alpha` is 0,"),
        (r#"[{ cutout = { size = 0 } }]"#, "at least 1"),
        (r#"[{ random_erase = { area = [0.5, 0.1] } }]"#, "the smaller first"),
        (r#"[{ resized_crop = { area = [0.5, 1.5] } }]"#, "at most 1"),
        (r#"[{ low_resolution = { stages = [{ share = 0.7, side = 8 }, { share = 0.7, side = 9 }] } }]"#, "add up to"),
        (r#"[{ low_resolution = { stages = [{ share = 0.7, side = 0 }] } }]"#, "at least 1"),
        (r#"[{ low_resolution = { stages = [], by = "waves" } }]"#, "unknown variant `waves`"),
        (r#"[{ rand_augment = { magnitude = 11.0 } }]"#, "from 0 to 10"),
        (r#"[{ rand_augment = { n = 0 } }]"#, "at least 1"),
        (r#"[3]"#, "the name of an augmentation"),
        (r#"{ flip = {} }"#, "a list of augmentations"),
    ] {
        let error = parsed(list).unwrap_err();
        assert!(error.contains(expected), "{list}: {error}");
    }
}

#[test]
fn flips_are_as_frequent_as_asked() {
    for (p, expected) in [(0.0, 0), (1.0, 2000), (0.5, 1000)] {
        let flip = (find("flip").unwrap().parse)(toml::from_str(&format!("p = {p:?}")).unwrap()).unwrap();
        let flipped = (0..2000).filter(|&row| {
            let mut image = Image::new([1, 1, 2], vec![1.0, 2.0], vec![0.0]).unwrap();
            flip.change(&mut image, 0.0, &mut Chance::new(5, 0, row, Purpose::Sample(0)));
            image.values() == [2.0, 1.0]
        });
        let flipped = flipped.count() as i64;
        assert!((flipped - expected).abs() <= if p == 0.5 { 100 } else { 0 }, "{p}: {flipped}");
    }
}

#[test]
fn a_crop_reaches_every_position() {
    let crop = (find("crop").unwrap().parse)(toml::from_str("padding = 1").unwrap()).unwrap();
    let seen: BTreeSet<Vec<u32>> = (0..500)
        .map(|row| {
            let mut image = Image::new([1, 2, 2], vec![1.0, 2.0, 3.0, 4.0], vec![0.0]).unwrap();
            crop.change(&mut image, 0.0, &mut Chance::new(5, 0, row, Purpose::Sample(0)));
            image.values().iter().map(|v| v.to_bits()).collect()
        })
        .collect();
    assert_eq!(seen.len(), 9);
    assert!(crop.check([1, 5]).is_err() && crop.check([2, 2]).is_ok());
}

proptest! {
    /// Whatever the size, every augmentation of images gives a whole image of values that were there, or between them.
    #[test]
    fn images_stay_whole(height in 1usize..40, width in 1usize..40, channels in 1usize..4, progress in 0.0f64..=1.0, seed: u64) {
        for spec in AUGMENTATIONS {
            let augmentation = of(spec);
            let values: Vec<f32> = (0..channels * height * width).map(|at| (at % 7) as f32 - 3.0).collect();
            let mut image = Image::new([channels, height, width], values, vec![-1.0; channels]).unwrap();
            augmentation.change(&mut image, progress, &mut Chance::new(seed, 1, 2, Purpose::Sample(0)));
            let [h, w] = image.size();
            prop_assert_eq!(image.values().len(), channels * h * w, "{}", spec.name);
            prop_assert!(augmentation.is_resizing() || [h, w] == [height, width], "{}", spec.name);
            prop_assert!(image.values().iter().all(|v| (-3.001..=3.001).contains(v)), "{}", spec.name);
        }
    }
}
