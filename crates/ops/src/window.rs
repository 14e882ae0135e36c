//! The sliding window of convolutions and pools: kernel, stride, dilation, padding.

use lissom_graph::{Attributes, Dim, NodeReader, OpError};

/// How padding is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoPad {
    /// As the attribute `pads` says.
    NotSet,
    /// Output is `ceil(input / stride)`, an odd rest of padding at the end.
    SameUpper,
    /// The same, an odd rest at the beginning.
    SameLower,
    /// No padding.
    Valid,
}

/// A window over the spatial axes. Vectors have one entry a spatial axis; an empty one stands for the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Length of the kernel; empty if the weight's shape says it.
    pub kernel: Vec<usize>,
    /// Step between neighbouring outputs.
    pub strides: Vec<usize>,
    /// Step between neighbouring taps.
    pub dilations: Vec<usize>,
    /// Padding at the beginning of all axes, then at the end of all axes.
    pub pads: Vec<i64>,
    /// How padding is chosen.
    pub auto_pad: AutoPad,
    /// Outputs whose window starts inside but ends outside count too (pools only).
    pub ceil_mode: bool,
}

/// The window along one axis, all amounts known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AxisWindow {
    /// Taps.
    pub kernel: usize,
    /// Step between neighbouring outputs.
    pub stride: usize,
    /// Step between neighbouring taps.
    pub dilation: usize,
    /// Padding at the beginning; negative crops.
    pub pad_begin: i64,
    /// Padding at the end; negative crops.
    pub pad_end: i64,
    /// Length of the output.
    pub out: usize,
}

impl Window {
    /// Reads `kernel_shape`, `strides`, `dilations`, `pads`, `auto_pad` and, for pools, `ceil_mode`.
    ///
    /// # Errors
    /// [`OpError::BadAttribute`].
    pub fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let lengths = |name| -> Result<Vec<usize>, OpError> {
            let values = node.ints(name)?.unwrap_or_default();
            values
                .into_iter()
                .map(|value| match usize::try_from(value) {
                    Ok(length) if length > 0 => Ok(length),
                    _ => Err(OpError::attribute(name, format!("{value} is not a positive length"))),
                })
                .collect()
        };
        let auto_pad = match node.string_or("auto_pad", "NOTSET")?.as_str() {
            "NOTSET" | "" => AutoPad::NotSet,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            "VALID" => AutoPad::Valid,
            other => return Err(OpError::attribute("auto_pad", format!("unknown value `{other}`"))),
        };
        Ok(Self {
            kernel: lengths("kernel_shape")?,
            strides: lengths("strides")?,
            dilations: lengths("dilations")?,
            pads: node.ints("pads")?.unwrap_or_default(),
            auto_pad,
            ceil_mode: node.flag_or("ceil_mode", false)?,
        })
    }

    /// The attributes [`read`](Self::read) reads, for a node with the same window; `ceil_mode` is left to pools.
    pub(crate) fn attributes(&self) -> Attributes {
        let lengths = |lengths: &[usize]| lengths.iter().map(|&length| length as i64).collect::<Vec<_>>();
        let auto_pad = match self.auto_pad {
            AutoPad::NotSet => "NOTSET",
            AutoPad::SameUpper => "SAME_UPPER",
            AutoPad::SameLower => "SAME_LOWER",
            AutoPad::Valid => "VALID",
        };
        let lists = [
            ("kernel_shape", lengths(&self.kernel)),
            ("strides", lengths(&self.strides)),
            ("dilations", lengths(&self.dilations)),
            ("pads", self.pads.clone()),
        ];
        let given = lists.into_iter().filter(|(_, list)| !list.is_empty());
        given.fold(Attributes::new().with("auto_pad", auto_pad), |all, (name, list)| all.with(name, list))
    }

    /// The window along each spatial axis of an input of these lengths. `kernel` is the weight's, for convolutions.
    ///
    /// # Errors
    /// [`OpError::BadAttribute`] if attributes do not fit the rank, [`OpError::BadValue`] if the kernel is larger than the
    /// padded input.
    pub fn resolve(&self, spatial: &[usize], kernel: &[usize]) -> Result<Vec<AxisWindow>, OpError> {
        self.check_rank(spatial.len(), kernel)?;
        // Taps are counted over all axes, those in the padding included.
        let taps = kernel.iter().try_fold(1i64, |taps, &length| taps.checked_mul(i64::try_from(length).ok()?));
        if taps.is_none() {
            return Err(OpError::attribute("kernel_shape", format!("a window of {kernel:?} is too large")));
        }
        (0..spatial.len()).map(|axis| self.resolve_axis(axis, spatial, kernel)).collect()
    }

    /// Like [`resolve`](Self::resolve), for lengths that may be symbols; gives the output lengths.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn output_dims(&self, spatial: &[Dim], kernel: &[usize]) -> Result<Vec<Dim>, OpError> {
        self.check_rank(spatial.len(), kernel)?;
        (0..spatial.len())
            .map(|axis| match spatial[axis].known() {
                Some(length) => {
                    let mut lengths = vec![0; spatial.len()];
                    lengths[axis] = length;
                    Ok(self.resolve_axis(axis, &lengths, kernel)?.out.into())
                }
                None => Ok(self.symbolic_out(axis, &spatial[axis], kernel[axis])),
            })
            .collect()
    }

    fn check_rank(&self, rank: usize, kernel: &[usize]) -> Result<(), OpError> {
        let counts = [
            ("kernel_shape", kernel.len(), rank),
            ("strides", self.strides.len(), rank),
            ("dilations", self.dilations.len(), rank),
            ("pads", self.pads.len(), 2 * rank),
        ];
        for (name, actual, expected) in counts {
            let may_be_absent = name != "kernel_shape" && actual == 0;
            if actual != expected && !may_be_absent {
                return Err(OpError::attribute(
                    name,
                    format!("has {actual} entries, {rank} spatial axes want {expected}"),
                ));
            }
        }
        Ok(())
    }

    fn step(values: &[usize], axis: usize) -> usize {
        values.get(axis).copied().unwrap_or(1)
    }

    fn resolve_axis(&self, axis: usize, spatial: &[usize], kernel: &[usize]) -> Result<AxisWindow, OpError> {
        let (length, kernel) = (spatial[axis] as i64, kernel[axis]);
        let (stride, dilation) = (Self::step(&self.strides, axis), Self::step(&self.dilations, axis));
        let reach = (kernel as i64 - 1)
            .checked_mul(dilation as i64)
            .and_then(|reach| reach.checked_add(1))
            .ok_or_else(|| OpError::attribute("dilations", "the window is too large"))?;
        let step = stride as i64;
        let (pad_begin, pad_end) = match self.auto_pad {
            AutoPad::Valid => (0, 0),
            AutoPad::NotSet => {
                let rank = spatial.len();
                let pad = |index| self.pads.get(index).copied().unwrap_or(0);
                (pad(axis), pad(axis + rank))
            }
            AutoPad::SameUpper | AutoPad::SameLower => {
                let out = (length.saturating_add(step - 1)) / step;
                let total = (out - 1).saturating_mul(step).saturating_add(reach).saturating_sub(length).max(0);
                let (small, large) = (total / 2, total - total / 2);
                if self.auto_pad == AutoPad::SameUpper { (small, large) } else { (large, small) }
            }
        };
        let room = length
            .checked_add(pad_begin)
            .and_then(|room| room.checked_add(pad_end))
            .and_then(|room| room.checked_sub(reach))
            .ok_or_else(|| OpError::attribute("pads", "the padding is too large"))?;
        if room < 0 {
            return Err(OpError::value(format!(
                "a window of {reach} does not fit an axis of {length} with padding {pad_begin} and {pad_end}"
            )));
        }
        let steps = if self.ceil_mode { room.saturating_add(step - 1) / step } else { room / step };
        let mut out = steps.saturating_add(1);
        // A window that starts in the padding at the end sees no input.
        if self.ceil_mode && (out - 1).saturating_mul(step) >= length.saturating_add(pad_begin) {
            out -= 1;
        }
        Ok(AxisWindow { kernel, stride, dilation, pad_begin, pad_end, out: out as usize })
    }

    fn symbolic_out(&self, axis: usize, length: &Dim, kernel: usize) -> Dim {
        let (stride, dilation) = (Self::step(&self.strides, axis), Self::step(&self.dilations, axis));
        let step = Dim::from(stride);
        match self.auto_pad {
            AutoPad::SameUpper | AutoPad::SameLower => {
                length.add(&Dim::from(stride - 1)).div(&step).unwrap_or_else(|| length.clone())
            }
            _ => {
                let rank = self.pads.len() / 2;
                let pads: i64 = match self.auto_pad {
                    AutoPad::NotSet if rank > 0 => self.pads[axis].saturating_add(self.pads[axis + rank]),
                    _ => 0,
                };
                let reach = (kernel as i64 - 1).saturating_mul(dilation as i64).saturating_add(1);
                let offset = pads.saturating_sub(reach);
                // A stride of 1 and a kernel that keeps the length leave the symbol as it was.
                let rounding = if self.ceil_mode { stride as i64 - 1 } else { 0 };
                let room = length.add(&Dim::Known(offset.saturating_add(rounding)));
                if stride == 1 && !self.ceil_mode {
                    return length.add(&Dim::Known(offset.saturating_add(1)));
                }
                room.div(&step).map_or_else(|| length.clone(), |steps| steps.add(&Dim::Known(1)))
            }
        }
    }
}

impl AxisWindow {
    /// Number of taps before the position `end` when the first stands at `start`.
    fn taps_before(&self, start: i64, end: i64) -> usize {
        let room = end.saturating_sub(start).max(0);
        (room as u64).div_ceil(self.dilation as u64).min(self.kernel as u64) as usize
    }
}

/// What one position of a window sees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    /// Flat output position within a channel.
    pub pixel: usize,
    /// Flat kernel position and flat input position within a channel of each tap that falls on the input, in order.
    pub taps: &'a [(usize, usize)],
    /// Taps that fall on the input or its padding.
    pub n_padded: usize,
}

/// Visits every output position, row-major, of a window over axes of lengths `spatial`.
pub(crate) fn for_each_view(windows: &[AxisWindow], spatial: &[usize], mut visit: impl FnMut(View<'_>)) {
    let outs: Vec<usize> = windows.iter().map(|window| window.out).collect();
    if outs.contains(&0) {
        return;
    }
    let mut position = vec![0; outs.len()];
    let (mut taps, mut next) = (Vec::new(), Vec::new());
    for pixel in 0..outs.iter().product() {
        taps.clear();
        taps.push((0, 0));
        let mut n_padded = 1;
        for (axis, window) in windows.iter().enumerate() {
            next.clear();
            let start = ((position[axis] * window.stride) as i64).saturating_sub(window.pad_begin);
            let length = spatial[axis];
            let padded_end = (length as i64).saturating_add(window.pad_end);
            let inside = window.taps_before(start, 0)..window.taps_before(start, length as i64);
            for &(kernel_flat, flat) in &taps {
                next.extend(inside.clone().map(|tap| {
                    let at = (start + (tap * window.dilation) as i64) as usize;
                    (kernel_flat * window.kernel + tap, flat * length + at)
                }));
            }
            n_padded *= window.taps_before(start, padded_end);
            std::mem::swap(&mut taps, &mut next);
        }
        visit(View { pixel, taps: &taps, n_padded });
        advance(&mut position, &outs);
    }
}

/// The next position in `shape`, row-major; after the last comes the first.
pub(crate) fn advance(position: &mut [usize], shape: &[usize]) {
    for (at, &length) in position.iter_mut().zip(shape).rev() {
        *at += 1;
        if *at < length {
            return;
        }
        *at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(strides: &[usize], pads: &[i64], auto_pad: AutoPad, ceil_mode: bool) -> Window {
        Window {
            kernel: vec![],
            strides: strides.to_vec(),
            dilations: vec![],
            pads: pads.to_vec(),
            auto_pad,
            ceil_mode,
        }
    }

    fn out(window: &Window, length: usize, kernel: usize) -> usize {
        window.resolve(&[length], &[kernel]).unwrap()[0].out
    }

    #[test]
    fn output_lengths_follow_the_formula() {
        assert_eq!(out(&window(&[], &[], AutoPad::NotSet, false), 5, 3), 3);
        assert_eq!(out(&window(&[2], &[1, 1], AutoPad::NotSet, false), 224, 3), 112);
        assert_eq!(out(&window(&[2], &[], AutoPad::SameUpper, false), 5, 3), 3);
        assert_eq!(out(&window(&[2], &[], AutoPad::NotSet, true), 4, 3), 2);
        // The last window would start in the end padding.
        assert_eq!(out(&window(&[2], &[0, 1], AutoPad::NotSet, true), 2, 1), 1);
    }

    #[test]
    fn a_symbol_survives_a_same_convolution() {
        let same = window(&[], &[1, 1], AutoPad::NotSet, false);
        assert_eq!(same.output_dims(&[Dim::symbol("H")], &[3]).unwrap(), [Dim::symbol("H")]);
    }

    #[test]
    fn a_kernel_larger_than_the_input_is_an_error() {
        assert!(window(&[], &[], AutoPad::NotSet, false).resolve(&[2], &[3]).is_err());
        assert!(window(&[1, 1], &[], AutoPad::NotSet, false).resolve(&[2], &[1]).is_err());
    }
}
