//! The chain of attention.

use lissom_graph::ValueId;
use lissom_kernels::elementwise::Binary;

use super::{operands, producer, replaced, with_scalar};
use crate::plan::step::Grid;
use crate::plan::work::{Network, Op, Scaling, Work};

/// The last product of `softmax(scale · q · k + mask) · v`, with everything before it if nobody else sees that. Between
/// the parts values may be quantized and dequantized.
pub(super) fn attention(network: &Network<'_>, index: usize) -> Option<Work> {
    let work = &network.works[index];
    let (Op::MatMul, &[Some(weights), Some(v)]) = (&work.op, &work.inputs[..]) else { return None };
    let out = network.shape(work.outputs.first().copied().flatten()?)?;
    let (weights, weight_grid) = unrounded(network, weights)?;
    let softmax = inner(network, weights)?;
    let Op::Softmax { n, is_channels: false } = softmax.op else { return None };
    let masked = (*softmax.inputs.first()?)?;
    let shape = network.shape(masked)?;
    let (scores, mask) = match operands(inner(network, masked)?, Binary::Add) {
        None => (Scores::of(network, masked)?, None),
        Some([a, b]) => {
            let with = |scores: ValueId, mask: ValueId| Some((Scores::of(network, scores)?, Some(mask)));
            with(a, b).or_else(|| with(b, a))?
        }
    };
    let Scores { q, k, value, scale, sides: [q_grid, k_grid], grid } = scores;
    let (v, v_grid) = match unrounded(network, v) {
        Some((v, Some(grid))) => (v, Some(grid)),
        _ => (v, moved_grid(network, v)),
    };
    let rank = out.len();
    let shapes = [network.shape(q)?, network.shape(k)?, network.shape(v)?];
    let fits = |mask: ValueId| {
        let own = network.shape(mask)?;
        let missing = shape.len().checked_sub(own.len())?;
        let is_spread = own.iter().zip(&shape[missing..]).all(|(own, length)| own == length || *own == 1);
        Some(network.is_f32(mask) && is_spread && own.last() == Some(&n))
    };
    let is_fit = shapes.iter().all(|own| (2..=rank).contains(&own.len()))
        && [q, k, v, value].iter().all(|&id| network.is_f32(id))
        && shape.len() == rank
        && network.shape(value)? == shape
        && shape[..rank - 2] == out[..rank - 2]
        && shape[rank - 1] == n
        && mask.is_none_or(|mask| fits(mask).unwrap_or(false));
    let scaling = Scaling { scale, sides: [q_grid, k_grid, v_grid], scores: grid, weights: weight_grid };
    let inputs = [Some(q), Some(k), Some(v)].into_iter().chain(mask.map(Some)).collect();
    is_fit.then(|| replaced(network, index, Op::Attention(scaling), inputs))
}

/// A scaled product of queries and keys.
struct Scores {
    q: ValueId,
    /// Transposed.
    k: ValueId,
    /// The product itself.
    value: ValueId,
    scale: f32,
    /// The grids that queries and keys are rounded to.
    sides: [Option<Grid>; 2],
    /// The grid the scores are rounded to, and a factor after it.
    grid: Option<(Grid, f32)>,
}

impl Scores {
    fn of(network: &Network<'_>, id: ValueId) -> Option<Self> {
        let (product, after) = unscaled(network, id)?;
        let (rounded, grid) = unrounded(network, product)?;
        let (value, before) = if grid.is_some() { unscaled(network, rounded)? } else { (rounded, 1.0) };
        let work = inner(network, value)?;
        let (Op::MatMul, &[Some(q), Some(k)]) = (&work.op, &work.inputs[..]) else { return None };
        let (mut side_scale, mut sides) = (1.0, [None; 2]);
        let [q, k] = [(q, 0), (k, 1)].map(|(side, at)| {
            let (x, scale, grid) = side_of(network, side);
            side_scale *= scale;
            sides[at] = grid;
            x
        });
        let scale = before * side_scale * if grid.is_some() { 1.0 } else { after };
        (scale.is_finite() && after.is_finite()).then_some(Self {
            q,
            k,
            value,
            scale,
            sides,
            grid: grid.map(|grid| (grid, after)),
        })
    }
}

/// The maker of a value that has one user and is no output.
fn inner<'n>(network: &'n Network<'_>, id: ValueId) -> Option<&'n Work> {
    network.only_consumer(id)?;
    producer(network, id)
}

/// The value before a scalar factor, and the factor; the value itself and 1 if there is none.
fn unscaled(network: &Network<'_>, id: ValueId) -> Option<(ValueId, f32)> {
    let work = inner(network, id)?;
    let found = match operands(work, Binary::Div) {
        Some([x, divisor]) => network.scalar(divisor).map(|divisor| (x, 1.0 / divisor)),
        None => with_scalar(network, id, Binary::Mul),
    };
    Some(found.filter(|&(x, _)| network.shape(x) == network.shape(id)).unwrap_or((id, 1.0)))
}

/// One side of a product before it was rounded, or before a scalar factor, whoever else uses that.
fn side_of(network: &Network<'_>, id: ValueId) -> (ValueId, f32, Option<Grid>) {
    if let Some((x, Some(grid))) = unrounded(network, id) {
        return (x, 1.0, Some(grid));
    }
    if let Some(grid) = moved_grid(network, id) {
        return (id, 1.0, Some(grid));
    }
    let found = with_scalar(network, id, Binary::Mul).filter(|&(x, _)| network.shape(x) == network.shape(id));
    let (x, scale) = found.unwrap_or((id, 1.0));
    (x, scale, None)
}

/// The value before it was quantized and dequantized, and the grid; the value itself if it was not. Nobody else may use
/// what is between.
fn unrounded(network: &Network<'_>, id: ValueId) -> Option<(ValueId, Option<Grid>)> {
    let work = inner(network, id)?;
    let Op::Dequantize { grid } = work.op else { return Some((id, None)) };
    let quantize = inner(network, (*work.inputs.first()?)?)?;
    match quantize.op {
        Op::Quantize { grid: own } if own == grid => Some(((*quantize.inputs.first()?)?, Some(grid))),
        _ => None,
    }
}

/// Where sides of products are quantized and dequantized after their elements changed places, they are before. Then what
/// makes them can make codes, which attention reads where they are.
pub(super) fn quantize_first(network: &mut Network<'_>) {
    for index in 0..network.works.len() {
        if let Some((places, from)) = moves_before(network, index) {
            put_first(network, &places, from);
            network.refresh();
        }
    }
}

/// Views and permutations that nobody else sees, the quantization after them and the dequantization at `index`, which is
/// for a product of two computed matrices; and the value before them all.
fn moves_before(network: &Network<'_>, index: usize) -> Option<(Vec<usize>, ValueId)> {
    let work = &network.works[index];
    let Op::Dequantize { grid } = work.op else { return None };
    let user = network.only_consumer((*work.outputs.first()?)?)?;
    matches!(network.works[user].op, Op::MatMul).then_some(())?;
    let mut from = (*work.inputs.first()?)?;
    network.only_consumer(from)?;
    let at = network.producers[from.index()]?;
    matches!(network.works[at].op, Op::Quantize { grid: own } if own == grid).then_some(())?;
    let mut places = vec![index, at];
    from = (*network.works[at].inputs.first()?)?;
    while let Some(at) = network.producers[from.index()]
        && network.only_consumer(from).is_some()
        && matches!(network.works[at].op, Op::View | Op::Transpose { .. })
    {
        places.push(at);
        from = (*network.works[at].inputs.first()?)?;
    }
    places.reverse();
    let is_fit = places.len() > 2 && network.is_f32(from) && network.shape(from).is_some();
    (is_fit && places.is_sorted()).then_some((places, from))
}

/// The last two of `places` before the others, in the same places.
fn put_first(network: &mut Network<'_>, places: &[usize], from: ValueId) {
    let mut works: Vec<Work> = places.iter().map(|&place| network.works[place].clone()).collect();
    works.rotate_right(2);
    let [quantize, dequantize, first, ..] = &mut works[..] else { return };
    let (Some(Some(codes)), Some(Some(moved)), Some(Some(end))) =
        (quantize.outputs.first().copied(), quantize.inputs.first().copied(), dequantize.outputs.first().copied())
    else {
        return;
    };
    quantize.inputs[0] = Some(from);
    // What was the last value before the quantization is the dequantized one in its first order.
    dequantize.outputs[0] = Some(moved);
    first.inputs[0] = Some(moved);
    if let Some(last) = works.last_mut() {
        last.outputs[0] = Some(end);
    }
    for id in [codes, moved] {
        network.facts[id.index()].shape = network.facts[from.index()].shape.clone();
    }
    for (&place, work) in places.iter().zip(works) {
        network.works[place] = work;
    }
}

/// The grid a value was rounded to before its elements changed places.
fn moved_grid(network: &Network<'_>, id: ValueId) -> Option<Grid> {
    let mut work = inner(network, id)?;
    while matches!(work.op, Op::View | Op::Transpose { .. }) {
        work = inner(network, (*work.inputs.first()?)?)?;
    }
    match work.op {
        Op::Dequantize { grid } => Some(grid),
        _ => None,
    }
}
