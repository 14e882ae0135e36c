use super::*;
use proptest::prelude::*;

fn noise(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 500.0 - 2.0).collect()
}

fn supported() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().filter(|kernel| (kernel.is_supported)())
}

/// What the definition says, element by element.
fn plain(dy: &[f32], v: &[f32], grid: &Grid<'_>) -> (Vec<f32>, Vec<f32>, Vec<f64>) {
    let [min, max] = grid.codes;
    let channel = |i: usize| if grid.steps.len() == 1 { 0 } else { i / grid.inner % grid.steps.len() };
    let (mut out, mut dv, mut sums) = (Vec::new(), Vec::new(), vec![0.0; grid.steps.len()]);
    for (i, (&dy, &v)) in dy.iter().zip(v).enumerate() {
        let step = grid.steps[channel(i)];
        let t = v / step;
        let code = t.round_ties_even().clamp(min, max);
        let is_inside = min < t && t < max;
        out.push(code * step);
        dv.push(if is_inside { dy } else { 0.0 });
        sums[channel(i)] += f64::from(dy) * f64::from(if is_inside { t.round_ties_even() - t } else { code });
    }
    (out, dv, sums)
}

proptest! {
    #[test]
    fn every_kernel_agrees_with_the_oracle(
        outer in 0usize..40,
        channels in 1usize..40,
        inner in prop_oneof![Just(1usize), 0usize..40],
        codes in prop_oneof![Just([-8f32, 7.0]), Just([0.0, 15.0]), Just([-1.0, 1.0]), Just([0.0, 255.0])],
        seed in 0usize..99,
    ) {
        let n = outer * channels * inner;
        let (dy, v) = (noise(n, seed), noise(n, seed + 1));
        let steps: Vec<f32> = (0..channels).map(|i| 0.05 + 0.03 * i as f32).collect();
        for grid in [Grid { steps: &steps, inner, codes }, Grid { steps: &steps[..1], inner: 7, codes }] {
            let (out, dv, sums) = plain(&dy, &v, &grid);
            for kernel in supported() {
                let (mut own_out, mut own_dv, mut own_sums) = (vec![9.0; n], vec![9.0; n], vec![9.0; grid.steps.len()]);
                let threads = Threads::new(2);
                kernel.quantize(&threads, &v, &grid, &mut own_out).unwrap();
                kernel.gradient(&threads, [&dy, &v], &grid, 0.5, &mut own_dv, &mut own_sums).unwrap();
                prop_assert_eq!(&own_out, &out, "{}", kernel.name);
                prop_assert_eq!(&own_dv, &dv, "{}", kernel.name);
                for (own, sum) in own_sums.iter().zip(&sums) {
                    let most = f64::from(codes[1]) * 2.0 * n.max(1) as f64;
                    prop_assert!((f64::from(*own) - 0.5 * sum).abs() <= 1e-6 * most, "{} {own} {sum}", kernel.name);
                }
            }
        }
    }
}

#[test]
fn nan_goes_through_and_infinity_is_cut_off() {
    let v = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.3];
    for kernel in supported() {
        let mut out = [0.0; 4];
        let grid = Grid { steps: &[0.25], inner: 1, codes: [-8.0, 7.0] };
        kernel.quantize(&Threads::single(), &v, &grid, &mut out).unwrap();
        assert!(out[0].is_nan() && out[1..] == [1.75, -2.0, 0.25], "{} {out:?}", kernel.name);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes_and_wrong_lengths_are_errors() {
    let n = 24 * 1000;
    let (dy, v, steps) = (noise(n, 1), noise(n, 2), noise(24, 3).iter().map(|x| x.abs() + 0.1).collect::<Vec<_>>());
    for (steps, inner) in [(&steps[..1], 1), (&steps[..], 1), (&steps[..], 1000), (&steps[..2], 12_000)] {
        let grid = Grid { steps, inner, codes: [-8.0, 7.0] };
        let all = [1, 2, 4].map(|n_threads| {
            let (mut dv, mut sums) = (vec![0.0; n], vec![0.0; steps.len()]);
            gradient(&Threads::new(n_threads), [&dy, &v], &grid, 1.0, &mut dv, &mut sums).unwrap();
            (dv, sums)
        });
        assert!(all[0] == all[1] && all[0] == all[2]);
    }
    let grid = Grid { steps: &steps, inner: 7, codes: [0.0, 1.0] };
    let (mut out, mut sums) = (vec![0.0; n], vec![0.0; 24]);
    assert!(quantize(&Threads::single(), &v, &grid, &mut out).is_err());
    assert!(quantize(&Threads::single(), &v[..5], &grid, &mut out).is_err());
    let grid = Grid { inner: 1000, ..grid };
    assert!(gradient(&Threads::single(), [&dy, &v], &grid, 1.0, &mut out, &mut sums[..3]).is_err());
    assert!(quantize(&Threads::single(), &v, &Grid { steps: &[], ..grid }, &mut out).is_err());
}
