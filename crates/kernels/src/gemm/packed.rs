//! The second factor in the order the inner loop reads it: panels of columns, row by row.

use super::{KERNELS, Kernel, Matrix};
use crate::error::ShapeError;
use crate::threads::{Shareable, Threads};
use std::ops::Range;

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
        pack(kernel, &Threads::single(), b, k, n, &mut data);
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

/// Rows packed by one task.
const ROWS: usize = 256;

/// Fills `data`, [`packed_len`] long, with the panels of `b`, which has as many elements. What `data` held does not matter.
pub(crate) fn pack(kernel: &Kernel, threads: &Threads, b: Matrix<'_>, k: usize, n: usize, data: &mut [f32]) {
    assert_eq!(data.len(), packed_len(kernel.panel, k, n), "checked before");
    let to = Shareable(data.as_mut_ptr());
    let parts = k.div_ceil(ROWS);
    threads.run(n.div_ceil(kernel.panel) * parts, |task| {
        let panel = panel(task / parts, kernel.panel, k, n);
        let first = task % parts * ROWS;
        let rows = first..k.min(first + ROWS);
        let len = rows.len() * panel.width;
        // SAFETY: these rows of this panel are this task's.
        let to = unsafe { std::slice::from_raw_parts_mut(to.at(panel.offset + first * panel.width), len) };
        if panel.n_cols < panel.width {
            to.fill(0.0);
        }
        pack_rows(kernel, b, &panel, rows, to);
    });
}

/// Fills `to` with some rows of a panel; columns that do not exist stay as they are.
fn pack_rows(kernel: &Kernel, b: Matrix<'_>, panel: &Panel, rows: Range<usize>, to: &mut [f32]) {
    if b.row_stride == 1 {
        let from = &b.data[panel.col * b.col_stride + rows.start..];
        let sizes = [panel.n_cols, rows.len()];
        // The last element of each side is there, so all are.
        assert!(from.len() > (sizes[0] - 1) * b.col_stride + sizes[1] - 1 && to.len() >= sizes[1] * panel.width);
        // SAFETY: above; callers name a kernel that this CPU supports.
        unsafe { (kernel.transpose)(from.as_ptr(), b.col_stride, sizes, to.as_mut_ptr(), panel.width) };
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
