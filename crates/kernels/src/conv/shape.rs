//! The geometry of a window sliding over an NHWC image.

use crate::error::ShapeError;

/// Height and width of a window, how it steps, and what surrounds the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// `[height, width]` in taps.
    pub kernel: [usize; 2],
    /// Pixels from one output to the next, `[down, right]`.
    pub stride: [usize; 2],
    /// Pixels from one tap to the next, `[down, right]`.
    pub dilation: [usize; 2],
    /// `[top, left, bottom, right]`, as ONNX orders them.
    pub pads: [usize; 4],
}

impl Window {
    /// One pixel, the image itself.
    pub const POINT: Self = Self { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pads: [0; 4] };

    /// Height and width of the output for an image of `h × w`.
    ///
    /// # Errors
    /// [`ShapeError`] if a stride, dilation or kernel size is 0, or the padded image is smaller than the window.
    pub fn output_size(&self, h: usize, w: usize) -> Result<[usize; 2], ShapeError> {
        let mut sizes = [h, w];
        for (axis, size) in sizes.iter_mut().enumerate() {
            let (padded, covered) = self.extents(axis, *size)?;
            ShapeError::require(padded >= covered, "the padded image", padded, "at least as large as the window")?;
            *size = (padded - covered) / self.stride[axis] + 1;
        }
        Ok(sizes)
    }

    /// [`Self::output_size`] rounding up (ONNX `ceil_mode = 1`), without windows that would start past the image.
    ///
    /// # Errors
    /// As [`Self::output_size`].
    pub fn output_size_ceil(&self, h: usize, w: usize) -> Result<[usize; 2], ShapeError> {
        let mut sizes = [h, w];
        for (axis, size) in sizes.iter_mut().enumerate() {
            let image = *size;
            let (padded, covered) = self.extents(axis, image)?;
            ShapeError::require(padded >= covered, "the padded image", padded, "at least as large as the window")?;
            *size = (padded - covered).div_ceil(self.stride[axis]) + 1;
            if (*size - 1) * self.stride[axis] >= image + self.pads[axis] {
                *size -= 1;
            }
        }
        Ok(sizes)
    }

    fn extents(&self, axis: usize, size: usize) -> Result<(usize, usize), ShapeError> {
        ShapeError::require(self.kernel[axis] > 0, "a kernel size", 0, "at least 1")?;
        ShapeError::require(self.stride[axis] > 0, "a stride", 0, "at least 1")?;
        ShapeError::require(self.dilation[axis] > 0, "a dilation", 0, "at least 1")?;
        // Positions are computed as i64; this keeps every sum and product of them far inside.
        let sizes =
            [size, self.kernel[axis], self.stride[axis], self.dilation[axis], self.pads[axis], self.pads[axis + 2]];
        for size in sizes {
            ShapeError::require(size < 1 << 30, "a size of a window or image", size, "below 2^30")?;
        }
        let padded = size + self.pads[axis] + self.pads[axis + 2];
        Ok((padded, (self.kernel[axis] - 1) * self.dilation[axis] + 1))
    }

    /// True if outputs are the pixels themselves, in order.
    pub(crate) fn is_point(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.pads == [0; 4]
    }

    /// Number of taps.
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Taps `first .. last` of `axis` that fall inside an image of `size` for output `at`.
    pub(crate) fn inside(&self, axis: usize, at: usize, size: usize) -> std::ops::Range<usize> {
        let start = (at * self.stride[axis]) as i64 - self.pads[axis] as i64;
        let step = self.dilation[axis] as i64;
        let first = if start < 0 { (-start + step - 1) / step } else { 0 };
        let end = (size as i64 - start + step - 1).max(0) / step;
        let kernel = self.kernel[axis] as i64;
        first.min(kernel) as usize..end.clamp(first.min(kernel), kernel) as usize
    }

    /// Outputs along the width whose taps all fall inside `size` pixels, of `n_out`.
    pub(crate) fn interior(&self, size: usize, n_out: usize) -> std::ops::Range<usize> {
        let first = self.pads[1].div_ceil(self.stride[1]).min(n_out);
        let covered = (self.kernel[1] - 1) * self.dilation[1] + 1;
        let end = (size + self.pads[1]).checked_sub(covered).map_or(0, |room| room / self.stride[1] + 1);
        first..end.clamp(first, n_out)
    }
}

/// A convolution: its window, channels and groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Window, stride, dilation and pads.
    pub window: Window,
    /// Channels of the input.
    pub c_in: usize,
    /// Channels of the output.
    pub c_out: usize,
    /// Groups of channels that do not see each other; 1 for a plain convolution.
    pub groups: usize,
}

impl ConvShape {
    /// Checks the channels against the groups.
    pub(crate) fn check(&self) -> Result<(), ShapeError> {
        let Self { c_in, c_out, groups, .. } = *self;
        ShapeError::require(groups > 0, "the number of groups", groups, "at least 1")?;
        ShapeError::require(
            c_in.is_multiple_of(groups),
            "the number of input channels",
            c_in,
            "a multiple of the groups",
        )?;
        ShapeError::require(
            c_out.is_multiple_of(groups),
            "the number of output channels",
            c_out,
            "a multiple of the groups",
        )?;
        self.window.extents(0, 0)?;
        self.window.extents(1, 0)?;
        ShapeError::product(
            "weight",
            &[c_out.next_multiple_of(64), c_in / groups + 1, self.window.kernel[0], self.window.kernel[1]],
        )?;
        Ok(())
    }

    /// True if every channel is a group of its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.c_in && self.c_in == self.c_out
    }

    /// Elements of the weight, `[c_out, c_in / groups, kh, kw]`.
    pub fn weight_len(&self) -> usize {
        self.c_out * (self.c_in / self.groups.max(1)) * self.window.taps()
    }

    /// The length of a sum: taps · channels of a group.
    pub(crate) fn group_k(&self) -> usize {
        self.window.taps() * (self.c_in / self.groups.max(1))
    }

    /// Multiply-adds for an output of `pixels`.
    pub fn macs(&self, pixels: usize) -> usize {
        pixels * self.weight_len()
    }
}

/// Where the channels of an image are in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channels {
    /// `[n, h, w, c]`.
    Last,
    /// `[n, c, h, w]`.
    First,
}

/// A batch of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Images {
    /// Number of images.
    pub n: usize,
    /// Height in pixels.
    pub h: usize,
    /// Width in pixels.
    pub w: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_sizes_follow_onnx() {
        let window = Window { kernel: [3, 3], stride: [2, 2], dilation: [1, 1], pads: [1, 1, 1, 1] };
        assert_eq!(window.output_size(224, 7), Ok([112, 4]));
        let window = Window { kernel: [3, 3], stride: [2, 2], dilation: [1, 1], pads: [0; 4] };
        assert_eq!(window.output_size(6, 6), Ok([2, 2]));
        assert_eq!(window.output_size_ceil(6, 6), Ok([3, 3]));
        let padded = Window { kernel: [1, 1], stride: [2, 2], dilation: [1, 1], pads: [0, 0, 1, 1] };
        assert_eq!(padded.output_size_ceil(2, 2), Ok([1, 1]), "the last window would start in the padding");
        assert!(window.output_size(2, 9).is_err());
        assert!(Window { stride: [0, 1], ..window }.output_size(9, 9).is_err());
    }

    #[test]
    fn inside_and_interior_agree_with_counting() {
        for (kernel, stride, dilation, pad, size) in
            [(3, 1, 1, 1, 5), (3, 2, 2, 3, 7), (1, 3, 1, 0, 4), (5, 1, 1, 4, 2), (2, 1, 4, 3, 3)]
        {
            let window = Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [dilation; 2], pads: [pad; 4] };
            let [n_out, _] = window.output_size(size, size).unwrap();
            for at in 0..n_out {
                let is_inside = |tap: usize| {
                    let x = (at * stride + tap * dilation) as i64 - pad as i64;
                    x >= 0 && x < size as i64
                };
                let inside = window.inside(0, at, size);
                for tap in 0..kernel {
                    assert_eq!(inside.contains(&tap), is_inside(tap), "{window:?} {at} {tap}");
                }
                let all = (0..kernel).all(is_inside);
                assert_eq!(window.interior(size, n_out).contains(&at), all, "{window:?} {at}");
            }
        }
    }
}
