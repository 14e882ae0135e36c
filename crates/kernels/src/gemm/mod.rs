//! Matrix products in f32: `[m, k] · [k, n]`, with bias, residual and activation applied before C is stored.
//!
//! B is packed in panels of columns ([`PackedB`]); blocks of A are copied into a fixed stride and read by broadcast.
//! Each element is summed in the order of `k`, so results do not depend on the number of threads.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod changing;
pub(crate) mod driver;
pub(crate) mod packed;
pub(crate) mod scalar;
#[cfg(test)]
mod tests;
pub(crate) mod tile;
mod transpose;

pub use changing::{gemm_packed, pack_into, packed_len};
pub use packed::PackedB;

use crate::activation::{Activation, Epilogue};
use crate::conv::direct::Strip;
use crate::conv::windows::Windows;
use crate::error::ShapeError;
use crate::threads::{Shareable, Threads};
use driver::{MatrixRows, Product, Tiles};
use std::cell::RefCell;
use std::ops::Range;
use tile::{Run, Tile};

/// A variant of the inner loop.
pub struct Kernel {
    /// `gemm_f32_{rows}x{columns}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    /// Rows of C in registers.
    pub tile_rows: usize,
    /// Rows of C in registers where half a panel is enough for all columns.
    pub narrow_rows: usize,
    /// Columns of a panel of B.
    pub panel: usize,
    /// Bytes of an element of C and of the residual: 4, or 2 where they are bf16; then all of K is summed at once.
    pub(crate) c_bytes: usize,
    /// `(rows, width of the panel, tile)`.
    pub(crate) run: unsafe fn(usize, usize, &Tile),
    /// `Windows::locate`, compiled for the same instruction set.
    pub(crate) locate: unsafe fn(&Windows<'_>, &Tiles, Range<usize>, &mut [Run]),
    /// `(from, its stride, [rows, columns], to, its stride)`
    pub(crate) transpose: unsafe fn(*const f32, usize, [usize; 2], *mut f32, usize),
    /// Strips of outputs for convolutions into few channels, the widest first, down to 1; none if there is no such form.
    pub(crate) direct: &'static [(usize, RunStrip)],
}

/// [`crate::conv::direct::strip`], compiled for an instruction set.
pub(crate) type RunStrip = unsafe fn(&Strip<'_>);

impl Kernel {
    /// Where element `index` of C or of the residual is.
    pub(crate) fn element(&self, from: *mut f32, index: usize) -> *mut f32 {
        from.wrapping_byte_add(index * self.c_bytes)
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All variants, fastest first. Dispatch, tests and benches walk this list; convolutions use it too.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "gemm_f32_13x32_avx512",
        is_supported: crate::isa::has_avx512,
        tile_rows: 13,
        narrow_rows: 26,
        panel: 32,
        c_bytes: 4,
        run: avx512::run,
        locate: avx512::locate,
        transpose: avx512::transpose,
        direct: avx512::DIRECT,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "gemm_f32_6x16_avx2",
        is_supported: crate::isa::has_avx2,
        tile_rows: 6,
        narrow_rows: 12,
        panel: 16,
        c_bytes: 4,
        run: avx2::run,
        locate: avx2::locate,
        transpose: avx2::transpose,
        direct: avx2::DIRECT,
    },
    Kernel {
        name: "gemm_f32_4x8_scalar",
        is_supported: || true,
        tile_rows: 4,
        narrow_rows: 4,
        panel: 8,
        c_bytes: 4,
        run: scalar::run,
        locate: scalar::locate,
        transpose: scalar::transpose,
        direct: &[],
    },
];

/// A matrix seen through strides; element `[row, col]` is `data[row · row_stride + col · col_stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// The elements, from `[0, 0]` on.
    pub data: &'a [f32],
    /// Elements from one row to the next.
    pub row_stride: usize,
    /// Elements from one column to the next.
    pub col_stride: usize,
}

impl Matrix<'_> {
    pub(crate) fn check(&self, what: &'static str, rows: usize, cols: usize) -> Result<(), ShapeError> {
        check_strides(what, self.data.len(), [rows, cols], [self.row_stride, self.col_stride])
    }
}

/// Errs unless a slice of `len` elements holds all of `sizes` seen through `strides`.
pub(crate) fn check_strides(
    what: &'static str,
    len: usize,
    sizes: [usize; 2],
    strides: [usize; 2],
) -> Result<(), ShapeError> {
    if sizes.contains(&0) {
        return Ok(());
    }
    let last = ((sizes[0] - 1).checked_mul(strides[0]))
        .zip((sizes[1] - 1).checked_mul(strides[1]))
        .and_then(|(rows, cols)| rows.checked_add(cols)?.checked_add(1))
        .ok_or(ShapeError::Overflow { what })?;
    if last <= len { Ok(()) } else { Err(ShapeError::Length { what, expected: last, got: len }) }
}

/// `out = activation(a · b + bias + residual)`.
///
/// | value | shape |
/// |---|---|
/// | `a` | `[m, b.k()]`, row-major |
/// | `epilogue.bias` | `[b.n()]` |
/// | `epilogue.residual`, `out` | `[m, b.n()]`, row-major |
///
/// # Errors
/// [`ShapeError`] if a slice has another length.
pub fn gemm(
    threads: &Threads,
    a: &[f32],
    m: usize,
    b: &PackedB,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("a", a.len(), ShapeError::product("a", &[m, b.k])?)?;
    let size = ShapeError::product("out", &[m, b.n])?;
    ShapeError::expect("out", out.len(), size)?;
    check_epilogue(epilogue, b.n, size)?;
    let product = Product {
        kernel: b.kernel,
        m,
        k: b.k,
        n: b.n,
        rows: &MatrixRows { a, m, k: b.k, row_stride: b.k, col_stride: 1 },
        b: &b.data,
        c: Shareable(out.as_mut_ptr()),
        c_stride: b.n,
        lines: None,
        bias: pointer(epilogue.bias),
        residual: pointer(epilogue.residual),
        activation: epilogue.activation,
    };
    // SAFETY: all lengths are checked above; `PackedB` holds a kernel that this CPU supports.
    unsafe { product.run(threads) };
    Ok(())
}

pub(crate) fn check_epilogue(epilogue: &Epilogue<'_>, n: usize, size: usize) -> Result<(), ShapeError> {
    if let Some(bias) = epilogue.bias {
        ShapeError::expect("bias", bias.len(), n)?;
    }
    if let Some(residual) = epilogue.residual {
        ShapeError::expect("residual", residual.len(), size)?;
    }
    Ok(())
}

pub(crate) fn pointer<T>(slice: Option<&[T]>) -> *const T {
    slice.map_or(std::ptr::null(), <[T]>::as_ptr)
}

/// Sizes and strides of many products of the same shape, `[m, k] · [k, n]`, neither side constant.
///
/// Strides are in elements. Product `i` reads `a` from `offsets[i][0]`, `b` from `offsets[i][1]` and writes `out` from
/// `offsets[i][2]`; so transposed, interleaved (heads of attention inside `[tokens, heads · d]`) and broadcast operands
/// need no copies.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of A, rows of B.
    pub k: usize,
    /// Columns of B and C.
    pub n: usize,
    /// `[row, column]` strides of A.
    pub a_strides: [usize; 2],
    /// `[row, column]` strides of B.
    pub b_strides: [usize; 2],
    /// Row stride of C; its columns are adjacent.
    pub out_stride: usize,
    /// Offsets of `[a, b, out]` of each product.
    pub offsets: &'a [[usize; 3]],
    /// Multiplied into every element of the products (1 / √d of attention).
    pub scale: f32,
    /// Applied to every element.
    pub activation: Activation,
}

/// Elements scaled by one task.
const SCALED: usize = 1 << 15;

thread_local! {
    static PANELS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Runs all products of `batch`, packing B of each on the fly.
///
/// The parts of `out` must not overlap: rows `out_stride >= n` apart, and products in disjoint ranges
/// `offset .. offset + (m - 1) · out_stride + n`, or interleaved within the same rows in disjoint columns.
///
/// # Errors
/// [`ShapeError`] if a product reaches outside of its slice, or parts of `out` overlap.
pub fn batched(threads: &Threads, batch: &Batch<'_>, a: &[f32], b: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
    batched_with(Kernel::best(), threads, batch, a, b, out)
}

/// [`batched`] with one variant of [`KERNELS`].
///
/// # Errors
/// As [`batched`].
///
/// # Panics
/// If this CPU cannot run `kernel`.
pub fn batched_with(
    kernel: &'static Kernel,
    threads: &Threads,
    batch: &Batch<'_>,
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
) -> Result<(), ShapeError> {
    assert!((kernel.is_supported)(), "{} needs another CPU", kernel.name);
    let Batch { m, k, n, .. } = *batch;
    check_batch(batch, a.len(), b.len(), out.len())?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let c = Shareable(out.as_mut_ptr());
    let single = Threads::single();
    // Few large products are split inside; many small ones go one to a task.
    let is_split_inside = batch.offsets.len() < threads.count();
    let one = |index: usize, threads: &Threads| {
        let [a_offset, b_offset, c_offset] = batch.offsets[index];
        // Taken, not borrowed: while a caller's pool works, this thread may run another product.
        let mut panels = PANELS.take();
        panels.resize(packed::packed_len(kernel.panel, k, n), 0.0);
        let [row_stride, col_stride] = batch.b_strides;
        let from = Matrix { data: b.get(b_offset..).unwrap_or(&[]), row_stride, col_stride };
        packed::pack(kernel, threads, from, k, n, &mut panels);
        if batch.scale != 1.0 {
            threads.run_chunks(&mut panels, SCALED, |_, part| part.iter_mut().for_each(|x| *x *= batch.scale));
        }
        let [row_stride, col_stride] = batch.a_strides;
        let product = Product {
            kernel,
            m,
            k,
            n,
            rows: &MatrixRows { a: a.get(a_offset..).unwrap_or(&[]), m, k, row_stride, col_stride },
            b: &panels,
            // SAFETY: inside `out`, checked by `check_batch`.
            c: Shareable(unsafe { c.at(c_offset) }),
            c_stride: batch.out_stride,
            lines: None,
            bias: std::ptr::null(),
            residual: std::ptr::null(),
            activation: batch.activation,
        };
        // SAFETY: `check_batch` proved that the products stay inside `out` and do not overlap.
        unsafe { product.run(threads) };
        PANELS.set(panels);
    };
    if is_split_inside {
        (0..batch.offsets.len()).for_each(|index| one(index, threads));
    } else {
        threads.run(batch.offsets.len(), |index| one(index, &single));
    }
    Ok(())
}

fn check_batch(batch: &Batch<'_>, a_len: usize, b_len: usize, out_len: usize) -> Result<(), ShapeError> {
    let Batch { m, k, n, out_stride, .. } = *batch;
    ShapeError::product("b", &[k, n.saturating_add(64)])?;
    ShapeError::require(m < 2 || out_stride >= n, "the row stride of `out`", out_stride, "at least `n`")?;
    for &[a, b, out] in batch.offsets {
        check_strides("a", a_len.saturating_sub(a), [m, k], batch.a_strides)?;
        check_strides("b", b_len.saturating_sub(b), [k, n], batch.b_strides)?;
        check_strides("out", out_len.saturating_sub(out), [m, n], [out_stride, 1])?;
    }
    check_disjoint(m, n, out_stride, batch.offsets.iter().map(|offsets| offsets[2]).collect())
}

/// Errs unless the `[m, n]` results that begin at `starts`, with rows `out_stride` apart, are disjoint.
pub(crate) fn check_disjoint(m: usize, n: usize, out_stride: usize, mut starts: Vec<usize>) -> Result<(), ShapeError> {
    // Sorted by first element, two products are disjoint if the next starts after the last element of the one before,
    // or if both lie side by side in the same rows.
    starts.sort_unstable();
    let span = (m.saturating_sub(1)) * out_stride + n;
    let mut cluster = starts.first().copied().unwrap_or(0);
    for pair in starts.windows(2) {
        let is_beside = pair[1] - pair[0] >= n && pair[1] - cluster + n <= out_stride;
        let is_after = pair[1] - cluster >= span && pair[1] >= pair[0] + span;
        ShapeError::require(
            is_beside || is_after || m * n == 0,
            "an offset of `out`",
            pair[1],
            "outside of other products",
        )?;
        if !is_beside {
            cluster = pair[1];
        }
    }
    Ok(())
}
