//! A whole judgement and comparison, checked against numbers worked out by hand.

use lissom_evaluate::*;
use proptest::prelude::*;

/// One row a label: the answer gets 2, everything else 0.
fn logits_answering(answers: &[usize], n_classes: usize) -> Vec<f32> {
    let mut logits = vec![0.0; answers.len() * n_classes];
    for (row, answer) in answers.iter().enumerate() {
        logits[row * n_classes + answer] = 2.0;
    }
    logits
}

#[test]
fn a_classifier_is_judged_as_by_hand() {
    let labels = [0, 0, 1, 1, 2, 2];
    let logits = logits_answering(&[0, 1, 1, 1, 2, 0], 3);
    let judged = judge_classification(&logits, 3, &labels, &JudgeOptions::default()).unwrap();
    assert_eq!((judged.top1.count, judged.top1.n), (4, 6));
    assert_eq!(judged.top5, None);
    assert_eq!(judged.output_kind, OutputKind::Logits);
    assert!((judged.macro_recall - 2.0 / 3.0).abs() < 1e-15);
    // F1 of the classes: 1/2, 4/5, 2/3.
    assert!((judged.macro_f1 - (0.5 + 0.8 + 2.0 / 3.0) / 3.0).abs() < 1e-15);
    // All answers have confidence e² / (e² + 2) = .787, four of six are right.
    let confidence = 1f64.exp().powi(2) / (1f64.exp().powi(2) + 2.0);
    assert!((judged.calibration.ece - (confidence - 4.0 / 6.0)).abs() < 1e-7);
    assert_eq!(judged.confusion.get(2, 0), 1);
}

#[test]
fn a_class_that_collapses_is_found() {
    // 40 examples of each of 3 classes; compressing turns 15 of class 2 into class 0 and repairs one of class 1.
    let labels: Vec<i64> = (0..120).map(|i| i / 40).collect();
    let mut before: Vec<usize> = labels.iter().map(|label| *label as usize).collect();
    before[40] = 2;
    let mut after = before.clone();
    after[40] = 1;
    after[80..95].fill(0);
    let compared = compare_classification(
        &logits_answering(&before, 3),
        &logits_answering(&after, 3),
        3,
        &labels,
        &JudgeOptions::default(),
    )
    .unwrap();

    assert_eq!(compared.flips, Flips { both_right: 104, broken: 15, fixed: 1, both_wrong: 0 });
    assert!((compared.top1.drop - 14.0 / 120.0).abs() < 1e-12);
    assert!(compared.top1.ci.contains(compared.top1.drop) && compared.top1.is_significant);
    // 2 · (1 + 16) / 2^16
    assert!((compared.top1.p_value - 34.0 / 65536.0).abs() < 1e-15);
    assert_eq!(compared.top1.interval, "paired bootstrap, 2000 replicates, seed 0");

    let worst = &compared.classes[0];
    assert_eq!((worst.class, worst.support, worst.broken, worst.fixed), (2, 40, 15, 0));
    assert_eq!((worst.drop, worst.is_significant), (0.375, true));
    assert!((worst.corrected_p_value - 3.0 * 2.0 / 32768.0).abs() < 1e-15);
    assert_eq!(compared.classes.iter().map(|class| class.class).collect::<Vec<_>>(), [2, 0, 1]);
    assert!(!compared.classes[2].is_significant);
    assert_eq!(compared.classes[1].compressed_precision, Some(40.0 / 55.0));
    assert_eq!(compared.agreement.same_top1.unwrap().count, 104);
    assert_eq!(Comparison::from(compared).worst_class_drop(), Some(0.375));
}

#[test]
fn a_drop_is_exact_to_the_last_bit() {
    // 0.9173 - 0.9123 is 0.005000000000000004 in f64, which would break a budget of 0.005.
    let labels: Vec<i64> = (0..10_000).map(|i| i % 2).collect();
    let answers =
        |n_wrong: usize| -> Vec<usize> { (0..10_000).map(|i| if i < n_wrong { 1 - i % 2 } else { i % 2 }).collect() };
    let (before, after) = (logits_answering(&answers(827), 2), logits_answering(&answers(877), 2));
    let options = JudgeOptions { bootstrap: BootstrapOptions { seed: 0, replicates: 20 }, ..JudgeOptions::default() };
    let top1 = compare_classification(&before, &after, 2, &labels, &options).unwrap().top1;
    assert_eq!((top1.original, top1.compressed, top1.drop), (0.9173, 0.9123, 0.005));
}

#[test]
fn few_changes_get_a_closed_interval_that_is_not_a_point() {
    let labels: Vec<i64> = (0..60).map(|i| i % 2).collect();
    let before: Vec<usize> = labels.iter().map(|label| *label as usize).collect();
    let mut after = before.clone();
    after[0] = 1;
    let run = |after: &[usize]| {
        compare_classification(
            &logits_answering(&before, 2),
            &logits_answering(after, 2),
            2,
            &labels,
            &JudgeOptions::default(),
        )
        .unwrap()
    };
    let one = run(&after).top1;
    assert_eq!(one.interval, "Newcombe, paired");
    assert!(one.ci.low < 0.0 && one.ci.high > 1.0 / 60.0 && !one.is_significant);
    let none = run(&before).top1;
    assert_eq!((none.drop, none.p_value), (0.0, 1.0));
    assert!(none.ci.high > 0.0, "no change among 60 does not prove there is none");
}

#[test]
fn unfit_data_is_a_typed_error() {
    let options = JudgeOptions::default();
    let judge = |logits: &[f32], n_classes, labels: &[i64]| {
        judge_classification(logits, n_classes, labels, &options).unwrap_err()
    };
    assert_eq!(judge(&[], 2, &[]), EvaluateError::Empty { what: "outputs" });
    assert_eq!(judge(&[1.0, 0.0, 0.0, 1.0], 2, &[1, 1]), EvaluateError::OneClass { class: 1, n: 2 });
    assert_eq!(judge(&[1.0, 0.0], 1, &[0, 0]), EvaluateError::TooFewColumns { n_classes: 1 });
    assert_eq!(judge(&[1.0, 0.0], 2, &[5]), EvaluateError::LabelOutOfRange { row: 0, label: 5, n_classes: 2 });
    assert!(matches!(judge(&[1.0, f32::NAN], 2, &[0]), EvaluateError::NotFinite { row: 0, column: 1, .. }));
    for error in [judge(&[], 2, &[]), judge(&[1.0, 0.0], 2, &[5])] {
        assert!(!error.to_string().is_empty() && !error.hint().is_empty());
    }
}

#[test]
fn judgements_survive_json() {
    let labels: Vec<i64> = (0..30).map(|i| i % 7).collect();
    let before: Vec<usize> = (0..30).map(|i| (i * 3) % 7).collect();
    let after: Vec<usize> = (0..30).map(|i| (i * 5) % 7).collect();
    let options = JudgeOptions::default();
    let judged = Judgement::from(judge_classification(&logits_answering(&before, 7), 7, &labels, &options).unwrap());
    let text = serde_json::to_string(&judged).unwrap();
    assert!(text.starts_with(r#"{"task":"classification""#), "{text}");
    assert_eq!(serde_json::from_str::<Judgement>(&text).unwrap(), judged);
    let compared = Comparison::from(
        compare_classification(&logits_answering(&before, 7), &logits_answering(&after, 7), 7, &labels, &options)
            .unwrap(),
    );
    let text = serde_json::to_string(&compared).unwrap();
    assert_eq!(serde_json::from_str::<Comparison>(&text).unwrap(), compared);
}

#[test]
fn embeddings_are_judged_by_the_order_of_their_cosines() {
    // Unit vectors at rising angles against (1, 0): cosines fall, scores fall with them, but for one swap of ten.
    let angles: Vec<f32> = (0..10).map(|i| i as f32 * 0.15).collect();
    let left: Vec<f32> = angles.iter().flat_map(|_| [1.0, 0.0]).collect();
    let right: Vec<f32> = angles.iter().flat_map(|angle| [angle.cos(), angle.sin()]).collect();
    let mut scores: Vec<f64> = (0..10).rev().map(f64::from).collect();
    let bootstrap = BootstrapOptions { seed: 1, replicates: 300 };
    assert_eq!(judge_pairs(&left, &right, 2, &scores, &bootstrap).unwrap().spearman, 1.0);
    scores.swap(0, 1);
    let judged = judge_pairs(&left, &right, 2, &scores, &bootstrap).unwrap();
    // 1 − 6 · Σd² / (n (n² − 1)) with Σd² = 2.
    assert!((judged.spearman - (1.0 - 12.0 / 990.0)).abs() < 1e-12);
    assert!(judged.spearman_ci.contains(judged.spearman) && judged.n_pairs == 10);

    let same = compare_pairs((&left, &right), (&left, &right), 2, &scores, &bootstrap).unwrap();
    assert_eq!((same.spearman.drop, same.spearman.p_value, same.pearson_drop), (0.0, 1.0, 0.0));
    let broken: Vec<f32> = right.chunks_exact(2).rev().flatten().copied().collect();
    let worse = compare_pairs((&left, &right), (&left, &broken), 2, &scores, &bootstrap).unwrap();
    assert!(worse.spearman.drop > 1.0 && worse.spearman.is_significant, "{:?}", worse.spearman);
    let constant = judge_pairs(&left, &left, 2, &scores, &bootstrap).unwrap_err();
    assert!(matches!(constant, EvaluateError::Constant { .. }), "{constant:?}");
}

proptest! {
    /// A change of the order of the examples must not change any number that has no resampling in it.
    #[test]
    fn the_order_of_examples_does_not_matter(
        examples in prop::collection::vec((prop::collection::vec(-4i8..4, 3), 0i64..3), 4..25), turn in 0usize..20
    ) {
        let judge = |examples: &[(Vec<i8>, i64)]| {
            let logits: Vec<f32> = examples.iter().flat_map(|e| e.0.iter().map(|v| f32::from(*v))).collect();
            let labels: Vec<i64> = examples.iter().map(|e| e.1).collect();
            judge_classification(&logits, 3, &labels, &JudgeOptions { kind: Some(OutputKind::Logits), ..JudgeOptions::default() })
        };
        let mut turned = examples.clone();
        turned.rotate_left(turn % examples.len());
        match (judge(&examples), judge(&turned)) {
            (Ok(a), Ok(b)) => {
                prop_assert_eq!((a.top1, &a.confusion, &a.per_class), (b.top1, &b.confusion, &b.per_class));
                prop_assert!((a.macro_auc - b.macro_auc).abs() < 1e-12);
                prop_assert!((a.calibration.ece - b.calibration.ece).abs() < 1e-12);
            }
            (a, b) => prop_assert_eq!(a.is_err(), b.is_err()),
        }
    }

    /// Comparing the other way round turns every drop.
    #[test]
    fn swapping_the_networks_turns_the_drop(pairs in prop::collection::vec((0usize..3, 0usize..3, 0i64..3), 4..40)) {
        let labels: Vec<i64> = pairs.iter().map(|p| p.2).collect();
        let a = logits_answering(&pairs.iter().map(|p| p.0).collect::<Vec<_>>(), 3);
        let b = logits_answering(&pairs.iter().map(|p| p.1).collect::<Vec<_>>(), 3);
        let options = JudgeOptions { bootstrap: BootstrapOptions { seed: 0, replicates: 40 }, ..JudgeOptions::default() };
        if let (Ok(forth), Ok(back)) =
            (compare_classification(&a, &b, 3, &labels, &options), compare_classification(&b, &a, 3, &labels, &options))
        {
            prop_assert!((forth.top1.drop + back.top1.drop).abs() < 1e-12);
            prop_assert_eq!(forth.top1.p_value, back.top1.p_value);
            prop_assert_eq!(forth.flips.broken, back.flips.fixed);
            for class in &forth.classes {
                prop_assert!(class.corrected_p_value >= class.p_value && class.corrected_p_value <= 1.0);
            }
        }
    }
}
