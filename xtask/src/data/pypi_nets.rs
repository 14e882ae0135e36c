//! Trained networks that packages on PyPI carry: text detection and recognition, voice activity, file types, music.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use lissom_recipe::run::write_atomic;

use crate::command::run;

/// Packages whose wheels hold ONNX files.
const PACKAGES: [&str; 4] = ["rapidocr-onnxruntime==1.4.4", "silero-vad==6.2.3", "magika==1.0.3", "basic-pitch==0.4.0"];

/// Names that say nothing on their own, and what they are written as.
const NAMES: [(&str, &str); 5] = [
    ("ch_PP-OCRv4_det_infer.onnx", "rapidocr_det.onnx"),
    ("ch_PP-OCRv4_rec_infer.onnx", "rapidocr_rec.onnx"),
    ("ch_ppocr_mobile_v2.0_cls_infer.onnx", "rapidocr_cls.onnx"),
    ("nmp.onnx", "basic_pitch.onnx"),
    ("model.onnx", "magika.onnx"),
];

/// A network larger than this is not one of these.
const MAX_BYTES: u64 = 256 << 20;

/// Writes every network of the packages into a folder.
pub(super) fn fetch(out: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("cannot create a temporary folder: {error}"))?;
    // Their Python dependencies are not wanted, and the wheels run nothing on the way.
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"]);
    run(pip.arg(folder.path()).args(PACKAGES))
        .map_err(|error| format!("{error}\n  hint: sudo apt-get install -y python3-pip"))?;
    let wheels = std::fs::read_dir(folder.path()).map_err(|error| error.to_string())?;
    let mut n_networks = 0;
    for wheel in wheels.flatten() {
        n_networks += unpack(&wheel.path(), out)?;
    }
    if n_networks == 0 { Err("the packages hold no network".to_owned()) } else { Ok(()) }
}

fn unpack(wheel: &Path, out: &Path) -> Result<usize, String> {
    let in_wheel = |error: &dyn std::fmt::Display| format!("`{}`: {error}", wheel.display());
    let file = File::open(wheel).map_err(|error| in_wheel(&error))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| in_wheel(&error))?;
    let mut n_networks = 0;
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| in_wheel(&error))?;
        let inside = entry.name().map_err(|error| in_wheel(&error))?.into_owned();
        let Some(name) = inside.rsplit('/').next().filter(|name| name.ends_with(".onnx")) else { continue };
        let path = out.join(written_name(name));
        let mut bytes = Vec::new();
        entry.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| in_wheel(&error))?;
        write_atomic(&path, &bytes).map_err(|error| error.to_string())?;
        println!("{}", path.display());
        n_networks += 1;
    }
    Ok(n_networks)
}

fn written_name(name: &str) -> &str {
    NAMES.iter().find(|(from, _)| *from == name).map_or(name, |(_, to)| to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_nothing_are_changed_and_others_kept() {
        assert_eq!(written_name("nmp.onnx"), "basic_pitch.onnx");
        assert_eq!(written_name("silero_vad.onnx"), "silero_vad.onnx");
    }
}
