//! Writes event files to show to TensorBoard: `cargo run -p lissom-report --example event_file -- FOLDER`.
//!
//! To hold them to TensorBoard's own reader (`pip install tensorboard`; not part of CI):
//! ```python
//! from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
//! events = EventAccumulator(FOLDER, {"scalars": 0, "histograms": 0}).Reload()
//! # Steps 0 to 5 of the first session, 6 to 9 of the second, which takes the later steps of the first back.
//! assert [(e.step, e.value) for e in events.Scalars("loss")] == [(s, 10 - s if s < 6 else s / 2) for s in range(10)]
//! histogram = events.Histograms("weights")[0].histogram_value
//! assert (histogram.num, histogram.min, histogram.max, sum(histogram.bucket)) == (100, 0, 99, 100)
//! ```

use std::path::PathBuf;

use lissom_report::metrics::EventWriter;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("give a folder to write to")?);
    let weights: Vec<f32> = (0..100u8).map(f32::from).collect();
    let mut first = EventWriter::create(&folder, 1000.0, None)?;
    first.histogram(0, 1000.0, "weights", &weights)?;
    for step in 0..8u8 {
        first.scalars(step.into(), 1000.0 + f64::from(step), &[("loss", 10.0 - f32::from(step)), ("lr", 0.1)])?;
    }
    let mut second = EventWriter::create(&folder, 2000.0, Some(6))?;
    for step in 6..10u8 {
        second.scalars(step.into(), 2000.0 + f64::from(step), &[("loss", f32::from(step) / 2.0)])?;
    }
    println!("{}\n{}", first.path().display(), second.path().display());
    Ok(())
}
