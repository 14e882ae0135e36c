//! The integer weights that are not zero: one by one, in groups of four inputs or outputs, or two of four inputs.

use lissom_kernels::conv::Images;
use lissom_kernels::qgemm::Output;
use lissom_kernels::qspmm::{self, PackedQSpmm, qspmm};
use lissom_kernels::quantize::Bytes;
use lissom_kernels::{ShapeError, Threads};

use super::{Form, IntegerLayer, IntegerProduct, Order, PackInteger, Traits};

/// Lanes are pixels; four inputs of an output are multiplied whole if one of them is not zero.
pub(super) const BLOCKS: Form<PackInteger> = Form {
    name: "sparse blocks",
    fits: |traits| is_sparse(traits) && traits.zeros.quads_percent <= 70 && traits.m() >= 16,
    cost: |traits| {
        let quads = traits.zeros.quad_density() * traits.macs() / 4.0;
        quads / 0.4 + 3.0 * traits.m() as f64 * (traits.k() + traits.shape.c_out) as f64
    },
    pack: |layer| pack(layer, qspmm::Form::Blocks),
};

/// Lanes are pixels; an input is multiplied by four outputs if one of them has a weight for it.
pub(super) const BLOCKS_4X1: Form<PackInteger> = Form {
    name: "sparse 4x1",
    fits: |traits| {
        let zeros = traits.zeros;
        is_sparse(traits)
            && zeros.output_quads_percent <= 70
            && zeros.come_in(zeros.output_quads_percent)
            && traits.m() >= 16
    },
    cost: |traits| {
        let products = traits.zeros.output_quad_density() * traits.macs() / 4.0;
        products / 0.45 + 4.0 * traits.m() as f64 * (traits.k() + traits.shape.c_out) as f64
    },
    pack: |layer| pack(layer, qspmm::Form::Blocks4x1),
};

/// Lanes are outputs; each chooses two of four inputs.
pub(super) const TWO_OF_FOUR: Form<PackInteger> = Form {
    name: "sparse 2:4",
    fits: |traits| is_sparse(traits) && traits.zeros.is_two_of_four,
    cost: |traits| traits.macs() / (4.0 * 0.9) + 20.0 * traits.m() as f64 * traits.shape.c_out as f64,
    pack: |layer| pack(layer, qspmm::Form::TwoOfFour),
};

/// Lanes are outputs; each picks its own inputs.
pub(super) const GATHER: Form<PackInteger> = Form {
    name: "sparse",
    fits: is_sparse,
    // Rounds of four inputs are filled in part.
    cost: |traits| {
        let nonzeros = traits.zeros.density() * traits.macs();
        nonzeros / 4.0 / 0.12 + 10.0 * traits.m() as f64 * traits.shape.c_out as f64
    },
    pack: |layer| pack(layer, qspmm::Form::Gather),
};

fn is_sparse(traits: &Traits) -> bool {
    traits.shape.groups == 1 && traits.zeros.nonzero_percent <= 60
}

fn pack(layer: &IntegerLayer<'_>, form: qspmm::Form) -> Result<Box<dyn IntegerProduct>, ShapeError> {
    let IntegerLayer { shape, order, weight, zero_points } = *layer;
    Ok(Box::new(match order {
        Order::Filters => PackedQSpmm::conv(shape, weight, zero_points, form)?,
        Order::Columns => PackedQSpmm::linear(weight, shape.c_in, shape.c_out, false, zero_points, form)?,
    }))
}

impl IntegerProduct for PackedQSpmm {
    fn kernel_name(&self) -> &'static str {
        PackedQSpmm::kernel_name(self)
    }

    fn size_bytes(&self) -> usize {
        PackedQSpmm::size_bytes(self)
    }

    fn run(
        &self,
        threads: &Threads,
        x: Bytes<'_>,
        zero_point: i32,
        images: Images,
        output: &mut Output<'_>,
    ) -> Result<(), ShapeError> {
        qspmm(threads, x, zero_point, images, self, output)
    }
}
