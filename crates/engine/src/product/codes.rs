//! Weights in 8- or 4-bit codes, decoded in registers: for few rows, where reading the weight is all that costs.

use lissom_kernels::ShapeError;
use lissom_kernels::wgemm::{PackedW, wgemm};

use super::{Call, FloatProduct};

impl FloatProduct for PackedW {
    fn kernel_name(&self) -> &'static str {
        self.kernel().name
    }

    fn size_bytes(&self) -> usize {
        PackedW::size_bytes(self)
    }

    fn run(&self, call: &Call<'_>, out: &mut [f32]) -> Result<(), ShapeError> {
        wgemm(call.threads, call.x, call.images.n * call.images.h * call.images.w, self, &call.epilogue, out)
    }
}
