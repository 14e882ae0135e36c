//! Two of each four adjacent inputs, lanes being outputs.

use lissom_kernels::ShapeError;
use lissom_kernels::gemm24::{Packed24, gemm24};

use super::{Call, FloatLayer, FloatProduct, Form, Order, PackFloat};

pub(super) const FORM: Form<PackFloat> = Form {
    name: "2:4",
    fits: |traits| traits.shape.groups == 1 && traits.zeros.is_two_of_four && traits.zeros.nonzero_percent <= 60,
    // Half the multiply-adds, each with a shuffle that takes as long.
    cost: |traits| traits.macs() / 1.05,
    pack,
};

fn pack(layer: &FloatLayer<'_>) -> Result<Box<dyn FloatProduct>, ShapeError> {
    let shape = layer.shape;
    Ok(Box::new(match layer.order {
        Order::Filters => Packed24::conv(shape, layer.weight)?,
        Order::Columns => Packed24::linear(layer.weight, shape.c_in, shape.c_out, false)?,
    }))
}

impl FloatProduct for Packed24 {
    fn kernel_name(&self) -> &'static str {
        Packed24::kernel_name(self)
    }

    fn size_bytes(&self) -> usize {
        Packed24::size_bytes(self)
    }

    fn run(&self, call: &Call<'_>, out: &mut [f32]) -> Result<(), ShapeError> {
        gemm24(call.threads, call.x, call.images, self, &call.epilogue, out)
    }
}
