//! Convolutions and linear layers in f32 whose constant weights are mostly zeros; lanes are pixels.
//!
//! A block of up to 128 output pixels is worked on at a time. The inputs that a block of K needs are copied into a slab
//! `[k][pixels]` that stays in L1; every row of weights (one output channel) then walks its non-zeros, and each is one
//! broadcast and a multiply-add for every vector of pixels straight from the slab. Zeros cost nothing.
//!
//! Zeros are not multiplied, so a NaN or infinity of the input reaches only the outputs that have a weight for it.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bands;
mod driver;
mod finish;
mod gather;
mod lanes;
mod nonzeros;
mod packed;
mod pixels;
mod scalar;
mod slabs;
mod strips;
#[cfg(test)]
mod tests;

pub use packed::PackedSpmm;

use crate::activation::Epilogue;
use crate::conv::{Channels, Images};
use crate::error::ShapeError;
use crate::gemm::{check_epilogue, pointer};
use crate::threads::{Shareable, Threads};
use driver::{Block, Call};

/// A variant of the loops.
pub struct Kernel {
    /// `spmm_f32_{block of non-zeros}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    /// Output channels that share the position of a non-zero: 1 for any pattern, 4 for blocks of 4x1.
    pub block_rows: usize,
    /// Input channels that share it: 4 for blocks of 1x4, else 1.
    pub depth: usize,
    /// Lanes of a vector.
    lanes: usize,
    /// The most vectors of pixels in a block.
    vectors: usize,
    /// Inputs of a slab.
    k_block: usize,
    run: unsafe fn(&Call<'_>, &mut Block<'_>),
    /// On bands of lines that taps share, where that is known to be faster.
    run_on_bands: Option<unsafe fn(&Call<'_>, &mut Block<'_>)>,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All variants, fastest first for each form. Dispatch, tests and benches walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "spmm_f32_1x1_avx512",
        is_supported: crate::isa::has_avx512,
        block_rows: 1,
        depth: 1,
        lanes: 16,
        vectors: 8,
        k_block: 96,
        run: avx512::pairs::<false>,
        run_on_bands: Some(avx512::pairs::<true>),
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "spmm_f32_4x1_avx512",
        is_supported: crate::isa::has_avx512,
        block_rows: 4,
        depth: 1,
        lanes: 16,
        vectors: 6,
        k_block: 256,
        run: avx512::quads::<false>,
        run_on_bands: None,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "spmm_f32_1x4_avx512",
        is_supported: crate::isa::has_avx512,
        block_rows: 1,
        depth: 4,
        lanes: 16,
        vectors: 4,
        k_block: 256,
        run: avx512::inputs::<false>,
        run_on_bands: Some(avx512::inputs::<true>),
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "spmm_f32_1x1_avx2",
        is_supported: crate::isa::has_avx2,
        block_rows: 1,
        depth: 1,
        lanes: 8,
        vectors: 6,
        k_block: 128,
        run: avx2::pairs::<false>,
        run_on_bands: None,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "spmm_f32_4x1_avx2",
        is_supported: crate::isa::has_avx2,
        block_rows: 4,
        depth: 1,
        lanes: 8,
        vectors: 3,
        k_block: 256,
        run: avx2::quads::<false>,
        run_on_bands: None,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "spmm_f32_1x4_avx2",
        is_supported: crate::isa::has_avx2,
        block_rows: 1,
        depth: 4,
        lanes: 8,
        vectors: 2,
        k_block: 256,
        run: avx2::inputs::<false>,
        run_on_bands: None,
    },
    Kernel {
        name: "spmm_f32_1x1_scalar",
        is_supported: || true,
        block_rows: 1,
        depth: 1,
        lanes: 1,
        vectors: 2,
        k_block: 256,
        run: scalar::pairs::<false>,
        run_on_bands: None,
    },
    Kernel {
        name: "spmm_f32_4x1_scalar",
        is_supported: || true,
        block_rows: 4,
        depth: 1,
        lanes: 1,
        vectors: 2,
        k_block: 256,
        run: scalar::quads::<false>,
        run_on_bands: None,
    },
    Kernel {
        name: "spmm_f32_1x4_scalar",
        is_supported: || true,
        block_rows: 1,
        depth: 4,
        lanes: 1,
        vectors: 2,
        k_block: 128,
        run: scalar::inputs::<false>,
        run_on_bands: None,
    },
];

impl Kernel {
    /// The first supported variant whose non-zeros come in blocks of `block_rows` output by `depth` input channels (one of
    /// them 1, the other 1 or 4).
    fn best(block_rows: usize, depth: usize) -> &'static Self {
        let fits = |kernel: &&Self| (kernel.block_rows, kernel.depth) == (block_rows, depth) && (kernel.is_supported)();
        KERNELS.iter().find(fits).unwrap_or(&KERNELS[KERNELS.len() - 3])
    }
}

/// `out = activation(conv(input) + bias + residual)` with weights that are mostly zeros.
///
/// | value | shape |
/// |---|---|
/// | `input` | `[n, h, w, c_in]`, or `[n, c_in, h, w]` if `from` is [`Channels::First`] |
/// | `epilogue.bias` | `[c_out]` |
/// | `epilogue.residual`, `out` | `[n, h', w', c_out]`, or `[n, c_out, h', w']` if `to` is [`Channels::First`] |
///
/// `[h', w']` is `packed.shape().window.output_size(h, w)`. A linear layer of `m` rows is an image of `1 × m` pixels
/// with its channels last.
///
/// # Errors
/// [`ShapeError`] if a slice has another length or the window does not fit.
#[allow(clippy::too_many_arguments, reason = "input and output, each with its layout")]
pub fn spmm(
    threads: &Threads,
    input: &[f32],
    images: Images,
    from: Channels,
    packed: &PackedSpmm,
    epilogue: &Epilogue<'_>,
    to: Channels,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let shape = packed.shape();
    let Images { n, h, w } = images;
    let out_size = shape.window.output_size(h, w)?;
    ShapeError::expect("input", input.len(), ShapeError::product("input", &[n, h, w, shape.c_in])?)?;
    let size = ShapeError::product("out", &[n, out_size[0], out_size[1], shape.c_out])?;
    ShapeError::expect("out", out.len(), size)?;
    check_epilogue(epilogue, shape.c_out, size)?;
    if size == 0 {
        return Ok(());
    }
    let call = Call {
        input,
        images,
        from,
        packed,
        out_size,
        pixels: n * out_size[0] * out_size[1],
        bias: pointer(epilogue.bias),
        residual: pointer(epilogue.residual),
        activation: epilogue.activation,
        to,
        out: Shareable(out.as_mut_ptr()),
    };
    // SAFETY: all lengths are checked above; `PackedSpmm` holds a kernel that this CPU supports.
    unsafe { call.run(threads) };
    Ok(())
}
