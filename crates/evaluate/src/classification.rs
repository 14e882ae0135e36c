//! Judging a classifier, and what compressing did to it and to each class.

use serde::{Deserialize, Serialize};

use crate::ALPHA;
use crate::agreement::{Agreement, agreement};
use crate::auc::auc_macro_checked;
use crate::bootstrap::{BootstrapOptions, bootstrap_mean};
use crate::calibration::{Calibration, calibration};
use crate::comparison::Drop;
use crate::confusion::Confusion;
use crate::error::EvaluateError;
use crate::multiple::holm;
use crate::outputs::{OutputKind, Outputs, check_labels};
use crate::paired::mcnemar_exact;
use crate::per_class::{ClassScores, per_class};
use crate::proportion::{Interval, Proportion, newcombe_paired};
use crate::topk::{argmax, rank_of, top_k_correct};

/// How to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeOptions {
    /// How to read the outputs. `None`: as [`Outputs::guess_kind`] finds; a comparison asks the original network.
    pub kind: Option<OutputKind>,
    /// Bins of the reliability curve.
    pub n_bins: usize,
    /// Resampling of intervals.
    pub bootstrap: BootstrapOptions,
}

impl Default for JudgeOptions {
    fn default() -> Self {
        Self { kind: None, n_bins: 15, bootstrap: BootstrapOptions::default() }
    }
}

/// What a classifier is worth on one data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassificationJudgement {
    /// Number of classes.
    pub n_classes: usize,
    /// How the outputs were read.
    pub output_kind: OutputKind,
    /// Share of examples whose label has the largest output; ties go to the lowest class.
    pub top1: Proportion,
    /// Share of examples whose label is among the five largest; `None` with five classes or fewer.
    pub top5: Option<Proportion>,
    /// Mean recall of the classes that have examples.
    pub macro_recall: f64,
    /// Mean F1 of the classes that have examples.
    pub macro_f1: f64,
    /// Mean one-against-rest AUC of the classes that have examples.
    pub macro_auc: f64,
    /// Calibration errors and reliability curve.
    pub calibration: Calibration,
    /// Every class that occurs as label or answer.
    pub per_class: Vec<ClassScores>,
    /// Which class is taken for which.
    pub confusion: Confusion,
}

/// Judges class scores, `[n, n_classes]` row-major, against labels from 0.
///
/// # Errors
/// Every way the data can be unfit: see [`EvaluateError`].
pub fn judge_classification(
    logits: &[f32],
    n_classes: usize,
    labels: &[i64],
    options: &JudgeOptions,
) -> Result<ClassificationJudgement, EvaluateError> {
    let outputs = Outputs::new(logits, n_classes)?;
    let labels = checked_labels(&outputs, labels)?;
    let kind = options.kind.unwrap_or_else(|| outputs.guess_kind());
    let predicted: Vec<usize> = outputs.rows().map(argmax).collect();
    let confusion = Confusion::count(&labels, &predicted, n_classes);
    let per_class = per_class(&confusion);
    let n = labels.len() as u64;
    let top = |k| Proportion::new(top_k_correct(&outputs, &labels, k) as u64, n);
    let mean_over_supported = |score: fn(&ClassScores) -> Option<f64>| {
        let scores: Vec<f64> = per_class.iter().filter(|class| class.support > 0).filter_map(score).collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    };
    Ok(ClassificationJudgement {
        n_classes,
        output_kind: kind,
        top1: top(1),
        top5: (n_classes > 5).then(|| top(5)),
        macro_recall: mean_over_supported(|class| class.recall),
        macro_f1: mean_over_supported(|class| class.f1),
        macro_auc: auc_macro_checked(&outputs, &labels, kind)?,
        calibration: calibration(&outputs, &labels, kind, options.n_bins)?,
        per_class,
        confusion,
    })
}

/// Labels as positions; all of one class is an error.
fn checked_labels(outputs: &Outputs<'_>, labels: &[i64]) -> Result<Vec<usize>, EvaluateError> {
    let checked = check_labels(outputs, labels)?;
    if labels.iter().all(|label| *label == labels[0]) {
        return Err(EvaluateError::OneClass { class: labels[0], n: labels.len() });
    }
    Ok(checked)
}

/// Which answers changed between right and wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flips {
    /// Right before and after.
    pub both_right: u64,
    /// Right before, wrong after ("negative flips").
    pub broken: u64,
    /// Wrong before, right after.
    pub fixed: u64,
    /// Wrong before and after.
    pub both_wrong: u64,
}

impl Flips {
    fn count(before: &[bool], after: &[bool]) -> Self {
        let mut flips = Self::default();
        for pair in before.iter().zip(after) {
            *match pair {
                (true, true) => &mut flips.both_right,
                (true, false) => &mut flips.broken,
                (false, true) => &mut flips.fixed,
                (false, false) => &mut flips.both_wrong,
            } += 1;
        }
        flips
    }

    fn n(&self) -> u64 {
        self.both_right + self.broken + self.fixed + self.both_wrong
    }

    fn ci(&self) -> Interval {
        newcombe_paired(self.both_right, self.broken, self.fixed, self.n())
    }
}

/// What compressing did to one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassDrop {
    /// The class, counted from 0.
    pub class: usize,
    /// Number of its examples.
    pub support: u64,
    /// Recall of the original network.
    pub original_recall: f64,
    /// Recall of the compressed network.
    pub compressed_recall: f64,
    /// `original_recall − compressed_recall`: above 0 is a loss.
    pub drop: f64,
    /// Newcombe's paired 95 % interval of the drop, of this class alone.
    pub ci: Interval,
    /// Exact McNemar p value of this class alone.
    pub p_value: f64,
    /// The p value after Holm's correction over all classes.
    pub corrected_p_value: f64,
    /// Whether the corrected p value is below 0.05.
    pub is_significant: bool,
    /// Precision of the original network; `None` when it never gave this answer.
    pub original_precision: Option<f64>,
    /// Precision of the compressed network; `None` when it never gave this answer.
    pub compressed_precision: Option<f64>,
    /// Examples of the class right before and wrong after.
    pub broken: u64,
    /// Examples of the class wrong before and right after.
    pub fixed: u64,
}

/// What compressing did to a classifier. Both networks saw the same examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassificationComparison {
    /// Drop of top1.
    pub top1: Drop,
    /// Drop of top5; `None` with five classes or fewer.
    pub top5: Option<Drop>,
    /// Drop of the mean recall of the classes.
    pub macro_recall_drop: f64,
    /// Drop of the mean one-against-rest AUC.
    pub macro_auc_drop: f64,
    /// `compressed − original` of the expected calibration error: above 0 is worse.
    pub ece_rise: f64,
    /// Answers that changed between right and wrong.
    pub flips: Flips,
    /// How near the outputs are.
    pub agreement: Agreement,
    /// Every class that has examples, largest drop first (of equal drops the lowest class first).
    pub classes: Vec<ClassDrop>,
}

/// Compares the class scores of two networks, `[n, n_classes]` row-major, on the same labelled examples.
///
/// # Errors
/// Every way the data can be unfit: see [`EvaluateError`].
pub fn compare_classification(
    original: &[f32],
    compressed: &[f32],
    n_classes: usize,
    labels: &[i64],
    options: &JudgeOptions,
) -> Result<ClassificationComparison, EvaluateError> {
    let before = Outputs::new(original, n_classes)?;
    let kind = options.kind.unwrap_or_else(|| before.guess_kind());
    let agreement = agreement(original, compressed, n_classes, Some(kind))?;
    let options = JudgeOptions { kind: Some(kind), ..*options };
    let judged_before = judge_classification(original, n_classes, labels, &options)?;
    let judged_after = judge_classification(compressed, n_classes, labels, &options)?;
    let after = Outputs::new(compressed, n_classes)?;
    let labels = checked_labels(&before, labels)?;

    let right = |outputs: &Outputs<'_>, k| -> Vec<bool> {
        outputs.rows().zip(&labels).map(|(row, label)| rank_of(row, *label) < k).collect()
    };
    let (right_before, right_after) = (right(&before, 1), right(&after, 1));
    let top5 = if n_classes > 5 { Some(share_drop(&right(&before, 5), &right(&after, 5), &options)?) } else { None };
    Ok(ClassificationComparison {
        top1: share_drop(&right_before, &right_after, &options)?,
        top5,
        macro_recall_drop: judged_before.macro_recall - judged_after.macro_recall,
        macro_auc_drop: judged_before.macro_auc - judged_after.macro_auc,
        ece_rise: judged_after.calibration.ece - judged_before.calibration.ece,
        flips: Flips::count(&right_before, &right_after),
        agreement,
        classes: class_drops(&labels, &right_before, &right_after, &judged_before.per_class, &judged_after.per_class),
    })
}

/// With fewer changed answers than this a bootstrap interval is too narrow, and Newcombe's is given.
const FEW_CHANGES: u64 = 10;

fn share_drop(before: &[bool], after: &[bool], options: &JudgeOptions) -> Result<Drop, EvaluateError> {
    let flips = Flips::count(before, after);
    let interval = if flips.broken + flips.fixed < FEW_CHANGES {
        ("Newcombe, paired".to_owned(), flips.ci())
    } else {
        let differences: Vec<f64> = before.iter().zip(after).map(|(b, a)| f64::from(*b) - f64::from(*a)).collect();
        let name =
            format!("paired bootstrap, {} replicates, seed {}", options.bootstrap.replicates, options.bootstrap.seed);
        (name, bootstrap_mean(&differences, &options.bootstrap)?)
    };
    let share = |right: u64| right as f64 / flips.n() as f64;
    let test = ("McNemar, exact", mcnemar_exact(flips.broken, flips.fixed));
    let (before, after) = (share(flips.both_right + flips.broken), share(flips.both_right + flips.fixed));
    // From the counts, not as a difference of shares: a drop of exactly a budget must not exceed it by rounding.
    let drop = (flips.broken as f64 - flips.fixed as f64) / flips.n() as f64;
    Ok(Drop { drop, ..Drop::new(before, after, interval, test) })
}

fn class_drops(
    labels: &[usize],
    before: &[bool],
    after: &[bool],
    scores_before: &[ClassScores],
    scores_after: &[ClassScores],
) -> Vec<ClassDrop> {
    let precision = |scores: &[ClassScores], class: usize| {
        scores.binary_search_by_key(&class, |score| score.class).ok().and_then(|found| scores[found].precision)
    };
    let mut of_class: Vec<Vec<usize>> = Vec::new();
    for (row, &label) in labels.iter().enumerate() {
        if of_class.len() <= label {
            of_class.resize(label + 1, Vec::new());
        }
        of_class[label].push(row);
    }
    let mut drops: Vec<ClassDrop> = Vec::new();
    for (class, rows) in of_class.iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
        let pick = |right: &[bool]| -> Vec<bool> { rows.iter().map(|row| right[*row]).collect() };
        let flips = Flips::count(&pick(before), &pick(after));
        let n = flips.n() as f64;
        drops.push(ClassDrop {
            class,
            support: flips.n(),
            original_recall: (flips.both_right + flips.broken) as f64 / n,
            compressed_recall: (flips.both_right + flips.fixed) as f64 / n,
            drop: (flips.broken as f64 - flips.fixed as f64) / n,
            ci: flips.ci(),
            p_value: mcnemar_exact(flips.broken, flips.fixed),
            corrected_p_value: 1.0,
            is_significant: false,
            original_precision: precision(scores_before, class),
            compressed_precision: precision(scores_after, class),
            broken: flips.broken,
            fixed: flips.fixed,
        });
    }
    let corrected = holm(&drops.iter().map(|drop| drop.p_value).collect::<Vec<_>>());
    for (drop, corrected) in drops.iter_mut().zip(corrected) {
        drop.corrected_p_value = corrected;
        drop.is_significant = corrected < ALPHA;
    }
    drops.sort_by(|a, b| b.drop.total_cmp(&a.drop).then(a.class.cmp(&b.class)));
    drops
}
