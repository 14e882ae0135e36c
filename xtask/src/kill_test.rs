//! `cargo xtask kill-test`: kills a job at random moments and shows that it ends in the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::command::{cargo, root, run as run_command, shown};

const USAGE: &str = "usage: cargo xtask kill-test [--kills N] compress|train OPTIONS...
  the options of `lissom compress` or `lissom train`, but --out; N is 20 unless given";

/// Entry of the task.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let (n_kills, job) = match arguments {
        [option, n, job @ ..] if option == "--kills" => (n.parse().map_err(|_| USAGE.to_owned())?, job),
        job => (20, job),
    };
    let is_verb = job.first().is_some_and(|verb| ["compress", "train"].contains(&verb.as_str()));
    if !is_verb || job.len() == 1 || job.iter().any(|word| word.starts_with("--out")) {
        return Err(USAGE.to_owned());
    }
    run_command(&mut cargo(&["build", "--release", "--package", "lissom-cli"]))?;
    let folder = tempfile::tempdir().map_err(|error| format!("cannot make a folder: {error}"))?;
    let test = KillTest { job, n_kills, folder: folder.path() };

    let started = Instant::now();
    run_command(test.command("whole").stderr(Stdio::inherit()))?;
    let whole = started.elapsed();
    let expected = test.results("whole")?;
    let sizes: Vec<String> = expected.iter().map(|(name, bytes)| format!("{name} has {} bytes", bytes.len())).collect();
    println!("undisturbed: {:.1} s, {}", whole.as_secs_f64(), sizes.join(", "));

    let mut killed = test.kill_often(whole, &expected)?;
    let started = Instant::now();
    let last = killed.folder_name();
    run_command(&mut test.command(&last))?;
    if test.results(&last)? != expected {
        return Err(format!("after {n_kills} kills `{last}` ends in other bytes"));
    }
    killed.n_finished += 1;
    let orphans: Vec<PathBuf> = files(&folder.path().join(&last)).into_iter().filter(|p| is_temporary(p)).collect();
    if !orphans.is_empty() {
        return Err(format!("files were left behind: {orphans:?}"));
    }
    println!("the last job went on and ended after {:.1} s", started.elapsed().as_secs_f64());
    println!(
        "{n_kills} kills, {} of them with work to go on from; {} jobs ended, each in the same bytes; no torn file",
        killed.n_with_work, killed.n_finished
    );
    Ok(())
}

/// Files by their path in a run folder.
type Files = BTreeMap<String, Vec<u8>>;

struct KillTest<'a> {
    /// The verb and its options.
    job: &'a [String],
    n_kills: usize,
    folder: &'a Path,
}

#[derive(Default)]
struct Killed {
    n_with_work: usize,
    n_finished: usize,
}

impl Killed {
    /// A job that ended is followed by a new one.
    fn folder_name(&self) -> String {
        format!("killed-{}", self.n_finished)
    }
}

impl KillTest<'_> {
    fn command(&self, out: &str) -> Command {
        let mut command = Command::new(root().join("target/release/lissom"));
        command.args(self.job).arg("--out").arg(self.folder.join(out));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// What has the same bytes in every run: networks, and the metrics of trainings.
    fn results(&self, out: &str) -> Result<Files, String> {
        let run = self.folder.join(out);
        let paths = files(&run).into_iter().filter(|path| {
            let is_metrics = path.file_name().is_some_and(|name| name == "metrics.jsonl");
            is_metrics || path.extension().is_some_and(|extension| extension == "onnx")
        });
        let results: Files = paths
            .map(|path| {
                let name = path.strip_prefix(&run).unwrap_or(&path).display().to_string();
                fs::read(&path)
                    .map(|bytes| (name, bytes))
                    .map_err(|error| format!("cannot read `{}`: {error}", path.display()))
            })
            .collect::<Result<_, _>>()?;
        if results.contains_key("model.onnx") { Ok(results) } else { Err(format!("`{out}` has no model.onnx")) }
    }

    fn start(&self, out: &str) -> Result<Child, String> {
        let mut command = self.command(out);
        command.spawn().map_err(|error| format!("cannot run `{}`: {error}", shown(&command)))
    }

    /// Kills until so many jobs were killed while they ran.
    fn kill_often(&self, whole: Duration, expected: &Files) -> Result<Killed, String> {
        let mut random = u64::from(std::process::id());
        println!("seed {random}");
        let mut killed = Killed::default();
        let mut n_killed = 0;
        while n_killed < self.n_kills {
            let out = killed.folder_name();
            let mut child = self.start(&out)?;
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let moment = whole.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64);
            sleep(moment);
            let was_running = child.try_wait().is_ok_and(|status| status.is_none());
            child.kill().and_then(|()| child.wait()).map_err(|error| format!("cannot kill: {error}"))?;
            let run = self.folder.join(&out);
            if run.join("model.onnx").exists() && self.results(&out)? != *expected {
                return Err(format!("`{out}` holds torn or different results"));
            }
            if was_running {
                n_killed += 1;
                let n_stored = files(&run).iter().filter(|path| is_stored_work(path)).count();
                killed.n_with_work += usize::from(n_stored > 0);
                println!("kill {n_killed:2} after {:6.2} s: {n_stored} results stored", moment.as_secs_f64());
            }
            if run.join("manifest.json").exists() {
                println!("        `{out}` had ended");
                killed.n_finished += 1;
            }
        }
        Ok(killed)
    }
}

/// All files in a folder and in those below; none if it is not there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn is_temporary(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lissom-tmp")
}

/// A finished unit of work, or the state of a training.
fn is_stored_work(path: &Path) -> bool {
    let is_unit = path.parent().is_some_and(|folder| folder.ends_with("units")) && !is_temporary(path);
    is_unit || path.file_name().is_some_and(|name| name == "checkpoint.safetensors")
}
