//! Integer products and convolutions whose weights are mostly zero: bytes by signed bytes, summed in i32, on NHWC images.
//!
//! Only non-zeros are stored and multiplied. Sums, finishing and answers are those of `qconv`, byte for byte; the forms
//! differ in what they are fast for.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512blocks;
#[cfg(target_arch = "x86_64")]
mod avx512finish;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
mod blocks;
mod blocks4x1;
mod gather;
mod lines;
mod scalar;
mod slab;
mod source;
#[cfg(test)]
mod tests;
mod tiles;
mod two_of_four;
mod weights;

use crate::conv::{ConvShape, Images, Window};
use crate::error::ShapeError;
use crate::qgemm::finish::{Finish, Requantized};
use crate::qgemm::{Output, unsigned_zero};
use crate::quantize::Bytes;
use crate::threads::Threads;
use blocks::{BlockTile, PackedBlocks};
use blocks4x1::{Packed4x1, Tile4x1};
use gather::{GatherTile, Order, PackedGather};
use source::Source;
use two_of_four::{Packed24, Tile24};
use weights::SparseRows;

/// How weights are stored and what lies side by side in a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Groups of four adjacent inputs, adjacent pixels in a vector: for weights pruned in blocks of 1×4 along the input,
    /// and at least sixteen pixels. A group with any non-zero is multiplied whole.
    Blocks,
    /// Groups of four adjacent outputs, adjacent pixels in a vector: for weights pruned in blocks of 4×1, where the outputs of a
    /// group keep the same inputs, and at least sixteen pixels. An input that one of them has a weight for is multiplied by all.
    Blocks4x1,
    /// Single weights, adjacent outputs in a vector: for weights without a pattern, and for few pixels.
    Gather,
    /// Two of each four adjacent inputs, adjacent outputs in a vector.
    TwoOfFour,
}

/// A variant of the inner loops.
pub struct Kernel {
    /// `qspmm_u8i8i32_{pixels}x{outputs}_{isa}`, the tile of [`Form::Gather`].
    pub name: &'static str,
    /// Whether this CPU can run it.
    pub is_supported: fn() -> bool,
    /// Outputs in a vector of [`Form::Gather`].
    lanes: usize,
    /// Bytes of a pixel that one step of [`Form::Gather`] can pick from.
    window: usize,
    /// Pixels whose sums are in registers.
    tile_pixels: usize,
    /// Groups of 16 pixels of one tile of [`Form::Blocks`].
    tile_vectors: usize,
    gather: unsafe fn(usize, usize, &GatherTile),
    /// For at most `tile_pixels` pixels and [`two_of_four::SETS`] vectors of outputs.
    two_of_four: unsafe fn(usize, &Tile24),
    /// Finishes up to 64 outputs of some pixels, whose sums may be in another order.
    finish_block: unsafe fn(&Finish, *mut i32, usize, usize, Option<&Order>),
    blocks: unsafe fn(usize, &BlockTile),
    /// The most groups of 16 pixels is 4.
    blocks_4x1: unsafe fn(usize, &Tile4x1),
    /// From `[groups][64 pixels]` of four inputs to `[inputs][64 pixels]`, the pixels in the order of `blocks_4x1`.
    take_apart: unsafe fn(*const u32, *mut u8, usize),
    /// Transposes 16 by 16 elements of four bytes: rows, to, its stride in elements.
    transpose: unsafe fn(&[*const u8; 16], *mut u32, usize),
    /// If `blocks` can requantize: transposes its bytes into the output.
    transpose_bytes: Option<TransposeBytes>,
}

/// From, its stride, to, its stride (in bytes), pixels and outputs, room for 64 · 64 bytes.
type TransposeBytes = unsafe fn(*const u8, usize, *mut u8, usize, [usize; 2], *mut u32);

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All variants, fastest first. Dispatch, tests and benches walk this list.
pub static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "qspmm_u8i8i32_8x32_avx512vnni",
        is_supported: crate::isa::has_avx512vnni_vbmi,
        lanes: 16,
        window: 64,
        tile_pixels: 8,
        tile_vectors: 8,
        gather: avx512vnni::gather,
        two_of_four: avx512vnni::two_of_four,
        finish_block: avx512finish::finish_block,
        blocks: avx512blocks::blocks,
        blocks_4x1: avx512blocks::blocks_4x1,
        take_apart: avx512blocks::take_apart,
        transpose: avx512blocks::transpose,
        transpose_bytes: Some(avx512blocks::transpose_bytes),
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "qspmm_u8i8i32_4x16_avx2",
        is_supported: crate::isa::has_avx2,
        lanes: 8,
        window: 16,
        tile_pixels: 4,
        tile_vectors: 4,
        gather: avx2::gather,
        two_of_four: avx2::two_of_four,
        finish_block: avx2::finish_block,
        blocks: avx2::blocks,
        blocks_4x1: avx2::blocks_4x1,
        take_apart: avx2::take_apart,
        transpose: scalar::transpose,
        transpose_bytes: None,
    },
    Kernel {
        name: "qspmm_u8i8i32_4x16_scalar",
        is_supported: || true,
        lanes: 8,
        window: 64,
        tile_pixels: 4,
        tile_vectors: 1,
        gather: scalar::gather,
        two_of_four: scalar::two_of_four,
        finish_block: scalar::finish_block,
        blocks: scalar::blocks,
        blocks_4x1: scalar::blocks_4x1,
        take_apart: scalar::take_apart,
        transpose: scalar::transpose,
        transpose_bytes: None,
    },
];

impl Kernel {
    /// The first of [`KERNELS`] that this CPU can run.
    pub fn best() -> &'static Self {
        crate::isa::best(KERNELS, |kernel| kernel.is_supported)
    }
}

/// The non-zeros of constant weights, packed once.
#[derive(Clone)]
pub struct PackedQSpmm {
    kernel: &'static Kernel,
    shape: ConvShape,
    /// Sum of the weights of each output, for the zero point of the input.
    sums: Vec<i32>,
    nonzeros: usize,
    weight: Weight,
}

#[derive(Clone)]
enum Weight {
    Blocks(PackedBlocks),
    Blocks4x1(Packed4x1),
    Gather(PackedGather),
    TwoOfFour(Packed24),
}

impl Weight {
    /// Vectors of 16 pixels in a tile, at most, of the forms whose vectors are pixels.
    fn tile_vectors(&self, kernel: &Kernel) -> usize {
        if matches!(self, Self::Blocks4x1(_)) { 4 } else { kernel.tile_vectors }
    }

    /// Products of a vector of pixels, of these forms.
    fn products(&self) -> usize {
        match self {
            Self::Blocks(packed) => packed.len(),
            Self::Blocks4x1(packed) => packed.products(),
            Self::Gather(_) | Self::TwoOfFour(_) => 0,
        }
    }
}

impl PackedQSpmm {
    /// Packs the weights of a convolution, `[c_out, c_in, kh, kw]`; `zero_points` are one for all, one an output channel,
    /// or none (all 0). Weights equal to their zero point are zero.
    ///
    /// # Errors
    /// [`ShapeError`] if there are several groups, a size is 0, a length differs or a zero point is no value of its type.
    pub fn conv(shape: ConvShape, weight: Bytes<'_>, zero_points: &[i32], form: Form) -> Result<Self, ShapeError> {
        Self::for_kernel(Kernel::best(), shape, weight, false, zero_points, form)
    }

    /// Packs row-major `weight`, `[k, n]`, or `[n, k]` if `is_transposed`; runs on `Images { n: 1, h: 1, w: m }`.
    ///
    /// # Errors
    /// As [`Self::conv`].
    pub fn linear(
        weight: Bytes<'_>,
        k: usize,
        n: usize,
        is_transposed: bool,
        zero_points: &[i32],
        form: Form,
    ) -> Result<Self, ShapeError> {
        let shape = ConvShape { window: Window::POINT, c_in: k, c_out: n, groups: 1 };
        Self::for_kernel(Kernel::best(), shape, weight, !is_transposed, zero_points, form)
    }

    /// Packs for one variant of [`KERNELS`]; `is_input_first` if `weight` is `[c_in, kh, kw, c_out]`.
    ///
    /// # Errors
    /// As [`Self::conv`].
    ///
    /// # Panics
    /// If this CPU cannot run `kernel`.
    pub fn for_kernel(
        kernel: &'static Kernel,
        shape: ConvShape,
        weight: Bytes<'_>,
        is_input_first: bool,
        zero_points: &[i32],
        form: Form,
    ) -> Result<Self, ShapeError> {
        assert!((kernel.is_supported)(), "{} needs another CPU", kernel.name);
        shape.check()?;
        ShapeError::require(shape.groups == 1, "the number of groups", shape.groups, "1")?;
        let rows = SparseRows::new(&shape, weight, is_input_first, zero_points)?;
        let packed = match form {
            Form::Blocks => Weight::Blocks(PackedBlocks::new(&rows)),
            Form::Blocks4x1 => Weight::Blocks4x1(Packed4x1::new(&rows)),
            Form::Gather => Weight::Gather(PackedGather::new(kernel, &shape, &rows)?),
            Form::TwoOfFour => Weight::TwoOfFour(Packed24::new(kernel, &shape, &rows)),
        };
        Ok(Self { kernel, shape, sums: rows.sums(), nonzeros: rows.nonzeros, weight: packed })
    }

    /// What was packed; a linear layer is a convolution with [`Window::POINT`].
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// How it was packed.
    pub fn form(&self) -> Form {
        match self.weight {
            Weight::Blocks(_) => Form::Blocks,
            Weight::Blocks4x1(_) => Form::Blocks4x1,
            Weight::Gather(_) => Form::Gather,
            Weight::TwoOfFour(_) => Form::TwoOfFour,
        }
    }

    /// Name of the variant that runs it.
    pub fn kernel_name(&self) -> &'static str {
        self.kernel.name
    }

    /// Weights that are not zero.
    pub fn nonzeros(&self) -> usize {
        self.nonzeros
    }

    /// Bytes of the packed form.
    pub fn size_bytes(&self) -> usize {
        let weight = match &self.weight {
            Weight::Blocks(packed) => packed.size_bytes(),
            Weight::Blocks4x1(packed) => packed.size_bytes(),
            Weight::Gather(packed) => packed.size_bytes(),
            Weight::TwoOfFour(packed) => packed.size_bytes(),
        };
        weight + self.sums.len() * 4
    }

    /// What is added to the sums of each output when the unsigned input has zero point `zero`.
    fn offsets(&self, zero: i32, bias: Option<&[i32]>) -> Vec<i32> {
        let sums = self.sums.iter().enumerate();
        sums.map(|(at, &sum)| bias.map_or(0, |bias| bias[at]).wrapping_sub(zero.wrapping_mul(sum))).collect()
    }
}

impl std::fmt::Debug for PackedQSpmm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "PackedQSpmm({:?}, {:?}, {} non-zeros for {})",
            self.shape,
            self.form(),
            self.nonzeros,
            self.kernel.name
        )
    }
}

/// `output = finish(conv(input - zero_point))`.
///
/// | value | shape |
/// |---|---|
/// | `input` | `[n, h, w, c_in]` |
/// | `output` | `[n, h', w', c_out]`, `[h', w']` = `packed.shape().window.output_size(h, w)` |
///
/// # Errors
/// [`ShapeError`] if a length differs, the window does not fit, or the zero point is no value of its type.
pub fn qspmm(
    threads: &Threads,
    input: Bytes<'_>,
    zero_point: i32,
    images: Images,
    packed: &PackedQSpmm,
    output: &mut Output<'_>,
) -> Result<(), ShapeError> {
    let shape = &packed.shape;
    let out_size = shape.window.output_size(images.h, images.w)?;
    let size = ShapeError::product("input", &[images.n, images.h, images.w, shape.c_in])?;
    ShapeError::expect("input", input.len(), size)?;
    let zero = unsigned_zero(input, zero_point)?;
    let m = ShapeError::product("out", &[images.n, out_size[0], out_size[1]])?;
    let plan = output.plan([m, shape.c_out], |bias| packed.offsets(zero, bias))?;
    if m == 0 || shape.c_out == 0 {
        return Ok(());
    }
    let source = Source { input: input.raw(), flip: input.flip(), zero: zero as u8, images, out_size, shape: *shape };
    let job =
        Job { kernel: packed.kernel, source, m, n: shape.c_out, finish: plan.finish(), activation: plan.activation };
    // SAFETY: `plan` checked the lengths of all that `finish` points to, and borrows it until here; the length of the
    // input was checked; this CPU can run the variant.
    unsafe {
        match &packed.weight {
            Weight::Gather(weight) => job.run_gather(threads, weight),
            Weight::TwoOfFour(weight) => job.run_gather(threads, weight),
            weight => job.run_tiles(threads, weight),
        }
    }
    Ok(())
}

/// True if sixteen bits hold every number on the way to the bytes; always, unless a zero point is no byte.
fn is_small(kind: &Requantized) -> bool {
    [kind.min, kind.max, kind.shift].iter().all(|x| x.abs() <= 10_000.0)
}

/// Checked arguments of one call.
struct Job<'a> {
    kernel: &'static Kernel,
    source: Source<'a>,
    /// Output pixels.
    m: usize,
    /// Output channels.
    n: usize,
    finish: Finish,
    activation: crate::Activation,
}
