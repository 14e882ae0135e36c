//! Whole jobs: what a verb of the command line does, as a function from settings to a serialisable result.
//!
//! The command line parses, shows progress and prints; everything else happens here, so that a program or the Python
//! wheel gets the same by calling the same functions.

// A job fails at most once, so the size of its error costs nothing.
#![allow(clippy::result_large_err)]

pub mod bench;
pub mod budget;
pub mod compare;
pub mod compress;
pub mod cost;
mod error;
pub mod evaluate;
pub mod inspect;
pub mod machine;
pub mod model_file;
pub mod outputs;
mod report;
pub mod run;

pub use error::JobError;
pub use lissom_engine::Choosing;

/// Version of the JSON documents the verbs print. It rises when a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// Version of lissom, which is part of every key of stored work.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
