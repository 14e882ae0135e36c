//! The matrix in the order the loops read it: panels of columns, row by row, and the scales of each group.

use super::lanes::Panel;
use super::{Kernel, MAX_TILE};
use crate::error::ShapeError;

/// Bits of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bits {
    /// -8..=7.
    Four,
    /// -128..=127.
    Eight,
}

/// A matrix in codes: `value = scale · (code - zero_point)`.
#[derive(Debug, Clone, Copy)]
pub struct Codes<'a> {
    /// Of each code.
    pub bits: Bits,
    /// `[k, n]`, or `[n, k]` if transposed.
    pub values: &'a [i8],
    /// `[groups, n]`, or `[n, groups]` if transposed; `groups = k.div_ceil(group)`.
    pub scales: &'a [f32],
    /// As the scales; empty if all are 0.
    pub zero_points: &'a [i8],
    /// Codes along `k` that share a scale: 32, 64, 128, … or `k` for one scale a column.
    pub group: usize,
    /// The order of the axes.
    pub is_transposed: bool,
}

/// A constant right-hand side in 8- or 4-bit codes, packed once.
#[derive(Clone)]
pub struct PackedW {
    pub(super) kernel: &'static Kernel,
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) bits: Bits,
    pub(super) group: usize,
    /// `[panels][k][panel]` bytes, or half as many: the low halves of a vector of bytes are one vector of codes, the high
    /// halves the next, both increased by 8.
    codes: Vec<u8>,
    /// `[panels][groups][panel]`.
    scales: Vec<f32>,
    /// As the scales, or empty.
    pub(super) zero_points: Vec<f32>,
}

impl PackedW {
    /// Packs a `[k, n]` matrix for the fastest kernel of this CPU.
    ///
    /// # Errors
    /// [`ShapeError`] if a slice has another length or `group` is 0.
    pub fn new(codes: &Codes<'_>, k: usize, n: usize) -> Result<Self, ShapeError> {
        Self::for_kernel(Kernel::best(), codes, k, n)
    }

    /// Packs for one variant of [`KERNELS`](super::KERNELS).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    ///
    /// # Panics
    /// If this CPU cannot run `kernel`.
    pub fn for_kernel(kernel: &'static Kernel, codes: &Codes<'_>, k: usize, n: usize) -> Result<Self, ShapeError> {
        assert!((kernel.is_supported)(), "{} needs another CPU", kernel.name);
        ShapeError::require(codes.group > 0, "the size of a group", 0, "at least 1")?;
        let group = codes.group.min(k.max(1));
        let n_groups = k.div_ceil(group);
        ShapeError::expect("values", codes.values.len(), ShapeError::product("values", &[k, n])?)?;
        ShapeError::expect("scales", codes.scales.len(), n_groups * n)?;
        let has_zeros = !codes.zero_points.is_empty();
        ShapeError::expect("zero points", codes.zero_points.len(), if has_zeros { n_groups * n } else { 0 })?;
        let (panel, lanes) = (kernel.panel(), kernel.lanes);
        let n_padded = n.next_multiple_of(panel);
        ShapeError::product("values", &[k, n_padded])?;
        // Element `[row, col]` of a `[rows, n]` matrix in the order of the source.
        let from =
            |row: usize, col: usize, rows: usize| if codes.is_transposed { col * rows + row } else { row * n + col };
        let mut scales = vec![0.0; n_groups * n_padded];
        let mut zero_points = vec![0.0; if has_zeros { n_groups * n_padded } else { 0 }];
        let mut bytes = vec![0; k * n_padded / if codes.bits == Bits::Four { 2 } else { 1 }];
        for first in (0..n).step_by(panel) {
            let columns = first..n.min(first + panel);
            for g in 0..n_groups {
                for col in columns.clone() {
                    let to = first * n_groups + g * panel + col - first;
                    scales[to] = codes.scales[from(g, col, n_groups)];
                    if has_zeros {
                        zero_points[to] = f32::from(codes.zero_points[from(g, col, n_groups)]);
                    }
                }
            }
            for row in 0..k {
                for col in columns.clone() {
                    let (code, at) = (codes.values[from(row, col, k)], col - first);
                    match codes.bits {
                        Bits::Eight => bytes[first * k + row * panel + at] = code as u8,
                        Bits::Four => {
                            let (vector, lane) = (at / lanes, at % lanes);
                            let to = (first * k + row * panel) / 2 + vector / 2 * lanes + lane;
                            bytes[to] |= ((code + 8) as u8 & 15) << (vector % 2 * 4);
                        }
                    }
                }
            }
        }
        let bits = codes.bits;
        Ok(Self { kernel, k, n, bits, group, codes: bytes, scales, zero_points })
    }

    /// Rows: the length of the sums.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The variant of [`KERNELS`](super::KERNELS) that runs this product.
    pub fn kernel(&self) -> &'static Kernel {
        self.kernel
    }

    /// Bytes of the packed form.
    pub fn size_bytes(&self) -> usize {
        self.codes.len() + 4 * (self.scales.len() + self.zero_points.len())
    }

    pub(super) fn n_groups(&self) -> usize {
        self.k.div_ceil(self.group)
    }

    /// Writes `rows` rows of sums of panel `index` to `sums`, from row `row` of `a` on.
    pub(super) fn run(
        &self,
        index: usize,
        a: &[f32],
        row: usize,
        rows: usize,
        group_sums: &[f32],
        sums: &mut [f32; MAX_TILE[0] * MAX_TILE[1]],
    ) {
        let (panel, n_groups) = (self.kernel.panel(), self.n_groups());
        let (first, groups) = (index * panel * self.k, index * panel * n_groups);
        let codes = if self.bits == Bits::Four { &self.codes[first / 2..] } else { &self.codes[first..] };
        let (zeros, group_sums) = if self.zero_points.is_empty() {
            (std::ptr::null(), std::ptr::null())
        } else {
            (self.zero_points[groups..].as_ptr(), group_sums[row * n_groups..].as_ptr())
        };
        let panel = Panel {
            a: a[row * self.k..].as_ptr(),
            rows,
            k: self.k,
            group: self.group,
            bits: self.bits,
            codes: codes.as_ptr(),
            scales: self.scales[groups..].as_ptr(),
            zeros,
            group_sums,
            sums: sums.as_mut_ptr(),
        };
        // SAFETY: `new` made whole panels of codes, scales and zero points; `wgemm` checked `a`; `sums` has room for the
        // largest tile; this CPU can run the variant, which `new` asserted.
        unsafe { (self.kernel.run)(&panel) }
    }
}

impl std::fmt::Debug for PackedW {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { k, n, bits, group, kernel, .. } = self;
        write!(f, "PackedW([{k}, {n}], {bits:?} bits in groups of {group}, for {})", kernel.name)
    }
}
