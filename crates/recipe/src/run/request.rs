//! What a run was asked to do.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Difference, FileError, REQUEST, RunError, write_atomic};
use crate::Digest;

/// Everything that decides the bytes a run ends in, and the command that asked for them.
///
/// Two requests are the same when all but `command`, `folder` and the names of the inputs are equal: the
/// number of threads, the verbosity and where files lie are no part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// The command line, word by word; `resume` runs it again.
    pub command: Vec<String>,
    /// The folder the command was given in; relative paths in it start there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// What goes in, by role: `model`, `recipe`, `data`, `eval-data`.
    pub inputs: BTreeMap<String, Input>,
    /// Options that change the result, by name: `max-drop` -> `0.5`.
    pub options: BTreeMap<String, String>,
    /// The seed of everything random.
    pub seed: u64,
    /// The program's version.
    pub version: String,
}

/// Something that goes into a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The path or name as the user gave it.
    pub name: String,
    /// The hash of its contents.
    pub digest: Digest,
}

impl Input {
    /// An input known by `name`.
    pub fn new(name: impl Into<String>, digest: Digest) -> Input {
        Input { name: name.into(), digest }
    }

    fn describe(&self) -> String {
        format!("`{}` ({})", self.name, self.digest.short())
    }
}

impl RunRequest {
    /// A request without inputs or options.
    pub fn new(command: Vec<String>, version: impl Into<String>, seed: u64) -> RunRequest {
        let (inputs, options) = (BTreeMap::new(), BTreeMap::new());
        RunRequest { command, folder: None, inputs, options, seed, version: version.into() }
    }

    /// Says which folder the command was given in.
    pub fn given_in(mut self, folder: Option<PathBuf>) -> RunRequest {
        self.folder = folder;
        self
    }

    /// Adds an input by its role.
    pub fn input(mut self, role: &str, input: Input) -> RunRequest {
        self.inputs.insert(role.to_string(), input);
        self
    }

    /// Adds an option that changes the result.
    pub fn option(mut self, name: &str, value: impl ToString) -> RunRequest {
        self.options.insert(name.to_string(), value.to_string());
        self
    }

    /// The hash of everything that decides the result. Equal requests, equal bytes.
    pub fn digest(&self) -> Digest {
        let digests: BTreeMap<&str, Digest> =
            self.inputs.iter().map(|(role, input)| (role.as_str(), input.digest)).collect();
        let identity = serde_json::json!({
            "inputs": digests, "options": self.options, "seed": self.seed, "version": self.version,
        });
        Digest::of(identity.to_string().as_bytes())
    }

    /// What differs between this request and `now`; empty when they ask for the same bytes.
    pub fn differences(&self, now: &RunRequest) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut compare = |what: &str, was: Option<String>, is: Option<String>| {
            let absent = || "absent".to_string();
            let (was, now) = (was.unwrap_or_else(absent), is.unwrap_or_else(absent));
            found.push(Difference { what: what.to_string(), was, now });
        };
        for role in union(&self.inputs, &now.inputs) {
            let (was, is) = (self.inputs.get(role), now.inputs.get(role));
            if was.map(|input| input.digest) != is.map(|input| input.digest) {
                compare(role, was.map(Input::describe), is.map(Input::describe));
            }
        }
        for name in union(&self.options, &now.options) {
            let (was, is) = (self.options.get(name), now.options.get(name));
            if was != is {
                compare(&format!("option `{name}`"), was.cloned(), is.cloned());
            }
        }
        if self.seed != now.seed {
            compare("seed", Some(self.seed.to_string()), Some(now.seed.to_string()));
        }
        if self.version != now.version {
            compare("version", Some(self.version.clone()), Some(now.version.clone()));
        }
        found
    }

    /// The request stored in a run folder, if there is one.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a request.
    pub fn read(dir: &Path) -> Result<Option<RunRequest>, RunError> {
        let path = dir.join(REQUEST);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::of("read", &path, error).into()),
        };
        match serde_json::from_slice(&bytes) {
            Ok(request) => Ok(Some(request)),
            Err(error) => Err(RunError::BadRecord { path, reason: error.to_string() }),
        }
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), RunError> {
        let path = dir.join(REQUEST);
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| RunError::BadRecord { path: path.clone(), reason: error.to_string() })?;
        Ok(write_atomic(&path, &bytes)?)
    }

    pub(super) fn expect_same(&self, dir: &Path, now: &RunRequest) -> Result<(), RunError> {
        let differences = self.differences(now);
        if differences.is_empty() {
            return Ok(());
        }
        Err(RunError::Different { dir: dir.to_path_buf(), differences })
    }
}

fn union<'a, T>(a: &'a BTreeMap<String, T>, b: &'a BTreeMap<String, T>) -> Vec<&'a str> {
    let mut keys: Vec<&str> = a.keys().chain(b.keys()).map(String::as_str).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
