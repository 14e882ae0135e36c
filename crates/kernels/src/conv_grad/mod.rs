//! Gradients of convolutions in f32 on NHWC images.
//!
//! The input gradient runs on the tiles of `gemm` with the weight flipped and transposed, a stride on each phase of the image by
//! itself, and depthwise as `conv` does.
//!
//! The weight gradient is a product of the input by the gradient of the output over all pixels ([`KERNELS`]), one for every tap
//! of the window: pixels outside of the image are left out, nothing is packed. The pixels are cut in parts whose number depends
//! on the shape alone, and the sums of the parts are added in order, so results are the same bytes at any number of threads.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod bf16;
mod depthwise;
mod input;
mod input_bf16;
mod plan;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_bf16;
mod tile;
mod weight;

pub use bf16::{conv_weight_gradient_pairs, weight_gradient_pairs_scratch_len};
pub use input::{conv_input_gradient, input_gradient_packed_len, pack_input_gradient_into};
pub use input_bf16::{conv_input_gradient_pairs, input_gradient_packed_pairs_len, pack_input_gradient_pairs_into};
pub use weight::{conv_weight_gradient, weight_gradient_scratch_len};

use depthwise::Row;
use std::sync::OnceLock;
use tile::Tile;

/// A variant of the inner loops of the weight gradient.
pub struct Kernel {
    /// `conv_weight_gradient_f32_{rows}x{columns}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    /// Input channels in registers.
    pub tile_rows: usize,
    /// Input channels in registers where half a panel is enough for all outputs.
    pub narrow_rows: usize,
    /// Input channels in registers where three taps are summed at once.
    pub taps_rows: usize,
    /// Output channels in registers.
    pub panel: usize,
    /// Channels of one call of `depthwise`.
    depthwise_columns: usize,
    /// `(rows, vectors, tile)`; a wide panel has two vectors, a narrow one as many as taps are summed at once.
    run: unsafe fn(usize, usize, &Tile<'_>),
    depthwise: unsafe fn(&Tile<'_>),
    depthwise_input: unsafe fn(&Row<'_>, &mut [f32]),
    add_rows: unsafe fn(*const f32, usize, usize, bool, &mut [f32]),
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All variants, fastest first. Dispatch, tests and benches walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "conv_weight_gradient_f32_13x32_avx512",
        is_supported: crate::isa::has_avx512,
        tile_rows: 13,
        narrow_rows: 16,
        taps_rows: 8,
        panel: 32,
        depthwise_columns: 64,
        run: avx512::run,
        depthwise: avx512::depthwise,
        depthwise_input: avx512::depthwise_input,
        add_rows: avx512::add_rows,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "conv_weight_gradient_f32_6x16_avx2",
        is_supported: crate::isa::has_avx2,
        tile_rows: 6,
        narrow_rows: 12,
        taps_rows: 4,
        panel: 16,
        depthwise_columns: 32,
        run: avx2::run,
        depthwise: avx2::depthwise,
        depthwise_input: avx2::depthwise_input,
        add_rows: avx2::add_rows,
    },
    Kernel {
        name: "conv_weight_gradient_f32_4x8_scalar",
        is_supported: || true,
        tile_rows: 4,
        narrow_rows: 4,
        taps_rows: 4,
        panel: 8,
        depthwise_columns: 4,
        run: scalar::run,
        depthwise: scalar::depthwise,
        depthwise_input: scalar::depthwise_input,
        add_rows: scalar::add_rows,
    },
];

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        static BEST: OnceLock<&Kernel> = OnceLock::new();
        BEST.get_or_init(|| {
            KERNELS.iter().find(|kernel| (kernel.is_supported)()).unwrap_or(&KERNELS[KERNELS.len() - 1])
        })
    }
}
