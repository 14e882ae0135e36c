//! Chains of operators that exporters write for one function become that function.
//!
//! Each rule looks at one piece of work from behind and, if everything before it fits, replaces it by the whole. What is
//! left unused is dropped; what somebody else uses, or observes, stays and is computed too.

mod attention;

use lissom_graph::ValueId;
use lissom_kernels::elementwise::{Binary, Unary};
use lissom_kernels::rows::Reduction;
use lissom_tensor::DType;

use super::work::{Network, Op, Work};

/// Applies all rules.
pub(super) fn recognise(network: &mut Network<'_>) {
    attention::quantize_first(network);
    for rule in
        [dynamic_product, dynamic_affine_linear, silu, hard_swish, gelu, layer_norm, scaled_norm, attention::attention]
    {
        for index in 0..network.works.len() {
            if let Some(work) = rule(network, index) {
                network.works[index] = work;
            }
        }
        network.refresh();
    }
}

fn is_near(x: Option<f32>, expected: f32) -> bool {
    x.is_some_and(|x| (x - expected).abs() <= 1e-4 * expected.abs())
}

fn producer<'n>(network: &'n Network<'_>, id: ValueId) -> Option<&'n Work> {
    network.producers[id.index()].map(|index| &network.works[index])
}

/// The operands of binary work.
fn operands(work: &Work, op: Binary) -> Option<[ValueId; 2]> {
    match (&work.op, &work.inputs[..]) {
        (Op::Binary(own), &[Some(a), Some(b)]) if *own == op => Some([a, b]),
        _ => None,
    }
}

/// `(x, constant)` of a commutative operation with a scalar.
fn with_scalar(network: &Network<'_>, id: ValueId, op: Binary) -> Option<(ValueId, f32)> {
    let [a, b] = operands(producer(network, id)?, op)?;
    match (network.scalar(a), network.scalar(b)) {
        (None, Some(constant)) => Some((a, constant)),
        (Some(constant), None) => Some((b, constant)),
        _ => None,
    }
}

/// The input of unary work.
fn unary_input(network: &Network<'_>, id: ValueId, matches: impl Fn(Unary) -> bool) -> Option<ValueId> {
    let work = producer(network, id)?;
    match work.op {
        Op::Unary(op) if matches(op) => work.inputs.first().copied().flatten(),
        _ => None,
    }
}

fn replaced(network: &Network<'_>, index: usize, op: Op, inputs: Vec<Option<ValueId>>) -> Work {
    let work = &network.works[index];
    Work { node: work.node, op, inputs, outputs: work.outputs.clone() }
}

/// The inputs and the outputs of a node of this type that makes the value.
fn node_of<'n>(network: &'n Network<'_>, id: ValueId, op_type: &str) -> Option<&'n Work> {
    let work = producer(network, id)?;
    let node = &network.graph.nodes()[work.node];
    (node.op_type == op_type && node.domain.is_empty() && matches!(work.op, Op::Other(_))).then_some(work)
}

/// `MatMulInteger` or `ConvInteger` of what `DynamicQuantizeLinear` gives and constant codes, as a float, times both
/// scales.
fn dynamic_product(network: &Network<'_>, index: usize) -> Option<Work> {
    let [a, b] = operands(&network.works[index], Binary::Mul)?;
    let (sums, scales) = if node_of(network, a, "Cast").is_some() { (a, b) } else { (b, a) };
    let product = producer(network, node_of(network, sums, "Cast")?.inputs[0]?)?;
    let [x_codes, weight] = [*product.inputs.first()?, *product.inputs.get(1)?];
    let (x_zero, weight_zero) = (product.inputs.get(2).copied().flatten(), product.inputs.get(3).copied().flatten());
    let quantize = node_of(network, x_codes?, "DynamicQuantizeLinear")?;
    let [first, scale, zero] = quantize.outputs[..] else { return None };
    if first != x_codes || zero != x_zero || zero.is_none() {
        return None;
    }
    let [s, t] = operands(producer(network, scales)?, Binary::Mul)?;
    let weight_scale = if Some(s) == scale {
        t
    } else if Some(t) == scale {
        s
    } else {
        return None;
    };
    let x = (*quantize.inputs.first()?)?;
    let all_constant =
        [weight, Some(weight_scale)].iter().flatten().chain(&weight_zero).all(|&id| network.is_constant(id));
    let weight_shape = network.shape(weight?)?;
    let scale_shape = network.shape(weight_scale)?;
    // Scales are one for all, or one a channel, and must not spread the result over more axes.
    let is_one = scale_shape.iter().product::<usize>() == 1 && scale_shape.len() <= weight_shape.len();
    let (op, is_per_channel) = match product.op {
        Op::ConvInteger { window, groups } => {
            let mut expected = vec![1; weight_shape.len()];
            expected[1] = weight_shape[0];
            (Op::DynamicConv { window, groups }, scale_shape == expected || scale_shape == expected[1..])
        }
        Op::Other(_) if network.graph.nodes()[product.node].op_type == "MatMulInteger" && weight_shape.len() == 2 => {
            (Op::DynamicLinear { is_transposed: false }, scale_shape == weight_shape[1..])
        }
        _ => return None,
    };
    let is_fit = all_constant && (is_one || is_per_channel) && network.shape(x).is_some();
    let inputs = vec![Some(x), weight, Some(weight_scale), weight_zero];
    is_fit.then(|| replaced(network, index, op, inputs))
}

/// A product of what `DynamicQuantizeLinear` and `DequantizeLinear` leave of a tensor, and an 8-bit weight.
fn dynamic_affine_linear(network: &Network<'_>, index: usize) -> Option<Work> {
    let work = &network.works[index];
    let Op::Linear { is_transposed, alpha, beta } = work.op else { return None };
    let [x, weight] = [(*work.inputs.first()?)?, (*work.inputs.get(1)?)?];
    let bias = work.inputs.get(2).copied().flatten();
    let dequantize = node_of(network, x, "DequantizeLinear")?;
    let quantize = node_of(network, dequantize.inputs.first().copied().flatten()?, "DynamicQuantizeLinear")?;
    if quantize.outputs.len() != 3 || dequantize.inputs != quantize.outputs || alpha != 1.0 || beta != 1.0 {
        return None;
    }
    let affine = network.affine(weight)?;
    // A scale a column of the product, or one for all.
    let column_axis = usize::from(!is_transposed);
    let is_per_column = affine.scale.rank() == 0 || affine.axis == column_axis;
    let is_fit = affine.codes.rank() == 2
        && affine.codes.dtype() == DType::I8
        && affine.block_size == 0
        && is_per_column
        && network.shape((*quantize.inputs.first()?)?).is_some();
    let inputs = vec![quantize.inputs[0], Some(weight), None, None, bias];
    is_fit.then(|| replaced(network, index, Op::DynamicLinear { is_transposed }, inputs))
}

/// `x · sigmoid(x)`.
fn silu(network: &Network<'_>, index: usize) -> Option<Work> {
    let [a, b] = operands(&network.works[index], Binary::Mul)?;
    let gate = |gate: ValueId, x: ValueId| unary_input(network, gate, |op| op == Unary::Sigmoid) == Some(x);
    let is_hard =
        |op: Unary| matches!(op, Unary::HardSigmoid { alpha, beta } if is_near(Some(alpha), 1.0 / 6.0) && beta == 0.5);
    let hard_gate = |gate: ValueId, x: ValueId| unary_input(network, gate, is_hard) == Some(x);
    let found = [(a, b), (b, a)].into_iter().find_map(|(x, other)| {
        let op = if gate(other, x) {
            Unary::Silu
        } else if hard_gate(other, x) {
            Unary::HardSwish
        } else {
            return None;
        };
        Some((x, op))
    });
    let (x, op) = found?;
    Some(replaced(network, index, Op::Unary(op), vec![Some(x)]))
}

/// The constant factors and the other factors of a product of at most three levels.
fn factors(network: &Network<'_>, id: ValueId, depth: usize, constant: &mut f32, others: &mut Vec<ValueId>) {
    if let Some(factor) = network.scalar(id) {
        *constant *= factor;
        return;
    }
    let work = producer(network, id).filter(|_| depth > 0);
    if let Some([a, b]) = work.and_then(|work| operands(work, Binary::Mul)) {
        factors(network, a, depth - 1, constant, others);
        factors(network, b, depth - 1, constant, others);
        return;
    }
    if let Some([a, b]) = work.and_then(|work| operands(work, Binary::Div))
        && let Some(divisor) = network.scalar(b)
    {
        *constant /= divisor;
        factors(network, a, depth - 1, constant, others);
        return;
    }
    others.push(id);
}

/// Two factors and a constant, if the work is such a product.
fn product_of_two(network: &Network<'_>, index: usize) -> Option<([ValueId; 2], f32)> {
    let work = &network.works[index];
    let is_product = operands(work, Binary::Mul).is_some() || operands(work, Binary::Div).is_some();
    let output = work.outputs.first().copied().flatten().filter(|_| is_product)?;
    let (mut constant, mut others) = (1.0, Vec::new());
    factors(network, output, 3, &mut constant, &mut others);
    match others[..] {
        [a, b] => Some(([a, b], constant)),
        _ => None,
    }
}

/// `x · clip(x + 3, 0, 6) / 6`.
fn hard_swish(network: &Network<'_>, index: usize) -> Option<Work> {
    let ([a, b], constant) = product_of_two(network, index)?;
    let is_six = |op: Unary| op == Unary::Clip { min: 0.0, max: 6.0 };
    let gate = |gate: ValueId, x: ValueId| {
        unary_input(network, gate, is_six).and_then(|sum| with_scalar(network, sum, Binary::Add)) == Some((x, 3.0))
    };
    let x = if gate(b, a) {
        a
    } else if gate(a, b) {
        b
    } else {
        return None;
    };
    is_near(Some(constant), 1.0 / 6.0).then(|| replaced(network, index, Op::Unary(Unary::HardSwish), vec![Some(x)]))
}

/// `x / 2 · (1 + erf(x / √2))` in any order.
fn gelu(network: &Network<'_>, index: usize) -> Option<Work> {
    let ([a, b], constant) = product_of_two(network, index)?;
    let gate = |gate: ValueId, x: ValueId| {
        let (erf, one) = with_scalar(network, gate, Binary::Add)?;
        let inner = unary_input(network, erf, |op| op == Unary::Erf)?;
        let (mut scale, mut others) = (1.0, Vec::new());
        factors(network, inner, 1, &mut scale, &mut others);
        Some(one == 1.0 && others == [x] && is_near(Some(scale), std::f32::consts::FRAC_1_SQRT_2))
    };
    let is_gate = |at: ValueId, x: ValueId| gate(at, x).unwrap_or(false);
    let x = if is_gate(b, a) {
        a
    } else if is_gate(a, b) {
        b
    } else {
        return None;
    };
    is_near(Some(constant), 0.5).then(|| replaced(network, index, Op::Unary(Unary::Gelu), vec![Some(x)]))
}

/// The mean of this value over its last axis, kept.
fn row_mean(network: &Network<'_>, id: ValueId) -> Option<ValueId> {
    let work = producer(network, id)?;
    let x = work.inputs.first().copied().flatten()?;
    let (shape, out) = (network.shape(x)?, network.shape(id)?);
    match &work.op {
        Op::Reduce { op: Reduction::Mean, axes } if axes[..] == [shape.len() - 1] && out.len() == shape.len() => {
            Some(x)
        }
        _ => None,
    }
}

/// `x`, if the value is `x - mean(x)` over rows.
fn centred(network: &Network<'_>, id: ValueId) -> Option<ValueId> {
    let [x, mean] = operands(producer(network, id)?, Binary::Sub)?;
    (row_mean(network, mean) == Some(x)).then_some(x)
}

/// `(x - mean(x)) / √(mean((x - mean(x))²) + ε)`.
fn layer_norm(network: &Network<'_>, index: usize) -> Option<Work> {
    let [top, bottom] = operands(&network.works[index], Binary::Div)?;
    let x = centred(network, top)?;
    let sum = unary_input(network, bottom, |op| op == Unary::Sqrt)?;
    let (variance, epsilon) = with_scalar(network, sum, Binary::Add)?;
    let square = row_mean(network, variance)?;
    let root = match unary_input(network, square, |op| op == Unary::Square) {
        Some(root) => root,
        None => operands(producer(network, square)?, Binary::Mul).filter(|[a, b]| a == b)?[0],
    };
    if centred(network, root) != Some(x) {
        return None;
    }
    let n = *network.shape(x)?.last()?;
    Some(replaced(network, index, Op::LayerNorm { n, epsilon }, vec![Some(x), None, None]))
}

/// A layer norm times a row, or plus a row.
fn scaled_norm(network: &Network<'_>, index: usize) -> Option<Work> {
    let work = &network.works[index];
    let (is_scale, pair) = match (operands(work, Binary::Mul), operands(work, Binary::Add)) {
        (Some(pair), _) => (true, pair),
        (_, Some(pair)) => (false, pair),
        _ => return None,
    };
    let [a, b] = pair;
    let (norm, row) = if network.is_constant(b) { (a, b) } else { (b, a) };
    let at = network.producers[norm.index()]?;
    let Op::LayerNorm { n, epsilon } = network.works[at].op else { return None };
    let inputs = &network.works[at].inputs;
    let (x, scale, bias) = (*inputs.first()?, inputs.get(1).copied().flatten(), inputs.get(2).copied().flatten());
    let shape = network.shape(row)?;
    let is_row = network.is_constant(row) && shape.last() == Some(&n) && shape.iter().product::<usize>() == n;
    let is_alike = network.shape(work.outputs.first().copied().flatten()?) == network.shape(norm);
    let fits = if is_scale { scale.is_none() && bias.is_none() } else { bias.is_none() };
    if !is_row || !is_alike || !fits {
        return None;
    }
    let inputs = if is_scale { vec![x, Some(row), None] } else { vec![x, scale, Some(row)] };
    Some(replaced(network, index, Op::LayerNorm { n, epsilon }, inputs))
}
