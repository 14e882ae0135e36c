//! Walks a file's wire format before decoding: a few bytes of protobuf can ask the decoder for hundreds of bytes of
//! memory or for endless recursion, so both are counted first. The walk keeps its own bounded stack and allocates
//! nothing in proportion to the file.

use crate::pieces::Pieces;
use crate::schema::{Content, Field, Kind};
use crate::wire::{Cursor, WireError, WireType};

/// What the walk found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Bytes decoding will hold at its highest, the file's own buffer not included.
    pub(crate) decoded_bytes: u64,
    /// Fields this version of ONNX does not have.
    pub(crate) unknown_fields: Vec<UnknownField>,
}

/// A field the tables do not know.
#[derive(Debug)]
pub(crate) struct UnknownField {
    kind: Kind,
    pub(crate) number: u32,
    /// Path of the first message that has it.
    pub(crate) place: String,
}

/// Where the walk stopped and why.
#[derive(Debug)]
pub(crate) struct ScanError {
    pub(crate) offset: usize,
    pub(crate) place: String,
    pub(crate) cause: WireError,
}

/// No message has more fields.
pub(crate) const MAX_FIELDS: usize = 18;
/// Bookkeeping of the allocator for each block, at most.
const BLOCK_BYTES: u64 = 16;
/// Different unknown fields that are remembered.
const MAX_UNKNOWN: usize = 16;

struct Frame {
    kind: Kind,
    end: usize,
    /// The field of the message around it and how many came before; nothing for the outermost message.
    entered: Option<(&'static Field, u64)>,
    /// How often each field was seen, in the order of the table.
    counts: [u64; MAX_FIELDS],
}

/// Walks `pieces` as a message of `kind`.
pub(crate) fn scan(pieces: &mut Pieces, kind: Kind, max_depth: usize) -> Result<Scan, ScanError> {
    let len = pieces.len();
    let (bytes, cuts) = pieces.parts();
    let mut walk = Walk {
        cursor: Cursor::new(bytes, cuts),
        stack: vec![Frame::new(kind, len, None)],
        max_depth,
        held_bytes: kind.memory_bytes() as u64,
        largest_copy_bytes: 0,
        unknown_fields: Vec::new(),
    };
    let mut offset = 0;
    match walk.run(&mut offset) {
        Ok(()) => Ok(Scan {
            decoded_bytes: walk.held_bytes.saturating_add(walk.largest_copy_bytes),
            unknown_fields: walk.unknown_fields,
        }),
        Err((field, cause)) => Err(ScanError { offset, place: walk.place(field), cause }),
    }
}

impl Frame {
    fn new(kind: Kind, end: usize, entered: Option<(&'static Field, u64)>) -> Self {
        Self { kind, end, entered, counts: [0; MAX_FIELDS] }
    }
}

struct Walk<'a> {
    cursor: Cursor<'a>,
    stack: Vec<Frame>,
    max_depth: usize,
    held_bytes: u64,
    /// The largest block that is copied while a vector grows.
    largest_copy_bytes: u64,
    unknown_fields: Vec<UnknownField>,
}

type Stop = (Option<&'static Field>, WireError);

impl Walk<'_> {
    /// Walks to the end; `offset` is left at the field being read.
    fn run(&mut self, offset: &mut usize) -> Result<(), Stop> {
        while let Some(frame) = self.stack.last() {
            let (kind, end) = (frame.kind, frame.end);
            *offset = self.cursor.position;
            if self.cursor.position >= end {
                self.close();
                continue;
            }
            let (number, wire_type) = self.cursor.key(end).map_err(|cause| (None, cause))?;
            match kind.fields().iter().position(|field| field.number == number) {
                Some(index) => {
                    let field = &kind.fields()[index];
                    self.field(index, field, wire_type, end).map_err(|cause| (Some(field), cause))?;
                }
                None => {
                    self.cursor.skip(wire_type, end).map_err(|cause| (None, cause))?;
                    self.note_unknown(kind, number);
                }
            }
        }
        Ok(())
    }

    /// Steps over one known field, or into it if it is a message.
    fn field(&mut self, index: usize, field: &'static Field, wire_type: WireType, end: usize) -> Result<(), WireError> {
        let packed = field.repeated && wire_type == WireType::Delimited;
        let expected = field.content.wire_type();
        if wire_type != expected && !packed {
            return Err(WireError::WrongWireType { found: wire_type.describe(), expected: expected.describe() });
        }
        let n_elements = match field.content {
            Content::Message(kind) | Content::Boxed(kind) => return self.enter(index, field, kind, end),
            Content::Text => {
                let text = self.cursor.delimited(end)?;
                std::str::from_utf8(text).map_err(|_| WireError::NotUtf8)?;
                self.hold(text.len() as u64);
                1
            }
            // Decoding shares the file's buffer.
            Content::Bytes => self.cursor.delimited(end).map(|_| 1)?,
            Content::Varint(_) if packed => packed_varints(self.cursor.delimited(end)?)?,
            Content::Fixed32 if packed => packed_fixed(self.cursor.delimited(end)?, 4)?,
            Content::Fixed64 if packed => packed_fixed(self.cursor.delimited(end)?, 8)?,
            Content::Varint(_) | Content::Fixed32 | Content::Fixed64 => self.cursor.skip(wire_type, end).map(|()| 1)?,
        };
        self.count(index, n_elements);
        Ok(())
    }

    fn enter(&mut self, index: usize, field: &'static Field, kind: Kind, end: usize) -> Result<(), WireError> {
        let n_bytes = self.cursor.varint(end)?;
        self.cursor.check(n_bytes, end)?;
        let message_end = self.cursor.position + n_bytes as usize;
        let seen = self.count(index, 1);
        if !field.repeated && seen > 1 {
            return Err(WireError::Duplicate);
        }
        if self.stack.len() >= self.max_depth {
            return Err(WireError::TooDeep { limit: self.max_depth });
        }
        if matches!(field.content, Content::Boxed(_)) {
            self.hold(kind.memory_bytes() as u64);
        }
        self.stack.push(Frame::new(kind, message_end, Some((field, seen.saturating_sub(1)))));
        Ok(())
    }

    /// Adds to the count of a field of the message being read and returns the new count.
    fn count(&mut self, index: usize, n_elements: u64) -> u64 {
        let Some(count) = self.stack.last_mut().and_then(|frame| frame.counts.get_mut(index)) else { return 0 };
        *count += n_elements;
        *count
    }

    /// Leaves a message: the vectors it fills are known now.
    fn close(&mut self) {
        let Some(frame) = self.stack.pop() else { return };
        for (field, &count) in frame.kind.fields().iter().zip(&frame.counts) {
            if !field.repeated || count == 0 {
                continue;
            }
            let element_bytes = field.content.element_bytes() as u64;
            let capacity = vector_capacity(count, element_bytes);
            self.hold(capacity.saturating_mul(element_bytes));
            self.largest_copy_bytes = self.largest_copy_bytes.max((capacity / 2).saturating_mul(element_bytes));
        }
    }

    fn hold(&mut self, n_bytes: u64) {
        if n_bytes > 0 {
            self.held_bytes = self.held_bytes.saturating_add(n_bytes.max(8)).saturating_add(BLOCK_BYTES);
        }
    }

    fn note_unknown(&mut self, kind: Kind, number: u32) {
        let is_new = !self.unknown_fields.iter().any(|field| (field.kind, field.number) == (kind, number));
        if is_new && self.unknown_fields.len() < MAX_UNKNOWN {
            let place = self.place(None);
            self.unknown_fields.push(UnknownField { kind, number, place });
        }
    }

    /// The path of fields to the message being read, then `field`: `graph.node[3].attribute[0].t`.
    fn place(&self, field: Option<&Field>) -> String {
        let mut place = String::new();
        for (field, index) in self.stack.iter().filter_map(|frame| frame.entered) {
            place.push_str(if place.is_empty() { "" } else { "." });
            place.push_str(field.name);
            if field.repeated {
                place.push_str(&format!("[{index}]"));
            }
        }
        if let Some(field) = field {
            place.push_str(if place.is_empty() { "" } else { "." });
            place.push_str(field.name);
        }
        if place.is_empty() { "model".to_owned() } else { place }
    }
}

/// Capacity of a vector that was filled one element at a time.
fn vector_capacity(len: u64, element_bytes: u64) -> u64 {
    let smallest = match element_bytes {
        0..=1 => 8,
        2..=1024 => 4,
        _ => 1,
    };
    len.max(smallest).checked_next_power_of_two().unwrap_or(u64::MAX)
}

fn packed_varints(bytes: &[u8]) -> Result<u64, WireError> {
    let mut n_elements = 0;
    let mut continued = 0;
    for &byte in bytes {
        if byte < 0x80 {
            n_elements += 1;
            continued = 0;
        } else {
            continued += 1;
            if continued == 10 {
                return Err(WireError::NumberTooLong);
            }
        }
    }
    if continued > 0 { Err(WireError::Truncated { needed: 1, left: 0 }) } else { Ok(n_elements) }
}

fn packed_fixed(bytes: &[u8], element_bytes: usize) -> Result<u64, WireError> {
    match bytes.len() % element_bytes {
        0 => Ok((bytes.len() / element_bytes) as u64),
        left => Err(WireError::Truncated { needed: element_bytes as u64, left: left as u64 }),
    }
}
