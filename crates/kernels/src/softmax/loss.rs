//! The cross-entropy of the softmax of scores, one loss a row, and its gradient.

use super::Kernel;
use super::lanes::Shares;
use crate::error::ShapeError;
use crate::gemm::pointer;
use crate::rows::{by_rows, rows_of};
use crate::threads::{Shareable, Threads};

/// What the rows should have been.
#[derive(Debug, Clone, Copy)]
pub enum Labels<'a> {
    /// The number of the class, one a row, below `n`.
    Classes(&'a [i64]),
    /// A probability for each class, `[rows, n]`.
    Soft(&'a [f32]),
}

/// Labels, and how they count. A row's loss is `-Σ weight[j] · ((1 - smoothing) · target[j] + smoothing / n) · log p[j]`.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// One a row.
    pub labels: Labels<'a>,
    /// One a class; 1 if absent.
    pub weights: Option<&'a [f32]>,
    /// Share of every target that is spread over all classes, 0..1.
    pub smoothing: f32,
    /// Rows with this class have no loss and no gradient.
    pub ignored: Option<i64>,
}

impl Targets<'_> {
    fn check(&self, rows: usize, n: usize) -> Result<(), ShapeError> {
        ShapeError::expect("weights", self.weights.map_or(n, <[f32]>::len), n)?;
        match self.labels {
            Labels::Soft(targets) => {
                ShapeError::expect("labels", targets.len(), ShapeError::product("labels", &[rows, n])?)
            }
            Labels::Classes(classes) => {
                ShapeError::expect("labels", classes.len(), rows)?;
                let is_class =
                    |&class: &i64| Some(class) == self.ignored || usize::try_from(class).is_ok_and(|c| c < n);
                match classes.iter().find(|class| !is_class(class)) {
                    None => Ok(()),
                    Some(&class) => {
                        let got = usize::try_from(class).unwrap_or(usize::MAX);
                        ShapeError::require(false, "a label", got, "below the number of classes, or the ignored one")
                    }
                }
            }
        }
    }

    /// The sum of the weights of the rows of `n` classes, by which a mean divides: those of their classes, 1 for every row of soft
    /// targets, 0 for ignored rows and labels that are no class.
    pub fn total_weight(&self, n: usize) -> f64 {
        let weight_of = |class: i64| {
            let class = usize::try_from(class).ok().filter(|&class| class < n)?;
            self.weights.map_or(Some(1.0), |weights| weights.get(class).copied())
        };
        match self.labels {
            Labels::Soft(targets) => targets.len().checked_div(n).unwrap_or(0) as f64,
            Labels::Classes(classes) => {
                let counted = classes.iter().filter(|&&class| Some(class) != self.ignored);
                counted.filter_map(|&class| weight_of(class)).map(f64::from).sum()
            }
        }
    }

    /// The class of a row, none of soft targets; and what every class gets. `None` if the row is ignored.
    fn row(&self, row: usize, n: usize) -> Option<(Option<usize>, Shares)> {
        let (class, target) = match self.labels {
            Labels::Classes(classes) if Some(classes[row]) == self.ignored => return None,
            Labels::Classes(classes) => (Some(classes[row] as usize), None),
            Labels::Soft(targets) => (None, Some(&targets[row * n..])),
        };
        let spread = self.smoothing / n as f32;
        let shares =
            Shares { weight: pointer(self.weights), target: pointer(target), kept: 1.0 - self.smoothing, spread };
        Some((class, shares))
    }

    /// Factor of the log-probability of the class of a row.
    fn of_class(&self, class: usize) -> f32 {
        (1.0 - self.smoothing) * self.weights.map_or(1.0, |weights| weights[class])
    }
}

impl Kernel {
    /// [`cross_entropy`] with this variant.
    ///
    /// # Errors
    /// As [`cross_entropy`].
    pub fn cross_entropy(
        &self,
        threads: &Threads,
        scores: &[f32],
        n: usize,
        targets: &Targets<'_>,
        losses: &mut [f32],
        log_p: &mut [f32],
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        let rows = rows_of(scores.len(), n)?;
        targets.check(rows, n)?;
        ShapeError::expect("losses", losses.len(), rows)?;
        ShapeError::expect("log_p", log_p.len(), scores.len())?;
        let (losses, log_p) = (Shareable(losses.as_mut_ptr()), Shareable(log_p.as_mut_ptr()));
        by_rows(threads, rows, n, |first, count| {
            // SAFETY: rows are disjoint; lengths and labels checked; this CPU can run the variant.
            unsafe {
                (self.log_softmax)(scores[first * n..].as_ptr(), log_p.at(first * n), count, n);
                for row in first..first + count {
                    let own = log_p.at(row * n);
                    *losses.at(row) = match targets.row(row, n) {
                        None => 0.0,
                        Some((class, shares)) => {
                            let (has_shares, mut loss) = (class.is_none() || shares.spread != 0.0, 0.0);
                            if has_shares {
                                loss -= (self.shared)(own, &shares, n)[1];
                            }
                            class.map_or(loss, |class| loss - targets.of_class(class) * *own.add(class))
                        }
                    };
                }
            }
        });
        Ok(())
    }

    /// [`cross_entropy_gradient`] with this variant.
    ///
    /// # Safety
    /// `len` elements at `log_p` and `dx`, which may be the same.
    pub(super) unsafe fn loss_gradient_at(
        &self,
        threads: &Threads,
        dloss: &[f32],
        (log_p, len): (*const f32, usize),
        n: usize,
        targets: &Targets<'_>,
        dx: *mut f32,
    ) -> Result<(), ShapeError> {
        self.assert_supported();
        let rows = rows_of(len, n)?;
        targets.check(rows, n)?;
        if dloss.len() != 1 {
            ShapeError::expect("dloss", dloss.len(), rows)?;
        }
        let (from, to) = (Shareable(log_p.cast_mut()), Shareable(dx));
        by_rows(threads, rows, n, |first, count| {
            for row in first..first + count {
                let dloss = if dloss.len() == 1 { dloss[0] } else { dloss[row] };
                // SAFETY: rows are disjoint; lengths and labels checked; this CPU can run the variant.
                unsafe {
                    let (from, to) = (from.at(row * n), to.at(row * n));
                    let Some((class, shares)) = targets.row(row, n) else {
                        std::slice::from_raw_parts_mut(to, n).fill(0.0);
                        continue;
                    };
                    let has_shares = class.is_none() || shares.spread != 0.0;
                    let shared = if has_shares { (self.shared)(from, &shares, n)[0] } else { 0.0 };
                    let of_class = class.map_or(0.0, |class| targets.of_class(class));
                    (self.loss_gradient)(from, &shares, [dloss * (shared + of_class), dloss], to, n);
                    if let Some(class) = class {
                        *to.add(class) -= dloss * of_class;
                    }
                }
            }
        });
        Ok(())
    }
}

/// The losses of the rows of `scores`, `[rows, n]`, and the logarithms of their softmax, which the gradient needs.
///
/// # Errors
/// [`ShapeError`] if a length does not fit, or a label is no class.
pub fn cross_entropy(
    threads: &Threads,
    scores: &[f32],
    n: usize,
    targets: &Targets<'_>,
    losses: &mut [f32],
    log_p: &mut [f32],
) -> Result<(), ShapeError> {
    Kernel::best().cross_entropy(threads, scores, n, targets, losses, log_p)
}

/// The gradient of the scores, `[rows, n]`, by that of the losses: one a row, or one for all, as that of a mean is (`1 / `
/// [`Targets::total_weight`]).
///
/// # Errors
/// As [`cross_entropy`].
pub fn cross_entropy_gradient(
    threads: &Threads,
    dloss: &[f32],
    log_p: &[f32],
    n: usize,
    targets: &Targets<'_>,
    dx: &mut [f32],
) -> Result<(), ShapeError> {
    ShapeError::expect("dx", dx.len(), log_p.len())?;
    let from = (log_p.as_ptr(), log_p.len());
    // SAFETY: equal lengths.
    unsafe { Kernel::best().loss_gradient_at(threads, dloss, from, n, targets, dx.as_mut_ptr()) }
}

/// [`cross_entropy_gradient`] in place of the log-probabilities.
///
/// # Errors
/// As [`cross_entropy`].
pub fn cross_entropy_gradient_in_place(
    threads: &Threads,
    dloss: &[f32],
    log_p: &mut [f32],
    n: usize,
    targets: &Targets<'_>,
) -> Result<(), ShapeError> {
    let (len, at) = (log_p.len(), log_p.as_mut_ptr());
    // SAFETY: the kernels read a row before they write it.
    unsafe { Kernel::best().loss_gradient_at(threads, dloss, (at, len), n, targets, at) }
}
