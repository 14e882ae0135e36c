//! The weights that are not zero, lanes being pixels: unstructured and block sparsity.

use lissom_kernels::ShapeError;
use lissom_kernels::spmm::{PackedSpmm, spmm};

use super::{Call, FloatLayer, FloatProduct, Form, Order, PackFloat};

pub(super) const FORM: Form<PackFloat> = Form {
    name: "spmm",
    fits: |traits| traits.shape.groups == 1 && traits.zeros.nonzero_percent <= 70,
    // A multiply-add runs at about half the speed of the dense one, more where rows are long; the inputs of every sum are copied once for each
    // block of pixels, and vectors of pixels may be filled in part.
    cost: |traits| {
        let m = traits.m().next_multiple_of(16) as f64;
        let nonzeros = traits.zeros.density() * traits.k() as f64 * traits.shape.c_out as f64;
        m * nonzeros / (0.41 + 0.4 * traits.zeros.density()) + 6.0 * m * (traits.k() + traits.shape.c_out) as f64
    },
    pack,
};

/// Four inputs of an output are multiplied whole if one of them is not zero.
pub(super) const BLOCKS: Form<PackFloat> = Form {
    name: "spmm 1x4",
    fits: |traits| {
        let zeros = traits.zeros;
        let is_wide = traits.shape.groups == 1 && traits.shape.c_in >= 4;
        is_wide && zeros.quads_percent <= 70 && zeros.come_in(zeros.quads_percent)
    },
    // Sums are read and written once for four products, and twice more for all.
    cost: |traits| {
        let m = traits.m().next_multiple_of(16) as f64;
        let products = traits.zeros.quad_density() * traits.k() as f64 * traits.shape.c_out as f64;
        m * products / 0.6 + m * (6 * traits.k() + 14 * traits.shape.c_out) as f64
    },
    pack: pack_blocks,
};

fn pack_blocks(layer: &FloatLayer<'_>) -> Result<Box<dyn FloatProduct>, ShapeError> {
    let shape = layer.shape;
    Ok(Box::new(match layer.order {
        Order::Filters => PackedSpmm::conv_1x4(shape, layer.weight)?,
        Order::Columns => PackedSpmm::linear_1x4(layer.weight, shape.c_in, shape.c_out, false)?,
    }))
}

fn pack(layer: &FloatLayer<'_>) -> Result<Box<dyn FloatProduct>, ShapeError> {
    let shape = layer.shape;
    Ok(Box::new(match layer.order {
        Order::Filters => PackedSpmm::conv(shape, layer.weight, layer.rows)?,
        Order::Columns => PackedSpmm::linear(layer.weight, shape.c_in, shape.c_out, false, layer.rows)?,
    }))
}

impl FloatProduct for PackedSpmm {
    fn kernel_name(&self) -> &'static str {
        PackedSpmm::kernel_name(self)
    }

    fn size_bytes(&self) -> usize {
        PackedSpmm::size_bytes(self)
    }

    fn takes_channels_first(&self) -> bool {
        true
    }

    fn run(&self, call: &Call<'_>, out: &mut [f32]) -> Result<(), ShapeError> {
        let Call { threads, x, images, from, to, epilogue } = call;
        spmm(threads, x, *images, *from, self, epilogue, *to, out)
    }
}
