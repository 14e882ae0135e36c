//! A rectangle of random area and shape, enlarged to the whole.

use std::sync::Arc;

use serde::Deserialize;

use super::{Augmentation, AugmentationSpec, Chance, Image, check_range, read};

pub(super) const SPEC: AugmentationSpec = AugmentationSpec {
    name: "resized_crop",
    summary: "cut out a rectangle of random area and shape and resample it to the old size",
    source: "Szegedy et al. 2015, arXiv:1409.4842, section 6; defaults as in torchvision's RandomResizedCrop",
    example: "area = [0.08, 1.0]\nratio = [0.75, 1.3333333333333333]",
    parse: |settings| {
        let crop: ResizedCrop = read(settings)?;
        check_range("area", crop.area, 1.0)?;
        check_range("ratio", crop.ratio, f64::INFINITY)?;
        Ok(Arc::new(crop))
    },
};

/// Settings of `resized_crop`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ResizedCrop {
    /// Least and greatest area, as shares of the image.
    area: [f64; 2],
    /// Least and greatest width over height.
    ratio: [f64; 2],
}

impl Default for ResizedCrop {
    fn default() -> Self {
        Self { area: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

impl Augmentation for ResizedCrop {
    fn change(&self, image: &mut Image, _progress: f64, chance: &mut Chance) {
        let old = image.size();
        // An image too narrow for any of the shapes stays whole.
        if let Some((corner, size)) = rectangle(old, self.area, self.ratio, chance) {
            image.cut(corner, size);
            image.resize(old);
        }
    }
}

/// Corner and size of a rectangle inside an image of `[height, width]`, its area uniform, its shape uniform in the logarithm.
/// `None` if none of ten fits.
pub(super) fn rectangle(
    [height, width]: [usize; 2],
    area: [f64; 2],
    ratio: [f64; 2],
    chance: &mut Chance,
) -> Option<([usize; 2], [usize; 2])> {
    (0..10).find_map(|_| {
        let pixels = chance.between(area) * height as f64 * width as f64;
        let ratio = chance.between(ratio.map(f64::ln)).exp();
        let (w, h) = ((pixels * ratio).sqrt().round() as usize, (pixels / ratio).sqrt().round() as usize);
        let fits = (1..=width).contains(&w) && (1..=height).contains(&h);
        fits.then(|| ([chance.below(height - h + 1), chance.below(width - w + 1)], [h, w]))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::chance::Purpose;
    use super::*;

    proptest! {
        #[test]
        fn rectangles_lie_inside(
            height in 0usize..40, width in 0usize..40, low in 0.01f64..1.0, more in 0.0f64..1.0, seed: u64
        ) {
            let mut chance = Chance::new(seed, 0, 0, Purpose::Sample(0));
            let area = [low, low + (1.0 - low) * more];
            if let Some(([top, left], [h, w])) = rectangle([height, width], area, [0.5, 2.0], &mut chance) {
                prop_assert!(h >= 1 && w >= 1 && top + h <= height && left + w <= width);
                let share = (h * w) as f64 / (height * width) as f64;
                let rounding = (h + w + 1) as f64 / (height * width) as f64;
                prop_assert!(share >= area[0] - rounding && share <= area[1] + rounding);
            }
        }
    }
}
