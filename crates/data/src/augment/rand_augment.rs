//! Changes drawn from a list, of one strength, which may grow over the training.
//!
//! For each image `n` of these are drawn, with replacement: nothing, shears and shifts along either axis, rotation, brightness, contrast, sharpness. At
//! magnitude m they shear by 0.3 · m / 10, shift by 0.3 · m / 10 of the side, rotate by 30° · m / 10, and blend by 1 ± 0.9 · m / 10; the sign is drawn. What
//! comes from outside is black. Those of the published list that need 8-bit values or three colours (posterize, solarize, equalize, autocontrast, colour) are
//! left out: images are augmented here after they were prepared. Values stay between the smallest and the largest of the image and black.

use std::sync::Arc;

use serde::Deserialize;

use super::{Augmentation, AugmentationSpec, Chance, Image, read};

pub(super) const SPEC: AugmentationSpec = AugmentationSpec {
    name: "rand_augment",
    summary: "shear, shift, rotate, brighten or sharpen, drawn at random, stronger as the training goes on if asked for",
    source: "Cubuk et al. 2020, arXiv:1909.13719; growing in stages: Wang et al. 2023, arXiv:2211.09703",
    example: "n = 2\nmagnitude = 9.0\ngrowing = 5",
    parse: |settings| {
        let augment: RandAugment = read(settings)?;
        if augment.n == 0 {
            return Err("`n` is at least 1".into());
        }
        if !(0.0..=10.0).contains(&augment.magnitude) {
            return Err(format!("`magnitude` is {}, a number from 0 to 10 is wanted", augment.magnitude));
        }
        Ok(Arc::new(augment))
    },
};

/// Settings of `rand_augment`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RandAugment {
    /// How many changes an image gets.
    #[serde(default = "two")]
    n: usize,
    /// How strong they are, 0..10.
    #[serde(default = "nine")]
    magnitude: f64,
    /// In how many stages of equal length the magnitude grows from 0 to what it is; absent or 1: it does not.
    #[serde(default)]
    growing: usize,
}

fn two() -> usize {
    2
}

fn nine() -> f64 {
    9.0
}

impl RandAugment {
    /// The magnitude at `progress`, 0..1.
    fn magnitude(&self, progress: f64) -> f64 {
        if self.growing < 2 {
            return self.magnitude;
        }
        let last = self.growing - 1;
        let stage = ((progress * self.growing as f64 + 1e-9) as usize).min(last);
        self.magnitude * stage as f64 / last as f64
    }
}

/// How many changes there are to draw from.
const CHANGES: usize = 9;

impl Augmentation for RandAugment {
    fn change(&self, image: &mut Image, progress: f64, chance: &mut Chance) {
        let strength = self.magnitude(progress) / 10.0;
        for _ in 0..self.n {
            let change = chance.below(CHANGES);
            let strength = if chance.happens(0.5) { strength } else { -strength };
            apply(image, change, strength);
        }
    }
}

/// One change; `strength` is -1..1.
fn apply(image: &mut Image, change: usize, strength: f64) {
    let [height, width] = image.size().map(|length| length as f64);
    let (sine, cosine) = (30.0 * strength).to_radians().sin_cos();
    match change {
        0 => {}
        1 => moved(image, [[1.0, 0.0], [0.3 * strength, 1.0]], [0.0; 2]),
        2 => moved(image, [[1.0, 0.3 * strength], [0.0, 1.0]], [0.0; 2]),
        3 => moved(image, [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.3 * strength * width]),
        4 => moved(image, [[1.0, 0.0], [0.0, 1.0]], [0.3 * strength * height, 0.0]),
        5 => moved(image, [[cosine, -sine], [sine, cosine]], [0.0; 2]),
        6 => blended(image, strength, |_, _, black| black),
        7 => blended(image, strength, |plane, _, _| plane.iter().sum::<f32>() / plane.len().max(1) as f32),
        _ => {
            let size = image.size();
            blended(image, strength, |plane, at, _| smoothed(plane, size, at));
        }
    }
}

/// Every pixel becomes what lies at `map` · its place (row, column, from the middle) + `shift`, between four pixels in proportion.
fn moved(image: &mut Image, map: [[f64; 2]; 2], shift: [f64; 2]) {
    let [height, width] = image.size();
    let middle = [(height as f64 - 1.0) / 2.0, (width as f64 - 1.0) / 2.0];
    image.rewrite(|plane, black, row, target| {
        let at = |y: f64, x: f64| {
            let is_inside = (0.0..height as f64).contains(&y) && (0.0..width as f64).contains(&x);
            if is_inside { plane[y as usize * width + x as usize] } else { black }
        };
        for (column, target) in target.iter_mut().enumerate() {
            let from = [row as f64 - middle[0], column as f64 - middle[1]];
            let place = |axis: usize| map[axis][0] * from[0] + map[axis][1] * from[1] + shift[axis] + middle[axis];
            let (y, x) = (place(0), place(1));
            let (top, left) = (y.floor(), x.floor());
            let (down, right) = ((y - top) as f32, (x - left) as f32);
            let between = |row: f64| at(row, left) * (1.0 - right) + at(row, left + 1.0) * right;
            *target = between(top) * (1.0 - down) + between(top + 1.0) * down;
        }
    });
}

/// Every pixel moves away from what `other` says of its plane and place, to 1 + 0.9 · strength of the distance, as far as the values of its plane go.
fn blended(image: &mut Image, strength: f64, other: impl Fn(&[f32], usize, f32) -> f32) {
    let factor = (1.0 + 0.9 * strength) as f32;
    let [_, width] = image.size();
    image.rewrite(|plane, black, row, target| {
        let ends = plane.iter().fold([black; 2], |[low, high], &x| [low.min(x), high.max(x)]);
        for (column, target) in target.iter_mut().enumerate() {
            let at = row * width + column;
            let from = other(plane, at, black);
            *target = (from + factor * (plane[at] - from)).clamp(ends[0], ends[1]);
        }
    });
}

/// Mean of a pixel, five times, and its neighbours; a pixel at the edge is its own.
fn smoothed(plane: &[f32], [height, width]: [usize; 2], at: usize) -> f32 {
    let (row, column) = (at / width.max(1), at % width.max(1));
    if row == 0 || column == 0 || row + 1 >= height || column + 1 >= width {
        return plane[at];
    }
    let mut sum = 4.0 * plane[at];
    for row in row - 1..=row + 1 {
        sum += plane[row * width + column - 1..=row * width + column + 1].iter().sum::<f32>();
    }
    sum / 13.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        Image::new([1, 3, 3], (1..=9).map(|x| x as f32).collect(), vec![0.0]).unwrap()
    }

    fn after(change: usize, strength: f64) -> Vec<f32> {
        let mut image = image();
        apply(&mut image, change, strength);
        image.values().to_vec()
    }

    #[test]
    fn strength_grows_in_stages() {
        let growing = RandAugment { n: 2, magnitude: 9.0, growing: 5 };
        let stages = [0.0, 0.19, 0.2, 0.4, 0.6, 0.8, 1.0].map(|progress| growing.magnitude(progress));
        assert_eq!(stages, [0.0, 0.0, 2.25, 4.5, 6.75, 9.0, 9.0]);
        assert_eq!(RandAugment { growing: 0, ..growing }.magnitude(0.0), 9.0);
    }

    #[test]
    fn changes_are_what_they_say() {
        let close = |a: &[f32], b: &[f32]| assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4), "{a:?} {b:?}");
        (0..CHANGES).for_each(|change| close(&after(change, 0.0), image().values()));
        // A third of 3 pixels is one pixel, to the left and up.
        close(&after(3, 1.0 / 0.9), &[2.0, 3.0, 0.0, 5.0, 6.0, 0.0, 8.0, 9.0, 0.0]);
        close(&after(4, 1.0 / 0.9), &[4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 0.0, 0.0, 0.0]);
        // Three times 30° turn by a right angle.
        close(&after(5, 3.0), &[7.0, 4.0, 1.0, 8.0, 5.0, 2.0, 9.0, 6.0, 3.0]);
        // The ends of the middle row come from 0.3 pixels above and below.
        close(&after(2, 1.0)[3..6], &[3.1, 5.0, 6.9]);
        // Half as bright, half the contrast.
        close(&after(6, -0.5 / 0.9), &[0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]);
        close(&after(7, -0.5 / 0.9), &[3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0]);
        // The middle is the mean of its neighbours already.
        assert!((after(8, 1.0)[4] - 5.0).abs() < 1e-5);
    }
}
