//! Padding, then a crop of the old size at a random position.

use std::sync::Arc;

use serde::Deserialize;

use super::{Augmentation, AugmentationSpec, Chance, Image, read};

pub(super) const SPEC: AugmentationSpec = AugmentationSpec {
    name: "crop",
    summary: "pad all sides and cut out the old size at a random position",
    source: "He et al. 2016, arXiv:1512.03385, section 4.2 (CIFAR-10: 4 pixels, zeros)",
    example: "padding = 4\nfill = \"zero\"",
    parse: |settings| Ok(Arc::new(read::<Crop>(settings)?)),
};

/// Settings of `crop`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Crop {
    /// Pixels added on every side; less than the shorter side.
    padding: usize,
    /// What the padding holds.
    fill: Fill,
}

/// What padding holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Fill {
    /// Black pixels, 0 before normalisation, as torchvision pads.
    #[default]
    Zero,
    /// The image mirrored at its edge, the edge itself not repeated.
    Reflect,
}

impl Default for Crop {
    fn default() -> Self {
        Self { padding: 4, fill: Fill::Zero }
    }
}

impl Augmentation for Crop {
    fn change(&self, image: &mut Image, _progress: f64, chance: &mut Chance) {
        let positions = self.padding.saturating_mul(2).saturating_add(1);
        let (down, right) = (chance.below(positions), chance.below(positions));
        if (down, right) != (self.padding, self.padding) {
            shift(image, [down, right], self.padding, self.fill);
        }
    }

    fn check(&self, [height, width]: [usize; 2]) -> Result<(), String> {
        match self.padding < height.min(width) {
            true => Ok(()),
            false => Err(format!("`padding` of {} is too much for images of {height}x{width}", self.padding)),
        }
    }
}

/// Pixel `(y, x)` becomes that of `(y + down - padding, x + right - padding)`.
fn shift(image: &mut Image, [down, right]: [usize; 2], padding: usize, fill: Fill) {
    let [height, width] = image.size();
    // The columns that come from inside the image, and where from.
    let left_edge = padding.saturating_sub(right).min(width);
    let first = right.saturating_sub(padding).min(width);
    let inside = (width - left_edge).min(width - first);
    image.rewrite(|plane, black, y, target| {
        let row = match (y + down).checked_sub(padding) {
            Some(row) if row < height => row,
            _ if fill == Fill::Reflect => reflected(y + down, padding, height),
            _ => return target.fill(black),
        };
        let source = &plane[row * width..(row + 1) * width];
        target[left_edge..left_edge + inside].copy_from_slice(&source[first..first + inside]);
        for x in (0..left_edge).chain(left_edge + inside..width) {
            target[x] = if fill == Fill::Zero { black } else { source[reflected(x + right, padding, width)] };
        }
    });
}

/// Where position `at - padding` of an axis of `len` lies after mirroring at the ends; inside for any position.
fn reflected(at: usize, padding: usize, len: usize) -> usize {
    let distance = at.abs_diff(padding);
    let mirrored = if at >= padding && distance >= len { (2 * len - 1).saturating_sub(distance + 1) } else { distance };
    mirrored.min(len - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ramp(height: usize, width: usize) -> Image {
        let values = (0..2 * height * width).map(|at| at as f32).collect();
        Image::new([2, height, width], values, vec![-1.0, -2.0]).unwrap()
    }

    #[test]
    fn zeros_and_reflections_are_those_of_numpy() {
        let shifted = |at, fill| {
            let mut image = Image::new([1, 2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![-1.0]).unwrap();
            shift(&mut image, at, 1, fill);
            image.values().to_vec()
        };
        // numpy.pad([[1, 2, 3], [4, 5, 6]], 1, mode)[0:2, 0:3] and [2:4, 2:5].
        assert_eq!(shifted([0, 0], Fill::Zero), [-1.0, -1.0, -1.0, -1.0, 1.0, 2.0]);
        assert_eq!(shifted([2, 2], Fill::Zero), [5.0, 6.0, -1.0, -1.0, -1.0, -1.0]);
        assert_eq!(shifted([0, 0], Fill::Reflect), [5.0, 4.0, 5.0, 2.0, 1.0, 2.0]);
        assert_eq!(shifted([2, 2], Fill::Reflect), [5.0, 6.0, 5.0, 2.0, 3.0, 2.0]);
        assert_eq!(shifted([1, 1], Fill::Zero), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    proptest! {
        /// The oracle pads each plane whole, then cuts.
        #[test]
        fn a_shift_is_a_crop_of_the_padded_image(
            height in 1usize..9, width in 1usize..9, padding in 0usize..12,
            down in 0usize..25, right in 0usize..25, is_reflect: bool
        ) {
            let (down, right) = (down.min(2 * padding), right.min(2 * padding));
            let fill = if is_reflect { Fill::Reflect } else { Fill::Zero };
            let mut image = ramp(height, width);
            let before = image.values().to_vec();
            shift(&mut image, [down, right], padding, fill);
            if is_reflect && padding >= height.min(width) {
                return Ok(()); // refused by `check`; must only not panic
            }
            let mirror = |at: isize, len: usize| {
                let at = at.unsigned_abs();
                if at >= len { 2 * (len - 1) - at } else { at }
            };
            for (at, &value) in image.values().iter().enumerate() {
                let (c, y, x) = (at / (height * width), at / width % height, at % width);
                let (sy, sx) = ((y + down) as isize - padding as isize, (x + right) as isize - padding as isize);
                let is_inside = (0..height as isize).contains(&sy) && (0..width as isize).contains(&sx);
                let expected = if is_inside || is_reflect {
                    before[(c * height + mirror(sy, height)) * width + mirror(sx, width)]
                } else {
                    [-1.0, -2.0][c]
                };
                prop_assert_eq!(value, expected);
            }
        }
    }
}
