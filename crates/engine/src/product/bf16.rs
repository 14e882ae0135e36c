//! Weights and inputs rounded to bf16, sums in f32: only if the session allows it, on CPUs that have the instruction.

use lissom_kernels::ShapeError;
use lissom_kernels::bgemm::{self, PackedBf16};

use super::{Call, FloatLayer, FloatProduct, Form, Order, PackFloat};

pub(super) const FORM: Form<PackFloat> = Form {
    name: "bf16",
    // Few input channels and depthwise filters stay in f32.
    fits: |traits| {
        let channels = traits.shape.c_in / traits.shape.groups.max(1);
        traits.may_round && bgemm::Kernel::best().is_fast() && channels >= 8
    },
    cost: |traits| traits.macs() / (2.0 * 0.8),
    pack,
};

fn pack(layer: &FloatLayer<'_>) -> Result<Box<dyn FloatProduct>, ShapeError> {
    let shape = layer.shape;
    Ok(Box::new(match layer.order {
        Order::Filters => Bf16::Conv(PackedBf16::conv(shape, layer.weight)?),
        Order::Columns => Bf16::Matrix(PackedBf16::linear(layer.weight, shape.c_in, shape.c_out, false)?),
    }))
}

#[derive(Debug)]
enum Bf16 {
    Conv(PackedBf16),
    Matrix(PackedBf16),
}

impl FloatProduct for Bf16 {
    fn kernel_name(&self) -> &'static str {
        let (Self::Conv(packed) | Self::Matrix(packed)) = self;
        packed.kernel().name
    }

    fn size_bytes(&self) -> usize {
        let (Self::Conv(packed) | Self::Matrix(packed)) = self;
        packed.size_bytes()
    }

    fn run(&self, call: &Call<'_>, out: &mut [f32]) -> Result<(), ShapeError> {
        let Call { threads, x, images, epilogue, .. } = call;
        match self {
            Self::Conv(packed) => bgemm::bconv(threads, x, *images, packed, epilogue, out),
            Self::Matrix(packed) => bgemm::bgemm(threads, x, images.n * images.h * images.w, packed, epilogue, out),
        }
    }
}
