//! What the outputs of a convolution see of its input, along one axis; gradients by the input are convolutions too.

use crate::conv::{ConvShape, Images, Window};
use crate::error::ShapeError;

/// One axis: outputs, and the taps they see.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// Outputs.
    pub n: usize,
    /// Output `i` is written at `first + i · step`.
    pub first: usize,
    pub step: usize,
    /// Pixels of the image that is read.
    pub size: usize,
    /// Output `i` reads under tap `t` at `origin + i · stride + t · dilation`.
    pub origin: i64,
    pub stride: usize,
    pub dilation: usize,
    /// For each tap its place in the window of the weight.
    pub taps: Vec<usize>,
}

impl Axis {
    fn forward(window: &Window, axis: usize, size: usize, n: usize) -> Self {
        Self {
            n,
            first: 0,
            step: 1,
            size,
            origin: -(window.pads[axis] as i64),
            stride: window.stride[axis],
            dilation: window.dilation[axis],
            taps: (0..window.kernel[axis]).collect(),
        }
    }

    /// The gradient by the inputs `first, first + stride, ..` of `n`: with a stride, these see the same taps.
    fn backward(window: &Window, axis: usize, n: usize, size: usize, first: usize) -> Self {
        let (stride, dilation) = (window.stride[axis], window.dilation[axis]);
        let at = (first + window.pads[axis]) as i64;
        // The output that `first` was read by, under a tap.
        let seen_by = |tap: usize| at - (tap * dilation) as i64;
        let mut taps: Vec<usize> = (0..window.kernel[axis]).collect();
        taps.retain(|&tap| seen_by(tap).rem_euclid(stride as i64) == 0);
        taps.reverse();
        let outputs: Vec<i64> = taps.iter().map(|&tap| seen_by(tap).div_euclid(stride as i64)).collect();
        let dilation = if let [a, b, ..] = outputs[..] { (b - a) as usize } else { 1 };
        Self {
            n: n.saturating_sub(first).div_ceil(stride),
            first,
            step: stride,
            size,
            origin: outputs.first().copied().unwrap_or(0),
            stride: 1,
            dilation,
            taps,
        }
    }
}

/// A product of an image by all its non-zeros: a convolution, or a phase of the gradient of one.
#[derive(Debug, Clone)]
pub(super) struct Pass {
    /// `[down, right]`.
    pub axes: [Axis; 2],
    /// Channels of the image that is read.
    pub inputs: usize,
    /// Channels of the image that is written.
    pub outputs: usize,
    /// Images, and the size of the one that is written.
    pub out: Images,
    /// From one input, output and tap to the next in the weight.
    pub strides: [usize; 2],
    /// Taps of a row of the window.
    pub kernel_w: usize,
}

impl Pass {
    pub fn forward(shape: &ConvShape, images: Images) -> Result<Self, ShapeError> {
        let [h, w] = shape.window.output_size(images.h, images.w)?;
        let axes = [Axis::forward(&shape.window, 0, images.h, h), Axis::forward(&shape.window, 1, images.w, w)];
        let taps = shape.window.taps();
        Ok(Self {
            axes,
            inputs: shape.c_in,
            outputs: shape.c_out,
            out: Images { h, w, ..images },
            strides: [taps, taps * shape.c_in],
            kernel_w: shape.window.kernel[1],
        })
    }

    /// The phases of the gradient by the input, which together write every pixel of it once.
    pub fn backward(shape: &ConvShape, images: Images) -> Result<Vec<Self>, ShapeError> {
        let [h, w] = shape.window.output_size(images.h, images.w)?;
        let window = &shape.window;
        let taps = window.taps();
        let phase = |y: usize, x: usize| Self {
            axes: [Axis::backward(window, 0, images.h, h, y), Axis::backward(window, 1, images.w, w, x)],
            inputs: shape.c_out,
            outputs: shape.c_in,
            out: images,
            strides: [taps * shape.c_in, taps],
            kernel_w: window.kernel[1],
        };
        Ok((0..window.stride[0]).flat_map(|y| (0..window.stride[1]).map(move |x| phase(y, x))).collect())
    }

    /// Pixels of an image that is read.
    pub fn size(&self) -> [usize; 2] {
        [self.axes[0].size, self.axes[1].size]
    }
}

/// The lines of a slab along one axis, for a tile of some outputs: what is seen by outputs side by side lies side by side.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    /// For each line, its input, seen from that of the tile's first output under the first tap.
    pub inputs: Vec<usize>,
    /// For each tap, the line of the tile's first output.
    pub taps: Vec<usize>,
}

impl Lines {
    pub fn new(axis: &Axis, tile: usize) -> Self {
        let mut lines = Self { inputs: Vec::new(), taps: vec![0; axis.taps.len()] };
        for phase in 0..axis.stride {
            let offset = |tap: usize| tap * axis.dilation;
            let own = (0..axis.taps.len()).filter(|&tap| offset(tap) % axis.stride == phase);
            let start = lines.inputs.len();
            let mut more = None;
            for tap in own {
                lines.taps[tap] = start + offset(tap) / axis.stride;
                more = Some(offset(tap) / axis.stride);
            }
            if let Some(more) = more {
                lines.inputs.extend((0..tile + more).map(|line| line * axis.stride + phase));
            }
        }
        lines
    }
}
