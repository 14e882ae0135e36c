//! One numpy array as bytes: the `.npy` format, versions 1 to 3.
//!
//! Source: numpy.lib.format (NEP 1). Pickled objects and structured types are refused.

use half::f16;
use lissom_tensor::{DType, Element, Storage, Tensor, TensorError, checked_len};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header read; numpy's own are below 1 kB.
const MAX_HEADER_BYTES: usize = 1 << 16;

/// Why bytes are no array that can be held.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NpyError {
    #[error("{0}")]
    Malformed(String),
    #[error("the array {what} needs {expected} bytes, there are {actual}")]
    Truncated { what: String, expected: u64, actual: u64 },
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

fn malformed(reason: impl Into<String>) -> NpyError {
    NpyError::Malformed(reason.into())
}

/// Reads an array from the bytes of a `.npy` file. Allocates in proportion to `bytes`, whatever the header claims.
pub(crate) fn decode(bytes: &[u8]) -> Result<Tensor, NpyError> {
    let (header, body) = split_header(bytes)?;
    let header = Header::parse(header)?;
    let len = checked_len(DType::U8, &header.shape)?;
    let expected = (len as u64).saturating_mul(header.item.bytes as u64);
    if expected != body.len() as u64 {
        let what = format!("{}{:?}", header.item.descr, header.shape);
        return Err(NpyError::Truncated { what, expected, actual: body.len() as u64 });
    }
    let reordered;
    let body = if header.fortran_order && header.shape.len() > 1 {
        reordered = to_row_major(body, &header.shape, header.item.bytes);
        &reordered
    } else {
        body
    };
    Ok(Tensor::from_storage(header.shape, header.item.decode(body)?)?)
}

/// Header text and array bytes.
fn split_header(bytes: &[u8]) -> Result<(&str, &[u8]), NpyError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| malformed("not a numpy array"))?;
    let (header_len, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        [major, ..] => {
            return Err(malformed(format!("numpy format version {major} is not known, or the file is cut off")));
        }
        [] => return Err(malformed("the file ends in its header")),
    };
    if header_len > MAX_HEADER_BYTES || header_len > rest.len() {
        return Err(malformed(format!("a header of {header_len} bytes, the array has {}", rest.len())));
    }
    let (header, body) = rest.split_at(header_len);
    let header = std::str::from_utf8(header).map_err(|_| malformed("the header is not text"))?;
    Ok((header, body))
}

#[derive(Debug)]
struct Header {
    item: Item,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
    fn parse(text: &str) -> Result<Self, NpyError> {
        let bad = || malformed(format!("header `{}` is not understood", text.trim_end()));
        let mut rest = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(bad)?.trim();
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        while !rest.is_empty() {
            let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"')).ok_or_else(bad)?;
            let (key, tail) = rest[1..].split_once(quote).ok_or_else(bad)?;
            let tail = tail.trim_start().strip_prefix(':').ok_or_else(bad)?.trim_start();
            // A tuple ends at its bracket, a list is a structured type, anything else ends at the comma.
            let end = match tail.chars().next() {
                Some('(') => tail.find(')').map(|end| end + 1),
                Some('[') => return Err(malformed("structured types are not supported")),
                _ => Some(tail.find(',').unwrap_or(tail.len())),
            };
            let (value, tail) = tail.split_at(end.ok_or_else(bad)?);
            match key {
                "descr" => descr = Some(value.trim().trim_matches(['\'', '"'])),
                "fortran_order" => fortran_order = Some(value.trim() == "True"),
                "shape" => shape = Some(parse_shape(value).ok_or_else(bad)?),
                _ => return Err(bad()),
            }
            rest = tail.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        let (Some(descr), Some(fortran_order), Some(shape)) = (descr, fortran_order, shape) else { return Err(bad()) };
        Ok(Self { item: Item::parse(descr)?, fortran_order, shape })
    }
}

fn parse_shape(text: &str) -> Option<Vec<usize>> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?.trim();
    let inner = inner.strip_suffix(',').unwrap_or(inner);
    if inner.trim().is_empty() {
        return Some(Vec::new());
    }
    inner.split(',').map(|dim| dim.trim().trim_end_matches('L').parse().ok()).collect()
}

/// The type of one item: `<f4` is little-endian, float, 4 bytes.
#[derive(Debug)]
struct Item {
    descr: String,
    kind: char,
    big_endian: bool,
    bytes: usize,
}

impl Item {
    fn parse(descr: &str) -> Result<Self, NpyError> {
        let bad = || malformed(format!("numpy type `{descr}` is not supported"));
        let mut chars = descr.chars();
        let order = chars.next().filter(|c| "<>|=".contains(*c)).ok_or_else(bad)?;
        let kind = chars.next().ok_or_else(bad)?;
        if kind == 'O' {
            return Err(malformed("it holds pickled Python objects, which are never read"));
        }
        let size: usize = chars.as_str().parse().map_err(|_| bad())?;
        let bytes = if kind == 'U' { size.checked_mul(4).ok_or_else(bad)? } else { size };
        let known = match kind {
            'b' => bytes == 1,
            'i' | 'u' => matches!(bytes, 1 | 2 | 4 | 8),
            'f' => matches!(bytes, 2 | 4 | 8),
            'c' => matches!(bytes, 8 | 16),
            'U' | 'S' => bytes > 0,
            _ => false,
        };
        if !known {
            return Err(bad());
        }
        Ok(Self { descr: descr.into(), kind, big_endian: order == '>', bytes })
    }

    fn decode(&self, body: &[u8]) -> Result<Storage, NpyError> {
        macro_rules! numbers {
            ($type:ty) => {{
                const SIZE: usize = size_of::<$type>();
                let (items, _) = body.as_chunks::<SIZE>();
                let from_bytes = if self.big_endian { <$type>::from_be_bytes } else { <$type>::from_le_bytes };
                items.iter().map(|&item| from_bytes(item)).collect::<Vec<$type>>()
            }};
        }
        Ok(match (self.kind, self.bytes) {
            ('b', _) => Storage::Bool(body.iter().map(|&byte| byte != 0).collect()),
            ('i', 1) => Storage::I8(numbers!(i8)),
            ('i', 2) => Storage::I16(numbers!(i16)),
            ('i', 4) => Storage::I32(numbers!(i32)),
            ('i', _) => Storage::I64(numbers!(i64)),
            ('u', 1) => Storage::U8(body.to_vec()),
            ('u', 2) => Storage::U16(numbers!(u16)),
            ('u', 4) => Storage::U32(numbers!(u32)),
            ('u', _) => Storage::U64(numbers!(u64)),
            ('f', 2) => Storage::F16(numbers!(f16)),
            ('f', 4) => Storage::F32(numbers!(f32)),
            ('f', _) => Storage::F64(numbers!(f64)),
            ('c', 8) => Storage::C64(pairs(&numbers!(f32))),
            ('c', _) => Storage::C128(pairs(&numbers!(f64))),
            ('S', size) => Storage::Str(body.chunks_exact(size).map(byte_string).collect::<Result<_, _>>()?),
            (_, size) => {
                let strings = body.chunks_exact(size).map(|item| wide_string(item, self.big_endian));
                Storage::Str(strings.collect::<Result<_, _>>()?)
            }
        })
    }
}

fn pairs<T: Copy>(parts: &[T]) -> Vec<[T; 2]> {
    parts.as_chunks::<2>().0.to_vec()
}

fn byte_string(item: &[u8]) -> Result<String, NpyError> {
    let end = item.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    String::from_utf8(item[..end].to_vec()).map_err(|_| malformed("a byte string is not UTF-8"))
}

/// UTF-32 filled up with zeros.
fn wide_string(item: &[u8], big_endian: bool) -> Result<String, NpyError> {
    let from_bytes = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
    let codes: Vec<u32> = item.as_chunks::<4>().0.iter().map(|&code| from_bytes(code)).collect();
    let end = codes.iter().rposition(|&code| code != 0).map_or(0, |last| last + 1);
    let text: Option<String> = codes[..end].iter().map(|&code| char::from_u32(code)).collect();
    text.ok_or_else(|| malformed("a string holds an invalid character"))
}

/// Puts items stored with the first axis fastest into the order with the last axis fastest.
fn to_row_major(body: &[u8], shape: &[usize], item_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = item_bytes;
    for dim in shape {
        strides.push(stride);
        stride = stride.saturating_mul(*dim);
    }
    let mut position = vec![0usize; shape.len()];
    while out.len() < body.len() {
        let start: usize = position.iter().zip(&strides).map(|(at, stride)| at * stride).sum();
        out.extend_from_slice(&body[start..start + item_bytes]);
        for axis in (0..shape.len()).rev() {
            position[axis] += 1;
            if position[axis] < shape[axis] {
                break;
            }
            position[axis] = 0;
        }
    }
    out
}

/// The bytes of a `.npy` file (version 1, little-endian, row-major); `None` if numpy has no type for the elements.
pub(crate) fn encode(tensor: &Tensor) -> Option<Vec<u8>> {
    let (descr, body) = body(tensor.storage())?;
    let dims: Vec<_> = tensor.shape().iter().map(usize::to_string).collect();
    let comma = if dims.len() == 1 { "," } else { "" };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", dims.join(", "));
    // Magic, version and length take 10 bytes; the array starts at a multiple of 64 and the header ends in a newline.
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header.push_str(&" ".repeat(padded - header.len() - 1));
    header.push('\n');
    let mut bytes = Vec::with_capacity(10 + padded + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&u16::try_from(padded).ok()?.to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&body);
    Some(bytes)
}

fn body(storage: &Storage) -> Option<(String, Vec<u8>)> {
    macro_rules! numbers {
        ($descr:literal, $values:expr) => {
            ($descr.to_string(), $values.iter().flat_map(|x| x.to_le_bytes()).collect())
        };
    }
    Some(match storage {
        Storage::Bool(v) => ("|b1".into(), v.iter().map(|&x| x.into()).collect()),
        Storage::I8(v) => numbers!("|i1", v),
        Storage::I16(v) => numbers!("<i2", v),
        Storage::I32(v) => numbers!("<i4", v),
        Storage::I64(v) => numbers!("<i8", v),
        Storage::U8(v) => ("|u1".into(), v.clone()),
        Storage::U16(v) => numbers!("<u2", v),
        Storage::U32(v) => numbers!("<u4", v),
        Storage::U64(v) => numbers!("<u8", v),
        Storage::F16(v) => numbers!("<f2", v),
        Storage::F32(v) => numbers!("<f4", v),
        Storage::F64(v) => numbers!("<f8", v),
        Storage::C64(v) => numbers!("<c8", v.as_flattened()),
        Storage::C128(v) => numbers!("<c16", v.as_flattened()),
        Storage::Str(v) => {
            let width = v.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
            let wide = |text: &String| -> Vec<u8> {
                let codes = text.chars().map(u32::from).chain(std::iter::repeat(0));
                codes.take(width).flat_map(u32::to_le_bytes).collect()
            };
            (format!("<U{width}"), v.iter().flat_map(wide).collect())
        }
        _ => return None,
    })
}

/// Position and value of the first element that is NaN or infinite.
pub(crate) fn first_not_finite(tensor: &Tensor) -> Option<(usize, f64)> {
    fn find<T: Element>(tensor: &Tensor, value: impl Fn(&T) -> f64) -> Option<(usize, f64)> {
        let values = tensor.as_slice::<T>().ok()?;
        values.iter().map(value).enumerate().find(|(_, value)| !value.is_finite())
    }
    find::<f32>(tensor, |&x| x.into())
        .or_else(|| find::<f64>(tensor, |&x| x))
        .or_else(|| find::<f16>(tensor, |x| x.to_f64()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(header: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    fn samples() -> Vec<Tensor> {
        let t = |storage: Storage| Tensor::from_storage(vec![2, 1], storage).unwrap();
        vec![
            t(Storage::Bool(vec![true, false])),
            t(Storage::I8(vec![-1, 2])),
            t(Storage::I16(vec![-300, 2])),
            t(Storage::I32(vec![i32::MIN, 2])),
            t(Storage::I64(vec![i64::MIN, 2])),
            t(Storage::U8(vec![255, 2])),
            t(Storage::U16(vec![65535, 2])),
            t(Storage::U32(vec![u32::MAX, 2])),
            t(Storage::U64(vec![u64::MAX, 2])),
            t(Storage::F16(vec![f16::MAX, f16::NEG_ZERO])),
            t(Storage::F32(vec![1.5, f32::INFINITY])),
            t(Storage::F64(vec![1.5e300, -0.0])),
            t(Storage::C64(vec![[1.0, 2.0], [3.0, 4.0]])),
            t(Storage::C128(vec![[1.0, 2.0], [3.0, 4.0]])),
            t(Storage::Str(vec!["naïve 🦀".into(), String::new()])),
            Tensor::scalar(3.5f32),
            Tensor::vector(Vec::<i64>::new()),
        ]
    }

    #[test]
    fn every_type_numpy_has_survives() {
        for tensor in samples() {
            let bytes = encode(&tensor).unwrap();
            assert_eq!(decode(&bytes).unwrap(), tensor);
            assert_eq!((bytes.len() - body(tensor.storage()).unwrap().1.len()) % 64, 0);
        }
    }

    #[test]
    fn other_types_are_not_written_as_something_else() {
        use lissom_tensor::bf16;
        assert!(encode(&Tensor::vector(vec![bf16::ONE])).is_none());
        assert!(encode(&Tensor::empty_sequence()).is_none());
    }

    #[test]
    fn column_major_and_big_endian_arrays_are_turned() {
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }";
        let body: Vec<u8> = [1i16, 4, 2, 5, 3, 6].iter().flat_map(|x| x.to_be_bytes()).collect();
        let tensor = decode(&file(header, &body)).unwrap();
        assert_eq!(tensor, Tensor::new([2, 3], vec![1i16, 2, 3, 4, 5, 6]).unwrap());
    }

    #[test]
    fn hostile_headers_are_refused_without_allocation() {
        for (header, reason) in [
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1099511627776), }", "limit"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000,), }", "needs 4000000000 bytes"),
            ("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000,), }", "not supported"),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "pickled"),
            ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "structured"),
            ("{'descr': '<f4', 'shape': (1,), }", "not understood"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "not understood"),
            ("", "not understood"),
        ] {
            let error = decode(&file(header, &[0; 4])).unwrap_err().to_string();
            assert!(error.contains(reason), "{header}: {error}");
        }
        assert!(
            decode(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{").unwrap_err().to_string().contains("header of 4294967295")
        );
    }

    proptest! {
        #[test]
        fn damaged_arrays_never_panic(choice in 0usize..17, cut in 0usize..400, flips in prop::collection::vec((0usize..400, any::<u8>()), 0..4)) {
            let mut bytes = encode(&samples()[choice]).unwrap();
            bytes.truncate(cut);
            for (at, value) in flips {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            if let Ok(tensor) = decode(&bytes) {
                prop_assert!(tensor.len() <= bytes.len());
            }
        }
    }
}
