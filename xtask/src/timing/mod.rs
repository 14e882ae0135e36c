//! Timing lissom beside other engines.
//!
//! Every engine is a process of its own. They take turns in short runs, and whoever does not run is stopped, so that a
//! drifting clock hits all alike and nobody's waiting threads take time from another.

mod machine;
mod turns;
mod worker;

pub(crate) use machine::{cpu, date, lissom_version, set_up_python};
pub(crate) use turns::{Measured, Quartiles, in_turn, memory, milliseconds};
pub(crate) use worker::Worker;
