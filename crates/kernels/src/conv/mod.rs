//! Convolutions in f32 on NHWC images.
//!
//! Depthwise ones run over vectors of channels ([`DEPTHWISE`]); all others are matrix products (`gemm::KERNELS`) whose
//! rows are windows gathered block by block, so the unfolded image never exists as a whole.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod changing;
pub(crate) mod changing_bf16;
pub(crate) mod depthwise;
pub(crate) mod direct;
pub(crate) mod gather;
mod scalar;
mod shape;
#[cfg(test)]
mod tests;
pub(crate) mod windows;

pub use changing::{conv_packed, pack_into, packed_len};
pub use changing_bf16::{End, conv_pairs, ends_in_pairs, pack_pairs_into, packed_pairs_len};
pub use shape::{Channels, ConvShape, Images, Window};

use crate::activation::Epilogue;
use crate::error::ShapeError;
use crate::gemm::driver::{MatrixRows, Product};
use crate::gemm::{self, PackedB, check_epilogue, pointer};
use crate::threads::{Shareable, Threads};
use windows::Windows;

/// A variant of the depthwise loop.
pub struct Depthwise {
    /// `depthwise_f32_{lanes}_{isa}`.
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    run: unsafe fn(&depthwise::Row<'_>),
}

/// All depthwise variants, fastest first. Dispatch, tests and benches walk this list.
pub static DEPTHWISE: &[Depthwise] = &[
    #[cfg(target_arch = "x86_64")]
    Depthwise { name: "depthwise_f32_16_avx512", is_supported: crate::isa::has_avx512, run: avx512::depthwise_row },
    #[cfg(target_arch = "x86_64")]
    Depthwise { name: "depthwise_f32_8_avx2", is_supported: crate::isa::has_avx2, run: avx2::depthwise_row },
    Depthwise { name: "depthwise_f32_1_scalar", is_supported: || true, run: scalar::depthwise_row },
];

impl Depthwise {
    /// The first supported variant.
    pub fn best() -> &'static Self {
        crate::isa::best(DEPTHWISE, |kernel| kernel.is_supported)
    }
}

/// A convolution with constant weights, packed once.
#[derive(Clone)]
pub struct PackedConv {
    shape: ConvShape,
    weight: Weight,
}

#[derive(Clone)]
enum Weight {
    /// One product a group, `[taps · c_in / groups, c_out / groups]`.
    Products(Vec<PackedB>),
    /// `[taps, channels]`, then a row of zeros.
    Depthwise(&'static Depthwise, Vec<f32>),
}

impl std::fmt::Debug for Depthwise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PackedConv {
    /// Packs `weight`, `[c_out, c_in / groups, kh, kw]` as ONNX has it, for the fastest kernel of this CPU.
    ///
    /// # Errors
    /// [`ShapeError`] if the groups do not divide the channels, a size is 0 or `weight` has another length.
    pub fn new(shape: ConvShape, weight: &[f32]) -> Result<Self, ShapeError> {
        Self::for_kernels(gemm::Kernel::best(), Depthwise::best(), shape, weight)
    }

    /// Packs for one variant of `gemm::KERNELS` and one of [`DEPTHWISE`].
    ///
    /// # Errors
    /// As [`Self::new`].
    ///
    /// # Panics
    /// If this CPU cannot run the variant that the shape needs.
    pub fn for_kernels(
        product: &'static gemm::Kernel,
        depthwise: &'static Depthwise,
        shape: ConvShape,
        weight: &[f32],
    ) -> Result<Self, ShapeError> {
        shape.check()?;
        ShapeError::expect("weight", weight.len(), shape.weight_len())?;
        let taps = shape.window.taps();
        if shape.is_depthwise() {
            assert!((depthwise.is_supported)(), "{} needs another CPU", depthwise.name);
            let mut weight = taps_first(weight, shape.c_out, 1, taps);
            weight.resize(weight.len() + shape.c_out, 0.0);
            return Ok(Self { shape, weight: Weight::Depthwise(depthwise, weight) });
        }
        let (c_in, c_out) = (shape.c_in / shape.groups, shape.c_out / shape.groups);
        let k = taps * c_in;
        let products = (0..shape.groups).map(|group| {
            let weight = &weight[group * c_out * k..(group + 1) * c_out * k];
            if taps == 1 {
                let weight = gemm::Matrix { data: weight, row_stride: 1, col_stride: k };
                return PackedB::for_kernel(product, weight, k, c_out);
            }
            let weight = taps_first(weight, c_out, c_in, taps);
            let weight = gemm::Matrix { data: &weight, row_stride: c_out, col_stride: 1 };
            PackedB::for_kernel(product, weight, k, c_out)
        });
        Ok(Self { shape, weight: Weight::Products(products.collect::<Result<_, _>>()?) })
    }

    /// What was packed.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// The weight that was packed, `[c_out, c_in / groups, kh, kw]`; `None` for depthwise ones, which are small.
    pub fn unpacked(&self) -> Option<Vec<f32>> {
        let Weight::Products(products) = &self.weight else { return None };
        let (taps, c_in) = (self.shape.window.taps(), self.shape.c_in / self.shape.groups);
        let mut weight = vec![0.0; self.shape.weight_len()];
        for (product, to) in
            products.iter().zip(weight.chunks_mut((self.shape.c_out / self.shape.groups * taps * c_in).max(1)))
        {
            product.unpack(to, |row| row % c_in * taps + row / c_in, product.k());
        }
        Some(weight)
    }

    /// Name of the variant that runs it.
    pub fn kernel_name(&self) -> &'static str {
        match &self.weight {
            Weight::Products(products) => products.first().map_or("none", |product| product.kernel().name),
            Weight::Depthwise(kernel, _) => kernel.name,
        }
    }

    /// Bytes of the packed form.
    pub fn size_bytes(&self) -> usize {
        match &self.weight {
            Weight::Products(products) => products.iter().map(PackedB::size_bytes).sum(),
            Weight::Depthwise(_, weight) => weight.len() * 4,
        }
    }
}

impl std::fmt::Debug for PackedConv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedConv({:?} for {})", self.shape, self.kernel_name())
    }
}

/// `[c_out, c_in, taps]` to `[taps, c_in, c_out]`.
pub(crate) fn taps_first<T: Copy + Default>(weight: &[T], c_out: usize, c_in: usize, taps: usize) -> Vec<T> {
    /// Filters that are read side by side, so that what is written is adjacent.
    const TOGETHER: usize = 16;
    let mut to = vec![T::default(); weight.len()];
    let len = (c_in * taps).max(1);
    for (block, filters) in weight.chunks(TOGETHER * len).enumerate() {
        for (channel, tap) in (0..c_in).flat_map(|channel| (0..taps).map(move |tap| (channel, tap))) {
            let from = filters[channel * taps + tap..].iter().step_by(len);
            let to = &mut to[(tap * c_in + channel) * c_out + block * TOGETHER..];
            to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
    }
    to
}

/// `out = activation(conv(input) + bias + residual)`.
///
/// | value | shape |
/// |---|---|
/// | `input` | `[n, h, w, c_in]` |
/// | `epilogue.bias` | `[c_out]` |
/// | `epilogue.residual`, `out` | `[n, h', w', c_out]`, `[h', w']` = `conv.shape().window.output_size(h, w)` |
///
/// # Errors
/// [`ShapeError`] if a slice has another length or the window does not fit.
pub fn conv(
    threads: &Threads,
    input: &[f32],
    images: Images,
    conv: &PackedConv,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), ShapeError> {
    let mut call = Call::new(threads, input, images, &conv.shape, epilogue, out)?;
    match &conv.weight {
        Weight::Depthwise(kernel, weight) => call.run_depthwise(kernel, weight),
        Weight::Products(products) => {
            for (group, product) in products.iter().enumerate() {
                call.run_group(product.kernel, &product.data, group);
            }
        }
    }
    Ok(())
}

/// The arguments of a convolution, checked.
pub(crate) struct Call<'a> {
    threads: &'a Threads,
    input: &'a [f32],
    images: Images,
    out_size: [usize; 2],
    shape: &'a ConvShape,
    epilogue: &'a Epilogue<'a>,
    out: &'a mut [f32],
}

impl<'a> Call<'a> {
    pub fn new(
        threads: &'a Threads,
        input: &'a [f32],
        images: Images,
        shape: &'a ConvShape,
        epilogue: &'a Epilogue<'a>,
        out: &'a mut [f32],
    ) -> Result<Self, ShapeError> {
        let Images { n, h, w } = images;
        let out_size = shape.window.output_size(h, w)?;
        ShapeError::expect("input", input.len(), ShapeError::product("input", &[n, h, w, shape.c_in])?)?;
        let size = ShapeError::product("out", &[n, out_size[0], out_size[1], shape.c_out])?;
        ShapeError::expect("out", out.len(), size)?;
        check_epilogue(epilogue, shape.c_out, size)?;
        Ok(Self { threads, input, images, out_size, shape, epilogue, out })
    }

    /// One group, by a kernel that this CPU supports, for which its weight was packed.
    fn run_group(&mut self, kernel: &'static gemm::Kernel, b: &[f32], group: usize) {
        let (shape, input) = (self.shape, self.input);
        let (k, n) = (shape.group_k(), shape.c_out / shape.groups);
        let m = self.images.n * self.out_size[0] * self.out_size[1];
        if m == 0 || n == 0 {
            return;
        }
        let first = group * n;
        let direct = direct::Direct {
            kernel,
            threads: self.threads,
            input,
            images: self.images,
            channels: shape.c_in,
            window: shape.window,
            pads: [shape.window.pads[0] as i64, shape.window.pads[1] as i64],
            out_size: self.out_size,
            n,
            b,
            epilogue: self.epilogue,
        };
        if shape.groups == 1 && direct.fits() {
            // SAFETY: all lengths were checked by `new`, and what is packed by who packed it.
            unsafe { direct.run(Shareable(self.out.as_mut_ptr())) };
            return;
        }
        let c = Shareable(self.out[first..].as_mut_ptr());
        let bias = pointer(self.epilogue.bias.map(|bias| &bias[first..]));
        let residual = pointer(self.epilogue.residual.map(|residual| &residual[first..]));
        let c_in = shape.c_in / shape.groups;
        let channels = group * c_in..(group + 1) * c_in;
        let (c_stride, activation) = (shape.c_out, self.epilogue.activation);
        if shape.window.is_point() {
            let rows = &MatrixRows { a: &input[channels.start..], m, k, row_stride: shape.c_in, col_stride: 1 };
            let product = Product { kernel, m, k, n, rows, b, c, c_stride, lines: None, bias, residual, activation };
            // SAFETY: all lengths were checked by `new`, and what is packed by who packed it.
            unsafe { product.run(self.threads) };
        } else {
            let rows = &Windows::new(input, self.images, shape.window, self.out_size, shape.c_in, channels);
            let product = Product { kernel, m, k, n, rows, b, c, c_stride, lines: None, bias, residual, activation };
            // SAFETY: as above.
            unsafe { product.run(self.threads) };
        }
    }

    /// All channels, by a kernel that this CPU supports; `weight` is `[taps, channels]`, then a row of zeros.
    pub fn run_depthwise(&mut self, kernel: &Depthwise, weight: &[f32]) {
        let Self { input, images, out_size: [out_h, out_w], shape, epilogue, .. } = *self;
        let channels = shape.c_out;
        let Images { n, h, w } = images;
        let row_len = out_w * channels;
        let to = Shareable(self.out.as_mut_ptr());
        let (bias, residual) = (pointer(epilogue.bias) as usize, pointer(epilogue.residual) as usize);
        // Neighbouring rows share input lines, so a task is a band of them.
        let (weight, zeros) = weight.split_at(weight.len() - channels);
        let band = (1usize << 14).div_ceil((row_len * shape.window.taps()).max(1));
        let rows = n * out_h;
        self.threads.run(rows.div_ceil(band), |task| {
            for index in task * band..rows.min((task + 1) * band) {
                let (image, y) = (index / out_h, index % out_h);
                let at = index * row_len;
                let residual = residual as *const f32;
                // SAFETY: lengths were checked by `new`; rows are disjoint; this CPU can run the variant.
                unsafe {
                    let row = depthwise::Row {
                        window: shape.window,
                        h,
                        w,
                        channels,
                        out_w,
                        image: &input[image * h * w * channels..],
                        weight,
                        zeros: zeros.as_ptr(),
                        y,
                        out: to.at(at),
                        bias: bias as *const f32,
                        residual: if residual.is_null() { residual } else { residual.add(at) },
                        clamp: epilogue.activation.clamp(),
                    };
                    (kernel.run)(&row);
                    if epilogue.activation.is_curve() {
                        epilogue.activation.apply(std::slice::from_raw_parts_mut(to.at(at), row_len));
                    }
                }
            }
        });
    }
}
