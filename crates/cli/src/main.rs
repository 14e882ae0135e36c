//! The `lissom` binary.
fn main() {}
