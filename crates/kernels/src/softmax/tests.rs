use super::*;
use proptest::prelude::*;

fn noise(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 100.0 - 10.0).collect()
}

fn supported() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().filter(|kernel| (kernel.is_supported)())
}

/// Log-probabilities of a row.
fn exact(scores: &[f32]) -> Vec<f64> {
    let top = scores.iter().fold(f64::NEG_INFINITY, |top, &x| top.max(x.into()));
    let log = scores.iter().map(|&x| (f64::from(x) - top).exp()).sum::<f64>().ln();
    scores.iter().map(|&x| f64::from(x) - top - log).collect()
}

proptest! {
    #[test]
    fn log_softmax_and_gradients_agree_with_f64(rows in 0usize..6, n in 1usize..140, seed in 0usize..99) {
        let (x, dy) = (noise(rows * n, seed), noise(rows * n, seed + 1));
        for kernel in supported() {
            let threads = &Threads::new(2);
            let mut logs = vec![f32::NAN; x.len()];
            kernel.log_softmax(threads, &x, n, &mut logs).unwrap();
            let y: Vec<f32> = logs.iter().map(|log| log.exp()).collect();
            let (mut dx, mut of_log) = (dy.clone(), vec![9.0; x.len()]);
            let at = dx.as_mut_ptr();
            // SAFETY: equal lengths.
            unsafe {
                kernel.gradient_at(threads, Of::Softmax, at, &y, n, at).unwrap();
                kernel.gradient_at(threads, Of::LogSoftmax, dy.as_ptr(), &logs, n, of_log.as_mut_ptr()).unwrap();
            }
            for row in 0..rows {
                let part = row * n..(row + 1) * n;
                let expected = exact(&x[part.clone()]);
                let of = |values: &[f32]| values[part.clone()].iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
                let (y, dy) = (of(&y), of(&dy));
                let product: f64 = y.iter().zip(&dy).map(|(y, dy)| y * dy).sum();
                let sum: f64 = dy.iter().sum();
                for i in 0..n {
                    let at = row * n + i;
                    prop_assert!((f64::from(logs[at]) - expected[i]).abs() < 1e-5, "{} {at} {} {}", kernel.name, logs[at], expected[i]);
                    let expected = y[i] * (dy[i] - product);
                    prop_assert!((f64::from(dx[at]) - expected).abs() < 1e-5, "{} {at} {} {expected}", kernel.name, dx[at]);
                    let expected = dy[i] - y[i] * sum;
                    prop_assert!((f64::from(of_log[at]) - expected).abs() < 1e-3, "{} {at} {} {expected}", kernel.name, of_log[at]);
                }
            }
        }
    }

    /// Every kind of target against the definition; the gradient against the formula of the derivative.
    #[test]
    fn cross_entropy_agrees_with_the_definition(
        rows in 0usize..6, n in 1usize..60, is_soft: bool, has_weights: bool,
        smoothing in prop_oneof![Just(0.0f32), Just(0.1)], ignored in prop_oneof![Just(None), Just(Some(-100i64)), Just(Some(0))], seed in 0usize..99,
    ) {
        let (scores, dloss) = (noise(rows * n, seed), noise(rows, seed + 1));
        let weights: Vec<f32> = (0..n).map(|i| 0.5 + i as f32 / 8.0).collect();
        let mut classes: Vec<i64> = (0..rows).map(|row| ((row * 31 + seed) % n) as i64).collect();
        if let (Some(ignored), Some(class)) = (ignored, classes.first_mut()) {
            *class = ignored;
        }
        let soft: Vec<f32> = scores.chunks(n).flat_map(|row| exact(row).into_iter().rev().map(|p| p.exp() as f32)).collect();
        let labels = if is_soft { Labels::Soft(&soft) } else { Labels::Classes(&classes) };
        let targets = Targets { labels, weights: has_weights.then_some(&weights), smoothing, ignored };
        let counts = |row: usize| is_soft || Some(classes[row]) != ignored;
        let share = |row: usize, i: usize| {
            let target = if is_soft { f64::from(soft[row * n + i]) } else { f64::from(u8::from(classes[row] == i as i64)) };
            let weight = if has_weights { f64::from(weights[i]) } else { 1.0 };
            weight * ((1.0 - f64::from(smoothing)) * target + f64::from(smoothing) / n as f64)
        };
        let total: f64 = (0..rows).filter(|&row| counts(row)).map(|row| if is_soft || !has_weights { 1.0 } else { weights[classes[row] as usize].into() }).sum();
        prop_assert!((targets.total_weight(n) - total).abs() < 1e-9);
        for kernel in supported() {
            let (mut losses, mut log_p) = (vec![9.0; rows], vec![9.0; scores.len()]);
            kernel.cross_entropy(&Threads::new(2), &scores, n, &targets, &mut losses, &mut log_p).unwrap();
            let mut dx = log_p.clone();
            let at = dx.as_mut_ptr();
            // SAFETY: equal lengths.
            unsafe { kernel.loss_gradient_at(&Threads::new(2), &dloss, (at, dx.len()), n, &targets, at).unwrap() };
            for row in 0..rows {
                let logs = exact(&scores[row * n..(row + 1) * n]);
                let all: f64 = (0..n).map(|i| share(row, i)).sum();
                let expected = if counts(row) { -(0..n).map(|i| share(row, i) * logs[i]).sum::<f64>() } else { 0.0 };
                prop_assert!((f64::from(losses[row]) - expected).abs() < 1e-4 * (1.0 + expected), "{} {row} {} {expected}", kernel.name, losses[row]);
                for i in 0..n {
                    let slope = if counts(row) { logs[i].exp() * all - share(row, i) } else { 0.0 };
                    let expected = f64::from(dloss[row]) * slope;
                    let y = f64::from(dx[row * n + i]);
                    prop_assert!((y - expected).abs() < 1e-3, "{} {row} {i} {y} {expected}", kernel.name);
                }
            }
        }
    }
}

#[test]
fn nan_stays_in_its_row() {
    for kernel in supported() {
        for at in 0..20 {
            let (mut x, mut out) = (noise(40, 3), [0.0; 40]);
            x[at] = f32::NAN;
            kernel.log_softmax(&Threads::single(), &x, 20, &mut out).unwrap();
            assert!(out[..20].iter().all(|y| y.is_nan()) && out[20..].iter().all(|y| !y.is_nan()), "{}", kernel.name);
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes_and_wrong_lengths_are_errors() {
    let (rows, n) = (3000, 100);
    let (scores, classes) = (noise(rows * n, 1), vec![7i64; rows]);
    let targets = |labels| Targets { labels, weights: None, smoothing: 0.1, ignored: None };
    let run = |n_threads: usize| {
        let threads = &Threads::new(n_threads);
        let of = targets(Labels::Classes(&classes));
        let (mut losses, mut log_p, mut dx) = (vec![0.0; rows], vec![0.0; scores.len()], vec![0.0; scores.len()]);
        cross_entropy(threads, &scores, n, &of, &mut losses, &mut log_p).unwrap();
        cross_entropy_gradient(threads, &[0.5], &log_p, n, &of, &mut dx).unwrap();
        let mut again = log_p.clone();
        cross_entropy_gradient_in_place(threads, &[0.5], &mut again, n, &of).unwrap();
        assert_eq!(dx, again);
        let (mut of_log, mut of_softmax) = (vec![0.0; scores.len()], scores.clone());
        log_gradient(threads, &dx, &log_p, n, &mut of_log).unwrap();
        gradient_in_place(threads, &mut of_softmax, &log_p, n).unwrap();
        let mut again = vec![0.0; scores.len()];
        gradient(threads, &scores, &log_p, n, &mut again).unwrap();
        assert_eq!(of_softmax, again);
        [losses, log_p, dx, of_log, of_softmax]
    };
    let first = run(1);
    assert!([2, 4].into_iter().all(|n_threads| run(n_threads) == first));

    let (threads, mut one, mut six) = (&Threads::single(), [0.0], [0.0; 6]);
    let wrong = [Labels::Classes(&[6]), Labels::Classes(&[-1]), Labels::Classes(&[1, 1]), Labels::Soft(&[0.5; 2])];
    for labels in wrong {
        assert!(cross_entropy(threads, &[0.0; 6], 6, &targets(labels), &mut one, &mut six).is_err(), "{labels:?}");
        assert!(cross_entropy_gradient(threads, &[1.0], &[0.0; 6], 6, &targets(labels), &mut six).is_err());
    }
    let right = targets(Labels::Classes(&[5]));
    assert!(cross_entropy(threads, &[0.0; 6], 6, &right, &mut one, &mut six).is_ok());
    assert!(cross_entropy(threads, &[0.0; 6], 4, &right, &mut one, &mut six).is_err());
    assert!(cross_entropy_gradient(threads, &[1.0; 2], &[0.0; 6], 6, &right, &mut six).is_err());
    assert!(log_softmax(threads, &[], 0, &mut []).is_ok());
}
