//! One prepared image.

use super::spectrum::Spectrum;
use crate::resample::{PlaneTaps, resize_planes};
use crate::settings::{Filter, Layout};

/// A prepared image in f32: `values[(channel · height + row) · width + column]`.
#[derive(Debug, Clone)]
pub struct Image {
    channels: usize,
    height: usize,
    width: usize,
    values: Vec<f32>,
    black: Vec<f32>,
    /// Kept between images, so that none is allocated for each.
    spare: Vec<f32>,
    taps: Option<PlaneTaps>,
    spectrum: Option<Spectrum>,
}

impl Image {
    /// An image of `[channels, height, width]`; `black` is what a pixel of value 0 became in each channel.
    ///
    /// `None` if `values` or `black` has another length.
    pub fn new([channels, height, width]: [usize; 3], values: Vec<f32>, black: Vec<f32>) -> Option<Self> {
        let fits = channels.checked_mul(height)?.checked_mul(width)? == values.len() && black.len() == channels;
        fits.then_some(Self { channels, height, width, values, black, spare: Vec::new(), taps: None, spectrum: None })
    }

    /// An image without pixels, to be filled by [`load`](Self::load).
    pub(crate) fn empty(black: Vec<f32>) -> Self {
        let (channels, values) = (black.len(), Vec::new());
        Self { channels, height: 0, width: 0, values, black, spare: Vec::new(), taps: None, spectrum: None }
    }

    /// Height and width in pixels.
    pub fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// All values, plane after plane.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, to change in place.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Takes over a sample of `[height, width]`, whose axes lie as `layout` says.
    pub(crate) fn load(&mut self, sample: &[f32], [height, width]: [usize; 2], layout: Layout) {
        (self.height, self.width) = (height, width);
        self.values.clear();
        match layout {
            Layout::Nchw => self.values.extend_from_slice(sample),
            Layout::Nhwc => {
                for channel in 0..self.channels {
                    self.values.extend(sample.iter().skip(channel).step_by(self.channels));
                }
            }
        }
    }

    /// Writes the image to `out`, which is as long, its axes laid out as `layout` says.
    pub(crate) fn store(&self, out: &mut [f32], layout: Layout) {
        let area = self.height * self.width;
        match layout {
            Layout::Nchw => out.copy_from_slice(&self.values),
            Layout::Nhwc => {
                for (channel, plane) in self.values.chunks_exact(area.max(1)).enumerate() {
                    out.iter_mut().skip(channel).step_by(self.channels).zip(plane).for_each(|(out, &x)| *out = x);
                }
            }
        }
    }

    /// Sets the pixels of a rectangle, cut to the image, to 0, the mean colour where preparation takes the mean away.
    pub fn erase(&mut self, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) {
        let (top, bottom) = (rows.start.min(self.height), rows.end.min(self.height));
        let (left, right) = (columns.start.min(self.width), columns.end.min(self.width));
        if top >= bottom || left >= right {
            return;
        }
        for plane in self.values.chunks_exact_mut(self.height * self.width) {
            for row in plane.chunks_exact_mut(self.width).take(bottom).skip(top) {
                row[left..right].fill(0.0);
            }
        }
    }

    /// Builds the image anew, row by row, in the same size: `row(source plane, black of the channel, row, target)`.
    pub(crate) fn rewrite(&mut self, mut row: impl FnMut(&[f32], f32, usize, &mut [f32])) {
        self.spare.clear();
        self.spare.resize(self.values.len(), 0.0);
        let area = self.height * self.width;
        if area == 0 {
            return;
        }
        let planes = self.values.chunks_exact(area).zip(self.spare.chunks_exact_mut(area)).zip(&self.black);
        for ((source, target), &black) in planes {
            for (at, target) in target.chunks_exact_mut(self.width).enumerate() {
                row(source, black, at, target);
            }
        }
        std::mem::swap(&mut self.values, &mut self.spare);
    }

    /// Keeps the rectangle of `[height, width]` at `[top, left]`, which lies inside.
    pub(crate) fn cut(&mut self, [top, left]: [usize; 2], [height, width]: [usize; 2]) {
        let area = self.height * self.width;
        self.spare.clear();
        for plane in self.values.chunks_exact(area.max(1)) {
            for row in plane.chunks_exact(self.width).skip(top).take(height) {
                self.spare.extend_from_slice(&row[left..left + width]);
            }
        }
        (self.height, self.width) = (height, width);
        std::mem::swap(&mut self.values, &mut self.spare);
    }

    /// Resamples to another size, neither side of which is 0: antialiased triangle, in f32.
    pub(crate) fn resize(&mut self, size: [usize; 2]) {
        let from = self.size();
        if from == size || from.contains(&0) {
            return;
        }
        if self.taps.as_ref().is_none_or(|taps| !taps.is_for(from, size)) {
            self.taps = Some(PlaneTaps::new(from, size, Filter::Bilinear));
        }
        if let Some(taps) = &self.taps {
            resize_planes(&mut self.values, &mut self.spare, taps);
            [self.height, self.width] = size;
        }
    }

    /// Makes the image smaller, to no side of 0, by leaving out frequencies.
    pub(crate) fn cut_spectrum(&mut self, size: [usize; 2]) {
        let from = self.size();
        if from == size || from.contains(&0) {
            return;
        }
        if self.spectrum.as_ref().is_none_or(|spectrum| !spectrum.is_for(from, size)) {
            self.spectrum = Some(Spectrum::new(from, size));
        }
        if let Some(spectrum) = &self.spectrum {
            spectrum.cut(&self.values, &mut self.spare);
            std::mem::swap(&mut self.values, &mut self.spare);
            [self.height, self.width] = size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        let mut image = Image::empty(vec![-1.0, -2.0]);
        // One row of three pixels, (1, 10), (2, 20), (3, 30).
        image.load(&[1.0, 10.0, 2.0, 20.0, 3.0, 30.0], [1, 3], Layout::Nhwc);
        image
    }

    #[test]
    fn both_layouts_come_out_as_they_went_in() {
        let image = image();
        assert_eq!(image.values(), [1.0, 2.0, 3.0, 10.0, 20.0, 30.0]);
        let mut out = [0.0; 12];
        image.store(&mut out[..6], Layout::Nhwc);
        image.store(&mut out[6..], Layout::Nchw);
        assert_eq!(out, [1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 1.0, 2.0, 3.0, 10.0, 20.0, 30.0]);
    }

    #[test]
    fn a_rectangle_is_cut_erased_and_resampled() {
        let mut erased = image();
        erased.erase(0..9, 2..9);
        erased.erase(5..6, 0..1);
        assert_eq!(erased.values(), [1.0, 2.0, 0.0, 10.0, 20.0, 0.0]);
        let mut cut = image();
        cut.cut([0, 1], [1, 2]);
        assert_eq!((cut.size(), cut.values()), ([1, 2], &[2.0, 3.0, 20.0, 30.0][..]));
        cut.resize([2, 1]);
        assert_eq!((cut.size(), cut.values()), ([2, 1], &[2.5, 2.5, 25.0, 25.0][..]));
    }

    #[test]
    fn lengths_must_fit() {
        assert!(Image::new([1, 2, 2], vec![0.0; 4], vec![0.0]).is_some());
        assert!(Image::new([1, 2, 2], vec![0.0; 3], vec![0.0]).is_none());
        assert!(Image::new([1, 2, 2], vec![0.0; 4], vec![]).is_none());
        assert!(Image::new([2, usize::MAX, 2], vec![0.0; 4], vec![0.0; 2]).is_none());
    }
}
