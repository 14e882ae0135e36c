//! Integer weights in the order the inner loop reads them.

use super::aligned::AlignedBytes;
use super::{KERNELS, Kernel};
use crate::error::ShapeError;
pub(super) use crate::gemm::packed::Panel;
use crate::quantize::Bytes;
use std::sync::OnceLock;

/// A constant integer right-hand side, packed once, with what its zero points need.
#[derive(Clone)]
pub struct PackedQB {
    pub(crate) kernel: &'static Kernel,
    pub(crate) k: usize,
    pub(crate) n: usize,
    /// Rows that lie side by side in A; `k` is a multiple of it. Each segment begins a new group of four.
    pub(crate) segment: usize,
    /// Panels of `kernel.panel` columns, the last only as wide as it must be, each `[groups][columns][4]`, missing rows
    /// and columns 0.
    pub(crate) data: AlignedBytes,
    /// Sum of each column of `data`.
    pub(crate) column_sums: Vec<i32>,
    /// What is left of the zero point of each column after packing: 0 unless `b - zero point` does not fit i8.
    pub(crate) zero_points: Vec<i32>,
    /// True if any of `zero_points` is not 0: then sums need the sum of each row of A.
    pub(crate) needs_row_sums: bool,
}

impl PackedQB {
    /// Packs row-major `b`, `[k, n]`. `zero_points` are one for all, one a column, or none (all 0).
    ///
    /// # Errors
    /// [`ShapeError`] if a length differs.
    pub fn new(b: Bytes<'_>, k: usize, n: usize, zero_points: &[i32]) -> Result<Self, ShapeError> {
        Self::for_kernel(Kernel::best(), b, [n, 1], k, n, zero_points)
    }

    /// Packs the transpose of row-major `b`, `[n, k]`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_transposed(b: Bytes<'_>, k: usize, n: usize, zero_points: &[i32]) -> Result<Self, ShapeError> {
        Self::for_kernel(Kernel::best(), b, [1, k], k, n, zero_points)
    }

    /// Packs `b`, seen as `[k, n]` through its `[row, column]` strides, for one variant of [`KERNELS`].
    ///
    /// # Errors
    /// As [`Self::new`].
    ///
    /// # Panics
    /// If this CPU cannot run `kernel`.
    pub fn for_kernel(
        kernel: &'static Kernel,
        b: Bytes<'_>,
        strides: [usize; 2],
        k: usize,
        n: usize,
        zero_points: &[i32],
    ) -> Result<Self, ShapeError> {
        Self::in_segments(kernel, b, strides, k, n, zero_points, k)
    }

    /// [`Self::for_kernel`] for an A whose rows are runs of `segment` bytes.
    pub(crate) fn in_segments(
        kernel: &'static Kernel,
        b: Bytes<'_>,
        strides: [usize; 2],
        k: usize,
        n: usize,
        zero_points: &[i32],
        segment: usize,
    ) -> Result<Self, ShapeError> {
        assert!((kernel.is_supported)(), "{} needs another CPU", kernel.name);
        crate::gemm::check_strides("b", b.len(), [k, n], strides)?;
        ShapeError::product("b", &[k, 4, n.next_multiple_of(kernel.panel)])?;
        if zero_points.len() > 1 {
            ShapeError::expect("zero_points", zero_points.len(), n)?;
        }
        let at = |row: usize, col: usize| i32::from(value(b, row * strides[0] + col * strides[1]));
        let segment = segment.max(1);
        let groups = k / segment * segment.div_ceil(4);
        let mut data = AlignedBytes::zeros(groups * 4 * n.next_multiple_of(kernel.lanes));
        let (mut column_sums, mut left_over) = (vec![0i32; n], vec![0i32; n]);
        for index in 0..n.div_ceil(kernel.panel) {
            let Panel { col: first, width, n_cols, offset } = panel(index, kernel, groups * 4, n);
            for i in 0..n_cols {
                let col = first + i;
                let zero = zero_points.get(if zero_points.len() == 1 { 0 } else { col }).copied().unwrap_or(0);
                let fits = (0..k).all(|row| i8::try_from(at(row, col).wrapping_sub(zero)).is_ok());
                // Otherwise the bytes are u8: 128 less always fits, the rest of the zero point stays for later.
                let shift = if fits {
                    zero
                } else if matches!(b, Bytes::U8(_)) {
                    128
                } else {
                    0
                };
                left_over[col] = zero.wrapping_sub(shift);
                for row in 0..k {
                    let packed = (at(row, col) - shift) as i8;
                    column_sums[col] = column_sums[col].wrapping_add(i32::from(packed));
                    let (group, within) = (row / segment * segment.div_ceil(4) + row % segment / 4, row % segment % 4);
                    data[offset + (group * width + i) * 4 + within] = packed;
                }
            }
        }
        let needs_row_sums = left_over.iter().any(|&zero| zero != 0);
        Ok(Self { kernel, k, n, segment, data, column_sums, zero_points: left_over, needs_row_sums })
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
        self.data.len() + self.column_sums.len() * 8
    }

    /// Groups of four along K.
    pub(crate) fn n_groups(&self) -> usize {
        self.k / self.segment * self.segment.div_ceil(4)
    }

    /// The `index`-th panel.
    pub(crate) fn panel(&self, index: usize) -> Panel {
        panel(index, self.kernel, self.n_groups() * 4, self.n)
    }

    /// What is added to the sums of each column when the unsigned rows have zero point `zero`.
    pub(crate) fn offsets(&self, zero: i32, bias: Option<&[i32]>) -> Vec<i32> {
        let products = (self.k as i32).wrapping_mul(zero);
        let columns = self.column_sums.iter().zip(&self.zero_points).enumerate();
        columns
            .map(|(col, (&sum, &left_over))| {
                let bias = bias.map_or(0, |bias| bias[col]);
                bias.wrapping_sub(zero.wrapping_mul(sum)).wrapping_add(products.wrapping_mul(left_over))
            })
            .collect()
    }
}

/// The `index`-th panel of `n` columns, `k` bytes each.
fn panel(index: usize, kernel: &Kernel, k: usize, n: usize) -> Panel {
    let col = index * kernel.panel;
    let n_cols = (n - col).min(kernel.panel);
    Panel { col, width: n_cols.next_multiple_of(kernel.lanes), n_cols, offset: col * k }
}

fn value(bytes: Bytes<'_>, at: usize) -> i16 {
    match bytes {
        Bytes::U8(x) => i16::from(x[at]),
        Bytes::I8(x) => i16::from(x[at]),
    }
}

impl std::fmt::Debug for PackedQB {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedQB([{}, {}] for {})", self.k, self.n, self.kernel.name)
    }
}

impl Kernel {
    /// Rows of a tile of a product with `n` columns.
    pub(crate) fn rows_for(&self, n: usize) -> usize {
        if n * 2 <= self.panel { self.narrow_rows } else { self.tile_rows }
    }

    /// The first supported variant of [`KERNELS`].
    pub fn best() -> &'static Self {
        static BEST: OnceLock<&Kernel> = OnceLock::new();
        BEST.get_or_init(|| {
            KERNELS.iter().find(|kernel| (kernel.is_supported)()).unwrap_or(&KERNELS[KERNELS.len() - 1])
        })
    }
}
