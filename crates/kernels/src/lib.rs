//! Kernels (being written).

pub mod activation;
pub mod conv;
pub mod elementwise;
pub mod error;
pub mod gemm;
mod isa;
mod simd;
pub mod threads;

pub use activation::{Activation, Epilogue};
pub use error::ShapeError;
pub use threads::Threads;
