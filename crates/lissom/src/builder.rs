//! How a network is opened.

use std::path::Path;
use std::time::Duration;

use lissom_engine::{Choosing, SessionOptions};
use lissom_graph::Model;
use lissom_kernels::Threads;
use lissom_onnx::{ModelFile, ReadOptions};
use lissom_ops::OPERATORS;

use crate::{Error, Session};

/// Time for measuring kernels, unless the program says otherwise.
const BUDGET: Duration = Duration::from_secs(1);

/// Settings of a [`Session`].
#[derive(Debug, Clone)]
pub struct SessionBuilder {
    options: SessionOptions,
    read: ReadOptions,
}

impl Default for SessionBuilder {
    fn default() -> Self {
        let options = SessionOptions { choosing: Choosing::measured(BUDGET), ..SessionOptions::default() };
        Self { options, read: ReadOptions::default() }
    }
}

impl SessionBuilder {
    /// Threads that work on one run, the calling one included; 0, as at first, means one per core.
    #[must_use]
    pub fn threads(mut self, n_threads: usize) -> Self {
        self.options.threads = n_threads;
        self
    }

    /// Threads to use instead of new ones: the program's own ([`Threads::on`]), or those of another session.
    #[must_use]
    pub fn pool(mut self, threads: Threads) -> Self {
        self.options.pool = Some(threads);
        self
    }

    /// How kernels are chosen; at first measured for at most a second.
    #[must_use]
    pub fn choosing(mut self, choosing: Choosing) -> Self {
        self.options.choosing = choosing;
        self
    }

    /// True: the file is from a stranger, and what is only suspicious is an error.
    #[must_use]
    pub fn untrusted(mut self, is_untrusted: bool) -> Self {
        self.read.untrusted = is_untrusted;
        self
    }

    /// Opens the ONNX file at `path`, and the external data beside it.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Load`], or [`Error::Engine`] naming the first node whose operator is not known.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Session, Error> {
        self.load(lissom_onnx::read_model(path, &self.read)?)
    }

    /// Loads an ONNX file's bytes, which must hold all weights.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(&self, bytes: impl Into<Vec<u8>>) -> Result<Session, Error> {
        self.load(lissom_onnx::read_model_bytes(bytes.into().into(), &self.read)?)
    }

    fn load(&self, file: ModelFile) -> Result<Session, Error> {
        let model = Model::from_proto(file.model, OPERATORS)?;
        Ok(Session { engine: lissom_engine::Session::from_model(model, &self.options)? })
    }
}
