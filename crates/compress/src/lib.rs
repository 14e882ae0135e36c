//! Methods that make a network smaller, one file each, and the parts they are made of.
//!
//! A method sees layers, weights and the activations it asks for; it never sees protobuf, threads or the command line.
//! Most published methods are one choice of each part ([`parts`]): **score** (what is a weight worth), **allocate** (how
//! much from which layer), **pattern** (which shape zeros come in), **compensate** (what repairs the rest).
//!
//! A method that trains is a [`lissom_train::Technique`] handed to [`training::run`].
//!
//! Adding a method: a file under `methods/` with a [`MethodSpec`], its `mod` line and its line in [`METHODS`].

mod calibration;
mod changes;
mod method;
pub mod methods;
pub mod parts;
pub mod training;

pub use calibration::{Calibration, CalibrationError, InMemory};
pub use changes::{Changes, LayerChange, Skipped, WeightState};
pub use method::{Job, Method, MethodError, MethodSpec, Methods, Progress, Silent};
pub use methods::METHODS;
