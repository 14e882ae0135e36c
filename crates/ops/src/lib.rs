//! The operators, one file each. An operator is a file here, its `mod` line and its line in [`OPS`]; tests, documentation
//! and the command line walk the list.
//!
//! [`evaluate`](lissom_graph::Op::evaluate) is the plain, obviously right version; the engine's fast kernels are held to
//! it. Pieces that several operators are made of: [`elementwise`] (maps and broadcasting), [`axes`] (axis arithmetic),
//! [`window`] (padding and strides of convolutions and pools).

mod axes;
mod elementwise;
mod window;

mod add;
mod conv;
mod relu;

pub use conv::Conv;
pub use window::{AutoPad, Window};

use lissom_graph::{OpSpec, Operators};

/// All operators, alphabetically, ONNX's own domain first.
pub static OPS: &[OpSpec] = &[
    add::OP,
    conv::OP,
    relu::OP,
];

/// [`OPS`] as a graph wants it.
pub const OPERATORS: Operators = Operators(OPS);
