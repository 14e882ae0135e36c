//! Cuts maps into strips: vectors of output pixels that lie below each other.
//!
//! Lanes are columns of pixels. Narrow maps do not fill a vector, so a map may be folded: its rows are cut into segments
//! that lie side by side, and the columns of all segments of all images are one line of columns.

use super::driver::Call;
use super::gather::{Plan, Run, inside};
use crate::gemm::driver::part;
use std::ops::Range;

/// Rows of output, and with it vectors, of a block, at most.
pub(super) const MAX_ROWS: usize = 8;
/// Rows of halo that cost as much as a row of output.
const HALO: usize = 8;

/// How the output is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strips {
    /// Of each image, each of `rows` rows; the last may have fewer.
    segments: usize,
    rows: usize,
    count: usize,
    /// Blocks of a strip.
    tiles: usize,
}

/// The pixels of a block.
#[derive(Debug, Clone)]
pub(super) struct Tile {
    strip: usize,
    /// Of its segments.
    rows: Range<usize>,
}

/// Where a span of lanes ends in the output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    /// Of lane 0 and the first row, in channel 0.
    pub offset: isize,
    /// For each row.
    pub masks: [u32; MAX_ROWS],
}

impl Strips {
    /// For vectors of `lanes` and blocks of `max_rows` rows.
    pub fn of(call: &Call<'_>, lanes: usize, max_rows: usize) -> Self {
        let [out_h, out_w] = call.out_size;
        let more = call.packed.shape().window.kernel[0] - 1;
        let cut = |segments: usize| {
            let rows = out_h.div_ceil(segments);
            let count = (call.images.n * segments * out_w).div_ceil(lanes);
            Self { segments, rows, count, tiles: rows.div_ceil(max_rows) }
        };
        let cost = |strips: &Self| strips.count * (strips.rows * HALO + strips.tiles * more);
        let cuts = (1..=out_h.min(lanes)).filter(|&n| out_h.div_ceil(out_h.div_ceil(n)) == n).map(cut);
        cuts.min_by_key(cost).unwrap_or_else(|| cut(1))
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.count * self.tiles
    }

    /// Vectors of all blocks.
    pub fn vectors(&self) -> usize {
        self.count * self.rows
    }

    /// The most vectors of a block.
    pub fn vectors_of_block(&self) -> usize {
        self.rows.div_ceil(self.tiles)
    }

    pub fn tile(&self, index: usize) -> Tile {
        Tile { strip: index / self.tiles, rows: part(index % self.tiles, self.tiles, self.rows) }
    }

    /// Finds what the lanes of `tile` read and write.
    pub fn plan(&self, call: &Call<'_>, tile: &Tile, lanes: usize, plan: &mut Plan) {
        self.spans(call, tile, lanes, &mut plan.spans);
        let window = call.packed.shape().window;
        let (h, w) = (call.images.h, call.images.w);
        let (stride_y, stride_x) = (window.stride[0] as isize, window.stride[1] as isize);
        plan.offsets.clear();
        plan.masks.clear();
        for right in 0..window.kernel[1] {
            let dx = (right * window.dilation[1]) as isize - window.pads[1] as isize;
            for phase in call.packed.bands.iter().flat_map(|bands| bands.phases()) {
                let dy = phase.row as isize - window.pads[0] as isize;
                let lines = tile.rows.len() + phase.more;
                let (first, n_spans) = (plan.masks.len(), plan.spans.len());
                plan.masks.resize(first + lines * n_spans, 0);
                for (index, span) in plan.spans.iter().enumerate() {
                    let (y, x) = (span.y as isize * stride_y + dy, span.x as isize * stride_x + dx);
                    let image = (span.image * call.packed.shape().c_in * h * w) as isize;
                    plan.offsets.push(image + y * w as isize + x - span.lane as isize * stride_x);
                    let columns = inside(x, stride_x, span.len, w);
                    let mask = (((1u64 << columns.end) - (1u64 << columns.start)) << span.lane) as u32;
                    for line in inside(y, stride_y, lines, h) {
                        plan.masks[first + line * n_spans + index] = mask;
                    }
                }
            }
        }
        let [out_h, out_w] = call.out_size;
        plan.targets.clear();
        for span in &plan.spans {
            let image = span.image * call.packed.shape().c_out * out_h;
            let offset = ((image + span.y) * out_w + span.x) as isize - span.lane as isize;
            let mut masks = [0; MAX_ROWS];
            let rows = tile.rows.len().min(out_h.saturating_sub(span.y));
            masks[..rows].fill((((1u64 << span.len) - 1) << span.lane) as u32);
            plan.targets.push(Target { offset, masks });
        }
        plan.runs.clear();
        for vector in 0..tile.rows.len() {
            let is_there = |span: &&Run| span.y + vector < out_h;
            let run = |span: &Run| Run { vector, y: span.y + vector, ..*span };
            plan.runs.extend(plan.spans.iter().filter(is_there).map(run));
        }
    }

    /// Lanes side by side in one segment; `y` is the row of the first vector.
    fn spans(&self, call: &Call<'_>, tile: &Tile, lanes: usize, spans: &mut Vec<Run>) {
        let out_w = call.out_size[1];
        let columns = call.images.n * self.segments * out_w;
        spans.clear();
        let (mut at, end) = (tile.strip * lanes, columns.min((tile.strip + 1) * lanes));
        while at < end {
            let (x, segment, image) = (at % out_w, at / out_w % self.segments, at / out_w / self.segments);
            let len = (out_w - x).min(end - at);
            let y = segment * self.rows + tile.rows.start;
            spans.push(Run { vector: 0, lane: at - tile.strip * lanes, len, image, y, x });
            at += len;
        }
    }
}

impl Tile {
    pub fn vectors(&self) -> usize {
        self.rows.len()
    }
}
