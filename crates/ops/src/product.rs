//! The plain matrix product behind `MatMul`, `Gemm` and their integer and quantized forms.

use lissom_graph::{Dim, OpError};
use lissom_tensor::{DType, broadcast_shapes, checked_len, flat_indices};

/// `[…, m, k] · […, k, n]` with the leading axes broadcast.
#[derive(Debug, Clone)]
pub(crate) struct Product {
    /// Shape of the result, vectors' axes dropped.
    pub out_shape: Vec<usize>,
    /// Leading axes of the left, the right and the result.
    batches: [Vec<usize>; 3],
    pub m: usize,
    pub k: usize,
    pub n: usize,
}

impl Product {
    /// The product of tensors of these shapes.
    ///
    /// # Errors
    /// [`OpError::BadShape`] for scalars and lengths that do not fit; [`OpError::Broadcast`]; a result that is too large.
    pub fn of(a: &[usize], b: &[usize]) -> Result<Self, OpError> {
        let ([a_batch @ .., a_tail], [..]) = (a, b) else {
            return Err(OpError::shape(0, a, "a product needs at least one axis"));
        };
        let (a_batch, m) = match a_batch {
            [batch @ .., m] => (batch, Some(*m)),
            [] => (a_batch, None),
        };
        let (b_batch, b_k, n) = match b {
            [batch @ .., k, n] => (batch, *k, Some(*n)),
            [k] => (&[][..], *k, None),
            [] => return Err(OpError::shape(1, b, "a product needs at least one axis")),
        };
        if *a_tail != b_k {
            return Err(OpError::shape(1, b, format!("expected {a_tail} rows, as the left has columns")));
        }
        let batch = broadcast_shapes(a_batch, b_batch)?;
        let out_shape: Vec<usize> = batch.iter().copied().chain(m).chain(n).collect();
        checked_len(DType::F64, &out_shape)?;
        let batches = [a_batch.to_vec(), b_batch.to_vec(), batch];
        Ok(Self { out_shape, batches, m: m.unwrap_or(1), k: b_k, n: n.unwrap_or(1) })
    }

    /// The product in f64.
    pub fn run_f64(&self, a: &[f64], b: &[f64]) -> Vec<f64> {
        self.run(a, b, 0.0, |sum, x, y| sum + x * y)
    }

    /// The product modulo 2⁶⁴.
    pub fn run_i64(&self, a: &[i64], b: &[i64]) -> Vec<i64> {
        self.run(a, b, 0, |sum, x, y| sum.wrapping_add(x.wrapping_mul(y)))
    }

    fn run<T: Copy>(&self, a: &[T], b: &[T], zero: T, mul_add: impl Fn(T, T, T) -> T) -> Vec<T> {
        if self.out_shape.contains(&0) {
            return Vec::new();
        }
        let Self { m, k, n, .. } = *self;
        let [a_batch, b_batch, batch] = &self.batches;
        let mut out = vec![zero; batch.iter().product::<usize>() * m * n];
        let blocks = flat_indices(a_batch, batch).zip(flat_indices(b_batch, batch));
        for (block, (a_block, b_block)) in out.chunks_exact_mut(m * n).zip(blocks) {
            let (a, b) = (&a[a_block * m * k..][..m * k], &b[b_block * k * n..][..k * n]);
            for (row, out_row) in block.chunks_exact_mut(n).enumerate() {
                for i in 0..k {
                    let x = a[row * k + i];
                    for (out, &y) in out_row.iter_mut().zip(&b[i * n..][..n]) {
                        *out = mul_add(*out, x, y);
                    }
                }
            }
        }
        out
    }
}

/// Lengths of the product of values with these lengths.
///
/// # Errors
/// [`OpError::BadValue`] if known lengths never fit.
pub(crate) fn product_dims(a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, OpError> {
    let (Some(a_k), false) = (a.last(), b.is_empty()) else {
        return Err(OpError::value("a product needs at least one axis on each side"));
    };
    let b_k = &b[b.len().saturating_sub(2)];
    if let (Some(x), Some(y)) = (a_k.known(), b_k.known())
        && x != y
    {
        return Err(OpError::value(format!("{x} columns on the left, {y} rows on the right")));
    }
    let (a_batch, b_batch) = (&a[..a.len().saturating_sub(2)], &b[..b.len().saturating_sub(2)]);
    let rank = a_batch.len().max(b_batch.len());
    let one = Dim::Known(1);
    let dim = |batch: &[Dim], axis: usize| {
        (axis + batch.len()).checked_sub(rank).map_or(one.clone(), |own| batch[own].clone())
    };
    let mut dims = Vec::with_capacity(rank + 2);
    for axis in 0..rank {
        let (x, y) = (dim(a_batch, axis), dim(b_batch, axis));
        let joined = x.broadcast(&y);
        dims.push(joined.ok_or_else(|| OpError::value(format!("axes of length {x} and {y} do not broadcast")))?);
    }
    dims.extend(a.len().checked_sub(2).map(|row| a[row].clone()));
    dims.extend(b.len().checked_sub(2).map(|_| b[b.len() - 1].clone()));
    Ok(dims)
}
