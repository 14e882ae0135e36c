//! Tensors of one element type in another: what `Cast` and `CastLike` do.

use half::{bf16, f16};
use lissom_graph::OpError;
use lissom_tensor::{DType, Storage, Tensor};

use crate::small_float::{PowerRounding, decode, encode, encode_e8m0};

/// What happens to values the other type does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conversion {
    /// 8-bit floats: too large becomes the largest value instead of infinity or NaN.
    pub(crate) saturate: bool,
    /// `F8E8M0`: which power of two.
    pub(crate) rounding: PowerRounding,
}

impl Default for Conversion {
    fn default() -> Self {
        Self { saturate: true, rounding: PowerRounding::Up }
    }
}

/// Values on the way from one type to another; each type has one of these that holds it exactly.
enum Values {
    Ints(Vec<i64>),
    Uints(Vec<u64>),
    Floats(Vec<f64>),
    Strings(Vec<String>),
}

/// `x` as `to`.
///
/// # Errors
/// [`OpError::UnsupportedType`] for complex numbers and containers, [`OpError::BadValue`] for a string that is no
/// number.
pub(crate) fn convert(x: &Tensor, to: DType, conversion: Conversion) -> Result<Tensor, OpError> {
    if x.dtype() == to {
        return Ok(x.clone());
    }
    let storage = match (read(x)?, to) {
        (Values::Strings(values), DType::Str) => Storage::Str(values),
        (Values::Strings(values), _) if to.is_int() => write_ints(&parse_all::<i64>(&values)?, to)?,
        (Values::Strings(values), _) => write_floats(&parse_all::<f64>(&values)?, to, conversion)?,
        (Values::Ints(values), DType::Str) if x.dtype() == DType::Bool => {
            Storage::Str(values.iter().map(|&x| if x == 0 { "False" } else { "True" }.to_owned()).collect())
        }
        (Values::Ints(values), DType::Str) => Storage::Str(values.iter().map(ToString::to_string).collect()),
        (Values::Uints(values), DType::Str) => Storage::Str(values.iter().map(ToString::to_string).collect()),
        (Values::Floats(values), DType::Str) => {
            Storage::Str(values.iter().map(|&value| float_text(value, x.dtype())).collect())
        }
        (Values::Ints(values), DType::F32) => Storage::F32(values.iter().map(|&x| x as f32).collect()),
        (Values::Uints(values), DType::F32) => Storage::F32(values.iter().map(|&x| x as f32).collect()),
        (Values::Ints(values), _) if is_whole(to) => write_ints(&values, to)?,
        (Values::Uints(values), DType::U64) => Storage::U64(values),
        (Values::Uints(values), _) if is_whole(to) => {
            write_ints(&values.iter().map(|&x| x as i64).collect::<Vec<_>>(), to)?
        }
        (Values::Ints(values), _) => {
            write_floats(&values.iter().map(|&x| x as f64).collect::<Vec<_>>(), to, conversion)?
        }
        (Values::Uints(values), _) => {
            write_floats(&values.iter().map(|&x| x as f64).collect::<Vec<_>>(), to, conversion)?
        }
        (Values::Floats(values), _) => write_floats(&values, to, conversion)?,
    };
    Ok(Tensor::from_storage(x.shape().to_vec(), storage)?)
}

fn is_whole(dtype: DType) -> bool {
    dtype.is_int() || dtype == DType::Bool
}

fn read(x: &Tensor) -> Result<Values, OpError> {
    Ok(match x.storage() {
        Storage::SmallFloat(dtype, codes) => {
            Values::Floats(codes.iter().map(|&code| f64::from(decode(*dtype, code))).collect())
        }
        Storage::Str(values) => Values::Strings(values.clone()),
        Storage::U64(values) => Values::Uints(values.clone()),
        Storage::C64(_) | Storage::C128(_) | Storage::Container(..) => {
            return Err(OpError::UnsupportedType { index: 0, actual: x.dtype() });
        }
        _ if x.dtype().is_float() => Values::Floats(x.to_f64_vec()?),
        _ => Values::Ints(x.to_i64_vec()?),
    })
}

/// Integers into any integer type or bool; they wrap around.
fn write_ints(values: &[i64], to: DType) -> Result<Storage, OpError> {
    Ok(match to {
        DType::I8 => Storage::I8(values.iter().map(|&x| x as i8).collect()),
        DType::I16 => Storage::I16(values.iter().map(|&x| x as i16).collect()),
        DType::I32 => Storage::I32(values.iter().map(|&x| x as i32).collect()),
        DType::I64 => Storage::I64(values.to_vec()),
        DType::U8 => Storage::U8(values.iter().map(|&x| x as u8).collect()),
        DType::U16 => Storage::U16(values.iter().map(|&x| x as u16).collect()),
        DType::U32 => Storage::U32(values.iter().map(|&x| x as u32).collect()),
        DType::U64 => Storage::U64(values.iter().map(|&x| x as u64).collect()),
        DType::Bool => Storage::Bool(values.iter().map(|&x| x != 0).collect()),
        DType::I4 | DType::I2 => {
            let unused = 8 - to.bits() as u32;
            // Shifting up and back copies the sign bit of the narrow type into the bits above it.
            Storage::SmallInt(to, values.iter().map(|&x| ((x as i8) << unused) >> unused).collect())
        }
        DType::U4 | DType::U2 => {
            let mask = (1u8 << to.bits()) - 1;
            Storage::SmallUint(to, values.iter().map(|&x| x as u8 & mask).collect())
        }
        actual => return Err(OpError::UnsupportedType { index: 0, actual }),
    })
}

/// Floats into any numeric type.
fn write_floats(values: &[f64], to: DType, conversion: Conversion) -> Result<Storage, OpError> {
    Ok(match to {
        DType::F32 => Storage::F32(values.iter().map(|&x| x as f32).collect()),
        DType::F64 => Storage::F64(values.to_vec()),
        DType::F16 => Storage::F16(values.iter().map(|&x| f16::from_f64(x)).collect()),
        DType::BF16 => Storage::BF16(values.iter().map(|&x| bf16::from_f64(x)).collect()),
        DType::F8E8M0 => {
            let code = |&x: &f64| encode_e8m0(x as f32, conversion.rounding, conversion.saturate);
            Storage::SmallFloat(to, values.iter().map(code).collect())
        }
        DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ | DType::F4E2M1 => {
            Storage::SmallFloat(to, values.iter().map(|&x| encode(to, x as f32, conversion.saturate)).collect())
        }
        DType::Bool => Storage::Bool(values.iter().map(|&x| x != 0.0).collect()),
        DType::U64 => Storage::U64(values.iter().map(|&x| x as u64).collect()),
        _ => write_ints(&values.iter().map(|&x| x as i64).collect::<Vec<_>>(), to)?,
    })
}

fn parse_all<T: std::str::FromStr>(values: &[String]) -> Result<Vec<T>, OpError> {
    let parse = |text: &String| {
        text.trim()
            .parse::<T>()
            .map_err(|_| OpError::value(format!("the string {text:?} is not a number of this type")))
    };
    values.iter().map(parse).collect()
}

/// The shortest text that reads back as the same value of its type.
fn float_text(value: f64, dtype: DType) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "INF" } else { "-INF" }.to_owned();
    }
    let text = if dtype == DType::F64 { value.to_string() } else { (value as f32).to_string() };
    if text.contains('.') { text } else { format!("{text}.0") }
}
