//! Weights in bf16, in the order the inner loop reads them.

use super::{Kernel, bf16};
use crate::conv::{ConvShape, PackedConv, taps_first};
use crate::error::ShapeError;
use crate::gemm::Matrix;
use crate::gemm::packed::{pack, packed_len};
use crate::threads::Threads;

/// Channels of a group below which a convolution stays in f32.
const FEW_CHANNELS: usize = 8;

/// A constant right-hand side or filter, rounded and packed once.
#[derive(Clone)]
pub struct PackedBf16 {
    pub(super) kernel: &'static Kernel,
    pub(super) form: Form,
    /// Depth of the sums of a group in pairs.
    pub(super) pairs: usize,
    /// Columns of a group.
    pub(super) n: usize,
    /// One a group: panels of columns as in `gemm::PackedB`, of pairs.
    pub(super) products: Vec<Vec<f32>>,
}

#[derive(Clone)]
pub(super) enum Form {
    Linear {
        k: usize,
    },
    Conv(ConvShape),
    /// Too few channels to gain: stays in f32.
    F32(Box<PackedConv>),
}

impl PackedBf16 {
    /// Packs row-major `weight`, `[k, n]`, or `[n, k]` if `is_transposed` (weights of linear layers), for [`super::bgemm`].
    ///
    /// # Errors
    /// [`ShapeError`] if `weight` has another length.
    pub fn linear(weight: &[f32], k: usize, n: usize, is_transposed: bool) -> Result<Self, ShapeError> {
        Self::linear_for(Kernel::best(), weight, k, n, is_transposed)
    }

    /// [`Self::linear`] for one variant of [`super::KERNELS`].
    ///
    /// # Errors
    /// As [`Self::linear`].
    ///
    /// # Panics
    /// If this CPU cannot run `kernel`.
    pub fn linear_for(
        kernel: &'static Kernel,
        weight: &[f32],
        k: usize,
        n: usize,
        is_transposed: bool,
    ) -> Result<Self, ShapeError> {
        assert!((kernel.is_supported)(), "{} needs another CPU", kernel.name);
        ShapeError::expect("weight", weight.len(), ShapeError::product("weight", &[k, n])?)?;
        ShapeError::product("weight", &[k + 1, n.next_multiple_of(kernel.product.panel)])?;
        let (row_stride, col_stride) = if is_transposed { (1, k) } else { (n, 1) };
        let at = |row: usize, col: usize| weight[row * row_stride + col * col_stride];
        let products = vec![packed(kernel, k, n, at)];
        Ok(Self { kernel, form: Form::Linear { k }, pairs: k.div_ceil(2), n, products })
    }

    /// Packs `weight`, `[c_out, c_in / groups, kh, kw]` as ONNX has it, for [`super::bconv`].
    ///
    /// Depthwise convolutions and those of images in colour stay in f32 ([`Self::is_f32`]): rounding would cost more than
    /// it gains.
    ///
    /// # Errors
    /// [`ShapeError`] if the groups do not divide the channels, a size is 0 or `weight` has another length.
    pub fn conv(shape: ConvShape, weight: &[f32]) -> Result<Self, ShapeError> {
        Self::conv_for(Kernel::best(), shape, weight)
    }

    /// [`Self::conv`] for one variant of [`super::KERNELS`].
    ///
    /// # Errors
    /// As [`Self::conv`].
    ///
    /// # Panics
    /// If this CPU cannot run `kernel`.
    pub fn conv_for(kernel: &'static Kernel, shape: ConvShape, weight: &[f32]) -> Result<Self, ShapeError> {
        assert!((kernel.is_supported)(), "{} needs another CPU", kernel.name);
        if shape.groups > 0 && shape.c_in / shape.groups < FEW_CHANNELS {
            let form = Form::F32(Box::new(PackedConv::new(shape, weight)?));
            return Ok(Self { kernel, form, pairs: 0, n: shape.c_out, products: Vec::new() });
        }
        shape.check()?;
        ShapeError::expect("weight", weight.len(), shape.weight_len())?;
        let (c_in, c_out, taps) = (shape.c_in / shape.groups, shape.c_out / shape.groups, shape.window.taps());
        // Pairs are within a pixel: an odd channel has a partner of 0.
        let padded = c_in.next_multiple_of(2);
        let products = (0..shape.groups).map(|group| {
            let len = c_out * c_in * taps;
            let weight = taps_first(&weight[group * len..][..len], c_out, c_in, taps);
            let at = |row: usize, col: usize| {
                let (tap, channel) = (row / padded, row % padded);
                if channel < c_in { weight[(tap * c_in + channel) * c_out + col] } else { 0.0 }
            };
            packed(kernel, taps * padded, c_out, at)
        });
        let products = products.collect();
        Ok(Self { kernel, form: Form::Conv(shape), pairs: taps * padded / 2, n: c_out, products })
    }

    /// The variant of [`super::KERNELS`] that runs it.
    pub fn kernel(&self) -> &'static Kernel {
        self.kernel
    }

    /// True if nothing is rounded: a convolution of few channels a group.
    pub fn is_f32(&self) -> bool {
        matches!(self.form, Form::F32(_))
    }

    /// Bytes of the packed form.
    pub fn size_bytes(&self) -> usize {
        match &self.form {
            Form::F32(packed) => packed.size_bytes(),
            _ => self.products.iter().map(|product| product.len() * 4).sum(),
        }
    }

    /// `[k, n]` of a linear layer.
    pub(super) fn linear_size(&self) -> Result<(usize, usize), ShapeError> {
        match self.form {
            Form::Linear { k } => Ok((k, self.n)),
            _ => Err(ShapeError::Invalid { what: "the packed weight", got: self.n, must: "that of a linear layer" }),
        }
    }

    pub(super) fn conv_shape(&self) -> Result<&ConvShape, ShapeError> {
        match &self.form {
            Form::Conv(shape) => Ok(shape),
            _ => Err(ShapeError::Invalid { what: "the packed weight", got: self.n, must: "that of a convolution" }),
        }
    }
}

/// Panels of pairs of the matrix `[k, n]` whose elements `at` tells.
fn packed(kernel: &Kernel, k: usize, n: usize, at: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let pairs = k.div_ceil(2);
    let second = |row: usize, col: usize| if row < k { at(row, col) } else { 0.0 };
    let data: Vec<f32> = (0..pairs)
        .flat_map(|pair| (0..n).map(move |col| (2 * pair, col)))
        .map(|(row, col)| bf16::pair(at(row, col), second(row + 1, col)))
        .collect();
    let mut panels = vec![0.0; packed_len(kernel.product.panel, pairs, n)];
    let b = Matrix { data: &data, row_stride: n, col_stride: 1 };
    pack(&kernel.product, &Threads::single(), b, pairs, n, &mut panels);
    panels
}

impl std::fmt::Debug for PackedBf16 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedBf16({} x [{}, {}] for {})", self.products.len(), 2 * self.pairs, self.n, self.kernel.name)
    }
}
