//! Squares of nothing.

use std::sync::Arc;

use serde::Deserialize;

use super::{Augmentation, AugmentationSpec, Chance, Image, read};

pub(super) const SPEC: AugmentationSpec = AugmentationSpec {
    name: "cutout",
    summary: "set squares at random positions to 0, the mean colour after normalisation",
    source: "DeVries and Taylor 2017, arXiv:1708.04552 (CIFAR-10: one of 16 pixels, CIFAR-100: 8)",
    example: "size = 16\ncount = 1",
    parse: |settings| {
        let cutout: Cutout = read(settings)?;
        if cutout.size == 0 || cutout.count == 0 {
            return Err("`size` and `count` are at least 1".into());
        }
        Ok(Arc::new(cutout))
    },
};

/// Settings of `cutout`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cutout {
    /// Side of a square in pixels. Its centre is anywhere in the image, so that part of it may lie outside.
    size: usize,
    /// How many squares.
    #[serde(default = "one")]
    count: usize,
}

fn one() -> usize {
    1
}

impl Augmentation for Cutout {
    fn change(&self, image: &mut Image, _progress: f64, chance: &mut Chance) {
        let [height, width] = image.size();
        for _ in 0..self.count {
            let (y, x) = (chance.below(height), chance.below(width));
            image.erase(around(y, self.size), around(x, self.size));
        }
    }
}

/// `size` positions with `centre` in the middle, those below 0 left out.
fn around(centre: usize, size: usize) -> std::ops::Range<usize> {
    let half = size / 2;
    centre.saturating_sub(half)..centre.saturating_add(size - half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_cut_at_the_edges() {
        assert_eq!(around(5, 4), 3..7);
        assert_eq!(around(5, 5), 3..8);
        assert_eq!(around(1, 16), 0..9);
        let cutout = Cutout { size: 4, count: 1 };
        for counter in 0..50 {
            let mut image = Image::new([1, 8, 8], vec![1.0; 64], vec![0.0]).unwrap();
            cutout.change(&mut image, 0.0, &mut Chance::new(0, 0, counter, super::super::chance::Purpose::Sample(0)));
            let erased = image.values().iter().filter(|&&v| v == 0.0).count();
            // A square around the corner itself keeps its lower right quarter.
            assert!((4..=16).contains(&erased), "{erased}");
        }
    }
}
