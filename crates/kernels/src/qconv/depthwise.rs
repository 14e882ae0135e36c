//! Splits an integer convolution of one filter a channel into tasks.

use super::PackedQConv;
use crate::conv::Images;
use crate::qgemm::aligned::AlignedBytes;
use crate::qgemm::columns::{BLOCK, PackedColumns, Strip};
use crate::qgemm::depthwise::Row;
use crate::qgemm::finish::Finish;
use crate::quantize::Bytes;
use crate::threads::Threads;
use std::cell::RefCell;

/// Weights of a depthwise convolution.
#[derive(Clone)]
pub(super) struct Filters {
    /// `[taps, channels]`, zero points taken off; empty where `columns` are used.
    pub taps: Vec<i16>,
    /// Where the kernel has loops for them and the weights fit.
    pub columns: Option<PackedColumns>,
}

/// Multiply-adds worth a task of their own, a few microseconds.
const TASK_WORK: usize = 1 << 18;

thread_local! {
    static SCRATCH: RefCell<AlignedBytes> = RefCell::default();
}

/// The checked arguments of `qconv`.
pub(super) struct Depthwise<'a> {
    pub conv: &'a PackedQConv,
    pub filters: &'a Filters,
    pub input: Bytes<'a>,
    /// Of the unsigned input.
    pub zero: i32,
    pub images: Images,
    pub out_size: [usize; 2],
    pub finish: Finish,
}

impl Depthwise<'_> {
    /// # Safety
    /// `finish` is valid for the whole output, which nobody else uses.
    pub unsafe fn run(&self, threads: &Threads) {
        // SAFETY: the caller's.
        unsafe {
            match &self.filters.columns {
                Some(columns) => self.run_strips(threads, columns),
                None => self.run_rows(threads),
            }
        }
    }

    /// # Safety
    /// As [`Self::run`].
    unsafe fn run_strips(&self, threads: &Threads, packed: &PackedColumns) {
        let Some(run) = self.conv.kernel.columns else { return };
        let (shape, Images { n, h, w }, [out_h, out_w]) = (&self.conv.shape, self.images, self.out_size);
        let channels = shape.c_out;
        let work = shape.macs(n * out_h * out_w);
        let wanted = if threads.count() == 1 { 1 } else { (work / TASK_WORK).clamp(1, 4 * threads.count()) };
        let blocks = channels.div_ceil(BLOCK);
        // Rows are parted only where there are too few blocks, whole groups of lines each.
        let groups = out_h.div_ceil(packed.lines);
        let row_parts = wanted.div_ceil(n * blocks).min(groups);
        let units = n * blocks * row_parts;
        let n_tasks = units.min(wanted);
        threads.run(n_tasks, |task| {
            for unit in task * units / n_tasks..(task + 1) * units / n_tasks {
                let (image, unit) = (unit / (blocks * row_parts), unit % (blocks * row_parts));
                let (first, part) = (unit / row_parts * BLOCK, unit % row_parts);
                let row = |part: usize| (part * groups / row_parts * packed.lines).min(out_h);
                let strip = Strip {
                    window: shape.window,
                    h,
                    w,
                    channels,
                    out_w,
                    image: &self.input.raw()[image * h * w * channels..][..h * w * channels],
                    flip: self.input.flip(),
                    pad: self.zero as u8 ^ self.input.flip(),
                    packed,
                    first,
                    n: (channels - first).min(BLOCK),
                    ys: row(part)..row(part + 1),
                    finish: self.finish.at(image * out_h * out_w, first),
                };
                SCRATCH.with_borrow_mut(|scratch| {
                    scratch.reserve(strip.scratch_bytes());
                    // SAFETY: lengths were checked by `qconv`; strips are disjoint; this CPU can run the variant.
                    unsafe { run(&strip, scratch) };
                });
            }
        });
    }

    /// # Safety
    /// As [`Self::run`].
    unsafe fn run_rows(&self, threads: &Threads) {
        let (shape, Images { n, h, w }, [out_h, out_w]) = (&self.conv.shape, self.images, self.out_size);
        let channels = shape.c_out;
        let band = (1usize << 15).div_ceil((out_w * channels * shape.window.taps()).max(1));
        let rows = n * out_h;
        threads.run(rows.div_ceil(band), |task| {
            for index in task * band..rows.min((task + 1) * band) {
                let row = Row {
                    window: shape.window,
                    h,
                    w,
                    channels,
                    out_w,
                    image: &self.input.raw()[index / out_h * h * w * channels..],
                    flip: self.input.flip(),
                    zero: self.zero as i16,
                    weight: &self.filters.taps,
                    y: index % out_h,
                    finish: self.finish.at(index * out_w, 0),
                };
                // SAFETY: lengths were checked by `qconv`; rows are disjoint; this CPU can run the variant.
                unsafe { (self.conv.kernel.depthwise)(&row) };
            }
        });
    }
}
