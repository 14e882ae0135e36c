//! Every weight as an integer, zeros too.

use lissom_kernels::conv::Images;
use lissom_kernels::qconv::{self, PackedQConv};
use lissom_kernels::qgemm::{Output, PackedQB, qgemm};
use lissom_kernels::quantize::Bytes;
use lissom_kernels::{ShapeError, Threads};

use super::{Form, IntegerLayer, IntegerProduct, Order, PackInteger};

pub(super) const FORM: Form<PackInteger> = Form {
    name: "integer",
    fits: |_| true,
    // Four products an instruction; requantizing an element costs about as much as 60 of them.
    cost: |traits| traits.macs() / (4.0 * 0.75) + 20.0 * traits.m() as f64 * traits.shape.c_out as f64,
    pack,
};

#[derive(Debug)]
enum Integer {
    Conv(PackedQConv),
    Matrix(PackedQB),
}

fn pack(layer: &IntegerLayer<'_>) -> Result<Box<dyn IntegerProduct>, ShapeError> {
    let IntegerLayer { shape, weight, zero_points, .. } = *layer;
    Ok(Box::new(match layer.order {
        Order::Filters => Integer::Conv(PackedQConv::new(shape, weight, zero_points)?),
        Order::Columns => Integer::Matrix(PackedQB::new(weight, shape.c_in, shape.c_out, zero_points)?),
    }))
}

impl IntegerProduct for Integer {
    fn kernel_name(&self) -> &'static str {
        match self {
            Self::Conv(conv) => conv.kernel_name(),
            Self::Matrix(matrix) => matrix.kernel().name,
        }
    }

    fn size_bytes(&self) -> usize {
        match self {
            Self::Conv(conv) => conv.size_bytes(),
            Self::Matrix(matrix) => matrix.size_bytes(),
        }
    }

    fn run(
        &self,
        threads: &Threads,
        x: Bytes<'_>,
        zero_point: i32,
        images: Images,
        output: &mut Output<'_>,
    ) -> Result<(), ShapeError> {
        match self {
            Self::Conv(packed) => qconv::qconv(threads, x, zero_point, images, packed, output),
            Self::Matrix(packed) => qgemm(threads, x, zero_point, images.n * images.h * images.w, packed, output),
        }
    }
}
