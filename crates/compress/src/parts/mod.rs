//! The parts methods are made of, each built once and named.

pub mod allocate;
pub mod histogram;
pub mod masks;
pub mod matrix;
pub mod pattern;
pub mod quantizer;
pub mod range;
pub mod restart;
pub mod rewire;
pub mod score;
pub mod select;
pub mod teacher;
pub mod users;
