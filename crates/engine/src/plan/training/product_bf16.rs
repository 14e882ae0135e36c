//! Products with a matrix that is computed, where a session may round: operands in bf16, sums in f32.

use lissom_kernels::gemm::Matrix;
use lissom_kernels::{Activation, Epilogue, Threads, bgemm};

use crate::EngineError;
use crate::plan::operands::Operands;
use crate::plan::step::Compute;

/// b.
#[derive(Debug)]
pub(super) struct Pack {
    pub strides: [usize; 2],
    pub size: [usize; 2],
}

impl Compute for Pack {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let ([k, n], [row_stride, col_stride]) = (self.size, self.strides);
        let b = Matrix { data: operands.f32(0)?, row_stride, col_stride };
        bgemm::pack_pairs_into(threads, b, k, n, out).map_err(|error| operands.kernel_error(error))
    }
}

/// a, packed b, bias?, residual?
#[derive(Debug)]
pub(super) struct Product {
    pub strides: [usize; 2],
    pub size: [usize; 3],
    pub has_bias: bool,
    pub has_residual: bool,
    pub activation: Activation,
}

impl Compute for Product {
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError> {
        let [row_stride, col_stride] = self.strides;
        let a = Matrix { data: operands.f32(0)?, row_stride, col_stride };
        let bias = if self.has_bias { Some(operands.f32(2)?) } else { None };
        let at = 2 + usize::from(self.has_bias);
        let residual = if self.has_residual { Some(operands.f32(at)?) } else { None };
        let epilogue = Epilogue { bias, residual, activation: self.activation };
        bgemm::bgemm_packed(threads, a, self.size, operands.f32(1)?, &epilogue, out)
            .map_err(|error| operands.kernel_error(error))
    }
}
