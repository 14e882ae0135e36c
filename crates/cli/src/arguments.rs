//! The command line's words.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use lissom_recipe::{Latency, TargetSize};

use crate::numbers;

/// Makes trained neural networks small and fast on ordinary CPUs, and shows exactly what that cost.
#[derive(Debug, Parser)]
#[command(name = "lissom", version, arg_required_else_help = true, max_term_width = 110, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
    /// What every verb understands.
    #[command(flatten)]
    pub(crate) common: Common,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 2 usage; 3 a budget was not met; 65 bad input; 70 a bug in lissom; 74 I/O or \
                          no space; 75 try again; 130 or 143 interrupted (`lissom resume` goes on)";

/// What every verb understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every verb")]
pub(crate) struct Common {
    /// Print one JSON document on stdout; messages go to stderr.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Threads to work with; 0 is one per core.
    #[arg(long, global = true, default_value = "0", value_name = "N", value_parser = numbers::threads)]
    pub(crate) threads: usize,
    /// Largest tensor a model may ask for, in GiB (16 unless given).
    #[arg(long, global = true, value_name = "GIB", value_parser = numbers::gib)]
    pub(crate) max_memory: Option<f64>,
    /// A further folder that external data of a model may lie in.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) allow_external_root: Vec<PathBuf>,
    /// The model is from a stranger: what is only suspicious is an error.
    #[arg(long, global = true)]
    pub(crate) untrusted: bool,
}

impl Common {
    /// What a run was started with, resumed with `other`: that one says how the answer is shown, and may add the rest.
    pub(crate) fn resumed_with(&mut self, other: &Common) {
        self.json = other.json;
        self.quiet = other.quiet;
        self.untrusted |= other.untrusted;
        self.threads = if other.threads > 0 { other.threads } else { self.threads };
        self.max_memory = other.max_memory.or(self.max_memory);
        self.allow_external_root.extend_from_slice(&other.allow_external_root);
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Compress the network lissom carries, and show what that cost. Needs no network and no data.
    Demo(Demo),
    /// Compress a model by a recipe: a smaller ONNX file, proven, and a report.
    Compress(Box<Compress>),
    /// Train a network by a recipe, from a model or from nothing: an ONNX file, proven, and a report.
    Train(Box<Train>),
    /// Judge a model on data: accuracy, per class, calibration.
    Eval(Eval),
    /// Time models in turn.
    Bench(Bench),
    /// Show how two models differ, where they begin to, and on which inputs.
    Compare(Compare),
    /// Show what is in a file: graph, shapes, operators, parameters, multiply-accumulates, zeros, bits.
    Inspect(Inspect),
    /// Run a model on the arrays of an npz file.
    Run(RunModel),
    /// List the methods recipes are made of, or show one.
    Methods(Methods),
    /// List the operators that models may be made of.
    Ops,
    /// Check this machine and this installation.
    Doctor,
    /// Go on with an interrupted run.
    Resume(Resume),
    /// Print a completion script for a shell.
    Completions(Completions),
}

impl Verb {
    /// Whether the verb keeps its work in a run folder, so that stopping it between two units loses nothing.
    pub(crate) fn keeps_work(&self) -> bool {
        matches!(self, Self::Demo(_) | Self::Compress(_) | Self::Train(_))
    }
}

/// `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Folder for the network, the data, the result and the report.
    #[arg(long, default_value = "lissom-demo", value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Preset or recipe file.
    #[arg(long, default_value = "prune50-int8", value_name = "NAME|FILE")]
    pub(crate) recipe: String,
}

/// `compress`.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Compress {
    /// The ONNX file.
    pub(crate) model: PathBuf,
    /// Preset (`int8`, `prune50`, …) or recipe file.
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) recipe: String,
    /// Calibration data: training images or texts, never what is judged on.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) job: JobOptions,
    /// Print the plan with predicted size and multiply-accumulates, and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Measure what each layer costs when it alone is compressed.
    #[arg(long)]
    pub(crate) sensitivity: bool,
    /// Contract: size of the file, as `25%` of the original or `3 MB`.
    #[arg(long, value_name = "SIZE")]
    pub(crate) target_size: Option<TargetSize>,
    /// Contract: median time of one inference, as `2ms`.
    #[arg(long, value_name = "TIME")]
    pub(crate) target_latency: Option<Latency>,
    /// Contract: mean bits a parameter.
    #[arg(long, value_name = "BITS", value_parser = numbers::bits)]
    pub(crate) target_bits: Option<f64>,
    /// Contract: points the main metric may drop. Layers fall back to float until it holds.
    #[arg(long, value_name = "POINTS", value_parser = numbers::points)]
    pub(crate) max_drop: Option<f64>,
    /// Contract: points the recall of any class may drop.
    #[arg(long, value_name = "POINTS", value_parser = numbers::points)]
    pub(crate) max_class_drop: Option<f64>,
    /// Seconds to time each of the two models; 0 does not.
    #[arg(long, default_value = "1", value_name = "S", value_parser = numbers::seconds)]
    pub(crate) bench_seconds: f64,
}

/// `train`.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Train {
    /// Recipe file, with `[train]` and, to train from nothing, `[model]`.
    #[arg(value_name = "RECIPE")]
    pub(crate) recipe: String,
    /// The ONNX file to begin with, if the recipe names no architecture.
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// Training data, with labels.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) job: JobOptions,
    /// Seconds to time the network; 0 does not.
    #[arg(long, default_value = "0", value_name = "S", value_parser = numbers::seconds)]
    pub(crate) bench_seconds: f64,
}

/// What verbs that keep their work in a run folder are given beside model, recipe and data to look at.
#[derive(Debug, Args)]
pub(crate) struct JobOptions {
    /// `data.toml` of the data, if it does not lie beside it.
    #[arg(long, value_name = "FILE")]
    pub(crate) data_settings: Option<PathBuf>,
    /// Data with labels or scores to judge on; nothing is learnt from it.
    #[arg(long, value_name = "PATH")]
    pub(crate) eval_data: Option<PathBuf>,
    /// `data.toml` of the data to judge on, if it does not lie beside it.
    #[arg(long, value_name = "FILE")]
    pub(crate) eval_data_settings: Option<PathBuf>,
    /// Judge on this many samples only.
    #[arg(long, value_name = "N", value_parser = numbers::count)]
    pub(crate) eval_samples: Option<usize>,
    /// Run folder; without it, the next free `runs/NAME-NN`.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Throw away what the folder holds of another run.
    #[arg(long)]
    pub(crate) force: bool,
    /// Seed of anything random: samples, first weights, order, augmentation, noise.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
}

/// `eval`.
#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// The ONNX file.
    pub(crate) model: PathBuf,
    /// Data with labels or scores.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// `data.toml`, if it does not lie beside the data.
    #[arg(long, value_name = "FILE")]
    pub(crate) data_settings: Option<PathBuf>,
    /// Only this many samples, spread over the classes.
    #[arg(long, value_name = "N", value_parser = numbers::count)]
    pub(crate) samples: Option<usize>,
    /// Let products in f32 round their operands to bf16, on processors that multiply those faster.
    #[arg(long)]
    pub(crate) bf16: bool,
    /// Seed of subsets and resampling.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
}

/// `bench`.
#[derive(Debug, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Bench {
    /// ONNX files.
    #[arg(required = true, value_name = "MODEL")]
    pub(crate) models: Vec<PathBuf>,
    /// Batch size.
    #[arg(long, default_value = "1", value_name = "N", value_parser = numbers::count)]
    pub(crate) batch: usize,
    /// Length of symbolic axes that are not the first, such as the number of tokens.
    #[arg(long, default_value = "128", value_name = "N", value_parser = numbers::count)]
    pub(crate) length: usize,
    /// Seconds to spend on each model.
    #[arg(long, default_value = "3", value_name = "S", value_parser = numbers::seconds)]
    pub(crate) seconds: f64,
    /// Also time every step, with the kernel that runs it, why, and how close it comes to this machine's bound.
    #[arg(long)]
    pub(crate) layers: bool,
    /// Most seconds a model may spend on timing kernels to choose the fastest; 0 trusts the cost model.
    #[arg(long, default_value = "1", value_name = "S", value_parser = numbers::seconds)]
    pub(crate) choose_seconds: f64,
    /// Let products in f32 round their operands to bf16, on processors that multiply those faster.
    #[arg(long)]
    pub(crate) bf16: bool,
    /// Seed of the inputs.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
}

/// `compare`.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The model everything is held against.
    pub(crate) original: PathBuf,
    /// The other.
    pub(crate) other: PathBuf,
    /// Data; random inputs without it.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// `data.toml`, if it does not lie beside the data.
    #[arg(long, value_name = "FILE")]
    pub(crate) data_settings: Option<PathBuf>,
    /// Only this many samples.
    #[arg(long, value_name = "N", value_parser = numbers::count)]
    pub(crate) samples: Option<usize>,
    /// Relative error of a layer's output that counts as diverging.
    #[arg(long, default_value = "0.05", value_name = "X", value_parser = numbers::tolerance)]
    pub(crate) tolerance: f64,
    /// Seed of subsets and random inputs.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
}

/// `inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The ONNX file.
    pub(crate) model: PathBuf,
    /// Print the whole graph.
    #[arg(long)]
    pub(crate) graph: bool,
    /// Length of symbolic axes that are not the first, for counting multiply-accumulates.
    #[arg(long, default_value = "128", value_name = "N", value_parser = numbers::count)]
    pub(crate) length: usize,
}

/// `run`.
#[derive(Debug, Args)]
pub(crate) struct RunModel {
    /// The ONNX file.
    pub(crate) model: PathBuf,
    /// Arrays named as the model's inputs.
    #[arg(long, value_name = "NPZ")]
    pub(crate) input: PathBuf,
    /// Where the outputs go.
    #[arg(long, value_name = "NPZ")]
    pub(crate) output: PathBuf,
}

/// `methods`.
#[derive(Debug, Args)]
pub(crate) struct Methods {
    /// Show this one.
    pub(crate) name: Option<String>,
}

/// `resume`.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The run folder.
    pub(crate) run: PathBuf,
}

/// `completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}
