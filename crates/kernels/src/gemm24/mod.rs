//! Convolutions and linear layers in f32 whose constant weights are 2:4: of each four adjacent inputs of an output, two are kept.
//!
//! A group of four inputs costs two weights and four bits for where they are; lanes are outputs. The four inputs of a row
//! fill a vector, from which a shuffle takes the one that each output wants. Weights that keep more of some group take
//! another pass over all groups.
//!
//! Where a group keeps less than two, 0 times one of its inputs is added, so a NaN or infinity of the input may reach outputs
//! that have no weight for it, as it does in a dense product.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod driver;
mod lanes;
mod packed;
mod scalar;
#[cfg(test)]
mod tests;

pub use packed::Packed24;

use crate::activation::Epilogue;
use crate::conv::Images;
use crate::error::ShapeError;
use crate::gemm::{check_epilogue, pointer};
use crate::threads::{Shareable, Threads};
use driver::Call;
use lanes::Tile;

/// A variant of the loops.
pub struct Kernel {
    /// `gemm24_f32_{rows}x{outputs}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    /// Rows of a tile, at most [`MAX_ROWS`].
    rows: usize,
    /// Outputs of a panel.
    panel: usize,
    run: unsafe fn(usize, &Tile),
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
        name: "gemm24_f32_8x32_avx512",
        is_supported: crate::isa::has_avx512,
        rows: 8,
        panel: 32,
        run: avx512::tile,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel { name: "gemm24_f32_4x16_avx2", is_supported: crate::isa::has_avx2, rows: 4, panel: 16, run: avx2::tile },
    Kernel { name: "gemm24_f32_4x4_scalar", is_supported: || true, rows: 4, panel: 4, run: scalar::tile },
];

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        crate::isa::best(KERNELS, |kernel| kernel.is_supported)
    }
}

/// Inputs of a group.
const GROUP: usize = 4;
/// Groups whose choices are one word of each output.
const CHUNK: usize = 8;
/// The most rows of a tile.
const MAX_ROWS: usize = 8;

/// `out = activation(conv(input) + bias + residual)` with weights of which two of four adjacent ones are zero.
///
/// | value | shape |
/// |---|---|
/// | `input` | `[n, h, w, c_in]` |
/// | `epilogue.bias` | `[c_out]` |
/// | `epilogue.residual`, `out` | `[n, h', w', c_out]` |
///
/// `[h', w']` is `packed.shape().window.output_size(h, w)`. A linear layer of `m` rows is an image of `1 × m` pixels.
///
/// # Errors
/// [`ShapeError`] if a slice has another length or the window does not fit.
pub fn gemm24(
    threads: &Threads,
    input: &[f32],
    images: Images,
    packed: &Packed24,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let shape = packed.shape();
    let Images { n, h, w } = images;
    let out_size = shape.window.output_size(h, w)?;
    ShapeError::expect("input", input.len(), ShapeError::product("input", &[n, h, w, shape.c_in])?)?;
    let m = ShapeError::product("out", &[n, out_size[0], out_size[1]])?;
    let size = ShapeError::product("out", &[m, shape.c_out])?;
    ShapeError::expect("out", out.len(), size)?;
    check_epilogue(epilogue, shape.c_out, size)?;
    if size == 0 {
        return Ok(());
    }
    let call = Call {
        input,
        images,
        packed,
        out_size,
        m,
        bias: pointer(epilogue.bias),
        residual: pointer(epilogue.residual),
        activation: epilogue.activation,
        out: Shareable(out.as_mut_ptr()),
    };
    // SAFETY: all lengths are checked above; `Packed24` holds a kernel that this CPU supports.
    unsafe { call.run(threads) };
    Ok(())
}
