//! The operators, one file each. An operator is a file here, its `mod` line and its line in [`OPS`]; tests, documentation
//! and the command line walk the list.
//!
//! [`evaluate`](lissom_graph::Op::evaluate) is the plain, obviously right version; the engine's fast kernels are held to
//! it. Pieces that several operators are made of: `elementwise` (maps and broadcasting), `axes` (axis arithmetic),
//! `window` (padding and strides of convolutions and pools).

mod abs;
mod acos;
mod acosh;
mod adagrad;
mod adam;
mod add;
mod affine_grid;
mod and;
mod arg_extreme;
mod arg_max;
mod arg_min;
mod array_feature_extractor;
mod asin;
mod asinh;
mod atan;
mod atanh;
mod attention;
mod average_pool;
mod axes;
mod batch_normalization;
mod bernoulli;
mod binarizer;
mod binary;
mod bit_cast;
mod bit_shift;
mod bits;
mod bitwise_and;
mod bitwise_not;
mod bitwise_or;
mod bitwise_xor;
mod blackman_window;
mod blocks;
mod cast;
mod cast_like;
mod causal_conv_with_state;
mod ceil;
mod celu;
mod center_crop_pad;
mod classify;
mod clip;
mod col2im;
mod compress;
mod concat;
mod concat_from_sequence;
mod constant;
mod constant_of_shape;
mod conv;
mod conv_integer;
mod conv_transpose;
mod convert;
mod cos;
mod cosh;
mod cosine_window;
mod cum_prod;
mod cum_sum;
mod cumulative;
mod deform_conv;
mod depth_to_space;
mod dequantize_linear;
mod det;
mod dft;
mod div;
mod dropout;
mod dynamic_quantize_linear;
mod einsum;
mod elementwise;
mod elu;
mod equal;
mod erf;
mod exp;
mod expand;
mod expression;
mod eye_like;
mod flatten;
mod flex_attention;
mod floor;
mod fourier;
mod gather;
mod gather_elements;
mod gather_nd;
mod gelu;
mod gemm;
mod global_average_pool;
mod global_lp_pool;
mod global_max_pool;
mod gradient;
mod greater;
mod greater_or_equal;
mod grid_sample;
mod group_normalization;
mod gru;
mod hamming_window;
mod hann_window;
mod hard_sigmoid;
mod hard_swish;
mod hardmax;
mod heads;
mod identity;
mod if_op;
mod instance_normalization;
mod int_list;
mod is_inf;
mod is_nan;
mod label_encoder;
mod layer_normalization;
mod leaky_relu;
mod lengths;
mod less;
mod less_or_equal;
mod linear_attention;
mod log;
mod log_softmax;
mod loop_op;
mod loss;
mod lp_normalization;
mod lp_pool;
mod lrn;
mod lstm;
mod matmul;
mod matmul_integer;
mod max;
mod max_pool;
mod max_roi_pool;
mod max_unpool;
mod mean;
mod mean_variance_normalization;
mod mel_weight_matrix;
mod microsoft;
mod min;
mod mish;
mod mod_op;
mod momentum;
mod mul;
mod multinomial;
mod neg;
mod negative_log_likelihood_loss;
mod non_max_suppression;
mod non_zero;
mod normalized_axes;
mod not;
mod numeric;
mod one_hot;
mod optimizer;
mod optional;
mod optional_get_element;
mod optional_has_element;
mod or;
mod ordering;
mod pad;
mod pool;
mod pow;
mod prelu;
mod product;
mod qlinear_conv;
mod qlinear_matmul;
mod quantization;
mod quantize_linear;
mod random;
mod random_normal;
mod random_normal_like;
mod random_tensor;
mod random_uniform;
mod random_uniform_like;
mod range;
mod reciprocal;
mod recurrent;
mod reduce;
mod reduce_l1;
mod reduce_l2;
mod reduce_log_sum;
mod reduce_log_sum_exp;
mod reduce_max;
mod reduce_mean;
mod reduce_min;
mod reduce_prod;
mod reduce_sum;
mod reduce_sum_square;
mod regex_full_match;
mod relu;
mod resample;
mod reshape;
mod resize;
mod reverse_sequence;
mod rms_normalization;
mod rnn;
mod roi_align;
mod rotary_embedding;
mod round;
mod sample_data;
mod scan;
mod scatter;
mod scatter_elements;
mod scatter_nd;
mod scatter_targets;
mod selu;
mod sequence_at;
mod sequence_construct;
mod sequence_empty;
mod sequence_erase;
mod sequence_insert;
mod sequence_length;
mod sequence_map;
mod shape;
mod shrink;
mod sigmoid;
mod sign;
mod sin;
mod sinh;
mod size;
mod slice;
mod small_float;
mod softmax;
mod softmax_axis;
mod softmax_cross_entropy_loss;
mod softplus;
mod softsign;
mod space_to_depth;
mod split;
mod split_to_sequence;
mod sqrt;
mod squeeze;
mod stack;
mod step_quantize;
mod step_quantize_grad;
mod stft;
mod string_concat;
mod string_normalizer;
mod string_split;
mod sub;
mod subgraph;
mod sum;
mod swish;
mod tan;
mod tanh;
mod tensor_scatter;
mod thresholded_relu;
mod tile;
mod top_k;
mod transpose;
mod tree_ensemble;
mod trilu;
mod unary;
mod unique;
mod unsqueeze;
mod upsample;
mod variadic;
mod where_op;
mod window;
mod xor;

pub use abs::Abs;
pub use acos::Acos;
pub use acosh::Acosh;
pub use add::Add;
pub use affine_grid::AffineGrid;
pub use and::And;
pub use array_feature_extractor::ArrayFeatureExtractor;
pub use asin::Asin;
pub use asinh::Asinh;
pub use atan::Atan;
pub use atanh::Atanh;
pub use attention::{Attention, ScoreStage};
pub use average_pool::AveragePool;
pub use batch_normalization::BatchNormalization;
pub use bernoulli::Bernoulli;
pub use binarizer::Binarizer;
pub use bit_cast::BitCast;
pub use bit_shift::BitShift;
pub use bitwise_and::BitwiseAnd;
pub use bitwise_not::BitwiseNot;
pub use bitwise_or::BitwiseOr;
pub use bitwise_xor::BitwiseXor;
pub use cast::Cast;
pub use cast_like::CastLike;
pub use ceil::Ceil;
pub use celu::Celu;
pub use center_crop_pad::CenterCropPad;
pub use clip::Clip;
pub use col2im::Col2Im;
pub use compress::Compress;
pub use concat::Concat;
pub use concat_from_sequence::ConcatFromSequence;
pub use constant::Constant;
pub use constant_of_shape::ConstantOfShape;
pub use conv::Conv;
pub use conv_integer::ConvInteger;
pub use conv_transpose::ConvTranspose;
pub use cos::Cos;
pub use cosh::Cosh;
pub use cosine_window::CosineWindow;
pub use deform_conv::DeformConv;
pub use depth_to_space::DepthToSpace;
pub use dequantize_linear::DequantizeLinear;
pub use det::Det;
pub use div::Div;
pub use dropout::Dropout;
pub use dynamic_quantize_linear::DynamicQuantizeLinear;
pub use einsum::{Einsum, Equation, Label, Term};
pub use elu::Elu;
pub use equal::Equal;
pub use erf::Erf;
pub use exp::Exp;
pub use expand::Expand;
pub use eye_like::EyeLike;
pub use flatten::Flatten;
pub use floor::Floor;
pub use gather::Gather;
pub use gather_elements::GatherElements;
pub use gather_nd::GatherND;
pub use gelu::Gelu;
pub use gemm::Gemm;
pub use global_average_pool::GlobalAveragePool;
pub use global_lp_pool::GlobalLpPool;
pub use global_max_pool::GlobalMaxPool;
pub use greater::Greater;
pub use greater_or_equal::GreaterOrEqual;
pub use grid_sample::GridSample;
pub use group_normalization::GroupNormalization;
pub use gru::Gru;
pub use hard_sigmoid::HardSigmoid;
pub use hard_swish::HardSwish;
pub use hardmax::Hardmax;
pub use identity::Identity;
pub use if_op::If;
pub use instance_normalization::InstanceNormalization;
pub use int_list::IntList;
pub use is_inf::IsInf;
pub use is_nan::IsNaN;
pub use label_encoder::LabelEncoder;
pub use layer_normalization::LayerNormalization;
pub use leaky_relu::LeakyRelu;
pub use less::Less;
pub use less_or_equal::LessOrEqual;
pub use log::Log;
pub use log_softmax::LogSoftmax;
pub use loop_op::Loop;
pub use loss::{LabelLoss, LossReduction};
pub use lp_normalization::LpNormalization;
pub use lp_pool::LpPool;
pub use lrn::Lrn;
pub use lstm::Lstm;
pub use matmul::MatMul;
pub use matmul_integer::MatMulInteger;
pub use max::Max;
pub use max_pool::MaxPool;
pub use max_unpool::MaxUnpool;
pub use mean::Mean;
pub use mean_variance_normalization::MeanVarianceNormalization;
pub use microsoft::{
    ActivationGrad, AveragePoolGrad, BatchNormInternal, BatchNormalizationGrad, BroadcastGradientArgs, ConvGrad,
    DropoutGrad, GatherElementsGrad, GatherGrad, GatherNDGrad, LayerNormalizationGrad, MaxPoolGrad, ResizeGrad,
    SliceGrad, SoftmaxCrossEntropyLossInternal, SoftmaxCrossEntropyLossInternalGrad, SoftmaxGrad,
};
pub use min::Min;
pub use mish::Mish;
pub use mod_op::Mod;
pub use mul::Mul;
pub use multinomial::Multinomial;
pub use neg::Neg;
pub use negative_log_likelihood_loss::NegativeLogLikelihoodLoss;
pub use non_max_suppression::NonMaxSuppression;
pub use non_zero::NonZero;
pub use not::Not;
pub use one_hot::OneHot;
pub use optional::Optional;
pub use optional_get_element::OptionalGetElement;
pub use optional_has_element::OptionalHasElement;
pub use or::Or;
pub use pad::{Pad, PadMode};
pub use pow::Pow;
pub use prelu::PRelu;
pub use qlinear_conv::QLinearConv;
pub use qlinear_matmul::QLinearMatMul;
pub use quantization::Granularity;
pub use quantize_linear::QuantizeLinear;
pub use range::Range;
pub use reciprocal::Reciprocal;
pub use recurrent::{Direction, GateActivation, Recurrent};
pub use reduce::{Reduce, Reduction};
pub use regex_full_match::RegexFullMatch;
pub use relu::Relu;
pub use resample::{Coordinates, Interpolation, NearestRounding};
pub use reshape::Reshape;
pub use resize::{Aspect, Resize};
pub use reverse_sequence::ReverseSequence;
pub use rms_normalization::RmsNormalization;
pub use rnn::Rnn;
pub use rotary_embedding::RotaryEmbedding;
pub use round::Round;
pub use scan::Scan;
pub use scatter_nd::ScatterND;
pub use selu::Selu;
pub use sequence_at::SequenceAt;
pub use sequence_construct::SequenceConstruct;
pub use sequence_empty::SequenceEmpty;
pub use sequence_erase::SequenceErase;
pub use sequence_insert::SequenceInsert;
pub use sequence_length::SequenceLength;
pub use sequence_map::SequenceMap;
pub use shape::Shape;
pub use shrink::Shrink;
pub use sigmoid::Sigmoid;
pub use sign::Sign;
pub use sin::Sin;
pub use sinh::Sinh;
pub use size::Size;
pub use slice::Slice;
pub use softmax::Softmax;
pub use softmax_axis::SoftmaxAxis;
pub use softmax_cross_entropy_loss::SoftmaxCrossEntropyLoss;
pub use softplus::Softplus;
pub use softsign::Softsign;
pub use space_to_depth::SpaceToDepth;
pub use split::Split;
pub use split_to_sequence::SplitToSequence;
pub use sqrt::Sqrt;
pub use squeeze::Squeeze;
pub use step_quantize::StepQuantize;
pub use step_quantize_grad::StepQuantizeGrad;
pub use string_concat::StringConcat;
pub use string_normalizer::StringNormalizer;
pub use string_split::StringSplit;
pub use sub::Sub;
pub use subgraph::Subgraph;
pub use sum::Sum;
pub use swish::Swish;
pub use tan::Tan;
pub use tanh::Tanh;
pub use tensor_scatter::TensorScatter;
pub use thresholded_relu::ThresholdedRelu;
pub use tile::Tile;
pub use top_k::TopK;
pub use transpose::Transpose;
pub use tree_ensemble::TreeEnsemble;
pub use trilu::Trilu;
pub use unique::Unique;
pub use unsqueeze::Unsqueeze;
pub use where_op::Where;
pub use window::{AutoPad, Window};
pub use xor::Xor;

use lissom_graph::{OpSpec, Operators};

/// All operators, alphabetically, ONNX's own domain first.
pub static OPS: &[OpSpec] = &listed([
    abs::OP,
    acos::OP,
    acosh::OP,
    add::OP,
    affine_grid::OP,
    and::OP,
    arg_max::OP,
    arg_min::OP,
    asin::OP,
    asinh::OP,
    atan::OP,
    atanh::OP,
    attention::OP,
    average_pool::OP,
    batch_normalization::OP,
    bernoulli::OP,
    bit_cast::OP,
    bit_shift::OP,
    bitwise_and::OP,
    bitwise_not::OP,
    bitwise_or::OP,
    bitwise_xor::OP,
    blackman_window::OP,
    cast::OP,
    cast_like::OP,
    causal_conv_with_state::OP,
    ceil::OP,
    celu::OP,
    center_crop_pad::OP,
    clip::OP,
    col2im::OP,
    compress::OP,
    concat::OP,
    concat_from_sequence::OP,
    constant::OP,
    constant_of_shape::OP,
    conv::OP,
    conv_integer::OP,
    conv_transpose::OP,
    cos::OP,
    cosh::OP,
    cum_prod::OP,
    cum_sum::OP,
    dft::OP,
    deform_conv::OP,
    depth_to_space::OP,
    dequantize_linear::OP,
    det::OP,
    div::OP,
    dropout::OP,
    dynamic_quantize_linear::OP,
    einsum::OP,
    elu::OP,
    equal::OP,
    erf::OP,
    exp::OP,
    expand::OP,
    eye_like::OP,
    flatten::OP,
    floor::OP,
    gru::OP,
    gather::OP,
    gather_elements::OP,
    gather_nd::OP,
    gelu::OP,
    gemm::OP,
    global_average_pool::OP,
    global_lp_pool::OP,
    global_max_pool::OP,
    greater::OP,
    greater_or_equal::OP,
    grid_sample::OP,
    group_normalization::OP,
    hamming_window::OP,
    hann_window::OP,
    hard_sigmoid::OP,
    hard_swish::OP,
    hardmax::OP,
    identity::OP,
    if_op::OP,
    instance_normalization::OP,
    is_inf::OP,
    is_nan::OP,
    lrn::OP,
    lstm::OP,
    layer_normalization::OP,
    leaky_relu::OP,
    less::OP,
    less_or_equal::OP,
    linear_attention::OP,
    log::OP,
    log_softmax::OP,
    loop_op::OP,
    lp_normalization::OP,
    lp_pool::OP,
    matmul::OP,
    matmul_integer::OP,
    max::OP,
    max_pool::OP,
    max_roi_pool::OP,
    max_unpool::OP,
    mean::OP,
    mean_variance_normalization::OP,
    mel_weight_matrix::OP,
    min::OP,
    mish::OP,
    mod_op::OP,
    mul::OP,
    multinomial::OP,
    neg::OP,
    negative_log_likelihood_loss::OP,
    non_max_suppression::OP,
    non_zero::OP,
    not::OP,
    one_hot::OP,
    optional::OP,
    optional_get_element::OP,
    optional_has_element::OP,
    or::OP,
    prelu::OP,
    pad::OP,
    pow::OP,
    qlinear_conv::OP,
    qlinear_matmul::OP,
    quantize_linear::OP,
    rms_normalization::OP,
    rnn::OP,
    random_normal::OP,
    random_normal_like::OP,
    random_uniform::OP,
    random_uniform_like::OP,
    range::OP,
    reciprocal::OP,
    reduce_l1::OP,
    reduce_l2::OP,
    reduce_log_sum::OP,
    reduce_log_sum_exp::OP,
    reduce_max::OP,
    reduce_mean::OP,
    reduce_min::OP,
    reduce_prod::OP,
    reduce_sum::OP,
    reduce_sum_square::OP,
    regex_full_match::OP,
    relu::OP,
    reshape::OP,
    resize::OP,
    reverse_sequence::OP,
    roi_align::OP,
    rotary_embedding::OP,
    round::OP,
    stft::OP,
    scan::OP,
    scatter::OP,
    scatter_elements::OP,
    scatter_nd::OP,
    selu::OP,
    sequence_at::OP,
    sequence_construct::OP,
    sequence_empty::OP,
    sequence_erase::OP,
    sequence_insert::OP,
    sequence_length::OP,
    sequence_map::OP,
    shape::OP,
    shrink::OP,
    sigmoid::OP,
    sign::OP,
    sin::OP,
    sinh::OP,
    size::OP,
    slice::OP,
    softmax::OP,
    softmax_cross_entropy_loss::OP,
    softplus::OP,
    softsign::OP,
    space_to_depth::OP,
    split::OP,
    split_to_sequence::OP,
    sqrt::OP,
    squeeze::OP,
    string_concat::OP,
    string_normalizer::OP,
    string_split::OP,
    sub::OP,
    sum::OP,
    swish::OP,
    tan::OP,
    tanh::OP,
    tensor_scatter::OP,
    thresholded_relu::OP,
    tile::OP,
    top_k::OP,
    transpose::OP,
    trilu::OP,
    unique::OP,
    unsqueeze::OP,
    upsample::OP,
    where_op::OP,
    xor::OP,
    array_feature_extractor::OP,
    binarizer::OP,
    label_encoder::OP,
    tree_ensemble::OP,
    flex_attention::OP,
    adagrad::OP,
    adam::OP,
    momentum::OP,
    microsoft::average_pool_grad::OP,
    microsoft::batch_norm_internal::OP,
    microsoft::batch_normalization_grad::OP,
    microsoft::bias_gelu::OP,
    microsoft::broadcast_gradient_args::OP,
    microsoft::conv_grad::OP,
    microsoft::dequantize_linear::OP,
    microsoft::dropout_grad::OP,
    microsoft::dynamic_quantize_matmul::OP,
    microsoft::fast_gelu::OP,
    microsoft::fast_gelu_grad::OP,
    microsoft::fused_conv::OP,
    microsoft::fused_matmul::OP,
    microsoft::gather_elements_grad::OP,
    microsoft::gather_grad::OP,
    microsoft::gather_nd_grad::OP,
    microsoft::gelu::OP,
    microsoft::gelu_grad::OP,
    microsoft::layer_normalization_grad::OP,
    microsoft::log_softmax_grad::OP,
    microsoft::log_softmax_grad_13::OP,
    microsoft::matmul_integer_to_float::OP,
    microsoft::matmul_nbits::OP,
    microsoft::max_pool_grad::OP,
    microsoft::qgemm::OP,
    microsoft::qlinear_add::OP,
    microsoft::qlinear_average_pool::OP,
    microsoft::qlinear_concat::OP,
    microsoft::qlinear_global_average_pool::OP,
    microsoft::qlinear_leaky_relu::OP,
    microsoft::qlinear_mul::OP,
    microsoft::qlinear_sigmoid::OP,
    microsoft::qlinear_softmax::OP,
    microsoft::quantize_linear::OP,
    microsoft::relu_grad::OP,
    microsoft::resize_grad::OP,
    microsoft::sigmoid_grad::OP,
    microsoft::skip_layer_normalization::OP,
    microsoft::slice_grad::OP,
    microsoft::softmax_cross_entropy_loss_internal::OP,
    microsoft::softmax_cross_entropy_loss_internal_grad::OP,
    microsoft::softmax_grad::OP,
    microsoft::softmax_grad_13::OP,
    microsoft::tanh_grad::OP,
    step_quantize::OP,
    step_quantize_grad::OP,
]);

/// A program is a quarter of a megabyte shorter without the samples: they are there for tests, with the feature `samples`.
const fn listed<const N: usize>(mut ops: [OpSpec; N]) -> [OpSpec; N] {
    let mut i = 0;
    while i < N && cfg!(not(feature = "samples")) {
        ops[i].samples = Vec::new;
        i += 1;
    }
    ops
}

/// [`OPS`] as a graph wants it. Not a constant: every crate that named it would hold the operators once more.
pub static OPERATORS: Operators = Operators(OPS);
