//! Products in bf16 with a right-hand side that changes, as in training: it is rounded while it is packed into memory of the caller,
//! the other one block by block.

use super::Kernel;
use crate::activation::Epilogue;
use crate::error::ShapeError;
use crate::gemm::driver::{Copies, Product, Rows, Tiles};
use crate::gemm::packed::{self, Panel};
use crate::gemm::tile::{ROW_STRIDE, Run};
use crate::gemm::{self, Matrix, check_epilogue, pointer};
use crate::threads::{Shareable, Threads};
use std::cell::RefCell;
use std::ops::Range;

/// Elements of the packed form of a matrix `[k, n]`, for [`pack_pairs_into`].
///
/// # Errors
/// [`ShapeError`] if there are too many.
pub fn packed_pairs_len(k: usize, n: usize) -> Result<usize, ShapeError> {
    packed_len_for(Kernel::best(), k, n)
}

/// Rounds and packs `b`, seen as `[k, n]` through its strides, into `to`, [`packed_pairs_len`] long. What `to` held does not matter.
///
/// # Errors
/// [`ShapeError`] if `b` reaches past its end or `to` has another length.
pub fn pack_pairs_into(threads: &Threads, b: Matrix<'_>, k: usize, n: usize, to: &mut [f32]) -> Result<(), ShapeError> {
    pack_for(Kernel::best(), threads, b, k, n, to)
}

/// `out = activation(a · b + bias + residual)` with `b`, `[k, n]`, packed by [`pack_pairs_into`], and `a` rounded on the way.
///
/// | value | shape |
/// |---|---|
/// | `a` | `[m, k]` through its strides, f32 |
/// | `epilogue.bias` | `[n]` |
/// | `epilogue.residual`, `out` | `[m, n]`, row-major, f32 |
///
/// # Errors
/// [`ShapeError`] if `a` reaches past its end or a slice has another length.
pub fn bgemm_packed(
    threads: &Threads,
    a: Matrix<'_>,
    size: [usize; 3],
    packed: &[f32],
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    product_for(Kernel::best(), threads, a, size, packed, epilogue, out)
}

pub(super) fn packed_len_for(kernel: &Kernel, k: usize, n: usize) -> Result<usize, ShapeError> {
    let panel = kernel.product.panel;
    ShapeError::product("b", &[k, n.checked_next_multiple_of(panel).unwrap_or(usize::MAX)])?;
    Ok(packed::packed_len(panel, k.div_ceil(2), n))
}

/// Pairs of rows that a task packs.
const ROWS: usize = 128;

thread_local! {
    /// Pairs that are to be transposed.
    static PAIRS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn pack_for(
    kernel: &Kernel,
    threads: &Threads,
    b: Matrix<'_>,
    k: usize,
    n: usize,
    to: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("packed", to.len(), packed_len_for(kernel, k, n)?)?;
    b.check("b", k, n)?;
    let (pairs, width) = (k.div_ceil(2), kernel.product.panel);
    let parts = pairs.div_ceil(ROWS);
    let to = Shareable(to.as_mut_ptr());
    threads.run(n.div_ceil(width) * parts, |task| {
        let panel = packed::panel(task / parts, width, pairs, n);
        let first = task % parts * ROWS;
        let rows = first..pairs.min(first + ROWS);
        let len = rows.len() * panel.width;
        // SAFETY: these rows of this panel are this task's.
        let to = unsafe { std::slice::from_raw_parts_mut(to.at(panel.offset + first * panel.width), len) };
        pack_rows(kernel, b, k, &panel, rows, to);
    });
    Ok(())
}

/// Fills `to` with some pairs of rows of a panel.
fn pack_rows(kernel: &Kernel, b: Matrix<'_>, k: usize, panel: &Panel, rows: Range<usize>, to: &mut [f32]) {
    if panel.n_cols < panel.width {
        to.fill(0.0);
    }
    let columns = b.data.get(panel.col * b.col_stride..).unwrap_or(&[]);
    if b.col_stride == 1 {
        for (row, to) in rows.zip(to.chunks_exact_mut(panel.width)) {
            pair_rows(kernel, columns, b.row_stride, 2 * row..k, &mut to[..panel.n_cols]);
        }
    } else if b.row_stride == 1 {
        PAIRS.with_borrow_mut(|room| {
            let len = rows.len();
            room.resize(panel.n_cols * len, 0.0);
            for (col, to) in room.chunks_exact_mut(len.max(1)).enumerate() {
                let from = &columns[col * b.col_stride..][2 * rows.start..k.min(2 * rows.end)];
                // SAFETY: callers name a kernel that this CPU supports.
                unsafe { (kernel.round)(from, to) };
            }
            assert!(to.len() >= len * panel.width, "checked before");
            // SAFETY: both sides have these elements; as above.
            unsafe {
                (kernel.product.transpose)(room.as_ptr(), len, [panel.n_cols, len], to.as_mut_ptr(), panel.width);
            }
        });
    } else {
        for (row, to) in rows.zip(to.chunks_exact_mut(panel.width)) {
            for (col, to) in to[..panel.n_cols].iter_mut().enumerate() {
                let at = |row: usize| if row < k { columns[row * b.row_stride + col * b.col_stride] } else { 0.0 };
                *to = super::pair(at(2 * row), at(2 * row + 1));
            }
        }
    }
}

/// Pairs of the first two of `rows`, `stride` apart; the second may be missing.
fn pair_rows(kernel: &Kernel, from: &[f32], stride: usize, rows: Range<usize>, to: &mut [f32]) {
    let first = &from[rows.start * stride..][..to.len()];
    let second = if rows.len() > 1 { &from[(rows.start + 1) * stride..][..to.len()] } else { &[] };
    // SAFETY: callers name a kernel that this CPU supports.
    unsafe { (kernel.pair)(first, second, to) };
}

pub(super) fn product_for(
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
        kernel: &kernel.product,
        m,
        k: k.div_ceil(2),
        n,
        rows: &RoundedMatrix { kernel, a, k },
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

/// Rows of a matrix of f32 that are rounded block by block.
struct RoundedMatrix<'a> {
    kernel: &'static Kernel,
    a: Matrix<'a>,
    /// Numbers in a row.
    k: usize,
}

impl Rows for RoundedMatrix<'_> {
    fn run_len(&self) -> usize {
        self.k.div_ceil(2)
    }

    fn is_copied(&self) -> bool {
        true
    }

    unsafe fn locate(
        &self,
        kernel: &gemm::Kernel,
        tiles: &Tiles,
        ks: Range<usize>,
        to: &mut [Run],
        copies: &mut Copies<'_>,
    ) {
        if tiles.range.is_empty() {
            return;
        }
        let Matrix { data, row_stride, col_stride } = self.a;
        let rows = tiles.rows(tiles.range.start).start..tiles.rows(tiles.range.end - 1).end;
        let room = copies.take(rows.len() * ROW_STRIDE);
        if ks.is_empty() {
            // Nothing to sum; the runs still begin somewhere.
        } else if row_stride == 1 && col_stride != 1 {
            PAIRS.with_borrow_mut(|pairs| {
                pairs.resize(ks.len() * rows.len(), 0.0);
                for (pair, to) in ks.clone().zip(pairs.chunks_exact_mut(rows.len())) {
                    pair_rows(self.kernel, &data[rows.start..], col_stride, 2 * pair..self.k, to);
                }
                let sizes = [ks.len(), rows.len()];
                // SAFETY: there is room for as many; this CPU can run the kernel (the caller's).
                unsafe { (kernel.transpose)(pairs.as_ptr(), rows.len(), sizes, room.as_mut_ptr(), ROW_STRIDE) };
            });
        } else {
            let columns = 2 * ks.start..self.k.min(2 * ks.end);
            for (row, to) in rows.clone().zip(room.chunks_exact_mut(ROW_STRIDE)) {
                let from = &data[row * row_stride..];
                let to = &mut to[..ks.len()];
                if col_stride == 1 {
                    // SAFETY: as above.
                    unsafe { (self.kernel.round)(&from[columns.clone()], to) };
                } else {
                    let at = |col: usize| if col < self.k { from[col * col_stride] } else { 0.0 };
                    ks.clone().zip(to).for_each(|(pair, to)| *to = super::pair(at(2 * pair), at(2 * pair + 1)));
                }
            }
        }
        for (tile, run) in tiles.range.clone().zip(to) {
            for (slot, row) in run.iter_mut().zip(tiles.rows(tile)) {
                *slot = room.as_ptr().wrapping_add((row - rows.start) * ROW_STRIDE);
            }
        }
    }
}
