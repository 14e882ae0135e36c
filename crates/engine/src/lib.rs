//! Running a network: a [`Session`] compiles the graph for the shapes it meets and runs it.
//!
//! A plan fuses what follows a product into it, keeps images with their channels last, places all buffers in one arena and
//! packs weights once. Whatever has no kernel runs its plain evaluation, and [`Session::notes`] names it.
//! Results are the same bytes at any number of threads and in every run.

mod error;
mod expand;
mod fold;
mod input;
mod plan;
mod product;
mod session;

pub use error::EngineError;
pub use input::Input;
pub use plan::StepInfo;
pub use product::Choosing;
pub use session::{Session, SessionOptions, StepTime};
