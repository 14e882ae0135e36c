//! One network in all engines, in turn.

use std::path::Path;
use std::process::Command;

use super::environment::Environment;
use super::goals::goal;
use super::options::Options;
use crate::timing::{Measured, Quartiles, Worker, in_turn};

const PEERS: [&str; 2] = ["onnxruntime", "openvino"];

/// What one row of the table measures.
pub(super) struct Case {
    pub(super) network: &'static str,
    pub(super) form: &'static str,
    pub(super) dtype: &'static str,
    pub(super) batch: usize,
}

impl Case {
    fn onnx(&self, form: &str) -> String {
        let suffix = if self.dtype == "int8" { "-int8" } else { "" };
        format!("{}-{form}{suffix}.onnx", self.network)
    }

    /// What lissom runs, and ONNX Runtime where answers are compared.
    pub(super) fn own(&self) -> String {
        self.onnx(self.form)
    }

    /// The file a peer is timed on.
    fn of_peer(&self, peer: &str) -> String {
        if peer == "openvino" && self.dtype == "int8" {
            format!("{}-dense-nncf.xml", self.network)
        } else {
            self.onnx("dense")
        }
    }

    /// All of them.
    pub(super) fn files(&self) -> Vec<String> {
        std::iter::once(self.own()).chain(PEERS.map(|peer| self.of_peer(peer))).collect()
    }
}

/// One row.
pub(super) struct Row {
    pub(super) case: Case,
    pub(super) lissom: Measured,
    /// Load time when a process of lissom has loaded the same file before, and may have left what it learned.
    pub(super) load_again_ms: f64,
    pub(super) peers: Vec<Measured>,
    /// Largest difference to ONNX Runtime's answer on the same file, as a share of its largest value.
    pub(super) difference: f64,
    pub(super) goal: Option<f64>,
}

impl Row {
    /// The peer that is fastest here.
    pub(super) fn best_peer(&self) -> Option<&Measured> {
        self.peers.iter().min_by(|a, b| a.ms.total_cmp(&b.ms))
    }

    /// How many times as fast as a peer lissom is, round by round.
    pub(super) fn ratio(&self, peer: &Measured) -> Quartiles {
        self.lissom.times_as_fast_as(peer)
    }

    /// The row in a line of the terminal.
    pub(super) fn line(&self) -> String {
        let Case { network, form, dtype, batch } = &self.case;
        let mut line = format!("{network:12} {form:7} {dtype:5} batch {batch:<3} lissom {:9.3} ms", self.lissom.ms);
        for peer in &self.peers {
            line += &format!("  {} {:9.3}", peer.engine, peer.ms);
        }
        if let Some(peer) = self.best_peer() {
            let Quartiles { low, median, high } = self.ratio(peer);
            line += &format!("  {median:.2}x [{low:.2}, {high:.2}]");
        }
        if let Some(goal) = self.goal {
            line += &format!(" of {goal}x");
        }
        line + &format!("  differs by {:.1e}", self.difference)
    }
}

/// Measures one case.
pub(super) fn measure(case: &Case, environment: &Environment, lissom: &Path, options: &Options) -> Result<Row, String> {
    let scratch = tempfile::tempdir().map_err(|error| format!("cannot make a folder: {error}"))?;
    let ours = || {
        let mut command = Command::new(lissom);
        command.arg(environment.file(&case.own())).args([&options.threads.to_string(), "0", "serve"]);
        // A cache of its own, so that the first load is one that knows nothing.
        command.arg(case.batch.to_string()).env("XDG_CACHE_HOME", scratch.path());
        Worker::start(&mut command)
    };
    let peer = |name: &str, file: &str| {
        let mut command = environment.script("worker.py");
        command.arg(name).arg(environment.file(file));
        Worker::start(command.args([options.threads.to_string(), case.batch.to_string()]))
    };
    let mut workers = vec![ours()?];
    let load_again_ms = ours()?.load_ms;
    for name in PEERS {
        workers.push(peer(name, &case.of_peer(name))?);
    }
    let answer = scratch.path().join("answer");
    let own = workers[0].answer(&answer)?;
    let reference = if case.form == "dense" {
        workers[1].answer(&answer)?
    } else {
        peer(PEERS[0], &case.own())?.answer(&answer)?
    };
    let mut measured = in_turn(workers, options.rounds, options.seconds)?.into_iter();
    let lissom = measured.next().ok_or("nothing was measured")?;
    let case = Case { ..*case };
    let goal = goal(&case);
    let difference = difference(&own, &reference)?;
    Ok(Row { case, lissom, load_again_ms, peers: measured.collect(), difference, goal })
}

fn difference(own: &[f32], reference: &[f32]) -> Result<f64, String> {
    if own.len() != reference.len() {
        return Err(format!("lissom answers {} values, ONNX Runtime {}", own.len(), reference.len()));
    }
    let largest = reference.iter().map(|value| f64::from(value.abs())).fold(0.0, f64::max);
    let away = own.iter().zip(reference).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    // A NaN must not get lost in a maximum.
    let worst = away.fold(0.0, |worst: f64, x| if worst.is_nan() || x <= worst { worst } else { x });
    Ok(if worst == 0.0 { 0.0 } else { worst / largest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shares_of_the_largest_value_and_keep_nan() {
        assert_eq!(difference(&[1.0, 2.0], &[1.0, 4.0]), Ok(0.5));
        assert!(difference(&[f32::NAN, 4.0], &[1.0, 4.0]).unwrap().is_nan());
        assert!(difference(&[1.0], &[]).is_err());
    }

    #[test]
    fn peers_run_the_dense_file() {
        let case = Case { network: "mlp", form: "sp90", dtype: "int8", batch: 1 };
        assert_eq!(case.files(), ["mlp-sp90-int8.onnx", "mlp-dense-int8.onnx", "mlp-dense-nncf.xml"]);
    }
}
