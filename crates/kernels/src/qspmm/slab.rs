//! Pixels transposed for the forms of blocks, a part of K at a time: `[groups of four inputs][pixels]`, or `[inputs][64 pixels]`.

use super::Kernel;
use super::blocks4x1::LINE;
use super::lines::{self, Line};
use super::source::{Padded, Source, runs};
use crate::conv::gather::Pixels;
use std::ops::Range;

/// Inputs in a slab.
pub(super) const SLAB: usize = 512;
/// Groups that are transposed at once; a slab has room for as many after its end.
const STEP: usize = 16;
/// Bytes from one unfolded pixel to the next: those of a slab and a line, so that columns use all of the cache.
const STRIDE: usize = SLAB + 64;

/// How windows are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reader {
    /// From the input, as it is.
    Direct,
    /// From a padded copy of the input.
    Copy,
    /// From windows that are unfolded one by one, where groups of four inputs straddle the runs of a window.
    Unfold,
}

impl Reader {
    pub fn new(source: &Source<'_>) -> Self {
        let [_, run] = runs(&source.shape);
        match run {
            _ if !run.is_multiple_of(4) => Self::Unfold,
            _ if run.is_multiple_of(4 * STEP) && source.is_direct(run, 4 * STEP) => Self::Direct,
            _ => Self::Copy,
        }
    }
}

/// The slab of some pixels, and where they are.
#[derive(Default)]
pub(super) struct Slab {
    lines: Vec<Line<u32, 16>>,
    /// `[STEP][64 pixels]`, four inputs each, on the way to single ones.
    groups: Vec<Line<u32, 16>>,
    unfolded: Vec<Line<u8, 64>>,
    pixels: Range<usize>,
    /// Where the windows begin, of whole vectors of pixels; the last one again where there are no more.
    windows: Vec<*const u8>,
    run_offsets: Vec<usize>,
    is_unfolded: bool,
}

impl Slab {
    /// Turns to other pixels, which are not none.
    pub fn locate(&mut self, source: &Source<'_>, padded: &Padded, pixels: Range<usize>, reader: Reader) {
        self.pixels = pixels.clone();
        self.is_unfolded = reader == Reader::Unfold;
        if self.is_unfolded {
            let rows = lines::grow(&mut self.unfolded, pixels.len() * STRIDE).as_ptr();
            self.windows.clear();
            self.windows.extend((0..pixels.len()).map(|row| rows.wrapping_add(row * STRIDE)));
        } else {
            source.windows(padded, pixels, &mut self.windows);
            source.run_offsets(padded, &mut self.run_offsets);
        }
        let last = self.windows[self.windows.len() - 1];
        self.windows.resize(self.windows.len().next_multiple_of(STEP), last);
    }

    pub fn as_ptr(&self) -> *const u32 {
        self.lines.as_ptr().cast()
    }

    /// Fills the slab with inputs `ks`, at most `SLAB` of them, which begin at a multiple of that: in groups of four, or if
    /// `is_single` one by one, of at most 64 pixels in the order of the variant.
    ///
    /// # Safety
    /// The pixels of the last `locate` may be read as `Reader` says, and this CPU runs `kernel`.
    pub unsafe fn fill(&mut self, source: &Source<'_>, kernel: &Kernel, ks: Range<usize>, is_single: bool) {
        let pixels = if is_single { LINE } else { self.windows.len() };
        lines::grow(&mut self.lines, (SLAB / 4 + STEP) * pixels);
        lines::grow(&mut self.groups, STEP * LINE);
        if self.is_unfolded {
            self.unfold(source, &ks);
            // SAFETY: the caller's; rows end in a line to spare.
            return unsafe { self.transpose(kernel, 0, ks.len().div_ceil(4), 0, is_single) };
        }
        let [_, run] = runs(&source.shape);
        let mut at = ks.start;
        while at < ks.end {
            let (index, skip) = (at / run, at % run);
            let len = (run - skip).min(ks.end - at);
            // SAFETY: the caller's; what is read after the end of a run is in the copy, or its bytes to spare.
            unsafe {
                self.transpose(kernel, self.run_offsets[index] + skip, len / 4, (at - ks.start) / 4, is_single);
            }
            at += len;
        }
    }

    /// Transposes `groups` of inputs at `offset` of each window to the slab, from its row `first` on.
    ///
    /// # Safety
    /// The windows may be read there, in steps of `STEP` groups.
    unsafe fn transpose(&mut self, kernel: &Kernel, offset: usize, groups: usize, first: usize, is_single: bool) {
        if is_single {
            // SAFETY: the caller's.
            return unsafe { self.transpose_single(kernel, offset, groups, first) };
        }
        let pixels = self.windows.len();
        let slab = lines::grow(&mut self.lines, 0);
        for (vector, windows) in self.windows.as_chunks::<16>().0.iter().enumerate() {
            for group in (0..groups).step_by(STEP) {
                let rows = windows.map(|window| window.wrapping_add(offset + group * 4));
                let to = slab[(first + group) * pixels + vector * 16..][..STEP * pixels - vector * 16].as_mut_ptr();
                // SAFETY: the caller's; the slab has room for these groups.
                unsafe { (kernel.transpose)(&rows, to, pixels) };
            }
        }
    }

    /// # Safety
    /// As [`Self::transpose`], for at most 64 pixels.
    unsafe fn transpose_single(&mut self, kernel: &Kernel, offset: usize, groups: usize, first: usize) {
        let slab = lines::grow(&mut self.lines, 0);
        let some = lines::grow(&mut self.groups, STEP * LINE);
        for group in (0..groups).step_by(STEP) {
            for (vector, windows) in self.windows.as_chunks::<16>().0.iter().enumerate() {
                let rows = windows.map(|window| window.wrapping_add(offset + group * 4));
                // SAFETY: the caller's; there is room for 64 pixels.
                unsafe { (kernel.transpose)(&rows, some[vector * 16..].as_mut_ptr(), LINE) };
            }
            let to = &mut slab[(first + group) * LINE..][..STEP * LINE];
            // SAFETY: both hold `STEP` groups of four inputs of 64 pixels.
            unsafe { (kernel.take_apart)(some.as_ptr(), to.as_mut_ptr().cast(), STEP) };
        }
    }

    fn unfold(&mut self, source: &Source<'_>, ks: &Range<usize>) {
        let unfolded = Pixels {
            input: source.input,
            images: source.images,
            window: source.shape.window,
            out_size: source.out_size,
            c_in: source.shape.c_in,
            channels: 0..source.shape.c_in,
            pad: source.zero ^ source.flip,
        };
        let rows = lines::grow(&mut self.unfolded, self.pixels.len() * STRIDE);
        // SAFETY: there is room for these rows.
        unsafe { unfolded.pack(self.pixels.clone(), ks.clone(), rows.as_mut_ptr(), STRIDE) };
        if source.flip != 0 {
            for row in rows.chunks_exact_mut(STRIDE).take(self.pixels.len()) {
                row[..ks.len()].iter_mut().for_each(|byte| *byte ^= source.flip);
            }
        }
    }
}
