//! Norms, softmax, pools and reductions.

use lissom_graph::ValueId;
use lissom_kernels::conv::Window;
use lissom_kernels::pool::{Pool, PoolShape};
use lissom_kernels::rows::Reduction;

use super::epilogue::Channels;
use super::linear::images;
use super::{Builder, Forms, Layout, Record};
use crate::EngineError;
use crate::plan::step::{Elem, Kind};
use crate::plan::training::Columns;

impl Builder<'_, '_> {
    /// A batch norm that no product before it took.
    pub fn batch_norm(&mut self, index: usize, _epsilon: f32) -> Result<bool, EngineError> {
        let (Some(x), Some(out)) = (self.input(index, 0), self.output(index)) else { return Ok(false) };
        let shape = self.shape(x)?;
        let Some(affine) = self.affine(index, x, shape[1], Channels::Second) else { return Ok(false) };
        let chain = self.chain(out, shape[1], Channels::Second, false);
        // Only an activation that follows at once can come along.
        let (works, activation, value) = match chain.residual {
            None => (chain.works, chain.activation, chain.output),
            Some(_) => (Vec::new(), lissom_kernels::Activation::None, out),
        };
        let layout = if shape.len() >= 3 { Layout::Last } else { Layout::Plain };
        let source = self.source(x, layout)?;
        let info = self.info(index, &works, "scale and bias");
        let kind = Kind::ScaleBias { scale: affine.scale, bias: affine.shift, activation };
        let made = self.emit(info, kind, vec![source], shape.iter().product(), Elem::F32);
        works.iter().for_each(|&work| self.is_done[work] = true);
        self.set(value, layout, made);
        Ok(true)
    }

    pub fn layer_norm(&mut self, index: usize, n: usize, epsilon: f32) -> Result<bool, EngineError> {
        if self.map(index)? {
            return Ok(true);
        }
        let (Some(x), Some(out)) = (self.input(index, 0), self.output(index)) else { return Ok(false) };
        let Some(norm) = self.norm(index, n, epsilon) else { return Ok(false) };
        let source = self.source(x, Layout::Plain)?;
        let len = self.shape(out)?.iter().product();
        let info = self.info(index, &[], "layer norm");
        let made = self.emit(info, Kind::LayerNorm(norm), vec![source], len, Elem::F32);
        self.set(out, Layout::Plain, made);
        Ok(true)
    }

    pub fn softmax(&mut self, index: usize, n: usize, is_channels: bool) -> Result<bool, EngineError> {
        let (Some(x), Some(out)) = (self.input(index, 0), self.output(index)) else { return Ok(false) };
        let layout = if is_channels { Layout::Last } else { Layout::Plain };
        let source = self.source(x, layout)?;
        let len = self.shape(out)?.iter().product();
        let info = self.info(index, &[], "softmax");
        let made = self.emit(info, Kind::Softmax { n, rows_a_mask: 1 }, vec![source], len, Elem::F32);
        self.set(out, layout, made);
        Ok(true)
    }

    /// `softmax(x + mask)`, if one mask serves whole blocks of rows.
    pub fn masked_softmax(
        &mut self,
        add: usize,
        softmax: usize,
        x: ValueId,
        mask: ValueId,
    ) -> Result<bool, EngineError> {
        let (shape, own, Some(out)) = (self.shape(x)?, self.shape(mask)?, self.output(softmax)) else {
            return Ok(false);
        };
        let Some(missing) = shape.len().checked_sub(own.len()) else { return Ok(false) };
        let axes = || (0..shape.len() - 1).map(|axis| if axis < missing { 1 } else { own[axis - missing] });
        // Leading axes that the mask has, then axes it is repeated along.
        let n_own = axes().zip(&shape).take_while(|(own, length)| own == *length).count();
        let is_fit = own.last() == shape.last() && axes().skip(n_own).all(|length| length == 1);
        if !is_fit || self.shape(out)? != shape {
            return Ok(false);
        }
        let rows_a_mask = shape[n_own..shape.len() - 1].iter().product();
        let n = shape[shape.len() - 1];
        let inputs = vec![self.source(x, Layout::Plain)?, self.source(mask, Layout::Plain)?];
        let info = self.info(add, &[softmax], "softmax");
        let made = self.emit(info, Kind::Softmax { n, rows_a_mask }, inputs, shape.iter().product(), Elem::F32);
        self.is_done[softmax] = true;
        self.set(out, Layout::Plain, made);
        Ok(true)
    }

    pub fn pool(&mut self, index: usize, op: Pool, window: Window, is_ceil: bool) -> Result<bool, EngineError> {
        let (Some(x), Some(out)) = (self.input(index, 0), self.output(index)) else { return Ok(false) };
        let shape = self.shape(x)?;
        let pool = PoolShape { window, channels: shape[1], op, is_ceil };
        let len = self.shape(out)?.iter().product();
        let images = images(&shape);
        if op == Pool::Max && self.grid(x).is_some() {
            let Some((source, grid)) = self.codes(x, Layout::Last)? else { return Ok(false) };
            let info = self.info(index, &[], "pool bytes");
            let kind = Kind::Pool { shape: pool, images, elem: grid.elem };
            let made = self.emit(info, kind, vec![source], len, grid.elem);
            self.set_record(out, Record { codes: Some((Forms::at(Layout::Last, made), grid)), ..Record::default() });
            return Ok(true);
        }
        let source = self.source(x, Layout::Last)?;
        let info = self.info(index, &[], "pool");
        let kind = Kind::Pool { shape: pool, images, elem: Elem::F32 };
        let made = self.emit(info, kind, vec![source], len, Elem::F32);
        self.set(out, Layout::Last, made);
        Ok(true)
    }

    pub fn reduce(&mut self, index: usize, op: Reduction, axes: &[usize]) -> Result<bool, EngineError> {
        let (Some(x), Some(out)) = (self.input(index, 0), self.output(index)) else { return Ok(false) };
        let shape = self.shape(x)?;
        let is_spatial = shape.len() >= 3 && axes.iter().copied().eq(2..shape.len());
        let is_contiguous = axes.windows(2).all(|pair| pair[1] == pair[0] + 1);
        let (Some(&first), Some(&last)) = (axes.first(), axes.last()) else { return Ok(false) };
        let (layout, size) = if is_spatial && self.layout(x) == Layout::Last {
            (Layout::Last, [shape[0], shape[2..].iter().product(), shape[1]])
        } else if is_contiguous {
            let product = |part: &[usize]| part.iter().product();
            (Layout::Plain, [product(&shape[..first]), product(&shape[first..=last]), product(&shape[last + 1..])])
        } else {
            return Ok(false);
        };
        let source = self.source(x, layout)?;
        if op == Reduction::Sum && size[0] == 1 && size[2] > 1 && self.network.is_f32(x) {
            let made = self.compute(self.info(index, &[], "column sums"), Columns, vec![source], size[2]);
            self.set(out, Layout::Plain, made);
            return Ok(true);
        }
        let info = self.info(index, &[], "reduce");
        let made = self.emit(info, Kind::Reduce { op, shape: size }, vec![source], size[0] * size[2], Elem::F32);
        self.set(out, Layout::Plain, made);
        Ok(true)
    }
}
