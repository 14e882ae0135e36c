//! Data a model can be fed: read, prepared, in a fixed order. Knows no graph.
//!
//! [`open`] finds out what lies at a path and gives a [`Dataset`]; [`DataSettings`] hold what the files cannot say of themselves
//! and come from a `data.toml`. [`InputSpec`]s say what the model wants, so that a mismatch names both sides.
//!
//! # Kinds of data
//! | format | what lies there | labels |
//! |---|---|---|
//! | `npz` | arrays named as the inputs, samples along the first axis | array `labels`, or `scores` |
//! | `idx` | a folder with `t10k-images-idx3-ubyte`, `train-…`, each maybe `.gz`, or the file of images | the file `…labels-idx1…` beside it |
//! | `cifar` | a folder with `test_batch.bin`, `data_batch_*.bin` (CIFAR-100: `test.bin`, `train.bin`), or one `.bin` | in the records |
//! | `text` | `.txt`, one text a line; `.tsv`, columns by number or name | a column |
//! | `images` | class folders of PNG, JPEG, BMP files; or files and `labels.csv`; or files alone | folder, or csv |
//!
//! A folder with train and test data is read as test data unless the path ends in `#train` (or `split` says so).
//!
//! # Settings
//! Looked for as `NAME.data.toml` beside the data, then `data.toml` in the folder or beside the file; or given by path. Every
//! key is a field of [`DataSettings`]. Pixels become `(x / scale - mean) / std` for each channel, in f32, after colour, resize and
//! crop (in that order, on 8 bits). Without an `[image]` table pixels for a float input are divided by 255, nothing else, and
//! [`Notice::PixelsScaled`] says so.
//!
//! CIFAR-10 with the usual mean and standard deviation of PyTorch:
//! ```toml
//! [image]
//! scale = 255.0
//! mean = [0.485, 0.456, 0.406]
//! std = [0.229, 0.224, 0.225]
//! ```
//! A folder of ImageNet photographs for EfficientNet-Lite, `(x - 127) / 128`; `resize` and `crop` are left out if they are
//! 224x224 already:
//! ```toml
//! [image]
//! resize = 256
//! crop = 224
//! filter = "bicubic"
//! scale = 1.0
//! mean = [127.0]
//! std = [128.0]
//! ```
//! STS-B with MiniLM, pairs of sentences and a score:
//! ```toml
//! [text]
//! tokenizer = "minilm_l6.tokenizer.json"
//! max_tokens = 128
//! columns = [6, 7]
//! score_column = 5
//! score_range = [0.0, 5.0]
//! ```
//! Fashion-MNIST:
//! ```toml
//! class_names = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
//! [image]
//! scale = 255.0
//! mean = [0.2860]
//! std = [0.3530]
//! ```
//!
//! # Training
//! [`Dataset::epochs`] gives batches for training, shuffled anew every epoch, changed by [`AUGMENTATIONS`], and prepared by a thread while
//! the last one is learnt from. Batch and step alone say what it holds, so a training goes on where it was stopped.
//!
//! # What it matches
//! `resize` gives the bytes of Pillow's `Image.resize` (antialiased, on 8 bits); sizes and crops are rounded as in torchvision.
//! PNG and BMP decode exactly; JPEG decoders differ by a few steps of 255. Tokens are those of Hugging Face `tokenizers`.
//!
//! # Limits
//! No file makes reading allocate more than a small multiple of its size. Packed files (`.gz`, `.npz`) may unpack to
//! 64 MiB + 256 times their size; one image may take 1 GiB to decode and 32,768 pixels a side; all of it is bound by
//! [`lissom_tensor::max_tensor_bytes`]. Pickled Python objects are never read.

mod augment;
mod bounded;
mod cifar;
mod dataset;
mod epochs;
mod error;
mod format;
mod gather;
mod idx;
mod image_folder;
mod npy;
mod npz;
mod npz_file;
mod one_hot;
mod order;
mod pixel_array;
mod pixels;
mod prepare;
mod resample;
mod settings;
mod spec;
mod split;
mod table;
mod text;

pub use augment::{AUGMENTATIONS, Augmentation, AugmentationSpec, Augmentations, Chance, Image, Mix};
pub use dataset::{Batch, Batches, Dataset, Labels, Notice, open};
pub use epochs::{EpochSettings, Epochs, SoftLabels, TrainingBatch, TrainingBatches};
pub use error::DataError;
pub use format::{FORMATS, Format};
pub use npz_file::{npz_bytes, read_npz, write_npz};
pub use one_hot::one_hot;
pub use settings::{
    Colour, Column, DataSettings, Filter, ImageSettings, Layout, Padding, PairMode, Size, TextSettings,
};
pub use spec::InputSpec;
pub use split::Split;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_in_the_documentation_are_understood() {
        let mut samples = Vec::new();
        let mut sample: Option<String> = None;
        for line in include_str!("lib.rs").lines().filter_map(|line| line.strip_prefix("//!")) {
            match (line.trim(), &mut sample) {
                ("```toml", _) => sample = Some(String::new()),
                ("```", Some(_)) => samples.extend(sample.take()),
                (line, Some(text)) => *text += &format!("{line}\n"),
                _ => {}
            }
        }
        assert_eq!(samples.len(), 4);
        for sample in samples {
            let settings = DataSettings::parse(&sample, std::path::Path::new("data.toml")).unwrap();
            assert_ne!(settings, DataSettings::default(), "{sample}");
        }
    }
}
