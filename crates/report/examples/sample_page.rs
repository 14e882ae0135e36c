//! Writes the sample reports of the tests into a folder: `cargo run -p lissom-report --example sample_page -- FOLDER`.

#[path = "../tests/sample/mod.rs"]
mod sample;

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("give a folder to write to")?);
    std::fs::create_dir_all(&folder)?;
    for (name, report) in
        [("example", sample::example()), ("hostile", sample::hostile()), ("embedding", sample::embedding())]
    {
        std::fs::write(folder.join(name).with_extension("html"), report.to_html()?)?;
        std::fs::write(folder.join(name).with_extension("json"), report.to_json()?)?;
    }
    Ok(())
}
