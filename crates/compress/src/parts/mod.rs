//! The parts methods are made of, each built once and named.

pub mod allocate;
pub mod matrix;
pub mod pattern;
pub mod score;
