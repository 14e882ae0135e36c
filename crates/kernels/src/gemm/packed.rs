//! The second factor in the order the inner loop reads it: panels of columns, row by row.

use super::{KERNELS, Kernel, Matrix};
use crate::error::ShapeError;
use std::ops::Range;

/// Elements of a cache line.
const LINE: usize = 16;

/// A constant right-hand side, packed once.
///
/// Column panels of `kernel.panel` columns, each stored `[k][panel]`; the last panel is half as wide if half is enough,
/// its missing columns are zeros.
#[derive(Clone)]
pub struct PackedB {
    pub(crate) kernel: &'static Kernel,
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) data: Vec<f32>,
}

/// One panel: its first column, its width in storage, how many columns exist, where it starts in the data.
#[derive(Clone, Copy)]
pub(crate) struct Panel {
    pub col: usize,
    pub width: usize,
    pub n_cols: usize,
    pub offset: usize,
}

/// The `index`-th panel of a `[k, n]` matrix packed for panels of `width` columns.
pub(crate) fn panel(index: usize, width: usize, k: usize, n: usize) -> Panel {
    let col = index * width;
    let n_cols = (n - col).min(width);
    let stored = if n_cols * 2 <= width { width / 2 } else { width };
    Panel { col, width: stored, n_cols, offset: col * k }
}

/// Elements of the packed form of `[k, n]`.
pub(crate) fn packed_len(width: usize, k: usize, n: usize) -> usize {
    match n.div_ceil(width) {
        0 => 0,
        panels => {
            let last = panel(panels - 1, width, k, n);
            last.offset + last.width * k
        }
    }
}

impl PackedB {
    /// Packs row-major `b`, `[k, n]`, for the fastest kernel of this CPU.
    pub fn new(b: &[f32], k: usize, n: usize) -> Result<Self, ShapeError> {
        Self::for_kernel(Kernel::best(), Matrix { data: b, row_stride: n, col_stride: 1 }, k, n)
    }

    /// Packs the transpose of row-major `b`, `[n, k]` (ONNX `Gemm` with `transB = 1`, weights of linear layers).
    pub fn from_transposed(b: &[f32], k: usize, n: usize) -> Result<Self, ShapeError> {
        Self::for_kernel(Kernel::best(), Matrix { data: b, row_stride: 1, col_stride: k }, k, n)
    }

    /// Packs `b`, seen as `[k, n]` through its strides, for one variant of [`KERNELS`].
    ///
    /// # Panics
    /// If this CPU cannot run `kernel`.
    pub fn for_kernel(kernel: &'static Kernel, b: Matrix<'_>, k: usize, n: usize) -> Result<Self, ShapeError> {
        assert!((kernel.is_supported)(), "{} needs another CPU", kernel.name);
        b.check("b", k, n)?;
        ShapeError::product("b", &[k, n.next_multiple_of(kernel.panel)])?;
        let mut data = vec![0.0; packed_len(kernel.panel, k, n)];
        pack(b, k, n, kernel.panel, &mut data);
        Ok(Self { kernel, k, n, data })
    }

    /// The matrix that was packed: the element of `row` and `column` goes to `to[row_at(row) + column * col_stride]`.
    ///
    /// # Panics
    /// If `to` ends before one of these places.
    pub fn unpack(&self, to: &mut [f32], row_at: impl Fn(usize) -> usize, col_stride: usize) {
        for index in 0..self.n.div_ceil(self.kernel.panel) {
            let panel = panel(index, self.kernel.panel, self.k, self.n);
            let rows = self.data[panel.offset..][..panel.width * self.k].chunks_exact(panel.width);
            for (row, from) in rows.enumerate() {
                let to = &mut to[row_at(row) + panel.col * col_stride..];
                let columns = to.iter_mut().step_by(col_stride.max(1));
                columns.zip(&from[..panel.n_cols]).for_each(|(to, &from)| *to = from);
            }
        }
    }

    /// Rows: the length of the sums.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The variant of [`KERNELS`] that runs this product.
    pub fn kernel(&self) -> &'static Kernel {
        self.kernel
    }

    /// Bytes of the packed form.
    pub fn size_bytes(&self) -> usize {
        self.data.len() * 4
    }
}

impl std::fmt::Debug for PackedB {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedB([{}, {}] for {})", self.k, self.n, self.kernel.name)
    }
}

impl Kernel {
    /// The first supported variant of [`KERNELS`].
    pub fn best() -> &'static Self {
        crate::isa::best(KERNELS, |kernel| kernel.is_supported)
    }
}

/// Fills `data`, zeroed and [`packed_len`] long, with the panels of `b`.
pub(crate) fn pack(b: Matrix<'_>, k: usize, n: usize, width: usize, data: &mut [f32]) {
    for index in 0..n.div_ceil(width) {
        let panel = panel(index, width, k, n);
        pack_rows(b, &panel, 0..k, &mut data[panel.offset..][..panel.width * k]);
    }
}

/// Fills `to` with some rows of a panel; columns that do not exist stay as they are.
pub(crate) fn pack_rows(b: Matrix<'_>, panel: &Panel, rows: Range<usize>, to: &mut [f32]) {
    if b.row_stride == 1 {
        // Each column lies by itself: a cache line of every one, then the next.
        for (block, to) in to.chunks_mut(LINE * panel.width).enumerate() {
            let n_rows = to.len() / panel.width;
            for col in 0..panel.n_cols {
                let from = &b.data[(panel.col + col) * b.col_stride + rows.start + block * LINE..][..n_rows];
                for (to, &from) in to[col..].iter_mut().step_by(panel.width).zip(from) {
                    *to = from;
                }
            }
        }
        return;
    }
    for (row, to) in rows.zip(to.chunks_exact_mut(panel.width)) {
        let from = &b.data[row * b.row_stride + panel.col * b.col_stride..];
        if b.col_stride == 1 {
            to[..panel.n_cols].copy_from_slice(&from[..panel.n_cols]);
        } else {
            for (to, from) in to[..panel.n_cols].iter_mut().zip(from.iter().step_by(b.col_stride)) {
                *to = *from;
            }
        }
    }
}
