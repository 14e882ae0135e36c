//! `cargo xtask peers`: how fast lissom is beside ONNX Runtime and OpenVINO, on networks that anybody can make.
//!
//! Engines take turns ([`timing`](crate::timing)). Peers run the dense file, since they gain nothing from zeros; answers are
//! compared on the same file.

mod environment;
mod goals;
mod measure;
mod options;
mod table;

use std::fs::File;
use std::path::Path;

use lissom_recipe::run::write_atomic;

use crate::command::{cargo, root, run as run_command};
use crate::timing::{cpu, date, lissom_version};
use environment::Environment;
use goals::goal;
use measure::{Case, Row, measure};
use options::Options;
use table::{Document, json, markdown};

/// Networks that `benches/peers/networks.py` knows.
const NETWORKS: &[&str] = &["resnet50", "mobilenetv1", "resnet20", "minilm6", "bertbase", "mlp"];
/// Forms of each.
const FORMS: &[&str] = &["dense", "sp80", "sp90", "sp95", "blk90", "oblk90", "2of4"];
/// Element types of each.
const TYPES: &[&str] = &["f32", "int8"];

/// Entry of the task.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let options = Options::parse(arguments)?;
    let environment = Environment::prepare(&options)?;
    if options.lissom.is_none() {
        run_command(&mut cargo(&["build", "--release", "--package", "lissom-engine", "--example", "latency"]))?;
    }
    let lissom = options.lissom.clone().unwrap_or_else(|| root().join("target/release/examples/latency"));
    let mut document = Document {
        date: date(),
        cpu: cpu(),
        n_cores: std::thread::available_parallelism().map_or(1, usize::from),
        lissom: if options.lissom.is_some() { "from --lissom".to_owned() } else { lissom_version() },
        command: command(arguments),
        threads: options.threads,
        rounds: options.rounds,
        rows: Vec::new(),
    };
    for case in cases(&options) {
        environment.make(&case)?;
        let row = alone(options.lock.as_deref(), || measure(&case, &environment, &lissom, &options))?;
        println!("{}", row.line());
        document.rows.push(row);
        // A long run that is stopped leaves what it has.
        write(&options.out, &markdown(&document))?;
        if let Some(path) = &options.json {
            write(path, &json(&document))?;
        }
    }
    println!("{}", options.out.display());
    Ok(())
}

/// The command that measures the same elsewhere: without what says where things lie on this machine.
fn command(arguments: &[String]) -> String {
    let places = ["--out", "--json", "--cache", "--python", "--lissom", "--lock"];
    let kept = arguments.chunks(2).filter(|option| !places.contains(&option[0].as_str()));
    kept.fold("cargo xtask peers".to_owned(), |line, option| line + " " + &option.join(" "))
}

/// Network by network, so that the table reads well.
fn cases(options: &Options) -> Vec<Case> {
    let mut cases = Vec::new();
    for network in &options.networks {
        for form in &options.forms {
            for dtype in &options.types {
                cases.extend(options.batches.iter().map(|&batch| Case { network, form, dtype, batch }));
            }
        }
    }
    cases.retain(|case| !options.only_goals || goal(case).is_some());
    cases
}

/// Does `work` while nobody else holds the lock, so that several people can measure on one machine.
fn alone(lock: Option<&Path>, work: impl FnOnce() -> Result<Row, String>) -> Result<Row, String> {
    let Some(path) = lock else { return work() };
    let cannot = |error: std::io::Error| format!("cannot lock `{}`: {error}", path.display());
    let file = File::options().create(true).append(true).open(path).map_err(cannot)?;
    file.lock().map_err(cannot)?;
    work()
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    write_atomic(path, text.as_bytes()).map_err(|error| error.to_string())
}
