//! Maps over elements: one function a type, with NumPy-style broadcasting for two inputs.

use half::{bf16, f16};
use lissom_graph::{Dim, Fact, Facts, Inputs, OpError};
use lissom_tensor::{DType, Element, Storage, Strided, Tensor, broadcast_shapes, flat_indices};

/// The function of a floating point operator. 16-bit floats are computed in f32 and rounded once.
///
/// # Errors
/// [`OpError::UnsupportedType`] for integers and the rest.
pub(crate) fn map_float(x: &Tensor, f: impl Fn(f32) -> f32, g: impl Fn(f64) -> f64) -> Result<Tensor, OpError> {
    let storage = match x.storage() {
        Storage::F32(v) => Storage::F32(v.iter().map(|&x| f(x)).collect()),
        Storage::F64(v) => Storage::F64(v.iter().map(|&x| g(x)).collect()),
        Storage::F16(v) => Storage::F16(v.iter().map(|x| f16::from_f32(f(x.to_f32()))).collect()),
        Storage::BF16(v) => Storage::BF16(v.iter().map(|x| bf16::from_f32(f(x.to_f32()))).collect()),
        _ => return Err(OpError::UnsupportedType { index: 0, actual: x.dtype() }),
    };
    Ok(Tensor::from_storage(x.shape().to_vec(), storage)?)
}

/// Joins two tensors of type `T` element by element, broadcasting.
///
/// # Errors
/// [`OpError::Broadcast`], [`OpError::Tensor`] if a type differs from `T`.
pub(crate) fn zip<T: Element, U: Element>(a: &Tensor, b: &Tensor, f: impl Fn(&T, &T) -> U) -> Result<Tensor, OpError> {
    let (x, y) = (a.as_slice::<T>()?, b.as_slice::<T>()?);
    let (shape, mut pairs) = Pairs::new(a, b, U::DTYPE)?;
    let mut values = Vec::with_capacity(pairs.left);
    let mut batch = Vec::new();
    while pairs.next_batch(&mut batch) {
        values.extend(batch.iter().map(|&(i, j)| f(&x[i], &y[j])));
    }
    Ok(Tensor::new(shape, values)?)
}

/// Which elements of two tensors meet, in batches: what of [`zip`] depends on no type.
struct Pairs {
    /// None where the shapes are the same.
    broadcast: Option<(Strided, Strided)>,
    done: usize,
    left: usize,
}

impl Pairs {
    /// The shape of the result, too.
    fn new(a: &Tensor, b: &Tensor, result: DType) -> Result<(Vec<usize>, Self), OpError> {
        if a.shape() == b.shape() {
            return Ok((a.shape().to_vec(), Self { broadcast: None, done: 0, left: a.len() }));
        }
        let shape = broadcast_shapes(a.shape(), b.shape())?;
        let left = lissom_tensor::checked_len(result, &shape)?;
        let broadcast = Some((flat_indices(a.shape(), &shape), flat_indices(b.shape(), &shape)));
        Ok((shape, Self { broadcast, done: 0, left }))
    }

    /// Replaces `batch` by the next pairs; false at the end.
    fn next_batch(&mut self, batch: &mut Vec<(usize, usize)>) -> bool {
        let n = self.left.min(256);
        batch.clear();
        match &mut self.broadcast {
            Some((i, j)) => batch.extend(i.zip(j).take(n)),
            None => batch.extend((self.done..self.done + n).map(|i| (i, i))),
        }
        self.done += n;
        self.left -= n;
        n > 0
    }
}

/// Two inputs of one numeric type: `$f` for each type, integers with the `$int` expression.
macro_rules! zip_numeric {
    ($a:expr, $b:expr, float = |$x:ident, $y:ident| $float:expr, int = |$i:ident, $j:ident| $int:expr) => {{
        use lissom_tensor::DType;
        let (a, b): (&lissom_tensor::Tensor, &lissom_tensor::Tensor) = ($a, $b);
        match a.dtype() {
            DType::F32 => $crate::elementwise::zip::<f32, f32>(a, b, |&$x, &$y| $float),
            DType::F64 => $crate::elementwise::zip::<f64, f64>(a, b, |&$x, &$y| $float),
            DType::F16 => $crate::elementwise::zip::<half::f16, half::f16>(a, b, |x, y| {
                let ($x, $y) = (x.to_f32(), y.to_f32());
                half::f16::from_f32($float)
            }),
            DType::BF16 => $crate::elementwise::zip::<half::bf16, half::bf16>(a, b, |x, y| {
                let ($x, $y) = (x.to_f32(), y.to_f32());
                half::bf16::from_f32($float)
            }),
            DType::I8 => $crate::elementwise::zip::<i8, i8>(a, b, |&$i, &$j| $int),
            DType::I16 => $crate::elementwise::zip::<i16, i16>(a, b, |&$i, &$j| $int),
            DType::I32 => $crate::elementwise::zip::<i32, i32>(a, b, |&$i, &$j| $int),
            DType::I64 => $crate::elementwise::zip::<i64, i64>(a, b, |&$i, &$j| $int),
            DType::U8 => $crate::elementwise::zip::<u8, u8>(a, b, |&$i, &$j| $int),
            DType::U16 => $crate::elementwise::zip::<u16, u16>(a, b, |&$i, &$j| $int),
            DType::U32 => $crate::elementwise::zip::<u32, u32>(a, b, |&$i, &$j| $int),
            DType::U64 => $crate::elementwise::zip::<u64, u64>(a, b, |&$i, &$j| $int),
            actual => Err(lissom_graph::OpError::UnsupportedType { index: 0, actual }),
        }
    }};
}

pub(crate) use zip_numeric;

/// Same type and shape as input 0.
pub(crate) fn infer_same(inputs: &Facts<'_>) -> Fact {
    let input = inputs.get(0);
    Fact::maybe(input.dtype, input.shape.clone())
}

/// The shape all inputs broadcast to, with the type of the first whose type is known.
///
/// # Errors
/// [`OpError::BadValue`] if two known lengths never fit.
pub(crate) fn infer_broadcast(inputs: &Facts<'_>) -> Result<Fact, OpError> {
    let dtype = (0..inputs.len()).find_map(|index| inputs.dtype(index));
    Ok(Fact::maybe(dtype, broadcast_dims(inputs)?))
}

/// Like [`infer_broadcast`], with a given type.
///
/// # Errors
/// As [`infer_broadcast`].
pub(crate) fn infer_broadcast_as(inputs: &Facts<'_>, dtype: DType) -> Result<Fact, OpError> {
    Ok(Fact::new(dtype, Vec::new())).and_then(|fact| Ok(Fact { shape: broadcast_dims(inputs)?, ..fact }))
}

fn broadcast_dims(inputs: &Facts<'_>) -> Result<Option<Vec<Dim>>, OpError> {
    let mut joined: Vec<Dim> = Vec::new();
    for index in 0..inputs.len() {
        let Some(shape) = inputs.shape(index) else { return Ok(None) };
        let rank = joined.len().max(shape.len());
        let padded = |dims: &[Dim]| [vec![Dim::Known(1); rank - dims.len()], dims.to_vec()].concat();
        joined = padded(&joined)
            .iter()
            .zip(&padded(shape))
            .map(|(a, b)| {
                a.broadcast(b).ok_or_else(|| OpError::value(format!("axes of length {a} and {b} do not broadcast")))
            })
            .collect::<Result<_, _>>()?;
    }
    Ok(Some(joined))
}

/// Both inputs, of one type.
///
/// # Errors
/// [`OpError::MissingInput`], [`OpError::TypeMismatch`].
pub(crate) fn two<'a>(inputs: &Inputs<'a>) -> Result<(&'a Tensor, &'a Tensor), OpError> {
    let (a, b) = (inputs.required(0)?, inputs.required(1)?);
    if a.dtype() != b.dtype() {
        return Err(OpError::TypeMismatch { index: 1, expected: a.dtype(), actual: b.dtype() });
    }
    Ok((a, b))
}
