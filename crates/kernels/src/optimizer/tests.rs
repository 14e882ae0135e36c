use super::*;
use proptest::prelude::*;

fn noise(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1000.0 - 1.0).collect()
}

fn supported() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().filter(|kernel| (kernel.is_supported)())
}

proptest! {
    #[test]
    fn sgd_follows_its_rule(n in 0usize..70, has_momentum: bool, is_nesterov: bool, seed in 0usize..99) {
        let (w, g, v) = (noise(n, seed), noise(n, seed + 1), noise(n, seed + 2));
        let by = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.01, is_nesterov, gradient_scale: 0.5 };
        for kernel in supported() {
            let (mut new_w, mut new_v) = (vec![9.0; n], vec![9.0; n]);
            let velocity = has_momentum.then_some((&v[..], &mut new_v[..]));
            kernel.sgd(&Threads::new(2), &by, [&w, &g], &mut new_w, velocity).unwrap();
            for i in 0..n {
                let g = 0.5 * f64::from(g[i]) + 0.01 * f64::from(w[i]);
                let velocity = 0.9 * f64::from(v[i]) + g;
                let step = match (has_momentum, is_nesterov) {
                    (false, _) => g,
                    (true, false) => velocity,
                    (true, true) => g + 0.9 * velocity,
                };
                let expected = f64::from(w[i]) - 0.1 * step;
                prop_assert!((f64::from(new_w[i]) - expected).abs() < 1e-6, "{} {i}", kernel.name);
                prop_assert!(!has_momentum || (f64::from(new_v[i]) - velocity).abs() < 1e-6, "{} {i}", kernel.name);
            }
            if has_momentum {
                let (old, mut alone, mut masked) = ([&w[..], &g, &v], vec![9.0; n], vec![9.0; n]);
                kernel.sgd_part(&Threads::new(2), &by, old, None, &mut alone).unwrap();
                prop_assert_eq!(&alone, &new_v);
                kernel.sgd_part(&Threads::new(2), &by, old, Some(None), &mut alone).unwrap();
                prop_assert_eq!(&alone, &new_w);
                kernel.sgd_part(&Threads::new(2), &by, old, Some(Some(&v)), &mut masked).unwrap();
                prop_assert!((0..n).all(|i| masked[i] == new_w[i] * v[i]));
            }
        }
    }

    #[test]
    fn adamw_follows_its_rule(n in 0usize..70, step in 1u64..5000, seed in 0usize..99) {
        let (w, g, m) = (noise(n, seed), noise(n, seed + 1), noise(n, seed + 2));
        let v: Vec<f32> = noise(n, seed + 3).iter().map(|x| x.abs()).collect();
        let by = Adamw { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1, gradient_scale: 0.5, step };
        for kernel in supported() {
            let (mut new_w, mut new_m, mut new_v) = (vec![9.0; n], vec![9.0; n], vec![9.0; n]);
            kernel.adamw(&Threads::new(2), &by, [&w, &g], [&m, &v], &mut new_w, [&mut new_m, &mut new_v]).unwrap();
            let [beta1, beta2] = [0.9f32, 0.999].map(f64::from);
            for i in 0..n {
                let g = 0.5 * f64::from(g[i]);
                let m = beta1 * f64::from(m[i]) + (1.0 - beta1) * g;
                let v = beta2 * f64::from(v[i]) + (1.0 - beta2) * g * g;
                let share = (m / (1.0 - beta1.powf(step as f64))) / ((v / (1.0 - beta2.powf(step as f64))).sqrt() + 1e-8);
                let expected = f64::from(w[i]) * (1.0 - 0.01 * 0.1) - 0.01 * share;
                let error = (f64::from(new_w[i]) - expected).abs();
                prop_assert!(error < 1e-6 * (1.0 + share.abs()), "{} {i} {} {expected}", kernel.name, new_w[i]);
                prop_assert!((f64::from(new_m[i]) - m).abs() < 1e-6 && (f64::from(new_v[i]) - v).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes_and_wrong_lengths_are_errors() {
    let n = 3 * TASK + 7;
    let (w, g, v) = (noise(n, 1), noise(n, 2), vec![0.5; n]);
    let sgd_by = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.01, is_nesterov: true, gradient_scale: 1.0 };
    let by = Adamw {
        learning_rate: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.1,
        gradient_scale: 1.0,
        step: 3,
    };
    let all = [1, 2, 4].map(|n_threads| {
        let threads = &Threads::new(n_threads);
        let mut new = [(); 5].map(|()| vec![0.0; n]);
        let [new_w, new_v, adam_w, adam_m, adam_v] = &mut new;
        sgd(threads, &sgd_by, [&w, &g], new_w, Some((&v, new_v))).unwrap();
        adamw(threads, &by, [&w, &g], [&g, &v], adam_w, [adam_m, adam_v]).unwrap();
        new
    });
    assert!(all[1..].iter().all(|results| *results == all[0]));

    let (threads, two) = (&Threads::single(), [1.0f32; 2]);
    let (mut out, mut three, mut other) = ([0.0; 2], [0.0; 3], [0.0; 2]);
    assert!(sgd(threads, &sgd_by, [&two, &[1.0]], &mut out, None).is_err());
    assert!(sgd(threads, &sgd_by, [&two, &two], &mut three, None).is_err());
    assert!(sgd(threads, &sgd_by, [&two, &two], &mut out, Some((&two, &mut three))).is_err());
    assert!(sgd_velocity(threads, &sgd_by, [&two, &two, &[1.0]], &mut out).is_err());
    assert!(sgd_weight(threads, &sgd_by, [&two; 3], Some(&[1.0]), &mut out).is_err());
    assert!(adamw(threads, &by, [&two, &two], [&two, &[1.0]], &mut out, [&mut other, &mut [0.0; 2]]).is_err());
    assert!(adamw(threads, &by, [&two, &two], [&two, &two], &mut out, [&mut other, &mut three]).is_err());
}

#[test]
fn nan_stays_in_its_element() {
    let mut g = noise(40, 1);
    g[19] = f32::NAN;
    let (w, by) = (
        noise(40, 2),
        Sgd { learning_rate: 0.1, momentum: 0.0, weight_decay: 0.0, is_nesterov: false, gradient_scale: 1.0 },
    );
    for kernel in supported() {
        let mut out = vec![0.0; 40];
        kernel.sgd(&Threads::single(), &by, [&w, &g], &mut out, None).unwrap();
        assert!(out.iter().enumerate().all(|(i, w)| w.is_nan() == (i == 19)), "{}", kernel.name);
    }
}
