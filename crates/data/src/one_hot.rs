//! Labels as shares of classes.

use std::path::Path;

use lissom_tensor::Tensor;

use crate::DataError;

/// `[labels, classes]` in f32: `1 - smoothing + smoothing / classes` for the class of a label, `smoothing / classes` for every other, so
/// that a row adds up to 1.
///
/// # Errors
/// [`DataError::LabelRange`] for a label that is no class, its row counted from 0; [`DataError::Tensor`] if the result is too large.
/// # Source
/// Szegedy et al. 2016, arXiv:1512.00567, section 7; as `label_smoothing` of PyTorch.
pub fn one_hot(labels: &[i64], classes: usize, smoothing: f32) -> Result<Tensor, DataError> {
    let failed = |source| DataError::Tensor { path: "labels".into(), array: "labels".into(), source };
    let shape = vec![labels.len(), classes];
    let len = lissom_tensor::checked_len(lissom_tensor::DType::F32, &shape).map_err(failed)?;
    let other = smoothing / classes.max(1) as f32;
    let mut shares = vec![other; len];
    for (row, &label) in labels.iter().enumerate() {
        let class = class_of(label, row, classes, Path::new("labels"))?;
        shares[row * classes + class] = 1.0 - smoothing + other;
    }
    Tensor::new(shape, shares).map_err(failed)
}

/// `label` as the number of a class.
pub(crate) fn class_of(label: i64, row: usize, classes: usize, path: &Path) -> Result<usize, DataError> {
    let class = usize::try_from(label).ok().filter(|&class| class < classes);
    class.ok_or_else(|| DataError::LabelRange { path: path.into(), row, label, classes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_takes_from_the_label_and_gives_to_all() {
        let shares = one_hot(&[2, 0], 4, 0.1).unwrap();
        assert_eq!(shares.shape(), [2, 4]);
        let expected = [0.025, 0.025, 0.925, 0.025, 0.925, 0.025, 0.025, 0.025];
        for (a, e) in shares.as_slice::<f32>().unwrap().iter().zip(expected) {
            assert!((a - e).abs() < 1e-6);
        }
        assert_eq!(one_hot(&[1], 2, 0.0).unwrap().into_vec::<f32>().unwrap(), [0.0, 1.0]);
        assert_eq!(one_hot(&[], 3, 0.0).unwrap().shape(), [0, 3]);
    }

    #[test]
    fn labels_that_are_no_class_are_refused() {
        for label in [-1, 3, i64::MAX] {
            let error = one_hot(&[0, label], 3, 0.0).unwrap_err();
            assert!(matches!(error, DataError::LabelRange { row: 1, classes: 3, .. }), "{error}");
        }
        assert!(one_hot(&[0], 0, 0.0).is_err());
    }
}
