//! The loops on bf16, held to those on f32 of the same numbers, which have their own oracle.

use super::bf16::{halves, halves_mut};
use super::*;
use crate::bgemm::{round_into, widen_into};
use proptest::prelude::*;

fn noise(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 100.0 - 10.0).collect()
}

fn words(x: &[f32], c: usize) -> Vec<f32> {
    let mut to = vec![f32::NAN; x.len() / 2];
    round_into(&Threads::single(), x, c, &mut to).unwrap();
    to
}

fn numbers(words: &[f32], c: usize) -> Vec<f32> {
    let mut to = vec![f32::NAN; words.len() * 2];
    widen_into(&Threads::single(), words, c, &mut to).unwrap();
    to
}

/// Half of the last place of a bf16, and the rounding of f32 in between.
fn near(y: f32, expected: f32) -> bool {
    (y - expected).abs() <= expected.abs() / 256.0 + 1e-3
}

fn supported() -> impl Iterator<Item = &'static Kernel<Half>> {
    BF16_KERNELS.iter().filter(|kernel| (kernel.is_supported)())
}

proptest! {
    #[test]
    fn bf16_forward_is_f32_of_rounded_numbers(
        rows in 1usize..60, pairs in 1usize..70, has_residual: bool, is_clipped: bool, seed in 0usize..99,
    ) {
        let (c, threads) = (2 * pairs, Threads::new(2));
        let (x, residual) = (words(&noise(rows * c, seed), c), words(&noise(rows * c, seed + 1), c));
        let (wide, wide_residual) = (numbers(&x, c), numbers(&residual, c));
        let (scale, bias) = (noise(c, seed + 2), noise(c, seed + 3));
        let affine = Affine { scale: &scale, bias: &bias };
        let activation = if is_clipped { Activation::Clip { min: 0.0, max: 6.0 } } else { Activation::Relu };
        let mut expected = vec![f32::NAN; rows * c];
        normalize(&threads, &wide, affine, has_residual.then_some(&wide_residual[..]), activation, &mut expected).unwrap();
        let (mut mean, mut variance) = (vec![f32::NAN; c], vec![f32::NAN; c]);
        statistics(&threads, &wide, &mut mean, &mut variance).unwrap();
        for kernel in supported() {
            let mut out = vec![f32::NAN; x.len()];
            let residual = has_residual.then_some(halves(&residual));
            kernel.normalize(&threads, halves(&x), affine, residual, activation, halves_mut(&mut out)).unwrap();
            for (i, (&y, &expected)) in numbers(&out, c).iter().zip(&expected).enumerate() {
                prop_assert!(near(y, expected), "{} {i}: {y} {expected}", kernel.name);
            }
            let (mut own_mean, mut own_variance) = (vec![f32::NAN; c], vec![f32::NAN; c]);
            kernel.statistics(&threads, halves(&x), &mut own_mean, &mut own_variance).unwrap();
            for i in 0..c {
                prop_assert!((own_mean[i] - mean[i]).abs() < 1e-4 && (own_variance[i] - variance[i]).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn bf16_gradients_are_f32_of_rounded_numbers(
        rows in 1usize..60, pairs in 1usize..70, kind in 0usize..3, is_kept: bool, seed in 0usize..99,
    ) {
        let (c, threads) = (2 * pairs, Threads::new(2));
        let [dy, x, y] = [0, 1, 2].map(|i| words(&noise(rows * c, seed + i), c));
        let [wide_dy, wide_x, wide_y] = [&dy, &x, &y].map(|x| numbers(x, c));
        let [mean, scale, bias, inv_std] = [3, 4, 5, 6].map(|i| noise(c, seed + i));
        let affine = Affine { scale: &scale, bias: &bias };
        let saved = Saved { mean: &mean, inv_std: &inv_std };
        let [mask, wide_mask] = [&y, &wide_y].map(|y| match kind {
            0 => Mask::All,
            1 => Mask::Output(&y[..], Activation::Relu),
            _ => Mask::Recomputed(affine, Activation::Relu),
        });
        let (mut dscale, mut dbias) = (vec![f32::NAN; c], vec![f32::NAN; c]);
        let (mut masked, mut dx) = (vec![f32::NAN; wide_x.len()], vec![f32::NAN; wide_x.len()]);
        gradient_sums_masking(&threads, &wide_dy, &wide_x, saved, wide_mask, &mut masked, &mut dscale, &mut dbias).unwrap();
        let norm = Norm { scale: &scale, saved, dscale: &dscale, dbias: &dbias };
        gradient(&threads, &wide_dy, &wide_x, &norm, wide_mask, &mut dx).unwrap();
        let (mut own_dscale, mut own_dbias) = (vec![f32::NAN; c], vec![f32::NAN; c]);
        let (mut own_masked, mut own_dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
        let kept = is_kept.then_some(&mut own_masked[..]);
        gradient_sums_pairs(&threads, &dy, &x, saved, mask, kept, &mut own_dscale, &mut own_dbias).unwrap();
        gradient_pairs(&threads, &dy, &x, &norm, mask, &mut own_dx).unwrap();
        for i in 0..c {
            let size = 1e-4 * (1.0 + dscale[i].abs() + rows as f32 * 100.0);
            prop_assert!((own_dscale[i] - dscale[i]).abs() < size && (own_dbias[i] - dbias[i]).abs() < size);
        }
        if is_kept {
            prop_assert_eq!(numbers(&own_masked, c), masked);
        }
        for (i, (&y, &expected)) in numbers(&own_dx, c).iter().zip(&dx).enumerate() {
            prop_assert!(near(y, expected), "{i}: {y} {expected}");
        }
    }
}

#[test]
fn odd_channels_have_no_pairs() {
    let (mut mean, mut variance) = ([0.0; 3], [0.0; 3]);
    assert!(statistics_pairs(&Threads::single(), &[0.0; 6], &mut mean, &mut variance).is_err());
}
