//! The weights that are not zero, lanes being outputs: for few rows.

use lissom_kernels::ShapeError;
use lissom_kernels::spmv::{PackedSpmv, spmv};

use super::{Call, FloatLayer, FloatProduct, Form, Order, PackFloat, Traits};

/// Rows up to which lanes of outputs may beat lanes of rows.
const MOST_ROWS: usize = 24;

pub(super) const FORM: Form<PackFloat> = Form {
    name: "spmv",
    fits: |traits| has_few_rows(traits) && traits.zeros.nonzero_percent <= 60,
    // Rounds of sixteen outputs are filled in part.
    cost: |traits| traits.zeros.density() * traits.macs() / 0.25 + 100.0,
    pack,
};

/// Four inputs of an output are multiplied whole if one of them is not zero.
pub(super) const BLOCKS: Form<PackFloat> = Form {
    name: "spmv 1x4",
    fits: |traits| {
        let zeros = traits.zeros;
        has_few_rows(traits) && zeros.quads_percent <= 60 && zeros.come_in(zeros.quads_percent)
    },
    cost: |traits| traits.zeros.quad_density() * traits.macs() / 0.35 + 100.0,
    pack: |layer| {
        let (k, n) = (layer.shape.c_in, layer.shape.c_out);
        Ok(Box::new(PackedSpmv::new_1x4(layer.weight, k, n, layer.order == Order::Filters)?))
    },
};

fn has_few_rows(traits: &Traits) -> bool {
    let shape = traits.shape;
    shape.groups == 1 && shape.window == lissom_kernels::conv::Window::POINT && traits.m() <= MOST_ROWS
}

fn pack(layer: &FloatLayer<'_>) -> Result<Box<dyn FloatProduct>, ShapeError> {
    let (k, n) = (layer.shape.c_in, layer.shape.c_out);
    Ok(Box::new(PackedSpmv::new(layer.weight, k, n, layer.order == Order::Filters)?))
}

impl FloatProduct for PackedSpmv {
    fn kernel_name(&self) -> &'static str {
        PackedSpmv::kernel_name(self)
    }

    fn size_bytes(&self) -> usize {
        PackedSpmv::size_bytes(self)
    }

    fn run(&self, call: &Call<'_>, out: &mut [f32]) -> Result<(), ShapeError> {
        spmv(call.threads, call.x, call.images.n * call.images.h * call.images.w, self, &call.epilogue, out)
    }
}
