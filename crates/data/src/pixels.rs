//! 8-bit images in memory: colour and crop.

use crate::settings::{Colour, Size};

/// An 8-bit image, `values[(row · width + column) · channels + channel]`. Three channels are red, green, blue; a fourth
/// is alpha.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pixels {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub values: Vec<u8>,
}

impl Pixels {
    /// From one plane for each channel, as CIFAR stores them.
    pub fn from_planes(planes: &[u8], height: usize, width: usize, channels: usize) -> Self {
        let area = height * width;
        let values = (0..area).flat_map(|at| (0..channels).map(move |channel| planes[channel * area + at])).collect();
        Self { height, width, channels, values }
    }

    /// The same image in other channels; alpha is dropped. `None` if it has neither 1, 3 nor 4 channels.
    pub fn in_colour(self, colour: Colour) -> Option<Self> {
        let rgb = |pixel: &[u8]| match *pixel {
            [grey] => [grey; 3],
            [r, g, b, ..] => [r, g, b],
            _ => [0; 3],
        };
        if !matches!(self.channels, 1 | 3 | 4) {
            return None;
        }
        let pixels = self.values.chunks_exact(self.channels);
        let (channels, values) = match colour {
            Colour::Grey if self.channels == 1 => return Some(self),
            Colour::Rgb if self.channels == 3 => return Some(self),
            Colour::Grey => (1, pixels.map(|pixel| luma(rgb(pixel))).collect()),
            Colour::Rgb => (3, pixels.flat_map(rgb).collect()),
            Colour::Bgr => (3, pixels.flat_map(|pixel| rgb(pixel).into_iter().rev()).collect()),
        };
        Some(Self { channels, values, ..self })
    }

    /// The middle of the image; `size` is at most its own.
    pub fn cropped(self, [height, width]: [usize; 2]) -> Self {
        if [height, width] == [self.height, self.width] {
            return self;
        }
        let top = half_to_even(self.height - height);
        let left = half_to_even(self.width - width);
        let rows = self.values.chunks_exact(self.width * self.channels).skip(top).take(height);
        let values = rows.flat_map(|row| &row[left * self.channels..(left + width) * self.channels]).copied().collect();
        Self { height, width, channels: self.channels, values }
    }
}

/// Half of `margin`; a half pixel goes to the even side, as torchvision's `center_crop`.
fn half_to_even(margin: usize) -> usize {
    let half = margin / 2;
    if margin % 2 == 1 && half % 2 == 1 { half + 1 } else { half }
}

/// ITU-R 601 luma in 16-bit fixed point, as Pillow's conversion to `L`.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    let weighted = u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000;
    (weighted >> 16) as u8
}

/// Size after `resize` of an image of `[height, width]`: the shorter side as asked, the longer rounded down.
pub(crate) fn resized_size([height, width]: [usize; 2], resize: Size) -> [usize; 2] {
    match resize {
        Size::Exact(size) => size,
        Size::Side(side) if height <= width => [side, (side * width / height.max(1)).max(1)],
        Size::Side(side) => [(side * height / width.max(1)).max(1), side],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(height: usize, width: usize, channels: usize, values: &[u8]) -> Pixels {
        Pixels { height, width, channels, values: values.to_vec() }
    }

    #[test]
    fn planes_are_woven() {
        assert_eq!(Pixels::from_planes(&[1, 2, 3, 4, 5, 6], 1, 2, 3).values, [1, 3, 5, 2, 4, 6]);
    }

    #[test]
    fn colours_are_turned_repeated_and_weighed() {
        let pixel = image(1, 1, 3, &[200, 100, 50]);
        assert_eq!(pixel.clone().in_colour(Colour::Bgr).unwrap().values, [50, 100, 200]);
        // (200·19595 + 100·38470 + 50·7471 + 32768) >> 16 = 8172318 >> 16
        assert_eq!(pixel.in_colour(Colour::Grey).unwrap().values, [124]);
        assert_eq!(image(1, 1, 1, &[7]).in_colour(Colour::Rgb).unwrap().values, [7, 7, 7]);
        assert_eq!(image(1, 1, 4, &[1, 2, 3, 0]).in_colour(Colour::Rgb).unwrap().values, [1, 2, 3]);
        assert!(image(1, 1, 2, &[1, 2]).in_colour(Colour::Rgb).is_none());
    }

    #[test]
    fn the_shorter_side_is_what_was_asked() {
        assert_eq!(resized_size([300, 400], Size::Side(256)), [256, 341]);
        assert_eq!(resized_size([400, 300], Size::Side(256)), [341, 256]);
        assert_eq!(resized_size([1, 30000], Size::Side(256)), [256, 7680000]);
        assert_eq!(resized_size([5, 6], Size::Exact([7, 8])), [7, 8]);
    }

    #[test]
    fn the_crop_is_the_middle_and_half_pixels_go_to_even() {
        let row: Vec<u8> = (0..7).collect();
        assert_eq!(image(1, 7, 1, &row).cropped([1, 3]).values, [2, 3, 4]);
        // (7 − 4) / 2 = 1.5 and (6 − 1) / 2 = 2.5 both become 2.
        assert_eq!(image(1, 7, 1, &row).cropped([1, 4]).values, [2, 3, 4, 5]);
        assert_eq!(image(1, 6, 1, &row[..6]).cropped([1, 1]).values, [2]);
    }
}
