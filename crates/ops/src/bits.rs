//! The bits of elements, and operators on them.

use half::{bf16, f16};
use lissom_graph::OpError;
use lissom_tensor::{DType, Storage, Tensor};

/// The bit pattern of each element, in the lowest bits.
///
/// # Errors
/// [`OpError::UnsupportedType`] for strings, complex numbers and containers.
pub(crate) fn patterns(index: usize, x: &Tensor) -> Result<Vec<u64>, OpError> {
    Ok(match x.storage() {
        Storage::F32(v) => v.iter().map(|x| x.to_bits().into()).collect(),
        Storage::F64(v) => v.iter().map(|x| x.to_bits()).collect(),
        Storage::F16(v) => v.iter().map(|x| x.to_bits().into()).collect(),
        Storage::BF16(v) => v.iter().map(|x| x.to_bits().into()).collect(),
        Storage::SmallFloat(_, v) => v.iter().map(|&code| code.into()).collect(),
        Storage::Str(_) | Storage::C64(_) | Storage::C128(_) | Storage::Container(..) => {
            return Err(OpError::UnsupportedType { index, actual: x.dtype() });
        }
        _ => {
            let mask = u64::MAX >> (64 - x.dtype().bits());
            x.to_i64_vec()?.into_iter().map(|x| x as u64 & mask).collect()
        }
    })
}

/// A tensor of `dtype` with these bit patterns.
///
/// # Errors
/// As [`patterns`].
pub(crate) fn from_patterns(dtype: DType, shape: &[usize], patterns: Vec<u64>) -> Result<Tensor, OpError> {
    let storage = match dtype {
        DType::F32 => Storage::F32(patterns.into_iter().map(|x| f32::from_bits(x as u32)).collect()),
        DType::F64 => Storage::F64(patterns.into_iter().map(f64::from_bits).collect()),
        DType::F16 => Storage::F16(patterns.into_iter().map(|x| f16::from_bits(x as u16)).collect()),
        DType::BF16 => Storage::BF16(patterns.into_iter().map(|x| bf16::from_bits(x as u16)).collect()),
        DType::I4 | DType::I2 => {
            let unused = 8 - dtype.bits() as u32;
            // Shifting up and back copies the sign bit into the bits above it.
            Storage::SmallInt(dtype, patterns.into_iter().map(|x| ((x as i8) << unused) >> unused).collect())
        }
        _ if dtype.is_float() => Storage::SmallFloat(dtype, patterns.into_iter().map(|x| x as u8).collect()),
        _ => return crate::numeric::from_i64(dtype, shape.to_vec(), patterns.into_iter().map(|x| x as i64).collect()),
    };
    Ok(Tensor::from_storage(shape.to_vec(), storage)?)
}

/// Implements [`Op`](lissom_graph::Op) for a type: two inputs of one integer type, broadcast, joined by an expression.
macro_rules! bitwise_binary {
    ($op:ty, |$self:ident, $x:ident, $y:ident| $joined:expr) => {
        impl lissom_graph::Op for $op {
            fn as_any(&self) -> &dyn std::any::Any {
                self
            }

            fn infer(&self, inputs: &lissom_graph::Facts<'_>) -> Result<Vec<lissom_graph::Fact>, lissom_graph::OpError> {
                Ok(vec![$crate::elementwise::infer_broadcast(inputs)?])
            }

            fn evaluate(
                &$self,
                inputs: &lissom_graph::Inputs<'_>,
            ) -> Result<Vec<lissom_tensor::Tensor>, lissom_graph::OpError> {
                use lissom_tensor::DType;
                let (a, b) = $crate::elementwise::two(inputs)?;
                macro_rules! join {
                    ($rust:ty) => {
                        $crate::elementwise::zip::<$rust, $rust>(a, b, |&$x, &$y| $joined)
                    };
                }
                Ok(vec![match a.dtype() {
                    DType::I8 => join!(i8),
                    DType::I16 => join!(i16),
                    DType::I32 => join!(i32),
                    DType::I64 => join!(i64),
                    DType::U8 => join!(u8),
                    DType::U16 => join!(u16),
                    DType::U32 => join!(u32),
                    DType::U64 => join!(u64),
                    actual => Err(lissom_graph::OpError::UnsupportedType { index: 0, actual }),
                }?])
            }
        }
    };
}

pub(crate) use bitwise_binary;

/// Cases of an operator on two integers.
pub(crate) fn samples() -> Vec<lissom_graph::Sample> {
    use lissom_graph::Sample;
    let bytes = |values: [u8; 3]| Tensor::vector(values.to_vec());
    vec![
        Sample::new([bytes([1, 2, 255]), bytes([3, 1, 9])]),
        Sample::new([Tensor::vector(vec![-7i64, 12]), Tensor::scalar(5i64)]),
    ]
}
