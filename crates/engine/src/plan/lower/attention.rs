//! Attention as one step: two products with a softmax between them.

use lissom_graph::ValueId;
use lissom_kernels::{attention, qattention};

use super::products::{Seen, offsets, steps};
use super::{Builder, Forms, Layout, Record, strides};
use crate::EngineError;
use crate::plan::quantized::limits;
use crate::plan::step::{Attention, Elem, Grid, IntegerAttention, Kind};
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
        let is_integer = self.is_integer([q, k], scaling)?;
        let grids = if is_integer { scaling.sides } else { [None; 3] };
        let (q, q_elem) = self.attended(q, grids[0])?;
        let (k, k_elem) = self.attended(k, grids[1])?;
        let (v, v_elem) = self.attended(v, grids[2])?;
        let out_shape = self.shape(out)?;
        let rank = out_shape.len();
        let (value, out_strides, works, grid) = self.ended(out, is_integer)?;
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
            integer: is_integer
                .then(|| IntegerAttention { sides: [q_elem, k_elem, v_elem], out: grid.map(|(_, grid)| grid) }),
        };
        let kernel = if is_integer { qattention::Kernel::best().name } else { attention::Kernel::best().name };
        let mut info = self.info(index, &works, kernel);
        info.is_integer = is_integer;
        info.op = format!("MatMul+Softmax+{}", info.op);
        info.macs = (attention.offsets.len() * queries * keys * (d + d_v)) as u64;
        let len = out_shape.iter().product();
        let elem = grid.filter(|_| is_integer).map_or(Elem::F32, |(_, grid)| grid.elem);
        let made = self.emit(info, Kind::Attention(Box::new(attention)), inputs, len, elem);
        if let Some((quantize, grid)) = grid {
            let codes = if is_integer {
                made
            } else {
                let info = self.info(quantize, &[], "quantize");
                self.emit(info, Kind::Quantize { grid }, vec![made], len, grid.elem)
            };
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

    /// True if every operand of both products is on a grid, and their sums fit the integers.
    fn is_integer(&self, [q, k]: [ValueId; 2], scaling: &Scaling) -> Result<bool, EngineError> {
        let are_rounded = scaling.sides.iter().chain([&scaling.weights]).all(Option::is_some);
        let last = |shape: Vec<usize>| shape.last().copied().unwrap_or(0);
        let terms = last(self.shape(q)?).max(last(self.shape(k)?));
        Ok(are_rounded && terms <= qattention::MAX_TERMS)
    }

    /// One of q, k and v: its codes, if it is nothing else yet and they are on this grid.
    fn attended(&mut self, id: ValueId, grid: Option<Grid>) -> Result<(Seen, Elem), EngineError> {
        let shape = self.shape(id)?;
        let put_off =
            self.record(id).filter(|record| record.forms.is_empty()).and_then(|record| record.permuted.clone());
        let (from, perm) = put_off.unwrap_or_else(|| (id, (0..shape.len()).collect()));
        if grid.is_some()
            && self.grid(from) == grid
            && let Some((source, grid)) = self.codes(from, Layout::Plain)?
        {
            let own = strides(&self.shape(from)?);
            let strides = perm.iter().map(|&axis| own[axis]).collect();
            return Ok((Seen { source, shape, strides }, grid.elem));
        }
        Ok((self.seen(id)?, Elem::F32))
    }

    /// What follows the last product: a permutation, before which the result may be quantized and dequantized. Gives the
    /// value after it, the strides that write it, the work in it, and the quantization.
    fn ended(&self, out: ValueId, is_integer: bool) -> Result<Ended, EngineError> {
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
            // Without a permutation real numbers can become codes where they are.
            if after != value || is_integer {
                return Ok((after, strides, works, Some((quantize, grid))));
            }
        }
        let mut works = Vec::new();
        let (value, strides) = self.transposed_result(out, &mut works)?;
        Ok((value, strides, works, None))
    }
}
