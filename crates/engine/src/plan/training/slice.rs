//! `SliceGrad`: what was cut out goes back to its place, with zeros around it.

use super::Lowering;
use crate::EngineError;
use crate::plan::lower::{Builder, Layout, in_memory};
use crate::plan::step::{Elem, Kind, Strides};
use crate::plan::work::Op;

pub(super) const GRADIENT: Lowering = Lowering { domain: "com.microsoft", op_type: "SliceGrad", lower };

fn lower(builder: &mut Builder<'_, '_>, index: usize) -> Result<bool, EngineError> {
    let (Some(dy), Some(dx)) = (builder.input(index, 0), builder.output(index)) else { return Ok(false) };
    let (from, to) = (builder.shape(dy)?, builder.shape(dx)?);
    let Some(Op::Slice { starts, steps }) = builder.form(index).slice_of(&to, 2) else { return Ok(false) };
    let last = |at: usize| starts[at] + (from[at] - 1) * steps[at];
    let is_fit = builder.network.is_f32(dy) && from.len() == to.len() && (0..to.len()).all(|at| last(at) < to[at]);
    if !is_fit {
        return Ok(false);
    }
    let layout = if to.len() >= 3 { builder.layout(dy) } else { Layout::Plain };
    // Axes are exchanged as those of the values are.
    let [sizes, memory, starts, steps] = [&from, &to, &starts, &steps].map(|of| in_memory(of, layout));
    let own = lissom_tensor::strides(&memory);
    let part = Strides {
        from: lissom_tensor::strides(&sizes),
        to: own.iter().zip(&steps).map(|(stride, step)| stride * step).collect(),
        from_start: 0,
        to_start: own.iter().zip(&starts).map(|(stride, start)| stride * start).sum(),
        sizes,
    };
    let source = builder.source(dy, layout)?;
    let kind = Kind::Move { fill: Some(0.0), parts: vec![part], elem: Elem::F32 };
    let made = builder.emit(builder.info(index, &[], "copy"), kind, vec![source], to.iter().product(), Elem::F32);
    builder.set(dx, layout, made);
    Ok(true)
}
