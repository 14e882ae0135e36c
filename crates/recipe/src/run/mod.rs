//! A run: a folder that holds everything about one job, and survives being killed at any moment.
//!
//! ```text
//! request.json    what was asked: command, hashes of the inputs, options, seed, version
//! lock            the process that owns the folder
//! events.jsonl    what happened when; the only file that differs from run to run
//! units/          results per layer, named by the hash of (input, settings, version)
//! training/       checkpoints and metrics of the steps that train
//! model.onnx ...  outputs
//! manifest.json   hashes of all outputs; written last, and its rename is the commit
//! ```
//!
//! Every file but the log appears by rename, so none is ever half-written.

mod atomic;
mod error;
mod events;
mod folder;
mod lock;
mod manifest;
mod request;
mod units;

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

pub use atomic::{AtomicFile, FileError, require_space, sweep_orphans, write_atomic};
pub use error::{Difference, RunError};
pub use events::{Event, read_events};
pub use folder::{next_run_dir, run_dir_for};
pub use lock::Owner;
pub use manifest::{Manifest, Outcome, Output};
pub use request::{Input, RunRequest};
pub use units::UnitKey;

use crate::Interrupt;
use events::EventLog;
use lock::Lock;

const REQUEST: &str = "request.json";
const LOCK: &str = "lock";
const EVENTS: &str = "events.jsonl";
const UNITS: &str = "units";
const MANIFEST: &str = "manifest.json";
const TRAINING: &str = "training";
const OWN_FILES: [&str; 6] = [REQUEST, LOCK, EVENTS, UNITS, TRAINING, MANIFEST];

/// What to do with a folder that already holds a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Go on with it, or answer from it; another request is an error.
    #[default]
    Resume,
    /// Remove its files (those of this run only) and start over. What `--force` asks for.
    StartOver,
}

/// How a run is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// What to do with a folder that already holds a run.
    pub existing: Existing,
    /// The flag that stops work between units.
    pub interrupt: Interrupt,
}

/// What was found in the folder.
#[derive(Debug, Clone, PartialEq)]
pub enum RunState {
    /// Nothing: the job starts from its beginning.
    Fresh,
    /// An unfinished run of the same request.
    Resumed {
        /// How many results per layer are stored.
        n_units: usize,
    },
    /// A finished run of the same request whose outputs have the recorded hashes.
    Finished(Manifest),
}

/// An open run folder, owned by this process until it is dropped.
#[derive(Debug)]
pub struct Run {
    dir: PathBuf,
    request: RunRequest,
    state: RunState,
    events: Mutex<EventLog>,
    interrupt: Interrupt,
    _lock: Lock,
}

impl Run {
    /// Opens the run in `dir`, creating the folder if needed; see [`Run::open`] for options.
    ///
    /// # Errors
    /// Those of [`Run::open`].
    pub fn open_or_create(dir: &Path, request: &RunRequest) -> Result<Run, RunError> {
        Run::open(dir, request, OpenOptions::default())
    }

    /// Opens the run in `dir`: takes the lock, sweeps what a killed process left, compares the request.
    ///
    /// # Errors
    /// - [`RunError::Locked`] while another process owns the folder;
    /// - [`RunError::Different`] if the folder holds a run of another request;
    /// - [`RunError::NotARun`] if it holds other files;
    /// - [`RunError::File`] if it cannot be read or written.
    pub fn open(dir: &Path, request: &RunRequest, options: OpenOptions) -> Result<Run, RunError> {
        let start_over = options.existing == Existing::StartOver;
        fs::create_dir_all(dir).map_err(|error| FileError::of("create", dir, error))?;
        if !start_over {
            folder::refuse_foreign(dir)?;
        }
        let lock = Lock::acquire(dir)?;
        sweep_orphans(dir)?;
        if start_over {
            folder::clear(dir)?;
        }
        match RunRequest::read(dir)? {
            Some(stored) => stored.expect_same(dir, request)?,
            None => request.write(dir)?,
        }
        let state = folder::state(dir, request)?;
        let events = Mutex::new(EventLog::open(&dir.join(EVENTS))?);
        let run = Run {
            dir: dir.to_path_buf(),
            request: request.clone(),
            state,
            events,
            interrupt: options.interrupt,
            _lock: lock,
        };
        run.event("opened", serde_json::json!({ "state": run.state_word() }))?;
        Ok(run)
    }

    fn state_word(&self) -> &'static str {
        match self.state {
            RunState::Fresh => "fresh",
            RunState::Resumed { .. } => "resumed",
            RunState::Finished(_) => "finished",
        }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder for checkpoints and metrics of trainings, which may be there or not.
    pub fn training_dir(&self) -> PathBuf {
        self.dir.join(TRAINING)
    }

    /// What was asked.
    pub fn request(&self) -> &RunRequest {
        &self.request
    }

    /// What was found in the folder when it was opened.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// The manifest, if the run was already finished when it was opened: answer from it.
    pub fn finished(&self) -> Option<&Manifest> {
        match &self.state {
            RunState::Finished(manifest) => Some(manifest),
            RunState::Fresh | RunState::Resumed { .. } => None,
        }
    }

    /// Where the output of this name is or will be.
    ///
    /// # Errors
    /// [`RunError::BadOutputName`] if the name leaves the folder or is one of the run's own files.
    pub fn path(&self, name: &str) -> Result<PathBuf, RunError> {
        let path = Path::new(name);
        let mut parts = path.components();
        let is_inside = !name.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)));
        // What a training leaves may be an output too.
        let is_trained = path.starts_with(TRAINING) && path.iter().count() > 1;
        let is_own = !is_trained && path.iter().next().is_some_and(|first| OWN_FILES.iter().any(|own| first == *own));
        if !is_inside || is_own {
            return Err(RunError::BadOutputName { name: name.to_string() });
        }
        Ok(self.dir.join(path))
    }

    /// Writes an output whole. Folders in its name are created.
    ///
    /// # Errors
    /// If the name is not allowed or the file cannot be written; then nothing of it is left.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunError> {
        let path = self.output_path(name)?;
        Ok(write_atomic(&path, bytes)?)
    }

    /// An output to be written piece by piece; it appears at [`AtomicFile::commit`].
    ///
    /// # Errors
    /// If the name is not allowed or the file cannot be created.
    pub fn create(&self, name: &str) -> Result<AtomicFile, RunError> {
        let path = self.output_path(name)?;
        Ok(AtomicFile::create(&path)?)
    }

    fn output_path(&self, name: &str) -> Result<PathBuf, RunError> {
        let path = self.path(name)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| FileError::of("create", parent, error))?;
        }
        Ok(path)
    }

    /// Adds a line to the log. `data` holds only what is the same in every run of the request;
    /// the time is added beside it.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub fn event(&self, event: &str, data: serde_json::Value) -> Result<(), RunError> {
        let mut log = self.events.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Ok(log.append(event, data)?)
    }

    /// Stops here if a signal has asked for it.
    ///
    /// # Errors
    /// [`RunError::Interrupted`].
    pub fn check_interrupt(&self) -> Result<(), RunError> {
        Ok(self.interrupt.check()?)
    }

    /// Commits the run: hashes `outputs` as they are on disk and writes the manifest.
    ///
    /// # Errors
    /// If an output is missing or cannot be read, or the manifest cannot be written.
    pub fn finish(&mut self, outcome: Outcome, outputs: &[&str]) -> Result<Manifest, RunError> {
        let mut recorded = Vec::with_capacity(outputs.len());
        for name in outputs {
            recorded.push(Output::of_file(name, &self.path(name)?)?);
        }
        recorded.sort_by(|a, b| a.name.cmp(&b.name));
        recorded.dedup_by(|a, b| a.name == b.name);
        self.event("finished", serde_json::json!({ "outcome": outcome }))?;
        let manifest = Manifest::new(self.request.digest(), outcome, recorded);
        manifest.write(&self.dir)?;
        self.state = RunState::Finished(manifest.clone());
        Ok(manifest)
    }
}
