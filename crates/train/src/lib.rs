//! Training.

mod gradient;
mod nodes;
mod recompute;

pub use gradient::{Differentiation, GradientError, Gradients, Missing, differentiate};
pub use nodes::{Nodes, floats};
pub use recompute::{Recompute, recompute};
