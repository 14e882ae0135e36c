//! The run folder itself: its name, what may be in it, and what state it is in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::atomic::is_temporary;
use super::{
    EVENTS, FileError, MANIFEST, Manifest, OWN_FILES, REQUEST, RunError, RunRequest, RunState, TRAINING, UNITS,
};

/// The folder for `request` among `root/NAME-NN`: the newest one of the same request, so that the
/// same command resumes or answers, else a new one with the next number.
///
/// # Errors
/// If `root` cannot be read or written.
pub fn run_dir_for(root: &Path, name: &str, request: &RunRequest) -> Result<PathBuf, FileError> {
    let asks_the_same = |dir: &PathBuf| {
        // A folder with an unreadable request is not ours to reuse.
        let stored = RunRequest::read(dir).ok().flatten();
        stored.is_some_and(|stored| stored.digest() == request.digest())
    };
    let existing = numbered(root, &plain_name(name))?;
    match existing.into_iter().rev().map(|(_, dir)| dir).find(asks_the_same) {
        Some(dir) => Ok(dir),
        None => next_run_dir(root, name),
    }
}

/// Creates `root/NAME-NN` with the number after the largest there is, from 01.
///
/// # Errors
/// If it cannot be created.
pub fn next_run_dir(root: &Path, name: &str) -> Result<PathBuf, FileError> {
    let name = plain_name(name);
    fs::create_dir_all(root).map_err(|error| FileError::of("create", root, error))?;
    let mut number = numbered(root, &name)?.last().map_or(1, |(number, _)| number.saturating_add(1));
    loop {
        let dir = root.join(format!("{name}-{number:02}"));
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < u64::MAX => number += 1,
            Err(error) => return Err(FileError::of("create", &dir, error)),
        }
    }
}

/// Letters, digits, `.`, `_` and `-`; anything else becomes `-`.
fn plain_name(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.trim_start_matches('.').chars().take(64).map(plain).collect();
    if name.is_empty() { "run".to_string() } else { name }
}

/// The folders `root/NAME-NN`, by number.
fn numbered(root: &Path, name: &str) -> Result<Vec<(u64, PathBuf)>, FileError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::of("list", root, error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| FileError::of("list", root, error))?;
        let file_name = entry.file_name();
        let number = file_name.to_str().and_then(|text| text.strip_prefix(name)?.strip_prefix('-')?.parse().ok());
        if let Some(number) = number {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Refuses a folder that holds files but no run.
pub(super) fn refuse_foreign(dir: &Path) -> Result<(), RunError> {
    let mut foreign = None;
    for entry in fs::read_dir(dir).map_err(|error| FileError::of("list", dir, error))? {
        let name = entry.map_err(|error| FileError::of("list", dir, error))?.file_name();
        let name = name.to_string_lossy().into_owned();
        if name == REQUEST {
            return Ok(());
        }
        if !OWN_FILES.contains(&name.as_str()) && !is_temporary(&name) {
            foreign = Some(name);
        }
    }
    match foreign {
        Some(found) => Err(RunError::NotARun { dir: dir.to_path_buf(), found }),
        None => Ok(()),
    }
}

/// Removes the files of a run, the manifest first, so that at no moment a broken run looks finished.
pub(super) fn clear(dir: &Path) -> Result<(), FileError> {
    let manifest = Manifest::read(dir)?;
    remove_file(&dir.join(MANIFEST))?;
    for output in manifest.iter().flat_map(|manifest| &manifest.outputs) {
        let inside = Path::new(&output.name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if inside {
            remove_file(&dir.join(&output.name))?;
        }
    }
    remove_dir(&dir.join(UNITS))?;
    remove_dir(&dir.join(TRAINING))?;
    remove_file(&dir.join(EVENTS))?;
    remove_file(&dir.join(REQUEST))
}

fn remove_file(path: &Path) -> Result<(), FileError> {
    absent_is_fine(fs::remove_file(path), path)
}

pub(super) fn remove_dir(path: &Path) -> Result<(), FileError> {
    absent_is_fine(fs::remove_dir_all(path), path)
}

fn absent_is_fine(result: io::Result<()>, path: &Path) -> Result<(), FileError> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::of("remove", path, error)),
        _ => Ok(()),
    }
}

/// What a folder of this request holds. A manifest whose outputs were changed is removed: the run is unfinished again.
pub(super) fn state(dir: &Path, request: &RunRequest) -> Result<RunState, FileError> {
    if let Some(manifest) = Manifest::read(dir)?
        && manifest.request == request.digest()
        && manifest.first_damaged(dir).is_none()
    {
        return Ok(RunState::Finished(manifest));
    }
    remove_file(&dir.join(MANIFEST))?;
    let n_units = fs::read_dir(dir.join(UNITS)).map_or(0, Iterator::count);
    let has_log = dir.join(EVENTS).exists();
    Ok(if has_log || n_units > 0 { RunState::Resumed { n_units } } else { RunState::Fresh })
}
