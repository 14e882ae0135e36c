//! Products with constant weights: convolutions and matrix products, in every form that can run them.
//!
//! A form is one way of holding a weight and multiplying by it: dense, sparse, bf16. [`FORMS`] and [`INTEGER_FORMS`] list
//! them; a new form is a file and a line. [`Chooser`] picks one a layer.
//!
//! Integer forms are exact. f32 forms add the products of a sum in orders of their own, so results differ by rounding
//! between forms, never between runs or numbers of threads of one form; a choice does not depend on the threads either.
//! A zero weight meets infinity or NaN in dense forms only.

mod bf16;
mod choose;
mod codes;
mod dense;
mod integer;
mod qspmm;
mod spmm;
mod spmv;
#[cfg(test)]
mod tests;
mod two_of_four;
mod via_f32;
mod zeros;

use std::fmt::Debug;

use lissom_kernels::conv::{Channels, ConvShape, Images};
use lissom_kernels::qgemm::Output;
use lissom_kernels::quantize::Bytes;
use lissom_kernels::{Epilogue, ShapeError, Threads};

pub use choose::Choosing;
pub(crate) use choose::{Choice, Chooser};
pub(crate) use dense::Dense;
pub(crate) use zeros::Zeros;

/// Packs an f32 weight.
pub(crate) type PackFloat = fn(&FloatLayer<'_>) -> Result<Box<dyn FloatProduct>, ShapeError>;
/// Packs an integer weight.
pub(crate) type PackInteger = fn(&IntegerLayer<'_>) -> Result<Box<dyn IntegerProduct>, ShapeError>;

/// All f32 forms. The first that fits is the plain choice: it wins ties.
pub(crate) static FORMS: &[Form<PackFloat>] =
    &[dense::FORM, bf16::FORM, spmm::FORM, spmm::BLOCKS, spmv::FORM, spmv::BLOCKS, two_of_four::FORM];

/// All integer forms, in the same way.
pub(crate) static INTEGER_FORMS: &[Form<PackInteger>] =
    &[integer::FORM, qspmm::BLOCKS, qspmm::BLOCKS_4X1, qspmm::GATHER, qspmm::TWO_OF_FOUR, via_f32::FORM];

/// Names of the forms that read and write images with their channels first.
pub(crate) const CHANNELS_FIRST: [&str; 2] = [spmm::FORM.name, spmm::BLOCKS.name];

/// One way of running a product.
#[derive(Debug)]
pub(crate) struct Form<P> {
    /// As it appears in `lissom bench --layers` and in the file of choices.
    pub name: &'static str,
    /// True if the form can run such a layer, and might be worth it.
    pub fits: fn(&Traits) -> bool,
    /// A guess of the time, in multiply-adds at the peak of f32. Only ratios matter.
    pub cost: fn(&Traits) -> f64,
    pub pack: P,
}

/// What decides how long a product takes: two layers that are alike here get the same form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Traits {
    pub shape: ConvShape,
    /// See [`alike`].
    pub images: Images,
    pub zeros: Zeros,
    pub is_integer: bool,
    /// Weight and input may be rounded to bf16.
    pub may_round: bool,
}

impl Traits {
    /// Rows of the product: output pixels of all images, or rows of a matrix.
    pub fn m(&self) -> usize {
        let size = self.shape.window.output_size(self.images.h, self.images.w).unwrap_or([0, 0]);
        self.images.n * size[0] * size[1]
    }

    /// Length of a sum.
    pub fn k(&self) -> usize {
        self.shape.window.kernel.iter().product::<usize>() * self.shape.c_in / self.shape.groups.max(1)
    }

    /// Elements that go in, and come out.
    pub fn lengths(&self) -> (usize, usize) {
        let Images { n, h, w } = self.images;
        (n * h * w * self.shape.c_in, self.m() * self.shape.c_out)
    }

    /// Multiply-adds of the dense product.
    pub fn macs(&self) -> f64 {
        self.m() as f64 * self.k() as f64 * self.shape.c_out as f64
    }
}

/// How a weight lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    /// `[c_out, c_in / groups, kh, kw]`: convolutions, and `[n, k]` of products with a transposed weight.
    Filters,
    /// `[k, n]`.
    Columns,
}

/// An f32 weight to pack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FloatLayer<'a> {
    pub shape: ConvShape,
    pub order: Order,
    pub weight: &'a [f32],
    /// Output pixels or rows of the plan it is packed for; other plans use it too.
    pub rows: usize,
}

/// An integer weight to pack; `zero_points` are one for all, one an output channel, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IntegerLayer<'a> {
    pub shape: ConvShape,
    pub order: Order,
    pub weight: Bytes<'a>,
    pub zero_points: &'a [i32],
}

/// A matrix product as a convolution of single pixels.
pub(crate) fn point(k: usize, n: usize) -> ConvShape {
    ConvShape { window: lissom_kernels::conv::Window::POINT, c_in: k, c_out: n, groups: 1 }
}

/// `m` rows as pixels.
pub(crate) fn rows(m: usize) -> Images {
    Images { n: 1, h: 1, w: m }
}

/// Images of a size that stands for similar ones, so that a choice serves all batches and sequences of about a length.
pub(crate) fn alike(images: Images) -> Images {
    let Images { n, h, w } = images;
    let w = if h == 1 && w > 16 { w.next_power_of_two() } else { w };
    Images { n: n.next_power_of_two(), h, w }
}

/// What one f32 product reads, beside its weight. `from` and `to` say where channels are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub threads: &'a Threads,
    pub x: &'a [f32],
    pub images: Images,
    pub from: Channels,
    pub to: Channels,
    pub epilogue: Epilogue<'a>,
}

/// A packed f32 weight that can be multiplied by.
pub(crate) trait FloatProduct: Debug + Send + Sync {
    fn kernel_name(&self) -> &'static str;
    fn size_bytes(&self) -> usize;
    /// Itself, if it is the form that holds every weight as it is.
    fn dense(&self) -> Option<&Dense> {
        None
    }
    /// True if images may have their channels first; otherwise both sides have them last.
    fn takes_channels_first(&self) -> bool {
        false
    }
    fn run(&self, call: &Call<'_>, out: &mut [f32]) -> Result<(), ShapeError>;
}

/// A packed integer weight that can be multiplied by; images have their channels last.
pub(crate) trait IntegerProduct: Debug + Send + Sync {
    fn kernel_name(&self) -> &'static str;
    fn size_bytes(&self) -> usize;
    fn run(
        &self,
        threads: &Threads,
        x: Bytes<'_>,
        zero_point: i32,
        images: Images,
        output: &mut Output<'_>,
    ) -> Result<(), ShapeError>;
}
