//! A rectangle of nothing, of random area and shape.

use std::sync::Arc;

use serde::Deserialize;

use super::resized_crop::rectangle;
use super::{Augmentation, AugmentationSpec, Chance, Image, check_range, check_share, read};

pub(super) const SPEC: AugmentationSpec = AugmentationSpec {
    name: "random_erase",
    summary: "with probability p set a rectangle of random area and shape to 0",
    source: "Zhong et al. 2017, arXiv:1708.04896; defaults as in torchvision's RandomErasing",
    example: "p = 0.5\narea = [0.02, 0.33]\nratio = [0.3, 3.3]",
    parse: |settings| {
        let erase: RandomErase = read(settings)?;
        check_share("p", erase.p)?;
        check_range("area", erase.area, 1.0)?;
        check_range("ratio", erase.ratio, f64::INFINITY)?;
        Ok(Arc::new(erase))
    },
};

/// Settings of `random_erase`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RandomErase {
    /// Share of the images that lose a rectangle.
    p: f64,
    /// Least and greatest area, as shares of the image.
    area: [f64; 2],
    /// Least and greatest width over height.
    ratio: [f64; 2],
}

impl Default for RandomErase {
    fn default() -> Self {
        Self { p: 0.5, area: [0.02, 0.33], ratio: [0.3, 3.3] }
    }
}

impl Augmentation for RandomErase {
    fn change(&self, image: &mut Image, _progress: f64, chance: &mut Chance) {
        if !chance.happens(self.p) {
            return;
        }
        if let Some(([top, left], [height, width])) = rectangle(image.size(), self.area, self.ratio, chance) {
            image.erase(top..top + height, left..left + width);
        }
    }
}
