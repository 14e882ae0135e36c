//! The typed graph of a network: values with facts, nodes with operators, constants in encodings.
//!
//! - [`Model`] is a file's content: one [`Graph`] with the opsets it is written in.
//! - [`Graph`] holds [`Node`]s in topological order over an arena of [`Value`]s; constants are
//!   [`Weight`](lissom_tensor::Weight)s.
//! - [`Op`] is what a node does. Operators live in the crate above, one file each; this crate sees them through
//!   [`OpSpec`] and knows no operator by name.
//! - [`Fact`] is what is known of a value before running: type, symbolic shape, sometimes the value itself.
//! - [`interpret()`] runs a graph plainly, node by node: slow, obviously right, the oracle of the engine.

mod attribute;
mod dim;
mod error;
mod fact;
mod functions;
mod graph;
mod infer;
mod interpret;
mod model;
mod node_reader;
mod op;
mod patch;
mod read;
mod subgraphs;
mod text;
mod verify;
mod write;

pub use attribute::{Attribute, Attributes};
pub use dim::Dim;
pub use error::{LoadError, OpError};
pub use fact::{Fact, KnownValue};
pub use graph::{Graph, Node, Value, ValueId};
pub use infer::{infer, infer_with_inputs};
pub use interpret::{EvaluateError, interpret, interpret_with_captures};
pub use model::Model;
pub use node_reader::NodeReader;
pub use op::{Facts, Inputs, Layer, NoGradient, Op, OpSpec, Operators, Sample, Unsupported, Vjp, WeightAxes};
pub use patch::Patch;
pub use text::to_text;
pub use verify::{VerifyError, verify};
pub use write::WriteError;
