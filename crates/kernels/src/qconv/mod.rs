//! Integer convolutions on NHWC images; padding stands for 0, so it holds the zero point.
//!
//! The loops are those of `qgemm`: depthwise ones run over channels, all others gather windows into rows of a product.

mod depthwise;
mod pixels;
#[cfg(test)]
mod tests;

use crate::conv::{ConvShape, Images, taps_first};
use crate::error::ShapeError;
use crate::qgemm::columns::PackedColumns;
use crate::qgemm::driver::{MatrixBytes, Product};
use crate::qgemm::{Kernel, Output, PackedQB, unsigned_zero};
use crate::quantize::Bytes;
use crate::threads::Threads;
use depthwise::{Depthwise, Filters};
use pixels::Pixels;

/// An integer convolution with constant weights, packed once.
#[derive(Clone)]
pub struct PackedQConv {
    shape: ConvShape,
    kernel: &'static Kernel,
    weight: Weight,
}

#[derive(Clone)]
enum Weight {
    /// One product a group.
    Products(Vec<PackedQB>),
    /// One filter a channel.
    Depthwise(Filters),
}

impl PackedQConv {
    /// Packs `weight`, `[c_out, c_in / groups, kh, kw]`; `zero_points` are one for all, one an output channel, or none.
    ///
    /// # Errors
    /// [`ShapeError`] if the groups do not divide the channels, a size is 0 or a length differs.
    pub fn new(shape: ConvShape, weight: Bytes<'_>, zero_points: &[i32]) -> Result<Self, ShapeError> {
        Self::for_kernel(Kernel::best(), shape, weight, zero_points)
    }

    /// Packs for one variant of `qgemm::KERNELS`.
    ///
    /// # Errors
    /// As [`Self::new`].
    ///
    /// # Panics
    /// If this CPU cannot run `kernel`.
    pub fn for_kernel(
        kernel: &'static Kernel,
        shape: ConvShape,
        weight: Bytes<'_>,
        zero_points: &[i32],
    ) -> Result<Self, ShapeError> {
        assert!((kernel.is_supported)(), "{} needs another CPU", kernel.name);
        shape.check()?;
        ShapeError::expect("weight", weight.len(), shape.weight_len())?;
        if zero_points.len() > 1 {
            ShapeError::expect("zero_points", zero_points.len(), shape.c_out)?;
        }
        let taps = shape.window.taps();
        if shape.is_depthwise() {
            let values: Vec<i16> = match weight {
                Bytes::U8(x) => x.iter().map(|&x| i16::from(x)).collect(),
                Bytes::I8(x) => x.iter().map(|&x| i16::from(x)).collect(),
            };
            let mut values = taps_first(&values, shape.c_out, 1, taps);
            for (i, value) in values.iter_mut().enumerate() {
                let channel = if zero_points.len() == 1 { 0 } else { i % shape.c_out };
                *value -= zero_points.get(channel).map_or(0, |&zero| zero.clamp(-128, 255) as i16);
            }
            let columns = kernel.columns.and_then(|_| PackedColumns::new(&shape.window, &values, shape.c_out));
            let taps = if columns.is_some() { Vec::new() } else { values };
            return Ok(Self { shape, kernel, weight: Weight::Depthwise(Filters { taps, columns }) });
        }
        let (c_in, c_out) = (shape.c_in / shape.groups, shape.c_out / shape.groups);
        let k = taps * c_in;
        let products = (0..shape.groups).map(|group| {
            let part = group * c_out * k..(group + 1) * c_out * k;
            let zero_points =
                if zero_points.len() > 1 { &zero_points[group * c_out..(group + 1) * c_out] } else { zero_points };
            let segment = pixels::segment(&shape.window, shape.groups, c_in);
            let strides = if taps == 1 { [1, k] } else { [c_out, 1] };
            let pack = |bytes: Bytes<'_>| PackedQB::in_segments(kernel, bytes, strides, k, c_out, zero_points, segment);
            match weight {
                Bytes::U8(x) if taps == 1 => pack(Bytes::U8(&x[part])),
                Bytes::I8(x) if taps == 1 => pack(Bytes::I8(&x[part])),
                Bytes::U8(x) => pack(Bytes::U8(&taps_first(&x[part], c_out, c_in, taps))),
                Bytes::I8(x) => pack(Bytes::I8(&taps_first(&x[part], c_out, c_in, taps))),
            }
        });
        Ok(Self { shape, kernel, weight: Weight::Products(products.collect::<Result<_, _>>()?) })
    }

    /// What was packed.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// Name of the variant that runs it.
    pub fn kernel_name(&self) -> &'static str {
        self.kernel.name
    }

    /// Bytes of the packed form.
    pub fn size_bytes(&self) -> usize {
        match &self.weight {
            Weight::Products(products) => products.iter().map(PackedQB::size_bytes).sum(),
            Weight::Depthwise(Filters { taps, columns }) => {
                taps.len() * 2 + columns.as_ref().map_or(0, |columns| columns.data.len() + columns.sums.len() * 4)
            }
        }
    }

    fn offsets(&self, zero: i32, bias: Option<&[i32]>) -> Vec<i32> {
        match &self.weight {
            Weight::Depthwise(Filters { columns, .. }) => {
                let mut offsets = bias.map_or_else(|| vec![0; self.shape.c_out], <[i32]>::to_vec);
                // The rows take the zero point off themselves.
                if let Some(columns) = columns {
                    for (offset, sum) in offsets.iter_mut().zip(&columns.sums) {
                        *offset = offset.wrapping_sub(zero.wrapping_mul(*sum));
                    }
                }
                offsets
            }
            Weight::Products(products) => {
                let c_out = self.shape.c_out / self.shape.groups;
                let groups = products.iter().enumerate();
                groups
                    .flat_map(|(group, product)| product.offsets(zero, bias.map(|bias| &bias[group * c_out..])))
                    .collect()
            }
        }
    }
}

impl std::fmt::Debug for PackedQConv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedQConv({:?} for {})", self.shape, self.kernel.name)
    }
}

/// `output = finish(conv(input - zero_point))`.
///
/// | value | shape |
/// |---|---|
/// | `input` | `[n, h, w, c_in]` |
/// | `output` | `[n, h', w', c_out]`, `[h', w']` = `conv.shape().window.output_size(h, w)` |
///
/// # Errors
/// [`ShapeError`] if a length differs, the window does not fit, or the zero point is no value of its type.
pub fn qconv(
    threads: &Threads,
    input: Bytes<'_>,
    zero_point: i32,
    images: Images,
    conv: &PackedQConv,
    output: &mut Output<'_>,
) -> Result<(), ShapeError> {
    let shape = &conv.shape;
    let out_size = shape.window.output_size(images.h, images.w)?;
    ShapeError::expect(
        "input",
        input.len(),
        ShapeError::product("input", &[images.n, images.h, images.w, shape.c_in])?,
    )?;
    let zero = unsigned_zero(input, zero_point)?;
    let m = ShapeError::product("out", &[images.n, out_size[0], out_size[1]])?;
    let plan = output.plan([m, shape.c_out], |bias| conv.offsets(zero, bias))?;
    if m == 0 {
        return Ok(());
    }
    match &conv.weight {
        Weight::Depthwise(filters) => {
            let finish = plan.finish();
            // SAFETY: `plan` checked the lengths of all that `finish` points to, and borrows it until here.
            unsafe { Depthwise { conv, filters, input, zero, images, out_size, finish }.run(threads) };
        }
        Weight::Products(products) => {
            let (c_in, c_out) = (shape.c_in / shape.groups, shape.c_out / shape.groups);
            let (flip, activation) = (input.flip(), plan.activation);
            let (mut images, mut window, pad) = (images, shape.window, zero as u8 ^ flip);
            let mut input = input.raw();
            let copy;
            if shape.groups > 1 && window.pads != [0; 4] {
                copy = pixels::padded(threads, input, &mut images, &mut window, shape.c_in, pad);
                input = &copy;
            }
            for (group, b) in products.iter().enumerate() {
                let channels = group * c_in..(group + 1) * c_in;
                let finish = plan.finish().at(0, group * c_out);
                if shape.window.is_point() {
                    let rows = &MatrixBytes { a: &input[channels.start..], stride: shape.c_in, k: c_in };
                    // SAFETY: `plan` checked the lengths of all that `finish` points to, and borrows it until here.
                    unsafe { Product { m, b, rows, flip, finish, activation }.run(threads) };
                } else {
                    let rows = &Pixels { input, images, window, out_size, c_in: shape.c_in, channels, pad };
                    // SAFETY: as above.
                    unsafe { Product { m, b, rows, flip, finish, activation }.run(threads) };
                }
            }
            return Ok(());
        }
    }
    if plan.activation.is_curve() {
        // SAFETY: `plan` checked the length of the output.
        unsafe { plan.finish().apply_curve(plan.activation, m, shape.c_out) };
    }
    Ok(())
}
