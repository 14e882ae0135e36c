//! Attention as one step: two products with a softmax between them.

use lissom_kernels::attention;

use super::products::{offsets, steps};
use super::{Builder, Layout, strides};
use crate::EngineError;
use crate::plan::quantized::limits;
use crate::plan::step::{Attention, Elem, Grid, Kind};

impl Builder<'_, '_> {
    /// The shapes fit: whoever made the work has seen to it.
    pub fn attention(
        &mut self,
        index: usize,
        scale: f32,
        score_grid: Option<(Grid, f32)>,
        weight_grid: Option<Grid>,
    ) -> Result<bool, EngineError> {
        let (Some(q), Some(k), Some(v), Some(out)) =
            (self.input(index, 0), self.input(index, 1), self.input(index, 2), self.output(index))
        else {
            return Ok(false);
        };
        let (q, k, v) = (self.seen(q)?, self.seen(k)?, self.seen(v)?);
        let out_shape = self.shape(out)?;
        let (rank, mut works) = (out_shape.len(), Vec::new());
        let (value, out_strides) = self.transposed_result(out, &mut works)?;
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
            scale,
            score_grid: score_grid.map(|(grid, factor)| rounding(grid, factor)),
            weight_grid: weight_grid.map(|grid| rounding(grid, 1.0)),
        };
        let mut info = self.info(index, &works, attention::Kernel::best().name);
        info.op = format!("MatMul+Softmax+{}", info.op);
        info.macs = (attention.offsets.len() * queries * keys * (d + d_v)) as u64;
        let len = out_shape.iter().product();
        let made = self.emit(info, Kind::Attention(Box::new(attention)), inputs, len, Elem::F32);
        for work in works {
            self.is_done[work] = true;
        }
        self.set(value, Layout::Plain, made);
        Ok(true)
    }
}
