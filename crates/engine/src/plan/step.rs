//! What a plan is made of.

use std::ops::Range;
use std::sync::Arc;

use lissom_graph::Op;
use lissom_kernels::attention;
use lissom_kernels::conv::{Channels, Images};
use lissom_kernels::elementwise::{Binary, Unary};
use lissom_kernels::pool::PoolShape;
use lissom_kernels::rows::Reduction;
use lissom_kernels::{Activation, Threads};
use lissom_tensor::{DType, Tensor};

use super::operands::Operands;
use super::weights::PackedFloat;
use crate::EngineError;
use crate::product::IntegerProduct;

/// Element types that live in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elem {
    F32,
    U8,
    I8,
}

impl Elem {
    /// The element of 8-bit codes of this type.
    pub fn of_codes(dtype: Option<DType>) -> Option<Self> {
        match dtype {
            Some(DType::U8) => Some(Self::U8),
            Some(DType::I8) => Some(Self::I8),
            _ => None,
        }
    }

    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::U8 => DType::U8,
            Self::I8 => DType::I8,
        }
    }

    /// f32 words that `len` elements take.
    pub fn words(self, len: usize) -> usize {
        match self {
            Self::F32 => len,
            Self::U8 | Self::I8 => len.div_ceil(4),
        }
    }
}

/// Where an operand is read.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// In the arena.
    Buffer(usize),
    /// These elements of an f32 buffer.
    Part(usize, Range<usize>),
    /// A tensor made while running, of any type and shape.
    Slot(usize),
    /// Known while planning.
    Constant(Tensor),
}

impl Source {
    /// The buffer it lies in.
    pub fn buffer(&self) -> Option<usize> {
        match self {
            Self::Buffer(id) | Self::Part(id, _) => Some(*id),
            Self::Slot(_) | Self::Constant(_) => None,
        }
    }

    /// Some of its elements, if it is a buffer of f32.
    pub fn part(&self, range: Range<usize>) -> Option<Self> {
        match self {
            Self::Buffer(id) => Some(Self::Part(*id, range)),
            Self::Part(id, own) => Some(Self::Part(*id, own.start + range.start..own.start + range.end)),
            Self::Slot(_) | Self::Constant(_) => None,
        }
    }
}

/// Where results go.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Buffer(usize),
    /// One a result.
    Slots(Vec<Option<usize>>),
}

/// A part of the arena, in elements.
#[derive(Debug, Clone)]
pub(crate) struct Buffer {
    pub len: usize,
    pub elem: Elem,
}

/// Scale and zero point of quantized values: `real = (code - zero_point) · scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Grid {
    pub scale: f32,
    pub zero_point: i32,
    pub elem: Elem,
}

/// Elements copied between two arrays seen through strides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Strides {
    pub sizes: Vec<usize>,
    pub from: Vec<usize>,
    pub to: Vec<usize>,
    pub from_start: usize,
    pub to_start: usize,
}

/// How the second operand of a binary function spreads over the first, which is as large as the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spread {
    /// Loops around the inner call: count, step of the second operand.
    pub outer: Vec<(usize, usize)>,
    pub inner: Inner,
}

/// The broadcasts a kernel knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inner {
    Same { len: usize },
    Scalar { len: usize },
    Row { rows: usize, len: usize },
    Column { rows: usize, len: usize },
}

/// Many products of one shape; see `lissom_kernels::gemm::Batch`.
#[derive(Debug, Clone)]
pub(crate) struct Products {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub a_strides: [usize; 2],
    pub b_strides: [usize; 2],
    pub out_stride: usize,
    pub offsets: Vec<[usize; 3]>,
    pub scale: f32,
    pub activation: Activation,
}

/// Attention of many heads; see `lissom_kernels::attention::Attention`.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub queries: usize,
    pub keys: usize,
    pub d: usize,
    pub d_v: usize,
    pub q_strides: [usize; 2],
    pub k_strides: [usize; 2],
    pub v_strides: [usize; 2],
    pub mask_stride: usize,
    pub out_stride: usize,
    pub offsets: Vec<attention::Offsets>,
    pub scale: f32,
    pub side_grids: [Option<attention::Grid>; 3],
    pub score_grid: Option<attention::Grid>,
    pub weight_grid: Option<attention::Grid>,
    /// In integers, if all grids are there.
    pub integer: Option<IntegerAttention>,
}

/// What attention in integers reads and writes; see `lissom_kernels::qattention`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IntegerAttention {
    /// Of q, k and v: numbers to be rounded to their grids, or codes on these.
    pub sides: [Elem; 3],
    /// Codes on this grid, or real numbers.
    pub out: Option<Grid>,
}

/// A chain of functions of each element, or of each row, computed a block at a time.
#[derive(Debug, Clone)]
pub(crate) struct Map {
    /// The first input is codes on this grid.
    pub from: Option<Grid>,
    pub links: Vec<Link>,
    /// The result becomes codes on this grid.
    pub to: Option<Grid>,
    /// Elements of a block: whole rows of every operand that has rows.
    pub block: usize,
}

/// What happens to all elements of a [`Map`]. Inputs are positions among those of the step.
#[derive(Debug, Clone)]
pub(crate) enum Link {
    Unary(Unary),
    Binary {
        op: Binary,
        input: usize,
        side: Side,
    },
    /// To codes and back.
    Round(Grid),
    LayerNorm(Norm),
}

/// The second operand of a binary function in a [`Map`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Side {
    Scalar,
    /// One row for all.
    Row,
    Same,
    /// As many codes on a grid.
    Codes(Grid),
}

/// A layer norm over rows of `n`.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    pub n: usize,
    pub scale: Option<Vec<f32>>,
    pub bias: Option<Vec<f32>>,
    pub epsilon: f32,
}

/// What ends an integer product.
#[derive(Debug, Clone)]
pub(crate) enum Finish {
    /// Codes on `grid`; multipliers are one a column.
    Codes { multipliers: Vec<f32>, bias: Option<Vec<i32>>, residual: Option<Grid>, grid: Grid, clamp: [i32; 2] },
    /// Real numbers.
    Floats { scales: Vec<f32>, bias: Option<Vec<f32>>, has_residual: bool, activation: Activation },
}

/// A kernel with its settings, in a file of its own.
pub(crate) trait Compute: std::fmt::Debug + Send + Sync {
    /// Reads what the step's inputs are and writes `out`, all of it.
    fn run(&self, operands: &Operands<'_>, out: &mut [f32], threads: &Threads) -> Result<(), EngineError>;
}

/// What a step does. Inputs are in the order of the comments.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// x; matrices of `[batch, rows, cols]` transposed.
    Transpose {
        size: [usize; 3],
        elem: Elem,
    },
    Permute {
        shape: Vec<usize>,
        perm: Vec<usize>,
        elem: Elem,
    },
    /// One input a part; what no part covers is `fill`.
    Move {
        fill: Option<f32>,
        parts: Vec<Strides>,
        elem: Elem,
    },
    /// x, residual?; a convolution or a product with a constant matrix, whose rows are the pixels of one image.
    Product {
        packed: Arc<PackedFloat>,
        images: Images,
        from: Channels,
        to: Channels,
        activation: Activation,
    },
    /// a, b.
    Products(Box<Products>),
    /// q, k, v, mask?
    Attention(Box<Attention>),
    /// x, then what its links name.
    Map(Box<Map>),
    /// x.
    Unary(Unary),
    /// a, b.
    Binary {
        op: Binary,
        spread: Spread,
    },
    /// x.
    ScaleBias {
        scale: Vec<f32>,
        bias: Vec<f32>,
        activation: Activation,
    },
    /// x.
    LayerNorm(Norm),
    /// x, mask?
    Softmax {
        n: usize,
        rows_a_mask: usize,
    },
    Pool {
        shape: PoolShape,
        images: Images,
        elem: Elem,
    },
    Reduce {
        op: Reduction,
        shape: [usize; 3],
    },
    /// data `[outer, length, inner]`, indices.
    Gather {
        outer: usize,
        length: usize,
        inner: usize,
    },
    /// x, written to a tensor of this shape.
    Store {
        shape: Vec<usize>,
        elem: Elem,
    },
    /// Whatever the node has.
    Evaluate {
        op: Arc<dyn Op>,
        inputs: Vec<Option<usize>>,
    },
    Quantize {
        grid: Grid,
    },
    Dequantize {
        grid: Grid,
    },
    /// codes, residual?
    QProduct {
        packed: Arc<Box<dyn IntegerProduct>>,
        images: Images,
        grid: Grid,
        finish: Box<Finish>,
    },
    /// x, residual?; x is quantized to u8 over its own range, as DynamicQuantizeLinear does.
    DynamicProduct {
        packed: Arc<Box<dyn IntegerProduct>>,
        images: Images,
        scales: Vec<f32>,
        bias: Option<Vec<f32>>,
        activation: Activation,
    },
    /// Whatever it reads.
    Compute(Arc<dyn Compute>),
    /// a, b, codes as many as the result: their sum, within these codes.
    QAdd {
        grids: [Grid; 2],
        to: Grid,
        clamp: [i32; 2],
    },
}

/// What a step is, for people.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepInfo {
    /// Name of the node; of the first one, if several were fused.
    pub name: String,
    /// ONNX's names of the operators in it, joined by `+`.
    pub op: String,
    /// The kernel that runs it.
    pub kernel: &'static str,
    /// Why this kernel, if there was a choice.
    pub why: Arc<str>,
    /// Multiply-accumulate operations.
    pub macs: u64,
    /// Those with a weight that is not zero.
    pub nonzero_macs: u64,
    /// True if they are of integers.
    pub is_integer: bool,
    /// What the step must at least read and write: operands, packed weights and the result.
    pub bytes: u64,
}

/// One call of a kernel.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub info: StepInfo,
    pub kind: Kind,
    pub inputs: Vec<Source>,
    pub target: Target,
    /// The target takes the place of the first input.
    pub is_in_place: bool,
    /// Slots nobody reads after this step.
    pub frees: Vec<usize>,
    /// The output of the network that this step makes, and nobody else reads: it may write into the caller's memory.
    pub output: Option<usize>,
}

impl Step {
    /// Bytes of operands, packed weights and the result, as far as they are in the arena or constant.
    pub fn bytes(&self, buffers: &[Buffer]) -> usize {
        let buffer = |id: usize| 4 * buffers[id].elem.words(buffers[id].len);
        let inputs = self.inputs.iter().map(|source| match source {
            Source::Buffer(id) => buffer(*id),
            Source::Part(_, range) => 4 * range.len(),
            Source::Constant(tensor) => tensor.bits().div_ceil(8) as usize,
            Source::Slot(_) => 0,
        });
        let target = if let Target::Buffer(id) = self.target { buffer(id) } else { 0 };
        let packed = match &self.kind {
            Kind::Product { packed, .. } => packed.product.size_bytes(),
            Kind::QProduct { packed, .. } | Kind::DynamicProduct { packed, .. } => packed.size_bytes(),
            _ => 0,
        };
        inputs.sum::<usize>() + target + packed
    }
}

/// How a result of the network leaves the plan.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// A slot or a constant.
    pub source: Source,
    /// Element type and shape, if it is copied out of the arena and nobody else reads the copy.
    pub leaves: Option<(Elem, Vec<usize>)>,
}

/// A graph ready to run on inputs of certain shapes.
#[derive(Debug)]
pub(crate) struct Plan {
    pub steps: Vec<Step>,
    /// Place of each buffer in the arena, in f32 words, and its length in elements.
    pub places: Vec<(Range<usize>, usize)>,
    pub arena_words: usize,
    pub n_slots: usize,
    /// The graph's inputs are slots `0..n_inputs`.
    pub n_inputs: usize,
    /// One an input: true if a node that evaluates itself reads it, or the caller gets it back.
    pub needs_tensor: Vec<bool>,
    pub outputs: Vec<Output>,
    /// What does not run in a kernel of its own, and why.
    pub notes: Vec<String>,
}
