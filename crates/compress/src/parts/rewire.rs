//! Moving connections while a network trains: some of the smallest weights go, as many others may grow.

use lissom_recipe::Pattern;
use lissom_train::{Stream, TrainError, Trainer};

use super::allocate::Allocate;
use super::masks::{Masks, Rule, Targets};
use super::select::{Ties, border};

/// A mask after a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewired {
    /// Which weights may be anything now.
    pub mask: Vec<bool>,
    /// Those of them that were masked before.
    pub fresh: Vec<bool>,
}

/// Drops the `share` of the unmasked weights with the smallest magnitude, rounded down to whole weights, and lets as many of all others grow,
/// those with the highest `growth`. A weight that was just dropped may grow again, and keeps its value then.
pub fn rewire(weights: &[f32], mask: &[bool], growth: &[f32], share: f64) -> Rewired {
    let ones = mask.iter().filter(|&&kept| kept).count();
    let n_dropped = (ones as f64 * share) as usize;
    let live: Vec<f32> = weights.iter().zip(mask).map(|(w, &kept)| if kept { w.abs() } else { -1.0 }).collect();
    let mut mask_now = border(&[&live], ones - n_dropped, |w| w).mask(&live, Ties::Exact, |w| w);
    let open: Vec<f32> =
        growth.iter().zip(&mask_now).map(|(growth, &kept)| if kept { f32::NEG_INFINITY } else { *growth }).collect();
    let n_open = mask_now.iter().filter(|&&kept| !kept).count();
    let grown = border(&[&open], n_dropped.min(n_open), |w| w).mask(&open, Ties::Exact, |w| w);
    mask_now.iter_mut().zip(&grown).for_each(|(kept, grown)| *kept |= grown);
    let fresh = mask_now.iter().zip(mask).map(|(&now, &before)| now && !before).collect();
    Rewired { mask: mask_now, fresh }
}

/// Random masks to begin with.
///
/// # Errors
/// [`TrainError`] if the training keeps no masks.
pub fn begin(
    targets: &Targets,
    trainer: &mut Trainer,
    (allocate, sparsity): (Allocate, f64),
    stream: impl Fn(u64) -> Stream,
) -> Result<(), TrainError> {
    let rule = Rule { pattern: Pattern::Unstructured, allocate, ties: Ties::Exact };
    let masks = targets.at_random(&rule, sparsity, stream);
    targets.set_masks(trainer, &masks)
}

/// Moves connections in every layer; what grows begins at zero, and so does what the optimizer keeps of it.
///
/// # Errors
/// [`TrainError`] if the training keeps no masks.
pub fn move_all(targets: &Targets, trainer: &mut Trainer, growth: &[&[f32]], share: f64) -> Result<(), TrainError> {
    let before = targets.masks_of(trainer)?;
    let weights = targets.weights(trainer)?;
    let of = |i: usize| rewire(weights[i], &before[i], growth[i], share);
    let moved: Vec<Rewired> = (0..before.len()).map(of).collect();
    for (target, moved) in targets.all.iter().zip(&moved) {
        trainer.clear_states_at(&target.name, &moved.fresh)?;
    }
    let masks: Masks = moved.into_iter().map(|moved| moved.mask).collect();
    targets.set_masks(trainer, &masks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_goes_and_the_steepest_comes() {
        let mask = [true, true, false, false];
        let moved = rewire(&[0.5, 0.1, 0.0, 0.0], &mask, &[0.0, 0.05, 0.9, 0.2], 0.5);
        assert_eq!(moved.mask, [true, false, true, false]);
        assert_eq!(moved.fresh, [false, false, true, false]);
        // What was just dropped may come back.
        let moved = rewire(&[0.5, 0.1, 0.0, 0.0], &mask, &[0.0, 0.95, 0.9, 0.2], 0.5);
        assert_eq!((moved.mask, moved.fresh), (mask.to_vec(), vec![false; 4]));
    }

    #[test]
    fn live_zeros_go_before_nothing_else() {
        let moved = rewire(&[0.0, 0.0, 0.0], &[false, true, true], &[0.0, 0.0, 0.0], 0.5);
        assert_eq!(moved.mask.iter().filter(|&&kept| kept).count(), 2);
    }
}
