//! `cargo xtask train-bench`: how fast lissom trains beside PyTorch, and under masks beside itself, each in a process of its own, in turn.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use lissom_recipe::run::write_atomic;
use serde_json::{Map, Value, json};

use crate::command::{cargo, root, run as run_command};
use crate::timing::{
    Measured, Quartiles, Worker, cpu, date, in_turn, lissom_version, memory, milliseconds, set_up_python,
};

/// What is trained: a name, the arguments of `step_time` before the threads, what it is compared with, and whether both compute products
/// in bf16.
struct Row {
    name: &'static str,
    lissom: [&'static str; 3],
    beside: Beside,
    is_bf16: bool,
}

/// The other side of a row.
#[derive(Clone, Copy)]
enum Beside {
    /// PyTorch: the arguments of `train_worker.py` before the threads.
    PyTorch([&'static str; 2]),
    /// lissom itself: the row is with this share of each weight masked, the other side without masks.
    Dense(&'static str),
}

const RESNET20: [&str; 3] = ["resnet20", "", "128"];
const WIDE: [&str; 3] = ["resnet20", "width = 64; blocks = 1", "128"];
const MLP: [&str; 3] = ["mlp", "shape = [784]; hidden = [1024, 1024]; classes = 10", "256"];
const TRANSFORMER: [&str; 3] =
    ["vision_transformer", "size = 64; height = 32; patch = 4; width = 256; depth = 4; heads = 8; classes = 10", "16"];

/// All rows, one line each.
const ROWS: &[Row] = &[
    Row { name: "resnet20_f32", lissom: RESNET20, beside: Beside::PyTorch(["resnet20", "128"]), is_bf16: false },
    Row { name: "resnet20_bf16", lissom: RESNET20, beside: Beside::PyTorch(["resnet20", "128"]), is_bf16: true },
    Row { name: "mlp_f32", lissom: MLP, beside: Beside::PyTorch(["mlp", "256"]), is_bf16: false },
    Row { name: "mlp_bf16", lissom: MLP, beside: Beside::PyTorch(["mlp", "256"]), is_bf16: true },
    Row {
        name: "transformer_f32",
        lissom: TRANSFORMER,
        beside: Beside::PyTorch(["transformer", "16"]),
        is_bf16: false,
    },
    Row {
        name: "transformer_bf16",
        lissom: TRANSFORMER,
        beside: Beside::PyTorch(["transformer", "16"]),
        is_bf16: true,
    },
    Row { name: "masked_90", lissom: WIDE, beside: Beside::Dense("0.9"), is_bf16: false },
];

const USAGE: &str = "usage: cargo xtask train-bench [options]
  --rows A,B     of resnet20_f32, resnet20_bf16, mlp_f32, mlp_bf16, transformer_f32, transformer_bf16, masked_90; all by default
  --rounds N     turns of each engine; 5 by default
  --seconds S    length of a turn; 2 by default
  --threads N    of both engines; 2 by default
  --python FILE  a Python with the packages of benches/peers/requirements-train.txt; else one is set up in target/peers
  --lissom FILE  the `step_time` example of another version of lissom; else this one is built
  --out FILE     writes the table there, as benches/TRAINING.md
  --json         ends with one line of JSON";

/// What to measure.
struct Options {
    rows: Vec<&'static Row>,
    rounds: usize,
    seconds: f64,
    threads: usize,
    python: Option<PathBuf>,
    lissom: Option<PathBuf>,
    out: Option<PathBuf>,
    is_json: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let rows = ROWS.iter().collect();
        let (python, lissom, out) = (None, None, None);
        let mut options = Self { rows, rounds: 5, seconds: 2.0, threads: 2, python, lissom, out, is_json: false };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            if word == "--json" {
                options.is_json = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("`{word}` needs a value\n{USAGE}"))?;
            options.set(word, value).map_err(|error| format!("{error}\n{USAGE}"))?;
        }
        if options.rounds == 0 || options.threads == 0 {
            return Err(format!("--rounds and --threads are at least 1\n{USAGE}"));
        }
        Ok(options)
    }

    fn set(&mut self, word: &str, value: &str) -> Result<(), String> {
        let count = || value.parse().map_err(|_| format!("{word}: `{value}` is no count"));
        let path = || std::path::absolute(value).map_err(|error| format!("`{value}`: {error}"));
        match word {
            "--rows" => self.rows = value.split(',').map(row).collect::<Result<_, _>>()?,
            "--rounds" => self.rounds = count()?,
            "--threads" => self.threads = count()?,
            "--seconds" => self.seconds = value.parse().map_err(|_| format!("{word}: `{value}` is no time"))?,
            "--python" => self.python = Some(path()?),
            "--lissom" => self.lissom = Some(path()?),
            "--out" => self.out = Some(path()?),
            _ => return Err(format!("`{word} {value}` is no option")),
        }
        Ok(())
    }
}

fn row(name: &str) -> Result<&'static Row, String> {
    ROWS.iter().find(|row| row.name == name).ok_or_else(|| format!("no row is called `{name}`"))
}

/// A row that was measured.
struct Timed {
    name: &'static str,
    lissom: Measured,
    other: Measured,
}

/// Entry of the task.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let options = Options::parse(arguments)?;
    let needs_python = options.rows.iter().any(|row| matches!(row.beside, Beside::PyTorch(_)));
    let python = match &options.python {
        Some(python) => python.clone(),
        None if !needs_python => PathBuf::new(),
        None => set_up_python(&root().join("target/peers/venv-train"), "requirements-train.txt")?,
    };
    let lissom = match &options.lissom {
        Some(lissom) => lissom.clone(),
        None => {
            run_command(&mut cargo(&["build", "--release", "--package", "lissom-train", "--example", "step_time"]))?;
            root().join("target/release/examples/step_time")
        }
    };
    let mut timed = Vec::new();
    for row in &options.rows {
        timed.push(measure(row, &options, &python, &lissom)?);
        if let Some(out) = &options.out {
            // A long run that is stopped leaves what it has.
            write_atomic(out, markdown(&options, &timed).as_bytes()).map_err(|error| error.to_string())?;
        }
    }
    print!("{}", table(&timed));
    if options.is_json {
        println!("{}", document(&timed));
    }
    Ok(())
}

fn measure(row: &Row, options: &Options, python: &Path, lissom: &Path) -> Result<Timed, String> {
    let threads = options.threads.to_string();
    let mut ours = Command::new(lissom);
    // Two steps before it says what memory it took: the first is the first with momentum.
    ours.args(row.lissom).args([&threads, "2", "serve"]).args(row.is_bf16.then_some("bf16"));
    let mut theirs = Command::new(if matches!(row.beside, Beside::Dense(_)) { lissom } else { python });
    match row.beside {
        Beside::PyTorch(arguments) => {
            theirs.arg(root().join("benches/peers/train_worker.py")).args(arguments).arg(&threads);
            theirs.args(row.is_bf16.then_some("bf16"));
        }
        Beside::Dense(share) => {
            theirs.args(row.lissom).args([&threads, "2", "serve"]);
            ours.args(["masked", share]);
        }
    }
    let workers = vec![Worker::start(&mut ours)?, Worker::start(&mut theirs)?];
    let mut measured = in_turn(workers, options.rounds, options.seconds)?.into_iter();
    let (Some(lissom), Some(other)) = (measured.next(), measured.next()) else {
        return Err("nothing was measured".to_owned());
    };
    Ok(Timed { name: row.name, lissom, other })
}

fn markdown(options: &Options, timed: &[Timed]) -> String {
    let Options { threads, rounds, seconds, .. } = options;
    let version = if options.lissom.is_some() { "from --lissom".to_owned() } else { lissom_version() };
    let engine = timed.first().map_or("PyTorch", |timed| &timed.other.engine);
    format!(
        "# Training beside PyTorch\n\n\
         {}, {}, {threads} threads. lissom {version}, {engine}. Made by `cargo xtask train-bench --rounds {rounds} --seconds \
         {seconds} --threads {threads}`.\n\n\
         A step is forward, gradient and update: cross entropy, SGD with momentum 0.9 and weight decay 5e-4. Both train the same \
         architecture ([benches/peers/train_worker.py](peers/train_worker.py)), PyTorch images channels last, products of the bf16 \
         rows in bf16 (`precision = \"bf16\"`, `torch.autocast`), and take turns for {rounds} rounds; times are \
         medians in ms, the ratio is PyTorch's time over ours in the same round. Memory is the peak above what the empty process \
         takes. `masked_90` is ours alone: ResNet-20 four times as wide with one block a stage, whose convolutions have 64, 128 and \
         256 channels, with 90 % of each weight masked, at random, beside the same without masks.\n\n{}",
        date(),
        cpu(),
        table(timed),
    )
}

fn table(timed: &[Timed]) -> String {
    let mut text =
        String::from("| row | lissom | beside it | ratio [quartiles] | lissom memory | memory beside it |\n");
    text += &("|---".repeat(6) + "|\n");
    for Timed { name, lissom, other } in timed {
        let Quartiles { low, median, high } = lissom.times_as_fast_as(other);
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {median:.2} [{low:.2}, {high:.2}] | {} | {} |",
            milliseconds(lissom.ms),
            milliseconds(other.ms),
            memory(lissom),
            memory(other),
        );
    }
    text
}

/// `{"row": {"ratio": …}, …}`.
fn document(timed: &[Timed]) -> Value {
    let row = |Timed { name, lissom, other }: &Timed| {
        let Quartiles { low, median, high } = lissom.times_as_fast_as(other);
        let value = json!({
            "ratio": median,
            "ratio_low": low,
            "ratio_high": high,
            "ours_ms": lissom.ms,
            "theirs_ms": other.ms,
            "ours_peak_bytes": lissom.peak_bytes,
            "theirs_peak_bytes": other.peak_bytes,
        });
        ((*name).to_owned(), value)
    };
    Value::Object(timed.iter().map(row).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn rows_are_chosen_by_name_and_json_needs_no_value() {
        let options = parse("--rows mlp_f32 --json --rounds 3").unwrap();
        let names: Vec<&str> = options.rows.iter().map(|row| row.name).collect();
        assert_eq!((names, options.is_json, options.rounds), (vec!["mlp_f32"], true, 3));
        for line in ["--rows vgg", "--rounds 0", "--rounds", "--speed 3"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_usage_names_every_row() {
        assert!(ROWS.iter().all(|row| USAGE.contains(row.name)));
    }

    #[test]
    fn the_document_has_the_median_of_the_ratios_of_the_rounds() {
        let measured = |rounds_ms: Vec<f64>| Measured {
            engine: "engine 1".to_owned(),
            ms: rounds_ms[1],
            rounds_ms,
            load_ms: 1.0,
            peak_bytes: Some(8),
        };
        let timed =
            Timed { name: "mlp_f32", lissom: measured(vec![1.0, 2.0, 4.0]), other: measured(vec![3.0, 4.0, 4.0]) };
        let document = document(&[timed]);
        assert_eq!(document["mlp_f32"]["ratio"], 2.0);
        assert_eq!(document["mlp_f32"]["ours_peak_bytes"], 8);
    }
}
