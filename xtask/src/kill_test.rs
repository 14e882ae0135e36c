//! `cargo xtask kill-test`: kills a job twenty times at random moments and shows that it ends in the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::command::{cargo, root, run as run_command, shown};

const N_KILLS: usize = 20;
const USAGE: &str = "usage: cargo xtask kill-test MODEL --recipe NAME|FILE [options of `lissom compress` but --out]";

/// Entry of the task.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    if arguments.is_empty() || arguments.iter().any(|word| word.starts_with("--out")) {
        return Err(USAGE.to_owned());
    }
    run_command(&mut cargo(&["build", "--release", "--package", "lissom-cli"]))?;
    let folder = tempfile::tempdir().map_err(|error| format!("cannot make a folder: {error}"))?;
    let test = KillTest { arguments, folder: folder.path() };

    let started = Instant::now();
    run_command(test.command("whole").stderr(Stdio::inherit()))?;
    let whole = started.elapsed();
    let expected = test.model("whole")?;
    println!("undisturbed: {:.1} s, model.onnx has {} bytes", whole.as_secs_f64(), expected.len());

    let mut killed = test.kill_often(whole, &expected)?;
    let started = Instant::now();
    let last = killed.folder_name();
    run_command(&mut test.command(&last))?;
    if test.model(&last)? != expected {
        return Err(format!("after {N_KILLS} kills `{last}` ends in other bytes"));
    }
    killed.n_finished += 1;
    let orphans = orphans(&folder.path().join(&last));
    if !orphans.is_empty() {
        return Err(format!("files were left behind: {orphans:?}"));
    }
    println!("the last job went on and ended after {:.1} s", started.elapsed().as_secs_f64());
    println!(
        "{N_KILLS} kills, {} of them with work to go on from; {} jobs ended, each in the same bytes; no torn file",
        killed.n_with_work, killed.n_finished
    );
    Ok(())
}

struct KillTest<'a> {
    arguments: &'a [String],
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
        command.arg("compress").args(self.arguments).arg("--out").arg(self.folder.join(out));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn model(&self, out: &str) -> Result<Vec<u8>, String> {
        read(&self.folder.join(out).join("model.onnx"))
    }

    fn start(&self, out: &str) -> Result<Child, String> {
        let mut command = self.command(out);
        command.spawn().map_err(|error| format!("cannot run `{}`: {error}", shown(&command)))
    }

    /// Kills until [`N_KILLS`] jobs were killed while they ran.
    fn kill_often(&self, whole: Duration, expected: &[u8]) -> Result<Killed, String> {
        let mut random = u64::from(std::process::id());
        println!("seed {random}");
        let mut killed = Killed::default();
        let mut n_killed = 0;
        while n_killed < N_KILLS {
            let out = killed.folder_name();
            let mut child = self.start(&out)?;
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let moment = whole.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64);
            sleep(moment);
            let was_running = child.try_wait().is_ok_and(|status| status.is_none());
            child.kill().and_then(|()| child.wait()).map_err(|error| format!("cannot kill: {error}"))?;
            let run = self.folder.join(&out);
            let n_units = files(&run.join("units")).filter(|path| !is_temporary(path)).count();
            if run.join("model.onnx").exists() && self.model(&out)? != expected {
                return Err(format!("`{out}` holds a torn or different model.onnx"));
            }
            if was_running {
                n_killed += 1;
                killed.n_with_work += usize::from(n_units > 0);
                println!("kill {n_killed:2} after {:6.2} s: {n_units} results stored", moment.as_secs_f64());
            }
            if run.join("manifest.json").exists() {
                println!("        `{out}` had ended");
                killed.n_finished += 1;
            }
        }
        Ok(killed)
    }
}

/// Temporary files in a run folder and in its `units`, which a finished run has no more.
fn orphans(run: &Path) -> Vec<PathBuf> {
    files(run).chain(files(&run.join("units"))).filter(|path| is_temporary(path)).collect()
}

/// What lies in a folder; nothing if it is not there.
fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn is_temporary(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lissom-tmp")
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))
}
