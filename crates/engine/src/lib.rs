//! Running a network: a [`Session`] compiles the graph for the shapes it meets and runs it.
//!
//! Results are the same bytes at any number of threads and in every run.

mod session;

pub use session::{EngineError, Input, Session, SessionOptions};
