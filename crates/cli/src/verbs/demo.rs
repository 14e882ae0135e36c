//! `lissom demo`: the embedded network, offline.

use std::path::Path;

use lissom_job::JobError;
use lissom_job::compress::CompressRequest;
use lissom_recipe::run::write_atomic;
use lissom_recipe::{Budget, ExitCode, RecipeText};

use super::compress::{job, now};
use super::{Context, with_out};
use crate::arguments::Demo;
use crate::print::note;

/// The network and its data; `assets/SOURCE.md` says where they come from.
const FILES: &[(&str, &[u8])] = &[
    ("fashion_resnet.onnx", include_bytes!("../../assets/fashion_resnet.onnx")),
    ("data/data.toml", include_bytes!("../../assets/data.toml")),
    ("data/t10k-images-idx3-ubyte.gz", include_bytes!("../../assets/t10k-images-idx3-ubyte.gz")),
    ("data/t10k-labels-idx1-ubyte.gz", include_bytes!("../../assets/t10k-labels-idx1-ubyte.gz")),
    ("data/train-images-idx3-ubyte.gz", include_bytes!("../../assets/calibration-images-idx3-ubyte.gz")),
    ("data/train-labels-idx1-ubyte.gz", include_bytes!("../../assets/calibration-labels-idx1-ubyte.gz")),
];

/// Runs the verb.
pub(crate) fn demo(arguments: &Demo, context: &Context) -> Result<ExitCode, JobError> {
    let recipe = RecipeText::load(&arguments.recipe)?;
    let folder = &arguments.out;
    for (name, content) in FILES {
        write_if_different(&folder.join(name), content)?;
    }
    if !context.common.quiet {
        note(&format!(
            "A residual network for Fashion-MNIST that lissom carries; the same in words:\n\
             lissom compress {} --recipe {} --data {} --eval-data {}\n",
            folder.join("fashion_resnet.onnx").display(),
            arguments.recipe,
            folder.join("data#train").display(),
            folder.join("data#test").display(),
        ));
    }
    let request = CompressRequest {
        model: Some(folder.join("fashion_resnet.onnx")),
        recipe,
        budget: Budget::default(),
        data: Some(folder.join("data#train")),
        data_settings: None,
        eval_data: Some(folder.join("data#test")),
        eval_data_settings: None,
        eval_samples: None,
        out: folder.join("run"),
        start_over: false,
        sensitivity: false,
        bench_seconds: 1.0,
        seed: 0,
        threads: context.common.threads,
        read: context.read_options(),
        command: with_out(&context.command, folder),
        date: now(),
    };
    job(&request, context)
}

fn write_if_different(path: &Path, content: &[u8]) -> Result<(), JobError> {
    if std::fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| lissom_recipe::run::FileError::of("create", parent, error))?;
    }
    Ok(write_atomic(path, content)?)
}
