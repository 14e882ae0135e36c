//! The buffer of a tensor: one vector per element type.

use half::{bf16, f16};

use crate::{DType, Tensor};

/// Elements of a tensor, contiguous and row-major. Types below one byte are unpacked here, one element a byte; they are
/// packed only in files.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // one variant per type
pub enum Storage {
    F32(Vec<f32>),
    F64(Vec<f64>),
    F16(Vec<f16>),
    BF16(Vec<bf16>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    Bool(Vec<bool>),
    /// `I4` or `I2` values.
    SmallInt(DType, Vec<i8>),
    /// `U4` or `U2` values.
    SmallUint(DType, Vec<u8>),
    /// Bit patterns of a float type of at most 8 bits.
    SmallFloat(DType, Vec<u8>),
    C64(Vec<[f32; 2]>),
    C128(Vec<[f64; 2]>),
    Str(Vec<String>),
    /// `Sequence` (any length) or `Optional` (length 0 or 1).
    Container(DType, Vec<Tensor>),
}

/// Runs `$body` with `$values` bound to the vector inside `$storage`, whatever its type.
macro_rules! each_storage {
    ($storage:expr, $values:ident => $body:expr) => {
        match $storage {
            $crate::Storage::F32($values) => $body,
            $crate::Storage::F64($values) => $body,
            $crate::Storage::F16($values) => $body,
            $crate::Storage::BF16($values) => $body,
            $crate::Storage::I8($values) => $body,
            $crate::Storage::I16($values) => $body,
            $crate::Storage::I32($values) => $body,
            $crate::Storage::I64($values) => $body,
            $crate::Storage::U8($values) => $body,
            $crate::Storage::U16($values) => $body,
            $crate::Storage::U32($values) => $body,
            $crate::Storage::U64($values) => $body,
            $crate::Storage::Bool($values) => $body,
            $crate::Storage::SmallInt(_, $values) => $body,
            $crate::Storage::SmallUint(_, $values) => $body,
            $crate::Storage::SmallFloat(_, $values) => $body,
            $crate::Storage::C64($values) => $body,
            $crate::Storage::C128($values) => $body,
            $crate::Storage::Str($values) => $body,
            $crate::Storage::Container(_, $values) => $body,
        }
    };
}

/// Like `each_storage`, and wraps the vector `$body` gives in the same variant again.
macro_rules! map_storage {
    ($storage:expr, $values:ident => $body:expr) => {
        match $storage {
            $crate::Storage::F32($values) => $crate::Storage::F32($body),
            $crate::Storage::F64($values) => $crate::Storage::F64($body),
            $crate::Storage::F16($values) => $crate::Storage::F16($body),
            $crate::Storage::BF16($values) => $crate::Storage::BF16($body),
            $crate::Storage::I8($values) => $crate::Storage::I8($body),
            $crate::Storage::I16($values) => $crate::Storage::I16($body),
            $crate::Storage::I32($values) => $crate::Storage::I32($body),
            $crate::Storage::I64($values) => $crate::Storage::I64($body),
            $crate::Storage::U8($values) => $crate::Storage::U8($body),
            $crate::Storage::U16($values) => $crate::Storage::U16($body),
            $crate::Storage::U32($values) => $crate::Storage::U32($body),
            $crate::Storage::U64($values) => $crate::Storage::U64($body),
            $crate::Storage::Bool($values) => $crate::Storage::Bool($body),
            $crate::Storage::SmallInt(dtype, $values) => $crate::Storage::SmallInt(*dtype, $body),
            $crate::Storage::SmallUint(dtype, $values) => $crate::Storage::SmallUint(*dtype, $body),
            $crate::Storage::SmallFloat(dtype, $values) => $crate::Storage::SmallFloat(*dtype, $body),
            $crate::Storage::C64($values) => $crate::Storage::C64($body),
            $crate::Storage::C128($values) => $crate::Storage::C128($body),
            $crate::Storage::Str($values) => $crate::Storage::Str($body),
            $crate::Storage::Container(dtype, $values) => $crate::Storage::Container(*dtype, $body),
        }
    };
}

pub(crate) use {each_storage, map_storage};

impl Storage {
    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::F64(_) => DType::F64,
            Self::F16(_) => DType::F16,
            Self::BF16(_) => DType::BF16,
            Self::I8(_) => DType::I8,
            Self::I16(_) => DType::I16,
            Self::I32(_) => DType::I32,
            Self::I64(_) => DType::I64,
            Self::U8(_) => DType::U8,
            Self::U16(_) => DType::U16,
            Self::U32(_) => DType::U32,
            Self::U64(_) => DType::U64,
            Self::Bool(_) => DType::Bool,
            Self::C64(_) => DType::C64,
            Self::C128(_) => DType::C128,
            Self::Str(_) => DType::Str,
            Self::SmallInt(dtype, _)
            | Self::SmallUint(dtype, _)
            | Self::SmallFloat(dtype, _)
            | Self::Container(dtype, _) => *dtype,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        each_storage!(self, values => values.len())
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `len` elements that are all zero, false, the empty string or an empty sequence.
    pub fn zeros(dtype: DType, len: usize) -> Self {
        match dtype {
            DType::F32 => Self::F32(vec![0.0; len]),
            DType::F64 => Self::F64(vec![0.0; len]),
            DType::F16 => Self::F16(vec![f16::ZERO; len]),
            DType::BF16 => Self::BF16(vec![bf16::ZERO; len]),
            DType::I8 => Self::I8(vec![0; len]),
            DType::I16 => Self::I16(vec![0; len]),
            DType::I32 => Self::I32(vec![0; len]),
            DType::I64 => Self::I64(vec![0; len]),
            DType::U8 => Self::U8(vec![0; len]),
            DType::U16 => Self::U16(vec![0; len]),
            DType::U32 => Self::U32(vec![0; len]),
            DType::U64 => Self::U64(vec![0; len]),
            DType::Bool => Self::Bool(vec![false; len]),
            DType::I4 | DType::I2 => Self::SmallInt(dtype, vec![0; len]),
            DType::U4 | DType::U2 => Self::SmallUint(dtype, vec![0; len]),
            DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ | DType::F8E8M0 | DType::F4E2M1 => {
                Self::SmallFloat(dtype, vec![0; len])
            }
            DType::C64 => Self::C64(vec![[0.0; 2]; len]),
            DType::C128 => Self::C128(vec![[0.0; 2]; len]),
            DType::Str => Self::Str(vec![String::new(); len]),
            DType::Sequence | DType::Optional => Self::Container(dtype, vec![Tensor::empty_sequence(); len]),
        }
    }
}
