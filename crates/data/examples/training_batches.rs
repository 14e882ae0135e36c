//! Times the preparation of training batches on one thread: `cargo run --release -p lissom-data --example training_batches -- DATA`,
//! DATA a folder of CIFAR-10. Microseconds a batch of 128, the least of many, for growing lists of augmentations.

use std::path::PathBuf;
use std::time::Instant;

use lissom_data::{Augmentations, DataSettings, EpochSettings, InputSpec, open};
use lissom_tensor::DType;
use serde::Deserialize;

#[derive(Deserialize)]
struct Settings {
    augment: Augmentations,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = PathBuf::from(std::env::args().nth(1).ok_or("give a folder of CIFAR-10")?);
    let input = InputSpec::new("input", DType::F32, [None, Some(3), None, None]);
    let data = open(&path, &DataSettings::find(&path, None)?, &[input])?;
    for list in [
        "[]",
        r#"["flip"]"#,
        r#"["flip", "crop"]"#,
        r#"["flip", { crop = { fill = "reflect" } }]"#,
        r#"["flip", "crop", { cutout = { size = 16 } }]"#,
        r#"["flip", "crop", { mixup = { alpha = 0.2 } }]"#,
        r#"["flip", "crop", { low_resolution = { stages = [{ share = 1.0, side = 20 }] } }]"#,
        r#"["flip", "resized_crop", "random_erase"]"#,
    ] {
        let augmentations = toml::from_str::<Settings>(&format!("augment = {list}"))?.augment;
        let epochs = data.epochs(EpochSettings { ahead: 0, epochs: 100, augmentations, ..EpochSettings::default() })?;
        let mut batches = epochs.start(0, 0);
        let mut least = f64::INFINITY;
        for _ in 0..300 {
            let start = Instant::now();
            batches.next().ok_or("too little data")??;
            least = least.min(start.elapsed().as_secs_f64() * 1e6);
        }
        println!("{least:7.0} us  {list}");
    }
    let start = Instant::now();
    let epochs = data.epochs(EpochSettings { ahead: 0, epochs: 100, ..EpochSettings::default() })?;
    epochs.start(1, 0).next().ok_or("too little data")??;
    println!("{:7.0} us  the first batch of an epoch, its order included", start.elapsed().as_secs_f64() * 1e6);
    Ok(())
}
