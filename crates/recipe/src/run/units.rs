//! Results per layer, kept so that a killed run goes on where it was.

use std::fs;
use std::path::PathBuf;

use super::{FileError, Run, RunError, UNITS, write_atomic};
use crate::Digest;

/// What decides a unit's result. Equal keys, equal bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitKey {
    label: String,
    digest: Digest,
}

impl UnitKey {
    /// The key of the result of `settings` on `input` by this `version` of the code.
    ///
    /// `label` names the unit in the log (`step 2, layer conv1`) and is part of the key.
    pub fn new(label: &str, input: &Digest, settings: &str, version: &str) -> UnitKey {
        let parts = [label.as_bytes(), input.as_bytes(), settings.as_bytes(), version.as_bytes()];
        UnitKey { label: label.to_string(), digest: Digest::of_parts(parts) }
    }

    /// The name of the unit's file.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// Before the hash and the bytes of every unit.
const MAGIC: &[u8; 8] = b"lissom-1";
const HEADER_BYTES: usize = 8 + 32;

impl Run {
    /// The bytes of a unit: the stored ones if they are whole, else those of `compute`, stored at once.
    ///
    /// A signal is heeded before `compute` begins, so the unit under way is always finished.
    /// May be called from several threads.
    ///
    /// # Errors
    /// Those of `compute`; [`RunError::Interrupted`]; [`RunError::File`] if the unit cannot be stored.
    pub fn unit<E: From<RunError>>(
        &self,
        key: &UnitKey,
        compute: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        if let Some(bytes) = self.stored_unit(key) {
            self.unit_event(key, "stored", &bytes)?;
            return Ok(bytes);
        }
        self.check_interrupt()?;
        let bytes = compute()?;
        self.store_unit(key, &bytes)?;
        self.unit_event(key, "computed", &bytes)?;
        Ok(bytes)
    }

    /// The stored bytes of a unit, if they are there and whole. A torn or changed file counts as absent.
    pub fn stored_unit(&self, key: &UnitKey) -> Option<Vec<u8>> {
        let mut file = fs::read(self.unit_path(key)).ok()?;
        let hash = file.get(MAGIC.len()..HEADER_BYTES)?;
        let bytes = file.get(HEADER_BYTES..)?;
        let is_whole = file.starts_with(MAGIC) && Digest::of(bytes).as_bytes() == hash;
        is_whole.then(|| file.split_off(HEADER_BYTES))
    }

    fn store_unit(&self, key: &UnitKey, bytes: &[u8]) -> Result<(), RunError> {
        let folder = self.dir().join(UNITS);
        fs::create_dir_all(&folder).map_err(|error| FileError::of("create", &folder, error))?;
        let mut file = Vec::with_capacity(HEADER_BYTES + bytes.len());
        file.extend_from_slice(MAGIC);
        file.extend_from_slice(Digest::of(bytes).as_bytes());
        file.extend_from_slice(bytes);
        Ok(write_atomic(&self.unit_path(key), &file)?)
    }

    fn unit_path(&self, key: &UnitKey) -> PathBuf {
        self.dir().join(UNITS).join(key.digest.to_string())
    }

    fn unit_event(&self, key: &UnitKey, source: &str, bytes: &[u8]) -> Result<(), RunError> {
        let data = serde_json::json!({ "unit": key.label, "result": source, "n_bytes": bytes.len() });
        self.event("unit", data)
    }

    /// Removes all stored units, to save space once a run is finished.
    ///
    /// # Errors
    /// If the folder cannot be removed.
    pub fn discard_units(&self) -> Result<(), RunError> {
        Ok(super::folder::remove_dir(&self.dir().join(UNITS))?)
    }
}
