//! Integer weights in the order the inner loop reads them.

use super::aligned::AlignedBytes;
use super::{KERNELS, Kernel};
use crate::error::ShapeError;
pub(super) use crate::gemm::packed::Panel;
use crate::quantize::Bytes;

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
        let segment = segment.max(1);
        let groups = k / segment * segment.div_ceil(4);
        let zero_points: Vec<i32> = match *zero_points {
            [] => vec![0; n],
            [zero] => vec![zero; n],
            _ => zero_points.to_vec(),
        };
        let shifts = match b {
            Bytes::U8(x) => shifts(x, strides, k, &zero_points, 128),
            Bytes::I8(x) => shifts(x, strides, k, &zero_points, 0),
        };
        let left_over: Vec<i32> =
            zero_points.iter().zip(&shifts).map(|(zero, shift)| zero.wrapping_sub(*shift)).collect();
        let mut data = AlignedBytes::zeros(groups * 4 * n.next_multiple_of(kernel.lanes));
        let mut column_sums = vec![0i32; n];
        for index in 0..n.div_ceil(kernel.panel) {
            let panel = panel(index, kernel, groups * 4, n);
            let columns = panel.col..panel.col + panel.n_cols;
            let (to, sums) = (&mut data[panel.offset..], &mut column_sums[columns.clone()]);
            let shifts = &shifts[columns];
            match b {
                Bytes::U8(x) => pack_panel(x, |x| x, strides, [k, segment], &panel, shifts, to, sums),
                Bytes::I8(x) => pack_panel(x, |x| x as u8, strides, [k, segment], &panel, shifts, to, sums),
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

/// What is taken off each column so that it fits i8: its zero point if that is enough. Otherwise the bytes are u8, of which
/// `half` less always fits; the rest of the zero point stays for later.
fn shifts<T: Copy + Into<i32>>(
    b: &[T],
    [row_stride, col_stride]: [usize; 2],
    k: usize,
    zero_points: &[i32],
    half: i32,
) -> Vec<i32> {
    if k == 0 || zero_points.iter().all(|&zero| zero == half) {
        return zero_points.to_vec();
    }
    let mut ranges = vec![(i32::MAX, i32::MIN); zero_points.len()];
    let mut widen = |row: usize, col: usize| {
        let value = b[row * row_stride + col * col_stride].into();
        let (low, high) = &mut ranges[col];
        (*low, *high) = (value.min(*low), value.max(*high));
    };
    if col_stride == 1 {
        (0..k).for_each(|row| (0..zero_points.len()).for_each(|col| widen(row, col)));
    } else {
        (0..zero_points.len()).for_each(|col| (0..k).for_each(|row| widen(row, col)));
    }
    let fits = |value: i32, zero: i32| i8::try_from(i64::from(value) - i64::from(zero)).is_ok();
    let columns = zero_points.iter().zip(&ranges);
    columns.map(|(&zero, &(low, high))| if fits(low, zero) && fits(high, zero) { zero } else { half }).collect()
}

/// Fills one panel, which begins at the start of `to`, and adds its columns up. `byte` keeps the bits of an element: a
/// difference that fits i8 has the same ones in either sign.
#[allow(clippy::too_many_arguments, reason = "a matrix, what becomes of it and where it goes")]
fn pack_panel<T: Copy>(
    b: &[T],
    byte: impl Fn(T) -> u8,
    [row_stride, col_stride]: [usize; 2],
    [k, segment]: [usize; 2],
    panel: &Panel,
    shifts: &[i32],
    to: &mut [i8],
    sums: &mut [i32],
) {
    let groups = segment.div_ceil(4);
    // Columns that lie by themselves are read by the cache line.
    let together = if col_stride == 1 { 1 } else { 16 };
    for first in (0..k / segment * groups).step_by(together) {
        let (at, within) = (first / groups * segment + first % groups * 4, first % groups * 4);
        if col_stride == 1 && within + 4 <= segment {
            let rows = [0, 1, 2, 3].map(|j| &b[(at + j) * row_stride + panel.col..][..shifts.len()]);
            let quads = to[first * panel.width * 4..].as_chunks_mut::<4>().0;
            let columns = quads.iter_mut().zip(&mut *sums).zip(shifts).enumerate();
            for (i, ((quad, sum), &shift)) in columns {
                *quad = rows.map(|row| byte(row[i]).wrapping_sub(shift as u8) as i8);
                *sum = sum.wrapping_add(quad.iter().map(|&x| i32::from(x)).sum::<i32>());
            }
            continue;
        }
        let block = first..(first + together).min(k / segment * groups);
        for (i, (&shift, sum)) in shifts.iter().zip(&mut *sums).enumerate() {
            let (column, shift) = ((panel.col + i) * col_stride, shift as u8);
            for group in block.clone() {
                let within = group % groups * 4;
                let at = (group / groups * segment + within) * row_stride + column;
                let quad: &mut [i8] = &mut to[(group * panel.width + i) * 4..][..4];
                let four = if row_stride == 1 && within + 4 <= segment { b[at..].first_chunk::<4>() } else { None };
                if let Some(four) = four {
                    let four = four.map(|x| byte(x).wrapping_sub(shift) as i8);
                    quad.copy_from_slice(&four);
                    *sum = sum.wrapping_add(four.iter().map(|&x| i32::from(x)).sum::<i32>());
                    continue;
                }
                for (j, quad) in quad.iter_mut().enumerate().take(segment - within) {
                    *quad = byte(b[at + j * row_stride]).wrapping_sub(shift) as i8;
                    *sum = sum.wrapping_add(i32::from(*quad));
                }
            }
        }
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
        crate::isa::best(KERNELS, |kernel| kernel.is_supported)
    }
}
