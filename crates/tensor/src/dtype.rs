//! Element types, named as in ONNX.

use std::fmt;

/// Type of the elements of a tensor. `Sequence` and `Optional` make ONNX's container types ordinary values: a rank-1
/// tensor whose elements are tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are ONNX's own
pub enum DType {
    F32,
    F64,
    F16,
    BF16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
    I4,
    U4,
    I2,
    U2,
    F8E4M3FN,
    F8E4M3FNUZ,
    F8E5M2,
    F8E5M2FNUZ,
    F8E8M0,
    F4E2M1,
    C64,
    C128,
    Str,
    Sequence,
    Optional,
}

impl DType {
    /// Every type, in declaration order.
    pub const ALL: [Self; 28] = {
        use DType::*;
        [
            F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool, I4, U4, I2, U2, F8E4M3FN, F8E4M3FNUZ,
            F8E5M2, F8E5M2FNUZ, F8E8M0, F4E2M1, C64, C128, Str, Sequence, Optional,
        ]
    };

    /// Bits one element takes in an ONNX file; 0 for strings and containers, whose size depends on the content.
    pub const fn bits(self) -> usize {
        use DType::*;
        match self {
            C128 => 128,
            F64 | I64 | U64 | C64 => 64,
            F32 | I32 | U32 => 32,
            F16 | BF16 | I16 | U16 => 16,
            I8 | U8 | Bool | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 => 8,
            I4 | U4 | F4E2M1 => 4,
            I2 | U2 => 2,
            Str | Sequence | Optional => 0,
        }
    }

    /// Number of `TensorProto.DataType`; `None` for the container types, which have no such number.
    pub const fn to_onnx(self) -> Option<i32> {
        use DType::*;
        Some(match self {
            F32 => 1,
            U8 => 2,
            I8 => 3,
            U16 => 4,
            I16 => 5,
            I32 => 6,
            I64 => 7,
            Str => 8,
            Bool => 9,
            F16 => 10,
            F64 => 11,
            U32 => 12,
            U64 => 13,
            C64 => 14,
            C128 => 15,
            BF16 => 16,
            F8E4M3FN => 17,
            F8E4M3FNUZ => 18,
            F8E5M2 => 19,
            F8E5M2FNUZ => 20,
            U4 => 21,
            I4 => 22,
            F4E2M1 => 23,
            F8E8M0 => 24,
            U2 => 25,
            I2 => 26,
            Sequence | Optional => return None,
        })
    }

    /// Inverse of [`to_onnx`](Self::to_onnx).
    pub fn from_onnx(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.to_onnx() == Some(number))
    }

    /// Floating point of any width, the 4 and 8 bit ones included.
    pub const fn is_float(self) -> bool {
        use DType::*;
        matches!(self, F32 | F64 | F16 | BF16 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F4E2M1)
    }

    /// Signed integer of any width.
    pub const fn is_signed_int(self) -> bool {
        use DType::*;
        matches!(self, I8 | I16 | I32 | I64 | I4 | I2)
    }

    /// Unsigned integer of any width; `Bool` is not one.
    pub const fn is_unsigned_int(self) -> bool {
        use DType::*;
        matches!(self, U8 | U16 | U32 | U64 | U4 | U2)
    }

    /// Integer of any width and sign.
    pub const fn is_int(self) -> bool {
        self.is_signed_int() || self.is_unsigned_int()
    }

    /// Smallest and largest value of an integer type; `None` for every other type.
    pub const fn int_range(self) -> Option<(i128, i128)> {
        let bits = self.bits() as u32;
        if self.is_signed_int() {
            Some((-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1))
        } else if self.is_unsigned_int() {
            Some((0, (1i128 << bits) - 1))
        } else {
            None
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}
