//! Which shape zeros come in: from scores and a number of weights to keep to a mask.

use lissom_recipe::Pattern;

use super::matrix::MatrixLayout;

/// Which weights stay, in the order of the scores' matrix. Exactly `keep` weights stay for unstructured masks; ties go to
/// the earlier weight. N:M ignores `keep`: its share is fixed. Blocks keep as many whole blocks as `keep` weights fill,
/// rounded to nearest; a block is worth the sum of its scores.
pub fn mask(pattern: Pattern, layout: &MatrixLayout, scores: &[f32], keep: usize) -> Vec<bool> {
    match pattern {
        Pattern::Unstructured => top(scores, keep),
        Pattern::NofM { kept, group } => n_of_m(layout, scores, kept, group),
        Pattern::Block { rows, cols } => blocks(layout, scores, rows, cols, keep),
    }
}

/// True for the `keep` highest scores; ties go to the earlier one.
pub fn top(scores: &[f32], keep: usize) -> Vec<bool> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    if keep > 0 && keep < scores.len() {
        order.select_nth_unstable_by(keep - 1, |&a, &b| {
            scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b))
        });
    }
    let mut mask = vec![false; scores.len()];
    for &index in order.iter().take(keep) {
        mask[index as usize] = true;
    }
    mask
}

/// In each run of `group` neighbouring input channels at one kernel position the `kept` best stay. A last, shorter run
/// keeps the same share, rounded up.
fn n_of_m(layout: &MatrixLayout, scores: &[f32], kept: usize, group: usize) -> Vec<bool> {
    let mut mask = Vec::with_capacity(scores.len());
    for run in scores.chunks(layout.c_in.max(1)) {
        for group_scores in run.chunks(group) {
            let keep = if group_scores.len() == group { kept } else { (group_scores.len() * kept).div_ceil(group) };
            match group_scores.len() {
                ..=SMALL => mask.extend((0..group_scores.len()).map(|i| rank(group_scores, i) < keep)),
                _ => mask.extend(top(group_scores, keep)),
            }
        }
    }
    mask
}

/// Groups up to this size are ranked by comparing all pairs.
const SMALL: usize = 16;

/// How many scores come before this one.
fn rank(scores: &[f32], index: usize) -> usize {
    let own = scores[index];
    let before = |(i, score): (usize, &f32)| score.total_cmp(&own).then(index.cmp(&i)).is_gt();
    scores.iter().enumerate().filter(|&pair| before(pair)).count()
}

/// Blocks of `rows` output channels by `cols` neighbouring input channels; those at the edges are smaller.
fn blocks(layout: &MatrixLayout, scores: &[f32], rows: usize, cols: usize, keep: usize) -> Vec<bool> {
    let block_cols = layout.c_in.div_ceil(cols);
    let block_of = |row: usize, col: usize| {
        let (tap, channel) = (col / layout.c_in, col % layout.c_in);
        (row / rows * layout.n_taps + tap) * block_cols + channel / cols
    };
    let n_blocks = layout.n_rows.div_ceil(rows) * layout.n_taps * block_cols;
    let mut sums = vec![0f32; n_blocks];
    let mut sizes = vec![0usize; n_blocks];
    for row in 0..layout.n_rows {
        for col in 0..layout.n_cols {
            sums[block_of(row, col)] += scores[row * layout.n_cols + col];
            sizes[block_of(row, col)] += 1;
        }
    }
    let means: Vec<f32> = sums.iter().zip(&sizes).map(|(sum, &size)| sum / size.max(1) as f32).collect();
    let n_keep = (keep as f64 / scores.len().max(1) as f64 * n_blocks as f64).round() as usize;
    let kept = top(&means, n_keep.clamp(n_blocks.min(1), n_blocks));
    (0..layout.n_rows * layout.n_cols).map(|i| kept[block_of(i / layout.n_cols, i % layout.n_cols)]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matrix(n_rows: usize, c_in: usize, n_taps: usize) -> MatrixLayout {
        let n_cols = c_in * n_taps;
        MatrixLayout { n_rows, n_cols, c_in, n_taps, kernel: vec![n_taps], indices: (0..n_rows * n_cols).collect() }
    }

    #[test]
    fn two_of_four_keeps_two_of_every_four_neighbouring_channels() {
        let scores = [4.0, 3.0, 2.0, 1.0, 1.0, 2.0, 3.0, 4.0];
        let mask = mask(Pattern::NofM { kept: 2, group: 4 }, &matrix(1, 8, 1), &scores, 0);
        assert_eq!(mask, [true, true, false, false, false, false, true, true]);
    }

    #[test]
    fn groups_do_not_run_across_kernel_positions() {
        // Three channels, two positions: each run of three keeps ceil(3 · 2 / 4) = 2.
        let mask = mask(Pattern::NofM { kept: 2, group: 4 }, &matrix(1, 3, 2), &[3.0, 2.0, 1.0, 1.0, 2.0, 3.0], 0);
        assert_eq!(mask, [true, true, false, false, true, true]);
    }

    #[test]
    fn a_block_goes_or_stays_as_a_whole() {
        let scores = [9.0, 0.0, 1.0, 1.0, 9.0, 0.0, 1.0, 1.0];
        let mask = mask(Pattern::Block { rows: 2, cols: 2 }, &matrix(2, 4, 1), &scores, 4);
        assert_eq!(mask, [true, true, false, false, true, true, false, false]);
    }

    proptest! {
        #[test]
        fn exactly_keep_weights_stay_and_none_that_is_smaller_than_one_that_went(
            scores in prop::collection::vec(prop_oneof![Just(1.0f32), 0.0f32..4.0], 0..60), share in 0.0f64..=1.0
        ) {
            let keep = (share * scores.len() as f64) as usize;
            let mask = top(&scores, keep);
            prop_assert_eq!(mask.iter().filter(|&&kept| kept).count(), keep);
            let of = |kept: bool| scores.iter().zip(&mask).filter(move |(_, m)| **m == kept).map(|(s, _)| *s);
            let smallest_kept = of(true).fold(f32::INFINITY, f32::min);
            prop_assert!(of(false).all(|gone| gone <= smallest_kept));
        }
    }
}
