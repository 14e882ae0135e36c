//! Images of one size held in memory: what idx, CIFAR and npz files give.

use std::fmt;

use lissom_tensor::Tensor;

use crate::DataError;
use crate::format::{Half, ImageAxes, Source};
use crate::pixels::Pixels;
use crate::prepare::Preparation;

/// `values` holds one image after the other.
pub(crate) struct PixelArray {
    pub values: Vec<u8>,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// One plane for each channel instead of one pixel after the other.
    pub is_planar: bool,
    pub preparation: Preparation,
}

impl PixelArray {
    fn image(&self, row: usize) -> &[u8] {
        let len = self.image_len();
        &self.values[row * len..(row + 1) * len]
    }

    fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }
}

impl Source for PixelArray {
    fn len(&self) -> usize {
        self.values.len() / self.image_len().max(1)
    }

    fn image_axes(&self) -> Option<ImageAxes> {
        Some(self.preparation.axes(Some([self.height, self.width])))
    }

    fn inputs(&self, rows: &[usize], _half: Half) -> Result<Vec<(String, Tensor)>, DataError> {
        let &Self { height, width, channels, .. } = self;
        if (self.is_planar || channels == 1)
            && let Some(batch) =
                self.preparation.batch_of_planes(rows, [channels, height, width], |row| self.image(row))
        {
            return batch;
        }
        self.preparation.batch(rows, |row| {
            let values = self.image(row);
            Ok(if self.is_planar {
                Pixels::from_planes(values, height, width, channels)
            } else {
                Pixels { height, width, channels, values: values.to_vec() }
            })
        })
    }

    fn hash_row(&self, row: usize, hasher: &mut blake3::Hasher) -> Result<(), DataError> {
        hasher.update(self.image(row));
        Ok(())
    }
}

impl fmt::Debug for PixelArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PixelArray({} of {}x{}x{})", self.len(), self.height, self.width, self.channels)
    }
}
