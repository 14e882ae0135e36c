//! Attention as one step: two products with a softmax between them.

use lissom_graph::ValueId;
use lissom_kernels::attention;

use super::products::{offsets, steps};
use super::{Builder, Forms, Layout, Record, strides};
use crate::EngineError;
use crate::plan::quantized::limits;
use crate::plan::step::{Attention, Elem, Grid, Kind};
use crate::plan::work::{Op, Scaling};

/// See [`Builder::ended`].
type Ended = (ValueId, Vec<usize>, Vec<usize>, Option<(usize, Grid)>);

impl Builder<'_, '_> {
    /// The shapes fit: whoever made the work has seen to it.
    pub fn attention(&mut self, index: usize, scaling: &Scaling) -> Result<bool, EngineError> {
        let (Some(q), Some(k), Some(v), Some(out)) =
            (self.input(index, 0), self.input(index, 1), self.input(index, 2), self.output(index))
        else {
            return Ok(false);
        };
        let (q, k, v) = (self.seen(q)?, self.seen(k)?, self.seen(v)?);
        let out_shape = self.shape(out)?;
        let rank = out_shape.len();
        let (value, out_strides, works, grid) = self.ended(out)?;
        let batch = &out_shape[..rank - 2];
        let mut inputs = vec![q.source.clone(), k.source.clone(), v.source.clone()];
        let (mut mask_steps, mut mask_stride) = (vec![0; batch.len()], 0);
        if let Some(mask) = self.input(index, 3) {
            inputs.push(self.source(mask, Layout::Plain)?);
            let mut own = vec![1; rank - self.shape(mask)?.len()];
            own.extend(self.shape(mask)?);
            let spread = own.iter().zip(strides(&own)).map(|(&length, step)| if length == 1 { 0 } else { step });
            let spread: Vec<usize> = spread.collect();
            mask_stride = spread[rank - 2];
            mask_steps = spread[..rank - 2].to_vec();
        }
        let (q_steps, k_steps, v_steps) = (steps(&q, batch), steps(&k, batch), steps(&v, batch));
        let offsets = offsets(batch, &[&q_steps, &k_steps, &v_steps, &mask_steps, &out_strides[..rank - 2]]);
        let offsets: Vec<_> =
            offsets.into_iter().map(|[q, k, v, mask, out]| attention::Offsets { q, k, v, mask, out }).collect();
        let last_two = |all: &[usize]| [all[all.len() - 2], all[all.len() - 1]];
        let ([queries, d], [keys, d_v]) = (last_two(&q.shape), last_two(&v.shape));
        let [k_element, k_token] = last_two(&k.strides);
        let rounding = |grid: Grid, factor: f32| {
            let step = grid.scale * factor;
            attention::Grid { scale: grid.scale, zero_point: grid.zero_point, codes: limits(grid.elem), step }
        };
        let attention = Attention {
            queries,
            keys,
            d,
            d_v,
            q_strides: last_two(&q.strides),
            k_strides: [k_token, k_element],
            v_strides: last_two(&v.strides),
            mask_stride,
            out_stride: out_strides[rank - 2],
            offsets,
            scale: scaling.scale,
            side_grids: scaling.sides.map(|grid| grid.map(|grid| rounding(grid, 1.0))),
            score_grid: scaling.scores.map(|(grid, factor)| rounding(grid, factor)),
            weight_grid: scaling.weights.map(|grid| rounding(grid, 1.0)),
        };
        let mut info = self.info(index, &works, attention::Kernel::best().name);
        info.op = format!("MatMul+Softmax+{}", info.op);
        info.macs = (attention.offsets.len() * queries * keys * (d + d_v)) as u64;
        let len = out_shape.iter().product();
        let made = self.emit(info, Kind::Attention(Box::new(attention)), inputs, len, Elem::F32);
        if let Some((quantize, grid)) = grid {
            let info = self.info(quantize, &[], "quantize");
            let codes = self.emit(info, Kind::Quantize { grid }, vec![made], len, grid.elem);
            self.set_record(
                value,
                Record { codes: Some((Forms::at(Layout::Plain, codes), grid)), ..Record::default() },
            );
        } else {
            self.set(value, Layout::Plain, made);
        }
        for work in works {
            self.is_done[work] = true;
        }
        Ok(true)
    }

    /// What follows the last product: a permutation, before which the result may be quantized and dequantized. Gives the
    /// value after it, the strides that write it, the work in it, and the quantization.
    fn ended(&self, out: ValueId) -> Result<Ended, EngineError> {
        let rounded = || {
            let quantize = self.network.only_consumer(out)?;
            let dequantize = self.network.only_consumer(self.output(quantize)?)?;
            match (&self.network.works[quantize].op, &self.network.works[dequantize].op) {
                (Op::Quantize { grid }, Op::Dequantize { grid: own }) if own == grid => {
                    Some((vec![quantize, dequantize], self.output(dequantize)?, *grid))
                }
                _ => None,
            }
        };
        if let Some((mut works, value, grid)) = rounded() {
            let (after, strides) = self.transposed_result(value, &mut works)?;
            let quantize = works[0];
            // Without a permutation the result can become codes where it is.
            if after != value {
                return Ok((after, strides, works, Some((quantize, grid))));
            }
        }
        let mut works = Vec::new();
        let (value, strides) = self.transposed_result(out, &mut works)?;
        Ok((value, strides, works, None))
    }
}
