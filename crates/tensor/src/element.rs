//! Rust types that are elements of a tensor.

use half::{bf16, f16};

use crate::{DType, Storage};

/// A Rust type with a tensor type of its own.
pub trait Element: Clone + PartialEq + Send + Sync + 'static {
    /// The tensor type.
    const DTYPE: DType;
    /// The values, if `storage` holds this type.
    fn slice(storage: &Storage) -> Option<&[Self]>;
    /// The values to write to, if `storage` holds this type.
    fn slice_mut(storage: &mut Storage) -> Option<&mut Vec<Self>>;
    /// Wraps values.
    fn wrap(values: Vec<Self>) -> Storage;
}

macro_rules! element {
    ($($rust:ty => $variant:ident),* $(,)?) => {$(
        impl Element for $rust {
            const DTYPE: DType = DType::$variant;
            fn slice(storage: &Storage) -> Option<&[Self]> {
                if let Storage::$variant(values) = storage { Some(values) } else { None }
            }
            fn slice_mut(storage: &mut Storage) -> Option<&mut Vec<Self>> {
                if let Storage::$variant(values) = storage { Some(values) } else { None }
            }
            fn wrap(values: Vec<Self>) -> Storage {
                Storage::$variant(values)
            }
        }
    )*};
}

element! {
    f32 => F32, f64 => F64, f16 => F16, bf16 => BF16, i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8,
    u16 => U16, u32 => U32, u64 => U64, bool => Bool, [f32; 2] => C64, [f64; 2] => C128, String => Str,
}
