//! Sums that gradients need: of columns (biases), of rows with the same index (embeddings), of squares (norms).
//!
//! Each is split in parts of a size that the shape decides, which are added in order in f64.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
mod scalar;
#[cfg(test)]
mod tests;

use crate::channels::{Block, Channels};
use crate::elementwise::{self, Binary, Operand};
use crate::error::ShapeError;
use crate::threads::Threads;
use std::sync::OnceLock;

/// A variant of all loops.
pub struct Kernel {
    /// `sums_f32_{lanes}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    columns: unsafe fn(&Block, *const f32, *mut f32),
    squares: unsafe fn(*const f32, usize) -> f64,
}

/// All variants, fastest first. Dispatch and tests walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "sums_f32_16_avx512",
        is_supported: crate::isa::has_avx512,
        columns: avx512::columns,
        squares: avx512::squares,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "sums_f32_8_avx2",
        is_supported: crate::isa::has_avx2,
        columns: avx2::columns,
        squares: avx2::squares,
    },
    Kernel { name: "sums_f32_1_scalar", is_supported: || true, columns: scalar::columns, squares: scalar::squares },
];

/// Elements of a part.
const PART: usize = 1 << 15;

impl Kernel {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        static BEST: OnceLock<&Kernel> = OnceLock::new();
        BEST.get_or_init(|| {
            KERNELS.iter().find(|kernel| (kernel.is_supported)()).unwrap_or(&KERNELS[KERNELS.len() - 1])
        })
    }

    fn assert_supported(&self) {
        assert!((self.is_supported)(), "{} needs another CPU", self.name);
    }

    /// [`columns`] with this variant.
    ///
    /// # Errors
    /// As [`columns`].
    pub fn columns(&self, threads: &Threads, x: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
        self.assert_supported();
        let channels = Channels::new("the length of `x`", x.len(), out.len())?;
        let sums = channels.sums(threads, |block, [sums]| {
            // SAFETY: the block lies in `x`, and is not wider than `sums`; this CPU can run the variant.
            unsafe { (self.columns)(&block, x[block.start..].as_ptr(), sums.as_mut_ptr()) }
        });
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = sum as f32;
        }
        Ok(())
    }

    /// [`squares`] with this variant.
    pub fn squares(&self, threads: &Threads, x: &[f32]) -> f64 {
        self.assert_supported();
        let mut parts = vec![0.0f64; x.len().div_ceil(PART)];
        threads.run_chunks(&mut parts, 1, |index, part| {
            let own = &x[index * PART..x.len().min((index + 1) * PART)];
            // SAFETY: as many elements as there are; this CPU can run the variant.
            part.fill(unsafe { (self.squares)(own.as_ptr(), own.len()) });
        });
        parts.iter().sum()
    }
}

/// The sum of each column of `x`, `[rows, c]`, in `out`, `[c]`: the gradient of a bias.
///
/// # Errors
/// [`ShapeError`] if the length of `out` does not divide that of `x`.
pub fn columns(threads: &Threads, x: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
    Kernel::best().columns(threads, x, out)
}

/// The sum of the squares of all elements: the square of the L2 norm. Sums of several slices may be added, in a fixed order.
pub fn squares(threads: &Threads, x: &[f32]) -> f64 {
    Kernel::best().squares(threads, x)
}

/// Row `i` of `out`, `[rows, n]`, becomes the sum of the rows of `dy`, `[indices, n]`, whose index is `i`, in their order: the gradient of
/// gathered rows (an embedding). Indices below 0 count from the end.
///
/// # Errors
/// [`ShapeError`] if a length does not fit, or an index is no row.
pub fn scatter_rows(
    threads: &Threads,
    dy: &[f32],
    indices: &[i64],
    n: usize,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("dy", dy.len(), ShapeError::product("dy", &[indices.len(), n])?)?;
    if n == 0 {
        return ShapeError::expect("out", out.len(), 0);
    }
    ShapeError::require(out.len().is_multiple_of(n), "the length of `out`", out.len(), "a multiple of a row")?;
    let rows = out.len() / n;
    let (starts, order) = by_row(indices, rows)?;
    let band = PART.div_ceil(n);
    let here = Threads::single();
    threads.run_chunks(out, band * n, |index, out| {
        for (row, out) in out.chunks_exact_mut(n).enumerate() {
            let row = index * band + row;
            let mut own = order[starts[row]..starts[row + 1]].iter().map(|&from| &dy[from * n..(from + 1) * n]);
            match own.next() {
                Some(first) => out.copy_from_slice(first),
                None => out.fill(0.0),
            }
            for other in own {
                // Equal lengths, so it does not refuse.
                let _ = elementwise::binary_in_place(&here, Binary::Add, out, Operand::Same(other));
            }
        }
    });
    Ok(())
}

/// Positions in `indices`, sorted by index, and where those of each row begin; one more for the end.
fn by_row(indices: &[i64], rows: usize) -> Result<(Vec<usize>, Vec<usize>), ShapeError> {
    let row_of = |index: i64| {
        let row = if index < 0 { (rows as i64).checked_add(index) } else { Some(index) };
        row.and_then(|row| usize::try_from(row).ok()).filter(|&row| row < rows)
    };
    let mut starts = vec![0; rows + 1];
    for &index in indices {
        let Some(row) = row_of(index) else {
            let got = usize::try_from(index).unwrap_or(usize::MAX);
            return ShapeError::require(false, "an index", got, "below the number of rows")
                .map(|()| Default::default());
        };
        starts[row + 1] += 1;
    }
    for row in 0..rows {
        starts[row + 1] += starts[row];
    }
    let (mut next, mut order) = (starts.clone(), vec![0; indices.len()]);
    for (at, &index) in indices.iter().enumerate() {
        if let Some(row) = row_of(index) {
            order[next[row]] = at;
            next[row] += 1;
        }
    }
    Ok((starts, order))
}
