//! Weights without their zeros, row after row, before they are packed.

use crate::conv::ConvShape;
use crate::error::ShapeError;
use crate::quantize::Bytes;

/// The non-zeros of each output, in the order `[kh, kw, c_in]` of a window's pixels.
pub(super) struct SparseRows {
    /// Length of a dense row.
    pub k: usize,
    /// Where in the row, and the weight with its zero point taken off; at most 255 either way.
    pub rows: Vec<Vec<(u32, i16)>>,
    /// Of all rows.
    pub nonzeros: usize,
}

impl SparseRows {
    /// # Errors
    /// [`ShapeError`] if a length differs, a zero point is no value of its type or the row is too long.
    pub fn new(
        shape: &ConvShape,
        weight: Bytes<'_>,
        is_input_first: bool,
        zero_points: &[i32],
    ) -> Result<Self, ShapeError> {
        let (c_in, c_out, taps) = (shape.c_in, shape.c_out, shape.window.taps());
        ShapeError::expect("weight", weight.len(), shape.weight_len())?;
        if zero_points.len() > 1 {
            ShapeError::expect("zero_points", zero_points.len(), c_out)?;
        }
        let k = c_in * taps;
        ShapeError::require(k < 1 << 30, "the length of a sum", k, "below 2^30")?;
        let limits = if weight.flip() == 0 { 0..=255 } else { -128..=127 };
        for &zero in zero_points {
            ShapeError::require(limits.contains(&zero), "a zero point", zero as usize, "a value of its type")?;
        }
        let raw = weight.raw();
        let value = |at: usize| if weight.flip() == 0 { i16::from(raw[at]) } else { i16::from(raw[at] as i8) };
        let row = |output: usize| {
            let zero = zero_points.get(if zero_points.len() == 1 { 0 } else { output }).map_or(0, |&zero| zero as i16);
            let columns = (0..k).map(|column| {
                let inner = column % c_in.max(1) * taps + column / c_in.max(1);
                let at = if is_input_first { inner * c_out + output } else { output * k + inner };
                (column as u32, value(at) - zero)
            });
            columns.filter(|&(_, weight)| weight != 0).collect::<Vec<_>>()
        };
        let rows: Vec<_> = (0..c_out).map(row).collect();
        let nonzeros = rows.iter().map(Vec::len).sum();
        Ok(Self { k, rows, nonzeros })
    }

    /// Sum of each row.
    pub fn sums(&self) -> Vec<i32> {
        self.rows.iter().map(|row| row.iter().fold(0i32, |sum, &(_, weight)| sum.wrapping_add(weight.into()))).collect()
    }
}

/// Splits a weight that is too large for a signed byte into some that fit and have its sum.
pub(super) fn parts(mut weight: i16) -> impl Iterator<Item = i8> {
    std::iter::from_fn(move || {
        let part = weight.clamp(-128, 127);
        weight -= part;
        (part != 0).then_some(part as i8)
    })
}
