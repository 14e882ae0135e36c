//! Places for all buffers in one arena.
//!
//! A buffer lives from the step that writes it to the last that reads it. Larger buffers are placed first, each at the
//! lowest place that nothing alive at the same time takes.

use std::ops::Range;

use super::step::{Buffer, Kind, Source, Step, Target};

/// f32 words in a cache line: buffers begin on one.
const LINE: usize = 16;

/// The memory one run works in.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    words: Vec<f32>,
}

impl Arena {
    /// At least `len` words, the first on a cache line.
    pub fn words(&mut self, len: usize) -> &mut [f32] {
        if self.words.len() < len + LINE {
            self.words = vec![0.0; len + LINE];
        }
        let start = self.words.as_ptr().align_offset(LINE * 4).min(LINE);
        &mut self.words[start..start + len]
    }

    pub fn size_bytes(&self) -> usize {
        self.words.len() * 4
    }
}

/// Lets steps write over an input that is not needed any more, where they can; then places all buffers. Gives the place
/// of each buffer and the size of the arena.
pub(crate) fn place(steps: &mut [Step], buffers: &[Buffer]) -> (Vec<(Range<usize>, usize)>, usize) {
    let last_read = last_reads(steps, buffers.len());
    let roots = share(steps, buffers, &last_read);
    let mut lives: Vec<Option<Range<usize>>> = vec![None; buffers.len()];
    for (index, step) in steps.iter().enumerate() {
        let read = step.inputs.iter().filter_map(Source::buffer);
        let written = if let Target::Buffer(id) = step.target { Some(id) } else { None };
        for id in read.chain(written) {
            let life = lives[roots[id]].get_or_insert(index..index + 1);
            life.end = index + 1;
        }
    }
    let mut order: Vec<usize> = (0..buffers.len()).filter(|&id| lives[id].is_some()).collect();
    order.sort_by_key(|&id| std::cmp::Reverse(buffers[id].elem.words(buffers[id].len)));
    let mut starts = vec![0; buffers.len()];
    let mut placed: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    let mut size = 0;
    for id in order {
        let Some(life) = lives[id].clone() else { continue };
        let words = buffers[id].elem.words(buffers[id].len).next_multiple_of(LINE);
        let mut taken: Vec<&Range<usize>> = placed
            .iter()
            .filter(|(other, _)| other.start < life.end && life.start < other.end)
            .map(|(_, at)| at)
            .collect();
        taken.sort_by_key(|at| at.start);
        let start = taken.iter().fold(0, |start, at| if start + words <= at.start { start } else { start.max(at.end) });
        // The fold stops moving at the first gap that is large enough, because all later ranges start after it.
        starts[id] = start;
        size = size.max(start + words);
        placed.push((life, start..start + words));
    }
    let places = buffers
        .iter()
        .enumerate()
        .map(|(id, buffer)| {
            let start = starts[roots[id]];
            (start..start + buffer.elem.words(buffer.len), buffer.len)
        })
        .collect();
    (places, size)
}

fn last_reads(steps: &[Step], n_buffers: usize) -> Vec<usize> {
    let mut last = vec![0; n_buffers];
    for (index, step) in steps.iter().enumerate() {
        for source in &step.inputs {
            if let Some(id) = source.buffer() {
                last[id] = index;
            }
        }
    }
    last
}

/// Marks steps that run in place; gives the buffer whose place each buffer takes.
fn share(steps: &mut [Step], buffers: &[Buffer], last_read: &[usize]) -> Vec<usize> {
    let mut roots: Vec<usize> = (0..buffers.len()).collect();
    for (index, step) in steps.iter_mut().enumerate() {
        // What may be written into the caller's memory has a place of its own.
        let can = match &step.kind {
            Kind::Unary(_) | Kind::Binary { .. } | Kind::Softmax { .. } => step.output.is_none(),
            Kind::Map(map) => map.from.is_none() && map.to.is_none() && step.output.is_none(),
            _ => false,
        };
        let (Target::Buffer(to), Some(Source::Buffer(from))) = (&step.target, step.inputs.first()) else { continue };
        let (to, from) = (*to, *from);
        let is_read_twice = step.inputs[1..].iter().any(|source| source.buffer() == Some(from));
        let is_alike = buffers[to].len == buffers[from].len && buffers[to].elem == buffers[from].elem;
        if can && last_read[from] == index && !is_read_twice && is_alike {
            roots[to] = roots[from];
            step.is_in_place = true;
        }
    }
    roots
}
