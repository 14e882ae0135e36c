//! "Did you mean": the nearest known word, by edit distance.

/// The candidate closest to `word`, if one is close enough to be a likely slip of the keyboard.
///
/// Distance is the number of letters to insert, delete, change or swap with their neighbour;
/// case, `-`, `_` and spaces count for nothing. At most one slip for each three letters of the
/// longer word (and at least one) is allowed; among equals the first candidate wins.
/// A candidate that starts with the word (of three letters or more) is also taken.
///
/// ```
/// use lissom_recipe::did_you_mean;
/// assert_eq!(did_you_mean("sparsty", ["layers", "sparsity"]), Some("sparsity"));
/// assert_eq!(did_you_mean("banana", ["layers", "sparsity"]), None);
/// ```
pub fn did_you_mean<'a, I>(word: &str, candidates: I) -> Option<&'a str>
where
    I: IntoIterator<Item = &'a str>,
{
    nearest(word, candidates, 1).into_iter().next()
}

/// Up to `limit` close candidates, nearest first. See [`did_you_mean`] for what is close.
pub fn nearest<'a, I>(word: &str, candidates: I, limit: usize) -> Vec<&'a str>
where
    I: IntoIterator<Item = &'a str>,
{
    let word = plain_letters(word);
    let mut ranked: Vec<(usize, &str)> = Vec::new();
    for candidate in candidates {
        let letters = plain_letters(candidate);
        let allowed = (word.len().max(letters.len()) / 3).max(1);
        let distance = edit_distance(&word, &letters);
        let is_prefix = word.len() >= 3 && letters.starts_with(&word);
        if distance <= allowed && distance < letters.len().max(1) {
            ranked.push((distance, candidate));
        } else if is_prefix {
            ranked.push((allowed + 1, candidate));
        }
    }
    ranked.sort_by_key(|(distance, _)| *distance);
    ranked.into_iter().take(limit).map(|(_, candidate)| candidate).collect()
}

/// Long enough for any name a person types; bounds the work on hostile input.
const MAX_LETTERS: usize = 200;

fn plain_letters(word: &str) -> Vec<char> {
    word.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).take(MAX_LETTERS).collect()
}

/// Optimal string alignment distance: Levenshtein plus swaps of neighbours.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (row, &left) in a.iter().enumerate() {
        let mut current = vec![row + 1];
        for (col, &right) in b.iter().enumerate() {
            let change = last[col] + usize::from(left != right);
            let mut best = change.min(last[col + 1] + 1).min(current[col] + 1);
            if row > 0 && col > 0 && left == b[col - 1] && a[row - 1] == right {
                best = best.min(before_last[col - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn letters(word: &str) -> Vec<char> {
        word.chars().collect()
    }

    #[test]
    fn distance_counts_slips() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("sparsty", "sparsity", 1),
            ("sprasity", "sparsity", 1),
            ("abc", "abc", 0),
        ] {
            assert_eq!(edit_distance(&letters(a), &letters(b)), expected, "{a} {b}");
        }
    }

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let methods = ["magnitude", "quantize", "bias_correction", "fold_batch_norm"];
        assert_eq!(did_you_mean("magnitud", methods), Some("magnitude"));
        assert_eq!(did_you_mean("Bias-Correction", methods), Some("bias_correction"));
        assert_eq!(did_you_mean("quant", methods), Some("quantize"));
        assert_eq!(did_you_mean("train", methods), None);
        assert_eq!(did_you_mean("", methods), None);
        assert_eq!(did_you_mean("x", []), None);
        assert_eq!(did_you_mean("a", ["b"]), None);
    }

    #[test]
    fn several_are_ranked_by_distance() {
        let names = ["layer1.conv2", "layer1.conv1", "layer10.conv1", "head"];
        assert_eq!(nearest("layer1.conv1", names, 2), ["layer1.conv1", "layer1.conv2"]);
    }

    proptest! {
        #[test]
        fn distance_is_symmetric_and_bounded(a in "[a-d]{0,8}", b in "[a-d]{0,8}") {
            let (a, b) = (letters(&a), letters(&b));
            let distance = edit_distance(&a, &b);
            prop_assert_eq!(distance, edit_distance(&b, &a));
            prop_assert!(distance <= a.len().max(b.len()));
            prop_assert!(distance >= a.len().abs_diff(b.len()));
            prop_assert_eq!(distance == 0, a == b);
        }
    }
}
