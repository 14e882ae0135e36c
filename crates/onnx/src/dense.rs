//! `TensorProto` to tensors and back.
//!
//! ONNX holds elements either as little-endian `raw_data` or in the typed field of their type; types without a field of
//! their own go into `int32_data` as numbers (small integers, bool) or bit patterns (short floats). Types below one
//! byte are packed, the first element in the low bits, the last byte padded.

use bytes::Bytes;
use lissom_tensor::{DType, Storage, Tensor, TensorError, bf16, checked_len, f16};

use crate::messages::{DataLocation, TensorProto};

/// A tensor that could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tensor `{tensor}`: {cause}")]
pub struct TensorProtoError {
    /// Name of the tensor; empty for the values of attributes.
    pub tensor: String,
    /// What is wrong with it.
    pub cause: TensorCause,
}

/// What is wrong with a tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum TensorCause {
    #[error("element type {number} is not one of ONNX's")]
    DataType { number: i32 },
    #[error("axis {axis} has length {length}")]
    Dim { axis: usize, length: i64 },
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error("{dtype}{shape:?} takes {expected} {unit} of `{field}`, there are {actual}")]
    Length { dtype: DType, shape: Vec<usize>, field: &'static str, unit: &'static str, expected: u64, actual: u64 },
    #[error("elements of type {dtype} cannot be in `{field}`")]
    Field { dtype: DType, field: &'static str },
    #[error("elements are in both `{first}` and `{second}`")]
    TwoFields { first: &'static str, second: &'static str },
    #[error("{dtype}{shape:?} has no elements in the file")]
    NoData { dtype: DType, shape: Vec<usize> },
    #[error("element {index} of `int32_data` is {value}, out of range for {dtype}")]
    OutOfRange { index: usize, value: i32, dtype: DType },
    #[error("string {index} is not UTF-8")]
    NotUtf8 { index: usize },
    #[error("the elements are in the file `{location}`, which was not read")]
    ExternalNotLoaded { location: String },
    #[error("the tensor is a segment of a larger one, which is not supported")]
    Segment,
    #[error("sparse values have shape {shape:?}, expected one axis")]
    SparseValues { shape: Vec<usize> },
    #[error("sparse indices are {dtype}{shape:?}, expected i64[{n_values}] or i64[{n_values}, {rank}]")]
    SparseIndices { dtype: DType, shape: Vec<usize>, n_values: usize, rank: usize },
    #[error("sparse index {position} is {index:?}, outside of shape {shape:?}")]
    SparseIndexRange { position: usize, index: Vec<i64>, shape: Vec<usize> },
    #[error("sparse index {position} does not come after the one before it")]
    SparseOrder { position: usize },
}

impl TensorProtoError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match &self.cause {
            TensorCause::Tensor(TensorError::TooLarge { .. }) => {
                "if the model is trusted and the machine has the memory, raise `--max-memory`"
            }
            TensorCause::ExternalNotLoaded { .. } => "put the file beside the model and read the model from its path",
            TensorCause::DataType { .. } => {
                "the model may be newer than this program knows (IR 13); export it for an older opset"
            }
            TensorCause::Segment => "write the tensor as a whole; current exporters never split tensors",
            _ => {
                "the file is damaged or its exporter has a bug: export the model again and check it with `onnx.checker`"
            }
        }
    }
}

/// Bytes of a large weight that are let go at a time while it is read.
const STEP: usize = 4 << 20;

/// The tensor in `proto`, whichever field its elements are in.
///
/// # Errors
/// [`TensorProtoError`] if type, shape and data do not fit together, or the data is in another file that was not read.
pub fn tensor_from_proto(proto: &TensorProto) -> Result<Tensor, TensorProtoError> {
    read(proto).map_err(|cause| TensorProtoError { tensor: proto.name().to_owned(), cause })
}

/// As [`tensor_from_proto`], of a message nobody needs any more: large f32 weights are never in memory twice.
///
/// # Errors
/// As [`tensor_from_proto`].
pub fn tensor_from_own_proto(mut proto: TensorProto) -> Result<Tensor, TensorProtoError> {
    let is_f32 = proto.data_type() == DType::F32.to_onnx().unwrap_or(0);
    let Some(bytes) = proto.raw_data.take_if(|bytes| is_f32 && bytes.len() > STEP && bytes.is_unique()) else {
        return tensor_from_proto(&proto);
    };
    let read = || {
        let elements = Elements::of(&proto)?;
        if let Some(second) = data_field(&proto)? {
            return Err(TensorCause::TwoFields { first: "raw_data", second: second.name_and_len().0 });
        }
        elements.expect_raw(&bytes)?;
        Ok(Tensor::from_storage(elements.shape, Storage::F32(floats_of(bytes.into())))?)
    };
    read().map_err(|cause| TensorProtoError { tensor: proto.name().to_owned(), cause })
}

/// Little-endian numbers, the last first, so that what was read can be cut off and given back.
fn floats_of(mut bytes: Vec<u8>) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / 4];
    for values in values.rchunks_mut(STEP / 4) {
        let rest = bytes.len() - 4 * values.len();
        for (value, &bytes) in values.iter_mut().zip(bytes[rest..].as_chunks().0) {
            *value = f32::from_le_bytes(bytes);
        }
        bytes.truncate(rest);
        bytes.shrink_to_fit();
    }
    values
}

pub(crate) fn read(proto: &TensorProto) -> Result<Tensor, TensorCause> {
    let elements = Elements::of(proto)?;
    let storage = match data_field(proto)? {
        None if elements.len == 0 => Storage::zeros(elements.dtype, 0),
        None => return Err(TensorCause::NoData { dtype: elements.dtype, shape: elements.shape }),
        Some(DataField::Raw(bytes)) => elements.read_raw(bytes)?,
        Some(DataField::Float(values)) => elements.read_floats(values)?,
        Some(DataField::Double(values)) => elements.read_doubles(values)?,
        Some(DataField::Int32(values)) => elements.read_int32(values)?,
        Some(DataField::Int64(values)) => elements.read_int64(values)?,
        Some(DataField::Uint64(values)) => elements.read_uint64(values)?,
        Some(DataField::Strings(values)) => elements.read_strings(values)?,
    };
    Ok(Tensor::from_storage(elements.shape, storage)?)
}

/// Element type of a tensor message.
pub(crate) fn dtype(proto: &TensorProto) -> Result<DType, TensorCause> {
    let number = proto.data_type();
    DType::from_onnx(number).ok_or(TensorCause::DataType { number })
}

/// Axis lengths as unsigned numbers.
pub(crate) fn shape(dims: &[i64]) -> Result<Vec<usize>, TensorCause> {
    let axis_length = |(axis, &length)| usize::try_from(length).map_err(|_| TensorCause::Dim { axis, length });
    dims.iter().enumerate().map(axis_length).collect()
}

/// Bytes `len` elements take in `raw_data`.
pub(crate) fn raw_bytes(dtype: DType, len: usize) -> u64 {
    (len as u64).saturating_mul(dtype.bits() as u64).div_ceil(8)
}

enum DataField<'a> {
    Raw(&'a [u8]),
    Float(&'a [f32]),
    Double(&'a [f64]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Uint64(&'a [u64]),
    Strings(&'a [Bytes]),
}

impl DataField<'_> {
    fn name_and_len(&self) -> (&'static str, usize) {
        match self {
            Self::Raw(values) => ("raw_data", values.len()),
            Self::Float(values) => ("float_data", values.len()),
            Self::Double(values) => ("double_data", values.len()),
            Self::Int32(values) => ("int32_data", values.len()),
            Self::Int64(values) => ("int64_data", values.len()),
            Self::Uint64(values) => ("uint64_data", values.len()),
            Self::Strings(values) => ("string_data", values.len()),
        }
    }
}

/// The only field that holds anything.
fn data_field(proto: &TensorProto) -> Result<Option<DataField<'_>>, TensorCause> {
    let fields = [
        DataField::Raw(proto.raw_data.as_deref().unwrap_or_default()),
        DataField::Float(&proto.float_data),
        DataField::Double(&proto.double_data),
        DataField::Int32(&proto.int32_data),
        DataField::Int64(&proto.int64_data),
        DataField::Uint64(&proto.uint64_data),
        DataField::Strings(&proto.string_data),
    ];
    let mut filled = fields.into_iter().filter(|field| field.name_and_len().1 > 0);
    let first = filled.next();
    if let (Some(first), Some(second)) = (&first, filled.next()) {
        return Err(TensorCause::TwoFields { first: first.name_and_len().0, second: second.name_and_len().0 });
    }
    Ok(first)
}

/// What is to be read: the number of elements is known before any is.
struct Elements {
    dtype: DType,
    shape: Vec<usize>,
    len: usize,
}

impl Elements {
    fn of(proto: &TensorProto) -> Result<Self, TensorCause> {
        let dtype = dtype(proto)?;
        let shape = shape(&proto.dims)?;
        if proto.data_location() == DataLocation::External {
            let location = proto.external_data.iter().find(|entry| entry.key() == "location");
            let location = location.map(|entry| entry.value().to_owned()).unwrap_or_default();
            return Err(TensorCause::ExternalNotLoaded { location });
        }
        if proto.segment.is_some() {
            return Err(TensorCause::Segment);
        }
        let len = checked_len(dtype, &shape)?;
        Ok(Self { dtype, shape, len })
    }

    fn expect(&self, field: &'static str, unit: &'static str, expected: u64, actual: usize) -> Result<(), TensorCause> {
        let actual = actual as u64;
        if expected == actual {
            return Ok(());
        }
        let shape = self.shape.clone();
        Err(TensorCause::Length { dtype: self.dtype, shape, field, unit, expected, actual })
    }

    fn wrong_field(&self, field: &'static str) -> TensorCause {
        TensorCause::Field { dtype: self.dtype, field }
    }

    fn expect_raw(&self, bytes: &[u8]) -> Result<(), TensorCause> {
        if self.dtype.bits() == 0 {
            return Err(self.wrong_field("raw_data"));
        }
        self.expect("raw_data", "bytes", raw_bytes(self.dtype, self.len), bytes.len())
    }

    fn read_raw(&self, bytes: &[u8]) -> Result<Storage, TensorCause> {
        self.expect_raw(bytes)?;
        Ok(match self.dtype {
            DType::F32 => Storage::F32(map_chunks(bytes, f32::from_le_bytes)),
            DType::F64 => Storage::F64(map_chunks(bytes, f64::from_le_bytes)),
            DType::F16 => Storage::F16(map_chunks(bytes, f16::from_le_bytes)),
            DType::BF16 => Storage::BF16(map_chunks(bytes, bf16::from_le_bytes)),
            DType::I8 => Storage::I8(map_chunks(bytes, i8::from_le_bytes)),
            DType::I16 => Storage::I16(map_chunks(bytes, i16::from_le_bytes)),
            DType::I32 => Storage::I32(map_chunks(bytes, i32::from_le_bytes)),
            DType::I64 => Storage::I64(map_chunks(bytes, i64::from_le_bytes)),
            DType::U8 => Storage::U8(bytes.to_vec()),
            DType::U16 => Storage::U16(map_chunks(bytes, u16::from_le_bytes)),
            DType::U32 => Storage::U32(map_chunks(bytes, u32::from_le_bytes)),
            DType::U64 => Storage::U64(map_chunks(bytes, u64::from_le_bytes)),
            DType::Bool => Storage::Bool(bytes.iter().map(|&byte| byte != 0).collect()),
            DType::C64 => Storage::C64(pairs(&map_chunks(bytes, f32::from_le_bytes))),
            DType::C128 => Storage::C128(pairs(&map_chunks(bytes, f64::from_le_bytes))),
            _ => self.read_codes(bytes.iter().copied()),
        })
    }

    /// Types of at most 8 bits whose elements are bit patterns, packed below one byte.
    fn read_codes(&self, bytes: impl Iterator<Item = u8>) -> Storage {
        let bits = self.dtype.bits();
        let per_byte = 8 / bits;
        let codes =
            bytes.flat_map(|byte| (0..per_byte).map(move |slot| (byte >> (slot * bits)) & (0xff >> (8 - bits))));
        let codes = codes.take(self.len);
        match self.dtype {
            DType::I4 | DType::I2 => {
                let unused = 8 - bits;
                Storage::SmallInt(self.dtype, codes.map(|code| ((code << unused) as i8) >> unused).collect())
            }
            DType::U4 | DType::U2 => Storage::SmallUint(self.dtype, codes.collect()),
            _ => Storage::SmallFloat(self.dtype, codes.collect()),
        }
    }

    fn read_floats(&self, values: &[f32]) -> Result<Storage, TensorCause> {
        match self.dtype {
            DType::F32 => {
                self.expect("float_data", "numbers", self.len as u64, values.len())?;
                Ok(Storage::F32(values.to_vec()))
            }
            DType::C64 => {
                self.expect("float_data", "numbers", 2 * self.len as u64, values.len())?;
                Ok(Storage::C64(pairs(values)))
            }
            _ => Err(self.wrong_field("float_data")),
        }
    }

    fn read_doubles(&self, values: &[f64]) -> Result<Storage, TensorCause> {
        match self.dtype {
            DType::F64 => {
                self.expect("double_data", "numbers", self.len as u64, values.len())?;
                Ok(Storage::F64(values.to_vec()))
            }
            DType::C128 => {
                self.expect("double_data", "numbers", 2 * self.len as u64, values.len())?;
                Ok(Storage::C128(pairs(values)))
            }
            _ => Err(self.wrong_field("double_data")),
        }
    }

    fn read_int64(&self, values: &[i64]) -> Result<Storage, TensorCause> {
        if self.dtype != DType::I64 {
            return Err(self.wrong_field("int64_data"));
        }
        self.expect("int64_data", "numbers", self.len as u64, values.len())?;
        Ok(Storage::I64(values.to_vec()))
    }

    fn read_uint64(&self, values: &[u64]) -> Result<Storage, TensorCause> {
        if !matches!(self.dtype, DType::U32 | DType::U64) {
            return Err(self.wrong_field("uint64_data"));
        }
        self.expect("uint64_data", "numbers", self.len as u64, values.len())?;
        // Writers put u32 values here one by one, so the high half is empty.
        Ok(match self.dtype {
            DType::U32 => Storage::U32(values.iter().map(|&value| value as u32).collect()),
            _ => Storage::U64(values.to_vec()),
        })
    }

    fn read_strings(&self, values: &[Bytes]) -> Result<Storage, TensorCause> {
        if self.dtype != DType::Str {
            return Err(self.wrong_field("string_data"));
        }
        self.expect("string_data", "strings", self.len as u64, values.len())?;
        let text = |(index, bytes): (usize, &Bytes)| {
            std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| TensorCause::NotUtf8 { index })
        };
        Ok(Storage::Str(values.iter().enumerate().map(text).collect::<Result<_, _>>()?))
    }

    fn read_int32(&self, values: &[i32]) -> Result<Storage, TensorCause> {
        let dtype = self.dtype;
        if !matches!(dtype.bits(), 1..=16) && dtype != DType::I32 {
            return Err(self.wrong_field("int32_data"));
        }
        // Packed types fill one number per byte.
        let expected = if dtype.bits() < 8 { raw_bytes(dtype, self.len) } else { self.len as u64 };
        self.expect("int32_data", "numbers", expected, values.len())?;
        Ok(match dtype {
            DType::I32 => Storage::I32(values.to_vec()),
            DType::I8 => Storage::I8(narrow(dtype, values)?),
            DType::I16 => Storage::I16(narrow(dtype, values)?),
            DType::U8 => Storage::U8(narrow(dtype, values)?),
            DType::U16 => Storage::U16(narrow(dtype, values)?),
            DType::Bool => Storage::Bool(values.iter().map(|&value| value != 0).collect()),
            DType::F16 => Storage::F16(patterns(dtype, values, 16)?.map(f16::from_bits).collect()),
            DType::BF16 => Storage::BF16(patterns(dtype, values, 16)?.map(bf16::from_bits).collect()),
            _ => self.read_codes(patterns(dtype, values, 8)?.map(|pattern| pattern as u8)),
        })
    }
}

fn map_chunks<const N: usize, T>(bytes: &[u8], from_bytes: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| from_bytes(chunk)).collect()
}

/// Real and imaginary parts, which alternate in the file.
fn pairs<T: Copy>(values: &[T]) -> Vec<[T; 2]> {
    values.as_chunks::<2>().0.to_vec()
}

fn narrow<T: TryFrom<i32>>(dtype: DType, values: &[i32]) -> Result<Vec<T>, TensorCause> {
    let convert = |(index, &value)| T::try_from(value).map_err(|_| TensorCause::OutOfRange { index, value, dtype });
    values.iter().enumerate().map(convert).collect()
}

/// The low `bits` of each value; values may be written signed or unsigned.
fn patterns(dtype: DType, values: &[i32], bits: u32) -> Result<impl Iterator<Item = u16>, TensorCause> {
    let range = -(1i32 << (bits - 1))..1i32 << bits;
    if let Some((index, &value)) = values.iter().enumerate().find(|(_, value)| !range.contains(value)) {
        return Err(TensorCause::OutOfRange { index, value, dtype });
    }
    Ok(values.iter().map(|&value| value as u16))
}

/// `tensor` as a message with its elements in `raw_data`, strings in `string_data`. No name is written if `name` is
/// empty.
///
/// A sequence or optional has no such message: it becomes a tensor of undefined type, which no reader accepts.
pub fn tensor_to_proto(name: &str, tensor: &Tensor) -> TensorProto {
    let mut proto = TensorProto {
        dims: tensor.shape().iter().map(|&dim| dim as i64).collect(),
        data_type: Some(tensor.dtype().to_onnx().unwrap_or(0)),
        name: (!name.is_empty()).then(|| name.to_owned()),
        ..TensorProto::default()
    };
    match tensor.storage() {
        Storage::Str(values) => {
            proto.string_data = values.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect();
        }
        Storage::Container(..) => {}
        storage => proto.raw_data = Some(Bytes::from(to_raw(storage))),
    }
    proto
}

/// Elements as ONNX's little-endian bytes; strings and containers have none.
fn to_raw(storage: &Storage) -> Vec<u8> {
    match storage {
        Storage::F32(v) => flat_bytes(v, |x| x.to_le_bytes()),
        Storage::F64(v) => flat_bytes(v, |x| x.to_le_bytes()),
        Storage::F16(v) => flat_bytes(v, |x| x.to_le_bytes()),
        Storage::BF16(v) => flat_bytes(v, |x| x.to_le_bytes()),
        Storage::I8(v) => v.iter().map(|&x| x as u8).collect(),
        Storage::I16(v) => flat_bytes(v, |x| x.to_le_bytes()),
        Storage::I32(v) => flat_bytes(v, |x| x.to_le_bytes()),
        Storage::I64(v) => flat_bytes(v, |x| x.to_le_bytes()),
        Storage::U8(v) => v.clone(),
        Storage::U16(v) => flat_bytes(v, |x| x.to_le_bytes()),
        Storage::U32(v) => flat_bytes(v, |x| x.to_le_bytes()),
        Storage::U64(v) => flat_bytes(v, |x| x.to_le_bytes()),
        Storage::Bool(v) => v.iter().map(|&x| x.into()).collect(),
        Storage::SmallInt(dtype, v) => pack(v.iter().map(|&x| x as u8), dtype.bits()),
        Storage::SmallUint(dtype, v) | Storage::SmallFloat(dtype, v) => pack(v.iter().copied(), dtype.bits()),
        Storage::C64(v) => flat_bytes(v.as_flattened(), |x| x.to_le_bytes()),
        Storage::C128(v) => flat_bytes(v.as_flattened(), |x| x.to_le_bytes()),
        Storage::Str(_) | Storage::Container(..) => Vec::new(),
    }
}

fn flat_bytes<T, const N: usize>(values: &[T], to_bytes: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
    values.iter().map(to_bytes).collect::<Vec<_>>().into_flattened()
}

/// The low `bits` of each code, the first code lowest in its byte.
fn pack(codes: impl ExactSizeIterator<Item = u8>, bits: usize) -> Vec<u8> {
    let per_byte = 8 / bits;
    let mut packed = vec![0; codes.len().div_ceil(per_byte)];
    for (index, code) in codes.enumerate() {
        packed[index / per_byte] |= (code & (0xff >> (8 - bits))) << (index % per_byte * bits);
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A large f32 weight whose bytes are `bytes`.
    fn weight(len: i64, bytes: Vec<u8>) -> TensorProto {
        let data_type = DType::F32.to_onnx();
        TensorProto { dims: vec![len], data_type, raw_data: Some(bytes.into()), ..TensorProto::default() }
    }

    #[test]
    fn large_weights_are_read_as_small_ones_are() {
        for len in [1, STEP / 4, STEP / 4 + 1, 3 * STEP / 4 - 1] {
            let bytes = flat_bytes(&(0..len).map(|i| i as f32 - 0.5).collect::<Vec<_>>(), |x| x.to_le_bytes());
            let proto = weight(len as i64, bytes);
            assert_eq!(tensor_from_own_proto(proto.clone()), tensor_from_proto(&proto));
            let shared = proto.clone();
            let own = TensorProto { raw_data: proto.raw_data.map(|bytes| bytes.to_vec().into()), ..proto };
            assert_eq!(tensor_from_own_proto(own), tensor_from_proto(&shared));
        }
    }

    #[test]
    fn large_weights_that_do_not_fit_are_refused_as_small_ones_are() {
        let refused = [
            weight(2 + STEP as i64, vec![0; 4 * STEP]),
            weight(STEP as i64, vec![0; 4 * STEP + 1]),
            weight(-1, vec![0; 4 * STEP]),
            TensorProto { float_data: vec![1.0], ..weight(STEP as i64, vec![0; 4 * STEP]) },
        ];
        for proto in refused {
            let expected = tensor_from_proto(&proto).unwrap_err();
            let own = TensorProto { raw_data: proto.raw_data.as_ref().map(|bytes| bytes.to_vec().into()), ..proto };
            assert_eq!(tensor_from_own_proto(own).unwrap_err(), expected);
        }
    }
}
