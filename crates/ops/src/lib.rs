//! The operators, one file each. An operator is a file here, its `mod` line and its line in [`OPS`]; tests, documentation
//! and the command line walk the list.
//!
//! [`evaluate`](lissom_graph::Op::evaluate) is the plain, obviously right version; the engine's fast kernels are held to
//! it. Pieces that several operators are made of: [`elementwise`] (maps and broadcasting), [`axes`] (axis arithmetic),
//! [`window`] (padding and strides of convolutions and pools).

mod axes;
mod binary;
mod convert;
mod elementwise;
mod int_list;
mod lengths;
mod small_float;
mod subgraph;
mod unary;
mod variadic;
mod window;

mod abs;
mod acos;
mod acosh;
mod add;
mod and;
mod asin;
mod asinh;
mod atan;
mod atanh;
mod cast;
mod ceil;
mod celu;
mod clip;
mod concat;
mod constant;
mod constant_of_shape;
mod conv;
mod cos;
mod cosh;
mod div;
mod elu;
mod equal;
mod erf;
mod exp;
mod expand;
mod flatten;
mod floor;
mod gather;
mod greater;
mod greater_or_equal;
mod hard_sigmoid;
mod hard_swish;
mod identity;
mod if_op;
mod leaky_relu;
mod less;
mod less_or_equal;
mod log;
mod max;
mod min;
mod mish;
mod mul;
mod neg;
mod not;
mod or;
mod pad;
mod pow;
mod range;
mod reciprocal;
mod relu;
mod reshape;
mod round;
mod selu;
mod shape;
mod sigmoid;
mod sign;
mod sin;
mod sinh;
mod size;
mod slice;
mod softplus;
mod softsign;
mod split;
mod sqrt;
mod squeeze;
mod sub;
mod sum;
mod swish;
mod tan;
mod tanh;
mod thresholded_relu;
mod tile;
mod transpose;
mod unsqueeze;
mod where_op;
mod xor;

pub use abs::Abs;
pub use acos::Acos;
pub use acosh::Acosh;
pub use add::Add;
pub use and::And;
pub use asin::Asin;
pub use asinh::Asinh;
pub use atan::Atan;
pub use atanh::Atanh;
pub use cast::Cast;
pub use ceil::Ceil;
pub use celu::Celu;
pub use clip::Clip;
pub use concat::Concat;
pub use constant::Constant;
pub use constant_of_shape::ConstantOfShape;
pub use conv::Conv;
pub use cos::Cos;
pub use cosh::Cosh;
pub use div::Div;
pub use elu::Elu;
pub use equal::Equal;
pub use erf::Erf;
pub use exp::Exp;
pub use expand::Expand;
pub use flatten::Flatten;
pub use floor::Floor;
pub use gather::Gather;
pub use greater::Greater;
pub use greater_or_equal::GreaterOrEqual;
pub use hard_sigmoid::HardSigmoid;
pub use hard_swish::HardSwish;
pub use identity::Identity;
pub use if_op::If;
pub use int_list::IntList;
pub use leaky_relu::LeakyRelu;
pub use less::Less;
pub use less_or_equal::LessOrEqual;
pub use log::Log;
pub use max::Max;
pub use min::Min;
pub use mish::Mish;
pub use mul::Mul;
pub use neg::Neg;
pub use not::Not;
pub use or::Or;
pub use pad::Pad;
pub use pad::PadMode;
pub use pow::Pow;
pub use range::Range;
pub use reciprocal::Reciprocal;
pub use relu::Relu;
pub use reshape::Reshape;
pub use round::Round;
pub use selu::Selu;
pub use shape::Shape;
pub use sigmoid::Sigmoid;
pub use sign::Sign;
pub use sin::Sin;
pub use sinh::Sinh;
pub use size::Size;
pub use slice::Slice;
pub use softplus::Softplus;
pub use softsign::Softsign;
pub use split::Split;
pub use sqrt::Sqrt;
pub use squeeze::Squeeze;
pub use sub::Sub;
pub use subgraph::Subgraph;
pub use sum::Sum;
pub use swish::Swish;
pub use tan::Tan;
pub use tanh::Tanh;
pub use thresholded_relu::ThresholdedRelu;
pub use tile::Tile;
pub use transpose::Transpose;
pub use unsqueeze::Unsqueeze;
pub use where_op::Where;
pub use window::{AutoPad, Window};
pub use xor::Xor;

use lissom_graph::{OpSpec, Operators};

/// All operators, alphabetically, ONNX's own domain first.
pub static OPS: &[OpSpec] = &[
    abs::OP,
    acos::OP,
    acosh::OP,
    add::OP,
    and::OP,
    asin::OP,
    asinh::OP,
    atan::OP,
    atanh::OP,
    cast::OP,
    ceil::OP,
    celu::OP,
    clip::OP,
    concat::OP,
    constant::OP,
    constant_of_shape::OP,
    conv::OP,
    cos::OP,
    cosh::OP,
    div::OP,
    elu::OP,
    equal::OP,
    erf::OP,
    exp::OP,
    expand::OP,
    flatten::OP,
    floor::OP,
    gather::OP,
    greater::OP,
    greater_or_equal::OP,
    hard_sigmoid::OP,
    hard_swish::OP,
    identity::OP,
    if_op::OP,
    leaky_relu::OP,
    less::OP,
    less_or_equal::OP,
    log::OP,
    max::OP,
    min::OP,
    mish::OP,
    mul::OP,
    neg::OP,
    not::OP,
    or::OP,
    pad::OP,
    pow::OP,
    range::OP,
    reciprocal::OP,
    relu::OP,
    reshape::OP,
    round::OP,
    selu::OP,
    shape::OP,
    sigmoid::OP,
    sign::OP,
    sin::OP,
    sinh::OP,
    size::OP,
    slice::OP,
    softplus::OP,
    softsign::OP,
    split::OP,
    sqrt::OP,
    squeeze::OP,
    sub::OP,
    sum::OP,
    swish::OP,
    tan::OP,
    tanh::OP,
    thresholded_relu::OP,
    tile::OP,
    transpose::OP,
    unsqueeze::OP,
    where_op::OP,
    xor::OP,
];

/// [`OPS`] as a graph wants it.
pub const OPERATORS: Operators = Operators(OPS);
