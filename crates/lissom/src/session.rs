//! A network that can be run.

use std::path::Path;

use lissom_engine::{Input, StepTime};
use lissom_kernels::Threads;
use lissom_tensor::{Tensor, View, ViewMut};

use crate::{Error, SessionBuilder};

/// A loaded network. Can be shared between threads; each run is independent.
#[derive(Debug)]
pub struct Session {
    pub(crate) engine: lissom_engine::Session,
}

impl Session {
    /// Opens the ONNX file at `path` with the default settings; see [`SessionBuilder`].
    ///
    /// # Errors
    /// As [`SessionBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder().open(path)
    }

    /// Loads an ONNX file's bytes with the default settings.
    ///
    /// # Errors
    /// As [`SessionBuilder::open`].
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, Error> {
        Self::builder().from_bytes(bytes)
    }

    /// Settings to open a network with.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// Another session of the same network on these threads. Both use the same graph, packed weights and measurements;
    /// each has its own plans and working memory.
    #[must_use]
    pub fn share(&self, threads: Threads) -> Self {
        Self { engine: self.engine.share(threads) }
    }

    /// What the network wants: names, types and shapes.
    pub fn inputs(&self) -> &[Input] {
        self.engine.inputs()
    }

    /// Names of what it gives, in order.
    pub fn outputs(&self) -> &[String] {
        self.engine.output_names()
    }

    /// Runs the network once. `inputs` are by name, in any order; outputs come in the order of
    /// [`outputs`](Self::outputs).
    ///
    /// # Errors
    /// [`Error::Engine`] if an input is missing, unknown or does not fit, or if a node refuses its values.
    pub fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>, Error> {
        Ok(self.engine.run(inputs)?)
    }

    /// Runs the network once on the caller's memory: inputs are read where they are, outputs written where they are wanted.
    /// Outputs are by name, in any order; those that are not named are not given. A slice must be as long as its output.
    /// After an error the slices hold anything.
    ///
    /// Copied are inputs of nodes without a kernel ([`notes`](Self::notes) names them) and, once, outputs that are not f32,
    /// are read by other nodes too, or are inputs.
    ///
    /// # Errors
    /// As [`run`](Self::run), and if an output is unknown, named twice, or of another type or length than its slice.
    pub fn run_into(&self, inputs: &[(&str, View<'_>)], outputs: &mut [(&str, ViewMut<'_>)]) -> Result<(), Error> {
        Ok(self.engine.run_into(inputs, outputs)?)
    }

    /// Runs the network once and tells how long each step took, which kernel ran it, and why that one.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn profile(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<StepTime>, Error> {
        Ok(self.engine.profile(inputs)?)
    }

    /// What did not run in a kernel of its own so far, and why; each once, sorted.
    pub fn notes(&self) -> Vec<String> {
        self.engine.notes()
    }

    /// Bytes of the packed weights; sessions that [`share`](Self::share) them use the same ones.
    pub fn packed_bytes(&self) -> usize {
        self.engine.packed_bytes()
    }
}
