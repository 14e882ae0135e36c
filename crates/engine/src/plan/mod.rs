//! The graph compiled for inputs of known shapes.
//!
//! 1. [`work`]: every node is read into what the kernels know ([`work::Op`]), or stays a node that evaluates itself.
//!    If the batch is large, it may be run in parts: [`parts`].
//! 2. [`composite`]: chains that exporters write for one function become that function.
//! 3. [`lower`]: work in order becomes steps; what follows a product is fused into it, layouts are converted only where
//!    two sides differ.
//!    The operators of training are lowered by files of their own: [`training`].
//! 4. [`memory`]: buffers get places in one arena.
//! 5. [`run`]: the steps, one after the other, on what the caller gave and into what it wants ([`binding`]).

mod binding;
mod composite;
mod lower;
mod map;
mod memory;
mod movement;
mod node_form;
mod operands;
mod originals;
mod parts;
mod planned;
mod quantized;
mod run;
mod step;
mod training;
mod weights;
mod work;

pub(crate) use binding::{Slot, refused};
pub(crate) use lower::unary_of;
pub(crate) use memory::Arena;
pub(crate) use originals::Originals;
pub(crate) use planned::{Leaving, Planned};
pub(crate) use step::Plan;
pub use step::StepInfo;
pub(crate) use weights::WeightCache;
