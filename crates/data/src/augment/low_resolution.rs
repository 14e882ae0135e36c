//! Small images first: what a network learns early is in the low frequencies, and small images are cheap.
//!
//! Either the images are resampled, or the middle of their spectrum is cut out: all frequencies that a small image can hold, and nothing of
//! the others.

use std::sync::Arc;

use serde::Deserialize;

use super::{Augmentation, AugmentationSpec, Chance, Image, check_share, read};
use crate::pixels::resized_size;
use crate::settings::Size;

pub(super) const SPEC: AugmentationSpec = AugmentationSpec {
    name: "low_resolution",
    summary: "train on small images first, stage by stage up to the full size",
    source: "Wang et al. 2023, arXiv:2211.09703 (by frequencies), and 2024, arXiv:2405.08768 (EfficientTrain++: by pixels)",
    example: "stages = [{ share = 0.6, side = 20 }, { share = 0.2, side = 26 }]",
    parse: |settings| {
        let curriculum: LowResolution = read(settings)?;
        for stage in &curriculum.stages {
            check_share("share", stage.share)?;
            if stage.side == 0 {
                return Err("`side` is at least 1".into());
            }
        }
        let sum: f64 = curriculum.stages.iter().map(|stage| stage.share).sum();
        if sum > 1.0 + 1e-9 {
            return Err(format!("the shares of the stages add up to {sum}, at most 1 is wanted"));
        }
        Ok(Arc::new(curriculum))
    },
};

/// Settings of `low_resolution`. The last of the augmentations, usually: sizes in pixels of those before it are then those of the full image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct LowResolution {
    /// In order; what is left of the training has full images.
    stages: Vec<Stage>,
    #[serde(default)]
    by: By,
}

/// How images are made small.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    /// By resampling.
    #[default]
    Pixels,
    /// By cutting out the middle of the spectrum.
    Frequencies,
}

/// Part of the training.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stage {
    /// How much of the training's steps, 0..1.
    share: f64,
    /// The shorter side in pixels; the longer keeps the aspect. An image that is smaller stays as it is.
    side: usize,
}

impl LowResolution {
    /// The side at `progress`, `None` for full images.
    fn side(&self, progress: f64) -> Option<usize> {
        let mut end = 0.0;
        let stage = self.stages.iter().find(|stage| {
            end += stage.share;
            // 0.6 + 0.2 is a little less than 0.8: a step that starts at a boundary belongs to the next stage.
            progress < end - 1e-9
        })?;
        Some(stage.side)
    }
}

impl Augmentation for LowResolution {
    fn change(&self, image: &mut Image, progress: f64, _chance: &mut Chance) {
        let [height, width] = image.size();
        if let Some(side) = self.side(progress)
            && side < height.min(width)
        {
            let size = resized_size([height, width], Size::Side(side));
            match self.by {
                By::Pixels => image.resize(size),
                By::Frequencies => image.cut_spectrum(size),
            }
        }
    }

    fn is_resizing(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_one_another_up_to_the_full_size() {
        let curriculum = LowResolution {
            stages: vec![Stage { share: 0.6, side: 20 }, Stage { share: 0.2, side: 26 }],
            by: By::Pixels,
        };
        let sides = [0.0, 0.59, 0.6, 0.79, 0.8, 1.0].map(|progress| curriculum.side(progress));
        assert_eq!(sides, [Some(20), Some(20), Some(26), Some(26), None, None]);
        assert_eq!(LowResolution { stages: vec![], by: By::Frequencies }.side(0.0), None);
    }
}
