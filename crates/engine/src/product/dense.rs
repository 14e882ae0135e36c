//! Every weight, zeros too.

use lissom_kernels::ShapeError;
use lissom_kernels::conv::{self, PackedConv};
use lissom_kernels::gemm::{self, PackedB};

use super::{Call, FloatLayer, FloatProduct, Form, Order, PackFloat};

pub(super) const FORM: Form<PackFloat> = Form {
    name: "dense",
    fits: |_| true,
    // Few channels leave lanes empty and gathering windows takes its part.
    cost: |traits| {
        let lanes = (traits.shape.c_out / traits.shape.groups.max(1)).max(1);
        let filled = lanes as f64 / lanes.next_multiple_of(16) as f64;
        traits.macs() / (0.85 * filled)
    },
    pack,
};

#[derive(Debug)]
pub(crate) enum Dense {
    Conv(PackedConv),
    Matrix(PackedB),
}

fn pack(layer: &FloatLayer<'_>) -> Result<Box<dyn FloatProduct>, ShapeError> {
    let shape = layer.shape;
    Ok(Box::new(match layer.order {
        Order::Filters => Dense::Conv(PackedConv::new(shape, layer.weight)?),
        Order::Columns => Dense::Matrix(PackedB::new(layer.weight, shape.c_in, shape.c_out)?),
    }))
}

impl Dense {
    /// True if the weight can be had back.
    pub fn can_unpack(&self) -> bool {
        match self {
            Self::Conv(conv) => !conv.shape().is_depthwise(),
            Self::Matrix(_) => true,
        }
    }

    /// The weight that was packed, in its order.
    pub fn unpacked(&self) -> Option<Vec<f32>> {
        match self {
            Self::Conv(conv) => conv.unpacked(),
            Self::Matrix(matrix) => {
                let mut weight = vec![0.0; matrix.k() * matrix.n()];
                matrix.unpack(&mut weight, |row| row * matrix.n(), 1);
                Some(weight)
            }
        }
    }
}

impl FloatProduct for Dense {
    fn dense(&self) -> Option<&Self> {
        Some(self)
    }

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

    fn run(&self, call: &Call<'_>, out: &mut [f32]) -> Result<(), ShapeError> {
        let Call { threads, x, images, epilogue, .. } = call;
        match self {
            Self::Conv(packed) => conv::conv(threads, x, *images, packed, epilogue, out),
            Self::Matrix(packed) => gemm::gemm(threads, x, images.n * images.h * images.w, packed, epilogue, out),
        }
    }
}
