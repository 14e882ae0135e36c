//! A file in memory, cut so that each large weight has a buffer of its own: who reads the model gives the bytes of a weight
//! back as soon as its values are read, and never holds all of them twice.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};

use bytes::{Buf, Bytes, BytesMut};

/// Bytes from which on a weight is cut out.
const LARGE: usize = 64 << 10;
/// Fields on the way to the bytes of a weight: the graph of a model, an initializer of it, its `raw_data`.
const WAY: [u64; 3] = [7, 5, 9];

/// The bytes of a file.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// All but what was cut out.
    frame: Bytes,
    cuts: VecDeque<Cut>,
    len: usize,
    /// How much of it was read already.
    position: usize,
}

/// A part of the file with a buffer of its own.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Where it begins in the file.
    pub(crate) position: usize,
    pub(crate) bytes: Bytes,
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        Self { len: bytes.len(), frame: bytes, ..Self::default() }
    }
}

impl Pieces {
    /// Reads at most `file_bytes`. What is no model stays in one piece, so that it can be looked at.
    pub(crate) fn read(file: impl Read, file_bytes: usize) -> io::Result<Self> {
        let mut skim = Skim {
            file: BufReader::with_capacity(LARGE, file.take(file_bytes as u64)),
            frame: Vec::new(),
            cuts: VecDeque::new(),
            position: 0,
        };
        skim.message(0, file_bytes)?;
        // Where the format is not followed, the walk that comes next says so.
        let left = file_bytes.saturating_sub(skim.position);
        skim.copy(left)?;
        Ok(Self { frame: skim.frame.into(), cuts: skim.cuts, len: skim.position, position: 0 })
    }

    /// Length of the file.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What is left after cutting, and what was cut out, in order.
    pub(crate) fn parts(&mut self) -> (&[u8], &[Cut]) {
        (&self.frame, self.cuts.make_contiguous())
    }

    /// The file in one piece.
    pub(crate) fn joined(mut self) -> Bytes {
        self.copy_to_bytes(self.len)
    }

    /// Bytes of the frame before the next cut, at most.
    fn until_cut(&self) -> usize {
        self.cuts.front().map_or(usize::MAX, |cut| cut.position.saturating_sub(self.position))
    }
}

struct Skim<R> {
    file: BufReader<R>,
    frame: Vec<u8>,
    cuts: VecDeque<Cut>,
    position: usize,
}

impl<R: Read> Skim<R> {
    /// Reads a message that ends at `end`, `level` steps down the way; false where it does not follow the format.
    fn message(&mut self, level: usize, end: usize) -> io::Result<bool> {
        while self.position < end {
            let Some(key) = self.varint()? else { return Ok(false) };
            let n_bytes = match key & 7 {
                0 => self.varint()?.map(|_| 0),
                1 => Some(8),
                2 => self.varint()?,
                5 => Some(4),
                _ => None,
            };
            let left = end.saturating_sub(self.position);
            let n_bytes = n_bytes.and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= left);
            let Some(n_bytes) = n_bytes else { return Ok(false) };
            let is_on_way = key == WAY[level] << 3 | 2 && n_bytes >= LARGE;
            let is_whole = match level {
                _ if !is_on_way => self.copy(n_bytes)?,
                2 => self.cut(n_bytes)?,
                _ => self.message(level + 1, self.position + n_bytes)?,
            };
            if !is_whole {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next varint; `None` if it is none, or the file ends.
    fn varint(&mut self) -> io::Result<Option<u64>> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.file.fill_buf()?.first() else { return Ok(None) };
            self.file.consume(1);
            self.frame.push(byte);
            self.position += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Moves bytes to the frame; false if the file ends before.
    fn copy(&mut self, n_bytes: usize) -> io::Result<bool> {
        if n_bytes >= LARGE {
            self.frame.try_reserve_exact(n_bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        }
        let read = self.file.by_ref().take(n_bytes as u64).read_to_end(&mut self.frame)?;
        self.position += read;
        Ok(read == n_bytes)
    }

    /// Moves bytes to a buffer of their own; false if the file ends before.
    fn cut(&mut self, n_bytes: usize) -> io::Result<bool> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(n_bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let read = self.file.by_ref().take(n_bytes as u64).read_to_end(&mut bytes)?;
        self.cuts.push_back(Cut { position: self.position, bytes: bytes.into() });
        self.position += read;
        Ok(read == n_bytes)
    }
}

/// Reads the file from its beginning; what was read is let go.
impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.len - self.position
    }

    fn chunk(&self) -> &[u8] {
        match (self.until_cut(), self.cuts.front()) {
            (0, Some(cut)) => &cut.bytes,
            (n, _) => &self.frame[..n.min(self.frame.len())],
        }
    }

    fn advance(&mut self, mut n_bytes: usize) {
        while n_bytes > 0 {
            let (until_cut, step) = (self.until_cut(), n_bytes.min(self.chunk().len()));
            assert!(step > 0, "beyond the end of the file");
            match self.cuts.front_mut() {
                Some(cut) if until_cut == 0 => {
                    cut.bytes.advance(step);
                    cut.position += step;
                    if cut.bytes.is_empty() {
                        self.cuts.pop_front();
                    }
                }
                _ => self.frame.advance(step),
            }
            self.position += step;
            n_bytes -= step;
        }
    }

    /// Copies nothing where the bytes are all that was cut out at one place, or lie between two cuts.
    fn copy_to_bytes(&mut self, n_bytes: usize) -> Bytes {
        let until_cut = self.until_cut();
        if n_bytes > 0 && until_cut == 0 && self.chunk().len() == n_bytes {
            self.position += n_bytes;
            return self.cuts.pop_front().map(|cut| cut.bytes).unwrap_or_default();
        }
        if n_bytes <= until_cut && n_bytes <= self.frame.len() {
            self.position += n_bytes;
            return self.frame.split_to(n_bytes);
        }
        let mut bytes = BytesMut::with_capacity(n_bytes);
        while bytes.len() < n_bytes {
            let step = self.chunk().len().min(n_bytes - bytes.len());
            assert!(step > 0, "beyond the end of the file");
            bytes.extend_from_slice(&self.chunk()[..step]);
            self.advance(step);
        }
        bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{GraphProto, ModelProto, TensorProto};
    use prost::Message;

    fn tensor(len: usize) -> TensorProto {
        TensorProto { raw_data: Some(vec![len as u8; len].into()), name: Some("w".into()), ..TensorProto::default() }
    }

    fn model() -> Vec<u8> {
        let initializer = [LARGE, 3, LARGE - 1, 0, LARGE + 7].map(tensor).into();
        let graph = GraphProto { name: Some("g".into()), initializer, ..GraphProto::default() };
        let producer_name = Some("p".repeat(LARGE + 1));
        ModelProto { graph: Some(graph), ir_version: Some(8), producer_name, ..ModelProto::default() }.encode_to_vec()
    }

    #[test]
    fn a_file_in_pieces_is_the_file() {
        let file = model();
        let pieces = || Pieces::read(&file[..], file.len()).unwrap();
        assert_eq!(pieces().cuts.iter().map(|cut| cut.bytes.len()).collect::<Vec<_>>(), [LARGE, LARGE + 7]);
        assert_eq!((pieces().len(), pieces().joined()), (file.len(), Bytes::from(file.clone())));
        assert_eq!(ModelProto::decode(pieces()).unwrap(), ModelProto::decode(&file[..]).unwrap());
    }

    #[test]
    fn a_damaged_file_loses_nothing() {
        let file = model();
        for end in [0, 1, 10, LARGE, LARGE + 30, 2 * LARGE + 40, file.len() - 1] {
            let pieces = Pieces::read(&file[..end], file.len()).unwrap();
            assert_eq!((pieces.len(), pieces.joined()), (end, Bytes::copy_from_slice(&file[..end])));
        }
        for at in (0..file.len()).step_by(7919).chain(0..40) {
            let mut file = file.clone();
            file[at] ^= 0xff;
            assert_eq!(Pieces::read(&file[..], file.len()).unwrap().joined(), Bytes::from(file));
        }
    }

    #[test]
    fn bytes_can_be_taken_in_any_portions() {
        let file = model();
        for step in [1, 1000, LARGE, 100_000] {
            let mut pieces = Pieces::read(&file[..], file.len()).unwrap();
            let mut taken = Vec::new();
            while pieces.has_remaining() {
                let n_bytes = step.min(pieces.remaining());
                taken.extend_from_slice(&pieces.copy_to_bytes(n_bytes));
            }
            assert_eq!(taken, file);
        }
    }
}
