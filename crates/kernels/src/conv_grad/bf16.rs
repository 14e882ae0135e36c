//! The weight gradient in bf16: sums over pairs of pixels. Both sides are laid out anew, two pixels to an element, a block of lines
//! at a time, which is little work beside the products.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512bf16;
mod plan;
mod scalar;
mod tile;
mod weight;

pub use weight::{conv_weight_gradient_pairs, weight_gradient_pairs_scratch_len};

#[cfg(test)]
pub(super) use weight::{scratch_len_for, weight_gradient_for};

use tile::{PairLine, PairTile};

/// A variant of the inner loops of the weight gradient in bf16.
pub struct Kernel {
    /// `conv_weight_gradient_bf16_{rows}x{columns}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    /// Floats of a vector.
    lanes: usize,
    /// Input channels in registers beside two vectors of output channels, and beside one.
    rows: [usize; 2],
    /// `(rows, vectors, tile)`
    run: unsafe fn(usize, usize, &PairTile<'_>),
    pack: unsafe fn(&PairLine),
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All variants, fastest first. Dispatch and tests walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "conv_weight_gradient_bf16_13x32_avx512bf16",
        is_supported: crate::isa::has_avx512bf16,
        lanes: 16,
        rows: [13, 16],
        run: avx512bf16::run,
        pack: avx512bf16::pack,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "conv_weight_gradient_bf16_4x16_avx2",
        is_supported: crate::isa::has_avx2,
        lanes: 8,
        rows: [4, 4],
        run: avx2::run,
        pack: avx2::pack,
    },
    Kernel {
        name: "conv_weight_gradient_bf16_4x2_scalar",
        is_supported: || true,
        lanes: 1,
        rows: [4, 4],
        run: scalar::run,
        pack: scalar::pack,
    },
];

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        crate::isa::best(KERNELS, |kernel| kernel.is_supported)
    }
}
