//! Products whose second side changes, as in training: the packed form lies in memory of the caller.

use super::driver::{MatrixRows, Product};
use super::{Kernel, Matrix, check_epilogue, packed, pointer};
use crate::activation::Epilogue;
use crate::error::ShapeError;
use crate::threads::{Shareable, Threads};

/// Elements of the packed form of a matrix `[k, n]`, for [`pack_into`].
///
/// # Errors
/// [`ShapeError`] if there are too many.
pub fn packed_len(k: usize, n: usize) -> Result<usize, ShapeError> {
    packed_len_for(Kernel::best(), k, n)
}

/// Packs `b`, seen as `[k, n]` through its strides, into `to`, [`packed_len`] long, for the fastest kernel of this CPU. What
/// `to` held does not matter.
///
/// # Errors
/// [`ShapeError`] if `b` reaches past its end or `to` has another length.
pub fn pack_into(threads: &Threads, b: Matrix<'_>, k: usize, n: usize, to: &mut [f32]) -> Result<(), ShapeError> {
    pack_for(Kernel::best(), threads, b, k, n, to)
}

/// `out = activation(a · b + bias + residual)` with `b`, `[k, n]`, packed by [`pack_into`].
///
/// | value | shape |
/// |---|---|
/// | `a` | `[m, k]` through its strides |
/// | `epilogue.bias` | `[n]` |
/// | `epilogue.residual`, `out` | `[m, n]`, row-major |
///
/// # Errors
/// [`ShapeError`] if `a` reaches past its end or a slice has another length.
pub fn gemm_packed(
    threads: &Threads,
    a: Matrix<'_>,
    [m, k, n]: [usize; 3],
    packed: &[f32],
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    gemm_for(Kernel::best(), threads, a, [m, k, n], packed, epilogue, out)
}

pub(crate) fn packed_len_for(kernel: &Kernel, k: usize, n: usize) -> Result<usize, ShapeError> {
    ShapeError::product("b", &[k, n.checked_next_multiple_of(kernel.panel).unwrap_or(usize::MAX)])?;
    Ok(packed::packed_len(kernel.panel, k, n))
}

pub(crate) fn pack_for(
    kernel: &Kernel,
    threads: &Threads,
    b: Matrix<'_>,
    k: usize,
    n: usize,
    to: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("packed", to.len(), packed_len_for(kernel, k, n)?)?;
    b.check("b", k, n)?;
    packed::pack(kernel, threads, b, k, n, to);
    Ok(())
}

pub(crate) fn gemm_for(
    kernel: &'static Kernel,
    threads: &Threads,
    a: Matrix<'_>,
    [m, k, n]: [usize; 3],
    packed: &[f32],
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("packed", packed.len(), packed_len_for(kernel, k, n)?)?;
    a.check("a", m, k)?;
    let size = ShapeError::product("out", &[m, n])?;
    ShapeError::expect("out", out.len(), size)?;
    check_epilogue(epilogue, n, size)?;
    let product = Product {
        kernel,
        m,
        k,
        n,
        rows: &MatrixRows { a: a.data, m, k, row_stride: a.row_stride, col_stride: a.col_stride },
        b: packed,
        c: Shareable(out.as_mut_ptr()),
        c_stride: n,
        lines: None,
        bias: pointer(epilogue.bias),
        residual: pointer(epilogue.residual),
        activation: epilogue.activation,
    };
    // SAFETY: all lengths are checked above; callers name a kernel that this CPU supports.
    unsafe { product.run(threads) };
    Ok(())
}
