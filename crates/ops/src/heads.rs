//! Tensors as heads of attention, and the attention of one set of heads to another.

use lissom_graph::OpError;
use lissom_tensor::{DType, Tensor, checked_len};

use crate::numeric::{floats, from_f64};
use crate::recurrent::dot;

/// Values `[batch, heads, seq, size]`.
#[derive(Debug, Clone)]
pub(crate) struct Heads {
    pub batch: usize,
    pub heads: usize,
    pub seq: usize,
    pub size: usize,
    pub values: Vec<f64>,
}

impl Heads {
    /// Input `index`: four axes as they are, or `[batch, seq, heads · size]`.
    ///
    /// # Errors
    /// [`OpError::BadShape`], [`OpError::UnsupportedType`].
    pub fn of(index: usize, x: &Tensor, n_heads: Option<usize>) -> Result<Self, OpError> {
        let values = floats(index, x)?;
        match (x.shape(), n_heads) {
            (&[batch, heads, seq, size], _) => Ok(Self { batch, heads, seq, size, values }),
            (&[batch, seq, hidden], Some(heads)) if heads > 0 && hidden % heads == 0 => {
                let packed = Self { batch, heads: seq, seq: heads, size: hidden / heads, values };
                Ok(packed.exchanged())
            }
            _ => Err(OpError::shape(
                index,
                x.shape(),
                format!("expected 4 axes, or 3 with a number of heads, {n_heads:?}"),
            )),
        }
    }

    pub fn shape(&self) -> Vec<usize> {
        vec![self.batch, self.heads, self.seq, self.size]
    }

    /// Heads and sequence exchanged.
    fn exchanged(self) -> Self {
        let Self { batch, heads, seq, size, values } = self;
        let mut out = Vec::with_capacity(values.len());
        if !values.is_empty() {
            for item in 0..batch {
                for time in 0..seq {
                    for head in 0..heads {
                        out.extend_from_slice(&values[((item * heads + head) * seq + time) * size..][..size]);
                    }
                }
            }
        }
        Self { batch, heads: seq, seq: heads, size, values: out }
    }

    /// As a tensor `[batch, seq, heads · size]`.
    ///
    /// # Errors
    /// [`OpError::UnsupportedType`].
    pub fn packed(self, dtype: DType) -> Result<Tensor, OpError> {
        let shape = vec![self.batch, self.seq, self.heads * self.size];
        from_f64(dtype, shape, self.exchanged().values)
    }

    /// The elements of one head.
    pub fn head(&self, item: usize, head: usize) -> &[f64] {
        &self.values[(item * self.heads + head) * self.seq * self.size..][..self.seq * self.size]
    }
}

/// `past` and then `new` along the sequence.
///
/// # Errors
/// [`OpError::BadShape`] if they do not fit.
pub(crate) fn concat_past(index: usize, past: Option<&Tensor>, new: Heads) -> Result<Heads, OpError> {
    let Some(past) = past else { return Ok(new) };
    let old = Heads::of(index, past, None)?;
    if (old.batch, old.heads, old.size) != (new.batch, new.heads, new.size) {
        return Err(OpError::shape(index, past.shape(), format!("does not fit {:?}", new.shape())));
    }
    let seq = old.seq + new.seq;
    let mut values = Vec::with_capacity(old.values.len() + new.values.len());
    if seq * new.size > 0 {
        for item in 0..new.batch {
            for head in 0..new.heads {
                values.extend_from_slice(old.head(item, head));
                values.extend_from_slice(new.head(item, head));
            }
        }
    }
    Ok(Heads { seq, values, ..new })
}

/// For each query, in order, its products with all keys of its group's head become weights by `weigh`, which also gets
/// the position of the query; the result is the weighted sum of the values.
///
/// # Errors
/// [`OpError::BadShape`] if the shapes do not fit.
pub(crate) fn attend(
    q: &Heads,
    k: &Heads,
    v: &Heads,
    mut weigh: impl FnMut(usize, &mut [f64]),
) -> Result<Heads, OpError> {
    let fits = k.batch == q.batch && v.batch == q.batch && k.size == q.size && k.seq == v.seq && k.heads == v.heads;
    if !fits || k.heads == 0 || !q.heads.is_multiple_of(k.heads) {
        let reason = format!("keys {:?} and values {:?} do not fit the queries", k.shape(), v.shape());
        return Err(OpError::shape(0, &q.shape(), reason));
    }
    let group = q.heads / k.heads;
    let shape = [q.batch, q.heads, q.seq, v.size];
    let mut out = vec![0.0; checked_len(DType::F64, &shape)?];
    let mut scores = vec![0.0; k.seq];
    let n_rows = checked_len(DType::F64, &shape[..3])?;
    for row in 0..n_rows {
        let (item, head, time) = (row / q.seq / q.heads, row / q.seq % q.heads, row % q.seq);
        let (keys, values) = (k.head(item, head / group), v.head(item, head / group));
        let query = &q.head(item, head)[time * q.size..][..q.size];
        for (key, score) in scores.iter_mut().enumerate() {
            *score = dot(query, &keys[key * q.size..][..q.size]);
        }
        weigh(row, &mut scores);
        let out = &mut out[row * v.size..][..v.size];
        for (key, &score) in scores.iter().enumerate() {
            // A key of no weight must not spread NaN.
            if score != 0.0 {
                let value = &values[key * v.size..][..v.size];
                out.iter_mut().zip(value).for_each(|(out, value)| *out += score * value);
            }
        }
    }
    Ok(Heads { batch: q.batch, heads: q.heads, seq: q.seq, size: v.size, values: out })
}
