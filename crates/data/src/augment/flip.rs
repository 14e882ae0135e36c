//! Horizontal flip.

use std::sync::Arc;

use serde::Deserialize;

use super::{Augmentation, AugmentationSpec, Chance, Image, check_share, read};

pub(super) const SPEC: AugmentationSpec = AugmentationSpec {
    name: "flip",
    summary: "mirror the image left to right with probability p",
    source: "Krizhevsky, Sutskever and Hinton 2012, section 4.1 (horizontal reflections)",
    example: "p = 0.5",
    parse: |settings| {
        let flip: Flip = read(settings)?;
        check_share("p", flip.p)?;
        Ok(Arc::new(flip))
    },
};

/// Settings of `flip`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Flip {
    /// Share of the images that are mirrored.
    p: f64,
}

impl Default for Flip {
    fn default() -> Self {
        Self { p: 0.5 }
    }
}

impl Augmentation for Flip {
    fn change(&self, image: &mut Image, _progress: f64, chance: &mut Chance) {
        let [_, width] = image.size();
        if chance.happens(self.p) && width > 1 {
            image.values_mut().chunks_exact_mut(width).for_each(<[f32]>::reverse);
        }
    }
}
