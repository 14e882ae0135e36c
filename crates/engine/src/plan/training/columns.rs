//! Sums over leading axes: the gradient of what was spread over them, as biases are.

use lissom_kernels::{Threads, sums};

use crate::EngineError;
use crate::plan::operands::Operands;
use crate::plan::step::Compute;

/// x; the sum of each of its columns.
#[derive(Debug)]
pub(in crate::plan) struct Columns;

impl Compute for Columns {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        sums::columns(threads, operands.f32(0)?, out).map_err(|error| operands.kernel_error(error))
    }
}
