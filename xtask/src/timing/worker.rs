//! An engine in a process of its own, stopped while others run.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::command::shown;

/// A loaded network in one engine.
pub(crate) struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    command: String,
    /// Name and version of the engine.
    pub(crate) engine: String,
    /// From the file to the first answer.
    pub(crate) load_ms: f64,
    /// What loading and the first answer added to resident memory at most; `None` where the system does not tell.
    pub(crate) peak_bytes: Option<u64>,
}

impl Worker {
    /// Starts a worker, waits until it has loaded, and stops it.
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        let shown = shown(command);
        let cannot = |error: std::io::Error| format!("cannot run `{shown}`: {error}");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(cannot)?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("`{shown}` has no input or output"));
        };
        let stdout = BufReader::new(stdout);
        let mut worker =
            Self { child, stdin, stdout, command: shown, engine: String::new(), load_ms: 0.0, peak_bytes: None };
        let loaded = worker.line()?;
        let no_engine = || format!("`{}` does not say what it is", worker.command);
        worker.engine = loaded["engine"].as_str().ok_or_else(no_engine)?.to_owned();
        worker.load_ms = loaded["load_ms"].as_f64().unwrap_or(f64::NAN);
        worker.peak_bytes = loaded["peak_bytes"].as_u64();
        worker.signal("STOP")?;
        Ok(worker)
    }

    /// Lets it run for a while; the milliseconds of each run.
    pub(crate) fn run_ms(&mut self, seconds: f64) -> Result<Vec<f64>, String> {
        let times = self.ask(&format!("run {seconds}"))?;
        let times: Vec<f64> = times.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        if times.is_empty() { Err(format!("`{}` gave no times", self.command)) } else { Ok(times) }
            .map(|times| times.iter().map(|seconds| seconds * 1e3).collect())
    }

    /// Its first output, by way of a file.
    pub(crate) fn answer(&mut self, file: &Path) -> Result<Vec<f32>, String> {
        self.ask(&format!("answer {}", file.display()))?;
        let bytes = std::fs::read(file).map_err(|error| format!("cannot read `{}`: {error}", file.display()))?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    fn ask(&mut self, line: &str) -> Result<Value, String> {
        self.signal("CONT")?;
        writeln!(self.stdin, "{line}").map_err(|error| format!("`{}` is gone: {error}", self.command))?;
        let answer = self.line()?;
        self.signal("STOP")?;
        Ok(answer)
    }

    fn line(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line);
        if !read.is_ok_and(|n| n > 0) {
            return Err(format!("`{}` ended early", self.command));
        }
        serde_json::from_str(&line).map_err(|error| format!("`{}` said `{}`: {error}", self.command, line.trim()))
    }

    /// By the program `kill`, for the standard library only kills.
    fn signal(&self, name: &str) -> Result<(), String> {
        let mut kill = Command::new("kill");
        kill.args([format!("-{name}"), self.child.id().to_string()]);
        crate::command::run(&mut kill)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Nothing to be done about a worker that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
