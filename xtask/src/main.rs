//! Project tasks: `cargo xtask <task>`.

mod check;
mod command;
mod conformance;
mod data;
mod instructions;
mod kill_test;
mod peers;
mod test;
mod timing;
mod train_bench;

use std::process::ExitCode;

/// A task: name, what it does, and how.
type Task = (&'static str, &'static str, fn(&[String]) -> Result<(), String>);

/// All tasks, in the order of the help.
const TASKS: &[Task] = &[
    ("test", "run all tests: the workspace's, the browser's, the ONNX operator cases", test::run),
    ("check", "format, clippy and documentation with warnings denied, licences and advisories", check::run),
    ("conformance", "run the ONNX operator cases against the manifest [--filter TEXT] [--update]", conformance::run),
    ("data", "get real data and networks: cifar10 OUT, or pypi-nets OUT", data::run),
    ("kill-test", "kill a job at random moments and compare its bytes: [--kills N] compress|train ...", kill_test::run),
    ("peers", "time lissom beside ONNX Runtime and OpenVINO: [--networks A,B] [--forms A,B] [...]", peers::run),
    ("train-bench", "time training steps of lissom beside PyTorch: [--rows A,B] [--json] [...]", train_bench::run),
    ("instructions", "count instructions under Valgrind, against the committed counts [--update]", instructions::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let task = arguments.first().and_then(|name| TASKS.iter().find(|task| task.0 == name));
    let Some((_, _, run)) = task else {
        eprintln!("usage: cargo xtask <task>\n");
        for (name, what, _) in TASKS {
            eprintln!("  {name:14} {what}");
        }
        return ExitCode::from(2);
    };
    match run(&arguments[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
