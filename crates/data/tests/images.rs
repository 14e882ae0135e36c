//! Folders of image files.

use std::fs;
use std::path::Path;

use image::{GrayImage, Rgb, RgbImage};
use lissom_data::{DataError, DataSettings, InputSpec, Labels, Notice, open};
use lissom_tensor::DType;

fn save(folder: &Path, name: &str, width: u32, height: u32, colour: [u8; 3]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(width, height, Rgb(colour)).save(path).unwrap();
}

fn spec(dims: [usize; 3]) -> [InputSpec; 1] {
    let [a, b, c] = dims.map(Some);
    [InputSpec::new("input", DType::F32, [None, a, b, c])]
}

fn settings(text: &str) -> DataSettings {
    DataSettings::parse(text, Path::new("data.toml")).unwrap()
}

#[test]
fn class_folders_are_numbered_in_the_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "dog/b.png", 2, 2, [51, 102, 153]);
    save(folder.path(), "dog/a.png", 2, 2, [1, 2, 3]);
    save(folder.path(), "cat/z.bmp", 2, 2, [255, 0, 0]);
    fs::write(folder.path().join("dog/notes.md"), "x").unwrap();
    let data = open(folder.path(), &DataSettings::default(), &spec([3, 2, 2])).unwrap();
    assert_eq!(data.labels(), Some(Labels::Classes(vec![0, 1, 1])));
    assert_eq!(data.class_names().unwrap(), ["cat", "dog"]);
    assert!(matches!(data.notices(), [Notice::FilesIgnored { count: 1, .. }, Notice::PixelsScaled]));
    let batch = data.batch(&[2]).unwrap();
    let values = batch.inputs[0].1.as_slice::<f32>().unwrap();
    assert_eq!((values[0], values[4], values[8]), (0.2, 0.4, 0.6));
}

#[test]
fn labels_csv_gives_order_and_classes() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "a.png", 2, 2, [0, 0, 0]);
    save(folder.path(), "b.png", 2, 2, [0, 0, 0]);
    save(folder.path(), "c.png", 2, 2, [0, 0, 0]);
    let csv = folder.path().join("labels.csv");
    for (text, labels) in [
        ("file,class_index,author\nb.png,305,\"Smith, J\"\na.png,7,x\nc.png,0,y\n", [305, 7, 0]),
        ("Label,Filename\r\n305,b.png\r\n7,a.png\r\n0,c.png\r\n\r\n", [305, 7, 0]),
        ("b.png,305\na.png,7\nc.png,0\n", [305, 7, 0]),
        ("file,label\nb.png,dog\na.png,cat\nc.png,ape\n", [2, 1, 0]),
    ] {
        fs::write(&csv, text).unwrap();
        let data = open(folder.path(), &settings("[image]"), &spec([3, 2, 2])).unwrap();
        assert_eq!(data.labels(), Some(Labels::Classes(labels.to_vec())), "{text}");
    }
    for (text, line, reason) in [
        ("file,class_index\nb.png\n", 2, "1 columns"),
        ("file,class_index\nb.png,1\n../b.png,1\n", 3, "leaves the folder"),
        ("file,class_index\nb.png,1\n\nmissing.png,1\n", 4, "no file"),
        ("file,class_index\nb.png,1\na.png,one\n", 3, "no integer"),
        ("who,what\nb.png,1\n", 1, "wanted"),
    ] {
        fs::write(&csv, text).unwrap();
        let error = open(folder.path(), &settings("[image]"), &spec([3, 2, 2])).unwrap_err();
        let DataError::Text { line: found, reason: said, .. } = &error else { panic!("{error}") };
        assert!(*found == line && said.contains(reason), "{error}");
    }
}

#[test]
fn images_are_resized_cropped_and_coloured_for_the_model() {
    let folder = tempfile::tempdir().unwrap();
    // Left half black, right half white: the crop from the middle keeps both halves.
    let image = RgbImage::from_fn(8, 4, |x, _| if x < 4 { Rgb([0; 3]) } else { Rgb([255; 3]) });
    image.save(folder.path().join("a.png")).unwrap();
    GrayImage::from_pixel(9, 5, image::Luma([51])).save(folder.path().join("b.png")).unwrap();
    let settings = settings("[image]\nresize = 4\ncrop = [4, 2]");
    let data = open(folder.path(), &settings, &spec([1, 4, 2])).unwrap();
    assert!(data.labels().is_none());
    let batch = data.batch(&[0, 1]).unwrap();
    let values = batch.inputs[0].1.as_slice::<f32>().unwrap();
    assert_eq!(batch.inputs[0].1.shape(), [2, 1, 4, 2]);
    assert_eq!((values[0], values[1]), (0.0, 1.0));
    assert!(values[8..].iter().all(|&x| x == 0.2), "{values:?}");
    let nhwc = open(folder.path(), &settings, &spec([4, 2, 3])).unwrap();
    assert_eq!(nhwc.batch(&[0]).unwrap().inputs[0].1.as_slice::<f32>().unwrap()[..6], [0., 0., 0., 1., 1., 1.]);
}

#[test]
fn a_wrong_size_is_said_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "a.png", 5, 4, [0, 0, 0]);
    let error = open(folder.path(), &DataSettings::default(), &spec([3, 32, 32])).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("4x5") && message.contains("f32[N,3,32,32]"), "{message}");
    assert!(error.hint().unwrap().contains("resize = [32, 32]"));
    let small = open(folder.path(), &settings("[image]\ncrop = 8"), &spec([3, 8, 8])).unwrap_err();
    assert!(small.to_string().contains("smaller than the crop of 8x8"), "{small}");
    // Where the model takes any size, one batch still holds one size.
    save(folder.path(), "b.png", 6, 4, [0, 0, 0]);
    let free = [InputSpec::new("input", DType::F32, [None, Some(3), None, None])];
    let data = open(folder.path(), &DataSettings::default(), &free).unwrap();
    assert!(data.batch(&[1]).is_ok());
    assert!(data.batch(&[0, 1]).unwrap_err().to_string().contains("4x5 and 4x6"));
}

#[test]
fn unreadable_images_are_named_and_the_first_one_first() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.png", "b.png", "c.png", "d.png"] {
        save(folder.path(), name, 2, 2, [0, 0, 0]);
    }
    for name in ["b.png", "d.png"] {
        let bytes = fs::read(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name), &bytes[..bytes.len() - 20]).unwrap();
    }
    let data = open(folder.path(), &settings("[image]"), &spec([3, 2, 2])).unwrap();
    for _ in 0..20 {
        let error = data.batch(&[0, 1, 2, 3]).unwrap_err();
        assert!(matches!(&error, DataError::Image { path, .. } if path.ends_with("b.png")), "{error}");
    }
    let two = [spec([3, 2, 2]), spec([3, 2, 2])].concat();
    assert!(matches!(open(folder.path(), &settings(""), &two), Err(DataError::ManyInputs { .. })));
    let none = tempfile::tempdir().unwrap();
    assert!(matches!(open(none.path(), &settings(""), &spec([3, 2, 2])), Err(DataError::UnknownFormat { .. })));
    fs::create_dir(none.path().join("cat")).unwrap();
    assert!(matches!(open(none.path(), &settings(""), &spec([3, 2, 2])), Err(DataError::Empty { .. })));
}

#[test]
fn the_hash_follows_the_files() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "a.png", 2, 2, [0, 0, 0]);
    let hash = || open(folder.path(), &settings("[image]"), &spec([3, 2, 2])).unwrap().hash().unwrap();
    let before = hash();
    assert_eq!(before, hash());
    save(folder.path(), "a.png", 2, 2, [0, 0, 1]);
    assert_ne!(before, hash());
}

#[test]
fn an_image_that_claims_to_be_huge_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    // A bitmap header for 30,000 x 30,000 pixels of 24 bits, 2.7 GB, with no pixels behind it.
    let mut bytes = b"BM".to_vec();
    for word in [54u32, 0, 54, 40, 30_000, 30_000, 1 | 24 << 16, 0, 0, 0, 0, 0, 0] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    fs::write(folder.path().join("a.bmp"), bytes).unwrap();
    let free = [InputSpec::new("input", DType::F32, [None, Some(3), None, None])];
    let error = open(folder.path(), &DataSettings::default(), &free).and_then(|data| data.batch(&[0])).unwrap_err();
    assert!(matches!(error, DataError::Image { .. }), "{error}");
}

#[test]
fn batches_are_the_same_at_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..9u8 {
        let image = RgbImage::from_fn(7, 5, |x, y| Rgb([index * 20, x as u8 * 30, y as u8 * 50]));
        image.save(folder.path().join(format!("{index}.png"))).unwrap();
    }
    let data = open(folder.path(), &settings("[image]\nresize = [4, 6]"), &spec([3, 4, 6])).unwrap().shuffled(5);
    let with_threads = |n: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| data.batches(4).map(Result::unwrap).collect::<Vec<_>>())
    };
    assert_eq!(with_threads(1), with_threads(4));
}
