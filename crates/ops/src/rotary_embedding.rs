//! `RotaryEmbedding`: turns pairs of elements by angles that depend on the position.
//!
//! <https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::Tensor;

use crate::elementwise::infer_same;
use crate::numeric::{expect_shape, floats, from_f64};
use crate::sample_data::{filled, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "RotaryEmbedding",
    domain: "",
    since: 23,
    read: |node| {
        let length = |name| -> Result<usize, OpError> {
            let value = node.int_or(name, 0)?;
            usize::try_from(value).map_err(|_| OpError::attribute(name, format!("{value} is negative")))
        };
        Ok(Arc::new(RotaryEmbedding {
            interleaved: node.flag_or("interleaved", false)?,
            rotary_dim: length("rotary_embedding_dim")?,
            n_heads: length("num_heads")?,
        }))
    },
    samples: || {
        let ids = || filled(&[2, 3], vec![0i64, 1, 2, 3, 1, 0]);
        vec![
            Sample::new([ramp(&[2, 2, 3, 4]), ramp(&[4, 2]), ramp(&[4, 2]), ids()]),
            Sample::new([ramp(&[2, 3, 8]), ramp(&[2, 3, 1]), ramp(&[2, 3, 1])])
                .with("num_heads", 2i64)
                .with("rotary_embedding_dim", 2i64)
                .with("interleaved", 1i64),
        ]
    },
};

/// `RotaryEmbedding`: x `[n, heads, seq, size]` or `[n, seq, heads · size]`, cosines, sines, and positions `[n, seq]`
/// into them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotaryEmbedding {
    /// Pairs are neighbours, instead of elements half the length apart.
    pub interleaved: bool,
    /// Elements of each head that are turned; 0 for all.
    pub rotary_dim: usize,
    /// Number of heads, for inputs of three axes.
    pub n_heads: usize,
}

impl Op for RotaryEmbedding {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![infer_same(inputs)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (x, cos, sin) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let (batch, seq, heads, size) = match *x.shape() {
            [batch, heads, seq, size] => (batch, seq, heads, size),
            [batch, seq, hidden] if self.n_heads > 0 && hidden % self.n_heads == 0 => {
                (batch, seq, self.n_heads, hidden / self.n_heads)
            }
            _ => return Err(OpError::shape(0, x.shape(), "expected 4 axes, or 3 with `num_heads`")),
        };
        let rotary = if self.rotary_dim == 0 { size } else { self.rotary_dim };
        if rotary > size || rotary % 2 != 0 {
            return Err(OpError::shape(0, x.shape(), format!("{rotary} elements of heads of {size} cannot be turned")));
        }
        let half = rotary / 2;
        let rows = self.rows(inputs, batch, seq, half)?;
        expect_shape(2, sin, cos.shape())?;
        let (mut values, cos, sin) = (floats(0, x)?, floats(1, cos)?, floats(2, sin)?);
        if values.is_empty() {
            return Ok(vec![x.clone()]);
        }
        for (i, head) in values.chunks_exact_mut(size).enumerate() {
            // Rows are (batch, head, seq) with four axes and (batch, seq, head) with three.
            let (item, time) =
                if x.rank() == 4 { (i / seq / heads, i % seq) } else { (i / heads / seq, i / heads % seq) };
            let row = rows[item * seq + time] * half;
            for pair in 0..half {
                let (a, b) = if self.interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
                let (c, s, x, y) = (cos[row + pair], sin[row + pair], head[a], head[b]);
                head[a] = c * x - s * y;
                head[b] = s * x + c * y;
            }
        }
        Ok(vec![from_f64(x.dtype(), x.shape().to_vec(), values)?])
    }
}

impl RotaryEmbedding {
    /// The row of the tables for each position of each sequence.
    fn rows(&self, inputs: &Inputs<'_>, batch: usize, seq: usize, half: usize) -> Result<Vec<usize>, OpError> {
        let cos = inputs.required(1)?;
        let Some(ids) = inputs.optional(3) else {
            expect_shape(1, cos, &[batch, seq, half])?;
            return Ok((0..cos.len().checked_div(half).unwrap_or(0)).collect());
        };
        let &[n_rows, columns] = cos.shape() else {
            return Err(OpError::shape(1, cos.shape(), "expected 2 axes"));
        };
        if columns != half {
            return Err(OpError::shape(1, cos.shape(), format!("expected {half} columns")));
        }
        expect_shape(3, ids, &[batch, seq])?;
        let row = |id: i64| usize::try_from(id).ok().filter(|&row| row < n_rows);
        let ids = ids.to_i64_vec()?.into_iter();
        ids.map(|id| row(id).ok_or_else(|| OpError::value(format!("position {id} of {n_rows}")))).collect()
    }
}
