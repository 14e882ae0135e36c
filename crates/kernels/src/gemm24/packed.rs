//! Two weights and four bits a group of inputs, in the order the inner loop reads them.

use super::{CHUNK, GROUP, Kernel};
use crate::conv::{ConvShape, Window};
use crate::error::ShapeError;

/// Constant weights of a convolution or linear layer, two of each four adjacent inputs.
///
/// Groups of four are along the row of a window, `[kh, kw, c_in]`: along the input channels of each tap, if these are a
/// multiple of four.
#[derive(Clone)]
pub struct Packed24 {
    pub(super) kernel: &'static Kernel,
    shape: ConvShape,
    nonzeros: usize,
    /// Passes over all groups, each with two weights of each: one, unless a group keeps more.
    pub(super) passes: usize,
    /// Of each panel of outputs, each pass and each chunk of groups: a word of choices for each output, two bits for each weight,
    /// then of each group the first weights of all outputs and the second ones.
    pub(super) data: Vec<u32>,
}

impl Packed24 {
    /// Packs `weight`, `[c_out, c_in, kh, kw]` as ONNX has it.
    ///
    /// # Errors
    /// [`ShapeError`] if there is more than one group, a size is 0 or `weight` has another length.
    pub fn conv(shape: ConvShape, weight: &[f32]) -> Result<Self, ShapeError> {
        Self::for_kernel(Kernel::best(), shape, weight, false)
    }

    /// Packs the constant side of `[m, k] · [k, n]`, or `[n, k]` if it is transposed, as a convolution of one pixel.
    ///
    /// # Errors
    /// [`ShapeError`] if a size is 0 or `weight` has another length.
    pub fn linear(weight: &[f32], k: usize, n: usize, is_transposed: bool) -> Result<Self, ShapeError> {
        let shape = ConvShape { window: Window::POINT, c_in: k, c_out: n, groups: 1 };
        Self::for_kernel(Kernel::best(), shape, weight, !is_transposed)
    }

    /// Packs for one variant of [`KERNELS`](super::KERNELS); `is_input_first` if `weight` is `[c_in, kh, kw, c_out]`.
    ///
    /// # Errors
    /// As [`Self::conv`].
    ///
    /// # Panics
    /// If this CPU cannot run `kernel`.
    pub fn for_kernel(
        kernel: &'static Kernel,
        shape: ConvShape,
        weight: &[f32],
        is_input_first: bool,
    ) -> Result<Self, ShapeError> {
        assert!((kernel.is_supported)(), "{} needs another CPU", kernel.name);
        shape.check()?;
        ShapeError::require(shape.groups == 1, "the number of groups", shape.groups, "1")?;
        ShapeError::expect("weight", weight.len(), shape.weight_len())?;
        let (taps, k) = (shape.window.taps(), shape.window.taps() * shape.c_in);
        let value = |output: usize, column: usize| {
            let inner = column % shape.c_in * taps + column / shape.c_in;
            weight[if is_input_first { inner * shape.c_out + output } else { output * k + inner }]
        };
        let kept = |output: usize, group: usize| {
            let columns = group * GROUP..k.min((group + 1) * GROUP);
            columns.map(move |column| (column % GROUP, value(output, column))).filter(|&(_, weight)| weight != 0.0)
        };
        let groups = k.div_ceil(GROUP);
        let most = (0..shape.c_out).flat_map(|output| (0..groups).map(move |group| (output, group)));
        let most = most.map(|(output, group)| kept(output, group).count()).max().unwrap_or(0);
        let nonzeros = weight.iter().filter(|&&weight| weight != 0.0).count();
        let mut packed = Self { kernel, shape, nonzeros, passes: most.div_ceil(2).max(1), data: Vec::new() };
        packed.data.reserve(packed.panel_len() * shape.c_out.div_ceil(kernel.panel));
        for first in (0..shape.c_out).step_by(kernel.panel) {
            for pass in 0..packed.passes {
                for chunk in (0..groups).step_by(CHUNK) {
                    packed.push(first, chunk..groups.min(chunk + CHUNK), |output, group, slot| {
                        kept(output, group).nth(2 * pass + slot)
                    });
                }
            }
        }
        Ok(packed)
    }

    /// A chunk of a panel. `kept` is asked for output, group and slot.
    fn push(
        &mut self,
        first: usize,
        groups: std::ops::Range<usize>,
        kept: impl Fn(usize, usize, usize) -> Option<(usize, f32)>,
    ) {
        let panel = self.kernel.panel;
        let choices = self.data.len();
        self.data.resize(choices + panel * (1 + 2 * groups.len()), 0);
        for (index, group) in groups.enumerate() {
            for slot in 0..2 {
                let at = 2 * index + slot;
                for lane in (0..panel).take_while(|lane| first + lane < self.shape.c_out) {
                    let Some((choice, weight)) = kept(first + lane, group, slot) else { continue };
                    self.data[choices + lane] |= (choice as u32) << (2 * at);
                    self.data[choices + panel * (1 + at) + lane] = weight.to_bits();
                }
            }
        }
    }

    /// Length of a row, in groups.
    pub(super) fn groups(&self) -> usize {
        (self.shape.window.taps() * self.shape.c_in).div_ceil(GROUP)
    }

    /// Words of a panel.
    pub(super) fn panel_len(&self) -> usize {
        let groups = self.groups();
        self.passes * self.kernel.panel * (groups.div_ceil(CHUNK) + 2 * groups)
    }

    /// What was packed.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// Name of the variant of [`KERNELS`](super::KERNELS) that runs it.
    pub fn kernel_name(&self) -> &'static str {
        self.kernel.name
    }

    /// Bytes of the packed form.
    pub fn size_bytes(&self) -> usize {
        size_of_val(&self.data[..])
    }

    /// Weights that are not zero.
    pub fn nonzeros(&self) -> usize {
        self.nonzeros
    }
}

impl std::fmt::Debug for Packed24 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { shape, nonzeros, passes, kernel, .. } = self;
        write!(f, "Packed24({shape:?}, {nonzeros} non-zeros in {passes} passes for {})", kernel.name)
    }
}
