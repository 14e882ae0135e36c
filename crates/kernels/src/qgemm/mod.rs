//! Integer matrix products: bytes by signed bytes, summed in i32, finished into bytes, f32 or i32.
//!
//! Signed left sides are computed 128 higher, as unsigned; zero points are folded into one number a column. All
//! variants give the same bytes.

pub(crate) mod aligned;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512columns;
#[cfg(target_arch = "x86_64")]
mod avx512finish;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
pub(crate) mod columns;
pub(crate) mod depthwise;
pub(crate) mod driver;
pub(crate) mod finish;
mod output;
mod packed;
mod scalar;
#[cfg(test)]
mod tests;
pub(crate) mod tile;

pub use output::{Dequantize, Output, QResidual, Requantize};
pub use packed::PackedQB;

use crate::error::ShapeError;
use crate::quantize::Bytes;
use crate::threads::Threads;
use driver::{MatrixBytes, Product};
use finish::Finish;
use tile::Band;

/// A variant of the inner loops.
pub struct Kernel {
    /// `qgemm_u8i8i32_{rows}x{columns}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    /// Rows of C in registers.
    pub tile_rows: usize,
    /// Rows where all of B is at most half a panel wide.
    pub narrow_rows: usize,
    /// Columns of a panel of B.
    pub panel: usize,
    /// Panels are a multiple of so many columns wide.
    lanes: usize,
    /// Tiles are finished in registers where [`Finish::fuses`].
    fuses: bool,
    run: unsafe fn(&Band<'_>),
    finish: unsafe fn(&Finish, *const i32, usize, usize, usize),
    pub(crate) depthwise: unsafe fn(&depthwise::Row<'_>),
    /// Depthwise with the weights packed for it; the scratch has `scratch_words`.
    pub(crate) columns: Option<unsafe fn(&columns::Strip<'_>, &mut [i8])>,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All variants, fastest first. Dispatch, tests and benches walk this list; integer convolutions use it too.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "qgemm_u8i8i32_6x64_avx512vnni",
        is_supported: crate::isa::has_avx512vnni,
        tile_rows: 6,
        narrow_rows: 8,
        panel: 64,
        lanes: 16,
        fuses: true,
        run: avx512vnni::run,
        finish: avx512vnni::finish,
        depthwise: avx512vnni::depthwise,
        columns: Some(avx512columns::strip),
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "qgemm_u8i8i32_6x8_avx2",
        is_supported: crate::isa::has_avx2,
        tile_rows: 6,
        narrow_rows: 6,
        panel: 8,
        lanes: 4,
        fuses: false,
        run: avx2::run,
        finish: avx2::finish,
        depthwise: avx2::depthwise,
        columns: None,
    },
    Kernel {
        name: "qgemm_u8i8i32_4x8_scalar",
        is_supported: || true,
        tile_rows: 4,
        narrow_rows: 4,
        panel: 8,
        lanes: 4,
        fuses: false,
        run: scalar::run,
        finish: scalar::finish,
        depthwise: scalar::depthwise,
        columns: None,
    },
];

/// `output = finish((a - a_zero_point) · (b - b_zero_points))`.
///
/// | value | shape |
/// |---|---|
/// | `a` | `[m, b.k()]`, row-major |
/// | `output` | `[m, b.n()]`, row-major |
///
/// # Errors
/// [`ShapeError`] if a length differs or a zero point is no value of its type.
pub fn qgemm(
    threads: &Threads,
    a: Bytes<'_>,
    a_zero_point: i32,
    m: usize,
    b: &PackedQB,
    output: &mut Output<'_>,
) -> Result<(), ShapeError> {
    ShapeError::expect("a", a.len(), ShapeError::product("a", &[m, b.k])?)?;
    let zero = unsigned_zero(a, a_zero_point)?;
    let plan = output.plan([m, b.n], |bias| b.offsets(zero, bias))?;
    let rows = MatrixBytes { a: a.raw(), stride: b.k, k: b.k };
    let product = Product { m, b, rows: &rows, flip: a.flip(), finish: plan.finish(), activation: plan.activation };
    // SAFETY: `plan` checked the lengths of all that `finish` points to, and borrows it until here.
    unsafe { product.run(threads) };
    Ok(())
}

/// The zero point of the bytes made unsigned.
pub(crate) fn unsigned_zero(a: Bytes<'_>, zero_point: i32) -> Result<i32, ShapeError> {
    let zero = zero_point.saturating_add(i32::from(a.flip()));
    ShapeError::require((0..256).contains(&zero), "the zero point", zero_point as usize, "a value of its type")?;
    Ok(zero)
}
