//! Products and convolutions in bf16, summed in f32: twice the speed of f32 where the CPU has AVX-512 BF16.
//!
//! Weights are rounded when they are packed, activations on the way in ([`round`]); inputs and outputs of the functions are
//! f32. Each element is summed in the order of `k`, two products at a time, so results do not depend on the threads.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512bf16;
mod bf16;
mod changing;
mod images;
mod packed;
mod scalar;
#[cfg(test)]
mod tests;
mod tile;

pub(crate) use bf16::pair;
pub use bf16::{round, widen};
pub use changing::{bgemm_packed, pack_pairs_into, packed_pairs_len};
pub use images::{pairs_len, round_into, widen_into};
pub use packed::PackedBf16;

use crate::activation::Epilogue;
use crate::conv::windows::Windows;
use crate::conv::{Images, Window, conv};
use crate::error::ShapeError;
use crate::gemm;
use crate::gemm::driver::{Copies, Product, Rows, Tiles};
use crate::gemm::tile::{ROW_STRIDE, Run};
use crate::gemm::{check_epilogue, pointer};
use crate::threads::{Shareable, Threads};
use packed::Form;
use std::cell::RefCell;
use std::ops::Range;

/// A variant of the inner loops.
pub struct Kernel {
    /// `bgemm_bf16_{rows}x{columns}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    /// Whether it is faster than f32.
    is_fast: bool,
    /// On pairs.
    pub(crate) product: gemm::Kernel,
    /// On pairs, with results in bf16.
    pub(crate) rounded: gemm::Kernel,
    /// Rounds numbers to pairs.
    pub(crate) round: unsafe fn(&[f32], &mut [f32]),
    /// The pairs of two rows; the second may be empty, zeros.
    pub(crate) pair: unsafe fn(&[f32], &[f32], &mut [f32]),
    /// Pairs to numbers.
    pub(crate) widen: unsafe fn(&[f32], &mut [f32]),
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(target_arch = "x86_64")]
const AVX512: gemm::Kernel = gemm::Kernel {
    name: "bgemm_bf16_13x32_avx512bf16",
    is_supported: crate::isa::has_avx512bf16,
    tile_rows: 13,
    narrow_rows: 26,
    panel: 32,
    c_bytes: 4,
    run: avx512bf16::run,
    locate: avx512bf16::locate,
    transpose: gemm::avx512::transpose,
    direct: avx512bf16::DIRECT,
};

#[cfg(target_arch = "x86_64")]
const AVX2: gemm::Kernel = gemm::Kernel {
    name: "bgemm_bf16_4x16_avx2",
    is_supported: crate::isa::has_avx2,
    tile_rows: 4,
    narrow_rows: 4,
    panel: 16,
    c_bytes: 4,
    run: avx2::run,
    locate: gemm::avx2::locate,
    transpose: gemm::avx2::transpose,
    direct: avx2::DIRECT,
};

const SCALAR: gemm::Kernel = gemm::Kernel {
    name: "bgemm_bf16_4x8_scalar",
    is_supported: || true,
    tile_rows: 4,
    narrow_rows: 4,
    panel: 8,
    c_bytes: 4,
    run: scalar::run,
    locate: gemm::scalar::locate,
    transpose: gemm::scalar::transpose,
    direct: &[],
};

/// All variants, fastest first. Dispatch, tests and benches walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: AVX512.name,
        is_supported: AVX512.is_supported,
        is_fast: true,
        product: AVX512,
        rounded: gemm::Kernel {
            c_bytes: 2,
            run: avx512bf16::run_rounded,
            direct: avx512bf16::DIRECT_ROUNDED,
            ..AVX512
        },
        round: avx512bf16::round,
        pair: avx512bf16::pair,
        widen: avx512bf16::widen,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: AVX2.name,
        is_supported: AVX2.is_supported,
        is_fast: false,
        product: AVX2,
        rounded: gemm::Kernel { c_bytes: 2, run: avx2::run_rounded, direct: avx2::DIRECT_ROUNDED, ..AVX2 },
        round: avx2::round,
        pair: avx2::pair,
        widen: avx2::widen,
    },
    Kernel {
        name: SCALAR.name,
        is_supported: SCALAR.is_supported,
        is_fast: false,
        product: SCALAR,
        rounded: gemm::Kernel { c_bytes: 2, run: scalar::run_rounded, ..SCALAR },
        round: scalar::round,
        pair: scalar::pair,
        widen: scalar::widen,
    },
];

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        crate::isa::best(KERNELS, |kernel| kernel.is_supported)
    }

    /// True if this variant is faster than f32; the plain ones are not.
    pub fn is_fast(&self) -> bool {
        self.is_fast
    }
}

/// `out = activation(a · b + bias + residual)`, `b` packed by [`PackedBf16::linear`].
///
/// | value | shape |
/// |---|---|
/// | `a` | `[m, k]`, row-major |
/// | `epilogue.bias` | `[n]` |
/// | `epilogue.residual`, `out` | `[m, n]`, row-major |
///
/// # Errors
/// [`ShapeError`] if a slice has another length, or `b` is the weight of a convolution.
pub fn bgemm(
    threads: &Threads,
    a: &[f32],
    m: usize,
    b: &PackedBf16,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let (k, n) = b.linear_size()?;
    ShapeError::expect("a", a.len(), ShapeError::product("a", &[m, k])?)?;
    let size = ShapeError::product("out", &[m, n])?;
    ShapeError::expect("out", out.len(), size)?;
    check_epilogue(epilogue, n, size)?;
    let rows = Rounded { kernel: b.kernel, a, k, place: Place::Rows };
    // SAFETY: all lengths are checked above.
    unsafe { product(threads, b, 0, m, &rows, epilogue, out) };
    Ok(())
}

/// `out = activation(conv(input) + bias + residual)`, `conv` packed by [`PackedBf16::conv`].
///
/// | value | shape |
/// |---|---|
/// | `input` | `[n, h, w, c_in]` |
/// | `epilogue.bias` | `[c_out]` |
/// | `epilogue.residual`, `out` | `[n, h', w', c_out]`, `[h', w']` = the window's `output_size(h, w)` |
///
/// # Errors
/// [`ShapeError`] if a slice has another length, the window does not fit, or `packed` is the weight of a linear layer.
pub fn bconv(
    threads: &Threads,
    input: &[f32],
    images: Images,
    packed: &PackedBf16,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    if let Form::F32(packed) = &packed.form {
        return conv(threads, input, images, packed, epilogue, out);
    }
    let shape = packed.conv_shape()?;
    let Images { n, h, w } = images;
    let out_size = shape.window.output_size(h, w)?;
    ShapeError::expect("input", input.len(), ShapeError::product("input", &[n, h, w, shape.c_in])?)?;
    let size = ShapeError::product("out", &[n, out_size[0], out_size[1], shape.c_out])?;
    ShapeError::expect("out", out.len(), size)?;
    check_epilogue(epilogue, shape.c_out, size)?;
    let m = n * out_size[0] * out_size[1];
    if shape.window.taps() == 1 && shape.window.pads == [0; 4] && shape.groups == 1 {
        let place = Place::Pixels { images, window: shape.window, out_size };
        let rows = Rounded { kernel: packed.kernel, a: input, k: shape.c_in, place };
        // SAFETY: all lengths are checked above.
        unsafe { product(threads, packed, 0, m, &rows, epilogue, out) };
        return Ok(());
    }
    ROUNDED.with_borrow_mut(|rounded| {
        let c_in = shape.c_in / shape.groups;
        let pairs = c_in.div_ceil(2);
        rounded.resize(input.len() / c_in * pairs, 0.0);
        images::round_all(threads, packed.kernel, input, c_in, rounded);
        for group in 0..shape.groups {
            let channels = group * pairs..(group + 1) * pairs;
            let rows = Windows::new(rounded, images, shape.window, out_size, shape.groups * pairs, channels);
            // SAFETY: all lengths are checked above.
            unsafe { product(threads, packed, group, m, &rows, epilogue, out) };
        }
    });
    Ok(())
}

thread_local! {
    /// The image of a convolution in pairs.
    static ROUNDED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// # Safety
/// The lengths fit: `rows` has `m` rows of the depth that group `group` of `packed` has, `out` and `epilogue` all columns.
unsafe fn product(
    threads: &Threads,
    packed: &PackedBf16,
    group: usize,
    m: usize,
    rows: &impl Rows,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) {
    let n = packed.n;
    if m == 0 || n == 0 {
        return;
    }
    let first = group * n;
    let product = Product {
        kernel: &packed.kernel.product,
        m,
        k: packed.pairs,
        n,
        rows,
        b: &packed.products[group],
        c: Shareable(out[first..].as_mut_ptr()),
        c_stride: n * packed.products.len(),
        lines: None,
        bias: pointer(epilogue.bias.map(|bias| &bias[first..])),
        residual: pointer(epilogue.residual.map(|residual| &residual[first..])),
        activation: epilogue.activation,
    };
    // SAFETY: the caller's; `PackedBf16` holds a kernel that this CPU supports.
    unsafe { product.run(threads) };
}

/// Rows of f32 that are rounded block by block.
struct Rounded<'a> {
    kernel: &'static Kernel,
    a: &'a [f32],
    /// Numbers in a row.
    k: usize,
    place: Place,
}

/// Where a row of [`Rounded`] is.
enum Place {
    /// One after the other.
    Rows,
    /// At the pixels that a window of one tap sees.
    Pixels { images: Images, window: Window, out_size: [usize; 2] },
}

impl Rounded<'_> {
    fn row(&self, row: usize) -> usize {
        match &self.place {
            Place::Rows => row,
            Place::Pixels { window, .. } if window.is_point() => row,
            Place::Pixels { images, window, out_size: [out_h, out_w] } => {
                let (x, y, image) = (row % out_w, row / out_w % out_h, row / out_w / out_h);
                (image * images.h + y * window.stride[0]) * images.w + x * window.stride[1]
            }
        }
    }
}

impl Rows for Rounded<'_> {
    fn run_len(&self) -> usize {
        self.k.div_ceil(2)
    }

    fn is_copied(&self) -> bool {
        true
    }

    unsafe fn locate(
        &self,
        _: &gemm::Kernel,
        tiles: &Tiles,
        ks: Range<usize>,
        to: &mut [Run],
        copies: &mut Copies<'_>,
    ) {
        let columns = ks.start * 2..self.k.min(ks.end * 2);
        for (tile, run) in tiles.range.clone().zip(to) {
            for (slot, row) in run.iter_mut().zip(tiles.rows(tile)) {
                let from = &self.a[self.row(row) * self.k..][columns.clone()];
                let copy = &mut copies.take(ROW_STRIDE)[..ks.len()];
                // SAFETY: this CPU can run the kernel (the caller's).
                unsafe { (self.kernel.round)(from, copy) };
                *slot = copy.as_ptr();
            }
        }
    }
}
