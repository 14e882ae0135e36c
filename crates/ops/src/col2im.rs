//! `Col2Im`: blocks, one a column, added up to the image they were cut from.
//!
//! <https://onnx.ai/onnx/operators/onnx__Col2Im.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len, strides};

use crate::constant_of_shape::shape_of;
use crate::numeric::{floats, from_f64};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Col2Im",
    domain: "",
    since: 18,
    read: |node| {
        let op = Col2Im {
            strides: node.ints("strides")?.unwrap_or_default(),
            pads: node.ints("pads")?.unwrap_or_default(),
            dilations: node.ints("dilations")?.unwrap_or_default(),
        };
        Ok(Arc::new(op))
    },
    samples: || {
        let shapes = || [Tensor::vector(vec![3i64, 3]), Tensor::vector(vec![2i64, 2])];
        let blocks = |n: usize| Tensor::new([1, 4, n], (0..4 * n).map(|i| i as f32).collect::<Vec<_>>());
        vec![
            Sample::new(blocks(4).into_iter().chain(shapes())),
            Sample::new(blocks(16).into_iter().chain(shapes())).with("pads", vec![1i64, 1, 1, 1]),
            Sample::new(blocks(1).into_iter().chain(shapes())).with("strides", vec![2i64, 2]),
        ]
    },
};

/// `Col2Im`: input `[n, c · block, blocks]`, output `[n, c, image…]`.
#[derive(Debug, Clone)]
pub struct Col2Im {
    /// Steps between blocks; 1 if left out.
    pub strides: Vec<i64>,
    /// All begins, then all ends; 0 if left out.
    pub pads: Vec<i64>,
    /// Steps within a block; 1 if left out.
    pub dilations: Vec<i64>,
}

/// One axis of the image.
struct Axis {
    image: usize,
    block: usize,
    n_blocks: usize,
    stride: i64,
    dilation: i64,
    pad: i64,
    step: usize,
}

impl Col2Im {
    fn axes(&self, image: &[usize], block: &[usize]) -> Result<Vec<Axis>, OpError> {
        let rank = image.len();
        let fits = |list: &[i64], len: usize| list.is_empty() || list.len() == len;
        if block.len() != rank || !fits(&self.strides, rank) || !fits(&self.dilations, rank) {
            return Err(OpError::value(format!("an image {image:?} of blocks {block:?}")));
        }
        if !fits(&self.pads, 2 * rank) {
            return Err(OpError::attribute("pads", format!("{} pads for {rank} axes", self.pads.len())));
        }
        let steps = strides(image);
        (0..rank)
            .map(|i| {
                let at = |list: &[i64], i: usize, default: i64| list.get(i).copied().unwrap_or(default);
                let (stride, dilation) = (at(&self.strides, i, 1), at(&self.dilations, i, 1));
                let (begin, end) = (at(&self.pads, i, 0), at(&self.pads, rank + i, 0));
                let small = |n: i64| (0..1 << 31).contains(&n);
                if stride < 1 || dilation < 1 || ![stride, dilation, begin, end].into_iter().all(small) {
                    return Err(OpError::value(format!("stride {stride}, dilation {dilation}, pads {begin}, {end}")));
                }
                let reach = dilation as i128 * (block[i] as i128 - 1) + 1;
                let room = image[i] as i128 + i128::from(begin) + i128::from(end) - reach;
                let n_blocks = if room < 0 { 0 } else { room / i128::from(stride) + 1 } as usize;
                Ok(Axis { image: image[i], block: block[i], n_blocks, stride, dilation, pad: begin, step: steps[i] })
            })
            .collect()
    }
}

/// Flat positions in the image, `None` in the padding, of every block for every place in a block.
fn positions(axes: &[Axis]) -> Vec<Option<usize>> {
    let mut in_block: Vec<Vec<usize>> = vec![Vec::new()];
    for axis in axes {
        in_block =
            in_block.iter().flat_map(|at| (0..axis.block).map(move |i| [at.as_slice(), &[i]].concat())).collect();
    }
    let mut all = Vec::new();
    for tap in &in_block {
        let mut flat = vec![Some(0usize)];
        for (axis, &tap) in axes.iter().zip(tap) {
            let offset = |block: usize| {
                let position = block as i64 * axis.stride + tap as i64 * axis.dilation - axis.pad;
                Some(usize::try_from(position).ok().filter(|&position| position < axis.image)? * axis.step)
            };
            let offsets: Vec<Option<usize>> = (0..axis.n_blocks).map(offset).collect();
            flat = flat
                .iter()
                .flat_map(|base| {
                    let base = *base;
                    offsets.iter().map(move |offset| Some(base? + (*offset)?))
                })
                .collect();
        }
        all.extend(flat);
    }
    all
}

impl Op for Col2Im {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0);
        let (Some([n, c, _]), Some(image)) = (inputs.shape(0), inputs.get(1).as_dims()) else {
            return Ok(vec![Fact::maybe(dtype, None)]);
        };
        let block = inputs.get(2).i64s().and_then(|block| block.iter().try_fold(1i64, |len, &n| len.checked_mul(n)));
        let Some(channels) = block.and_then(|block| c.div(&Dim::Known(block))) else {
            return Ok(vec![Fact::maybe(dtype, None)]);
        };
        Ok(vec![Fact::maybe(dtype, Some([vec![n.clone(), channels], image].concat()))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let image = shape_of(&inputs.required(1)?.to_i64_vec()?)?;
        let block = shape_of(&inputs.required(2)?.to_i64_vec()?)?;
        let [n, rows, n_blocks] = *x.shape() else {
            return Err(OpError::shape(0, x.shape(), "batch, channels by places in a block, and blocks are expected"));
        };
        let image_len = checked_len(DType::F64, &image)?;
        let block_len = checked_len(DType::F64, &block)?;
        let axes = self.axes(&image, &block)?;
        let blocks: Option<usize> = axes.iter().try_fold(1usize, |len, axis| len.checked_mul(axis.n_blocks));
        if block_len == 0 || rows % block_len != 0 || blocks != Some(n_blocks) {
            return Err(OpError::shape(0, x.shape(), format!("blocks {block:?} of an image {image:?} do not fit")));
        }
        let channels = rows / block_len;
        let shape = [vec![n, channels], image].concat();
        let mut out = vec![0.0; checked_len(DType::F64, &shape)?];
        let values = floats(0, x)?;
        let positions = positions(&axes);
        // Channel by channel: a channel's rows are the places in its block, each holding one value a block.
        for (lane, column) in values.chunks(positions.len().max(1)).enumerate().take(n * channels) {
            for (position, value) in positions.iter().zip(column) {
                if let Some(position) = position {
                    out[lane * image_len + position] += value;
                }
            }
        }
        Ok(vec![from_f64(x.dtype(), shape, out)?])
    }
}
