//! The protobuf wire format, as far as walking it needs: keys, varints and lengths. Every read is bounded.

use crate::pieces::Cut;

/// How a field is written, from the low three bits of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireType {
    Varint,
    Fixed64,
    Delimited,
    Fixed32,
}

/// What is wrong with the bytes at some place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum WireError {
    #[error("the data ends early: {needed} bytes are announced, {left} are left")]
    Truncated { needed: u64, left: u64 },
    #[error("a number takes more than ten bytes")]
    NumberTooLong,
    #[error("wire type {wire_type} is not used by ONNX")]
    WireType { wire_type: u8 },
    #[error("field number {number} is not allowed")]
    FieldNumber { number: u64 },
    #[error("the field is written as {found}, ONNX writes it as {expected}")]
    WrongWireType { found: &'static str, expected: &'static str },
    #[error("the text is not UTF-8")]
    NotUtf8,
    #[error("the field is there twice")]
    Duplicate,
    #[error("messages are nested more than {limit} deep")]
    TooDeep { limit: usize },
    #[error("{message}")]
    Decode { message: String },
}

impl WireType {
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Varint => "a varint",
            Self::Fixed64 => "eight bytes",
            Self::Delimited => "a length and bytes",
            Self::Fixed32 => "four bytes",
        }
    }
}

/// A place in a file, which only moves on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    /// The file without what was cut out of it.
    bytes: &'a [u8],
    /// What was cut out behind this place.
    cuts: &'a [Cut],
    /// Bytes that were cut out before this place.
    passed: usize,
    pub(crate) position: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], cuts: &'a [Cut]) -> Self {
        Self { bytes, cuts, passed: 0, position: 0 }
    }

    /// The next varint before `end`.
    pub(crate) fn varint(&mut self, end: usize) -> Result<u64, WireError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = match self.bytes.get(self.position - self.passed) {
                Some(&byte) if self.position < end && !self.is_cut(1) => byte,
                _ => return Err(WireError::Truncated { needed: 1, left: 0 }),
            };
            self.position += 1;
            // The tenth byte may hold the last bit only.
            if shift == 63 && byte > 1 {
                return Err(WireError::NumberTooLong);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::NumberTooLong)
    }

    /// Field number and wire type.
    pub(crate) fn key(&mut self, end: usize) -> Result<(u32, WireType), WireError> {
        let key = self.varint(end)?;
        let number = u32::try_from(key >> 3)
            .ok()
            .filter(|&number| number != 0 && number < 1 << 29)
            .ok_or(WireError::FieldNumber { number: key >> 3 })?;
        let wire_type = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Delimited,
            5 => WireType::Fixed32,
            other => return Err(WireError::WireType { wire_type: other as u8 }),
        };
        Ok((number, wire_type))
    }

    /// That there are `n_bytes` before `end`.
    pub(crate) fn check(&self, n_bytes: u64, end: usize) -> Result<(), WireError> {
        let left = end.saturating_sub(self.position) as u64;
        if n_bytes > left { Err(WireError::Truncated { needed: n_bytes, left }) } else { Ok(()) }
    }

    /// Steps over `n_bytes` and returns them. They are all that was cut out at one place, or nothing of them was.
    pub(crate) fn take(&mut self, n_bytes: u64, end: usize) -> Result<&'a [u8], WireError> {
        self.check(n_bytes, end)?;
        let len = n_bytes as usize;
        let taken = match self.cuts {
            [cut, rest @ ..] if cut.position == self.position && cut.bytes.len() == len => {
                self.cuts = rest;
                self.passed += len;
                Some(&cut.bytes[..])
            }
            _ if self.is_cut(len) => None,
            _ => self.bytes.get(self.position - self.passed..).and_then(|bytes| bytes.get(..len)),
        };
        self.position += len;
        taken.ok_or(WireError::Truncated { needed: n_bytes, left: 0 })
    }

    /// True if some of the next `len` bytes were cut out.
    fn is_cut(&self, len: usize) -> bool {
        self.cuts.first().is_some_and(|cut| cut.position < self.position + len)
    }

    /// Reads a length and steps over that many bytes.
    pub(crate) fn delimited(&mut self, end: usize) -> Result<&'a [u8], WireError> {
        let n_bytes = self.varint(end)?;
        self.take(n_bytes, end)
    }

    /// Steps over one value.
    pub(crate) fn skip(&mut self, wire_type: WireType, end: usize) -> Result<(), WireError> {
        match wire_type {
            WireType::Varint => self.varint(end).map(drop),
            WireType::Fixed64 => self.take(8, end).map(drop),
            WireType::Delimited => self.delimited(end).map(drop),
            WireType::Fixed32 => self.take(4, end).map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_end_at_ten_bytes_and_at_the_end_of_their_message() {
        let mut longest = vec![0xff; 9];
        longest.push(1);
        assert_eq!(Cursor::new(&longest, &[]).varint(10), Ok(u64::MAX));
        longest[9] = 2;
        assert_eq!(Cursor::new(&longest, &[]).varint(10), Err(WireError::NumberTooLong));
        assert_eq!(Cursor::new(&[0x80; 11], &[]).varint(11), Err(WireError::NumberTooLong));
        assert_eq!(Cursor::new(&[0x80, 1], &[]).varint(1), Err(WireError::Truncated { needed: 1, left: 0 }));
    }

    #[test]
    fn field_zero_and_groups_are_refused() {
        assert_eq!(Cursor::new(&[2], &[]).key(1), Err(WireError::FieldNumber { number: 0 }));
        assert_eq!(Cursor::new(&[11], &[]).key(1), Err(WireError::WireType { wire_type: 3 }));
        assert_eq!(Cursor::new(&[10], &[]).key(1), Ok((1, WireType::Delimited)));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused_whatever_its_size() {
        for n_bytes in [4, u64::MAX] {
            assert_eq!(
                Cursor::new(&[0; 3], &[]).take(n_bytes, 3),
                Err(WireError::Truncated { needed: n_bytes, left: 3 })
            );
        }
    }
}
