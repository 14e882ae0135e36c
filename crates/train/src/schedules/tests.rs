use super::*;

fn schedule(name: &str, settings: &str) -> Box<dyn Schedule> {
    let spec = SCHEDULES.iter().find(|spec| spec.name == name).unwrap();
    (spec.parse)(&Settings::from_toml("test", settings).unwrap()).unwrap()
}

#[test]
fn every_example_parses_and_stays_between_zero_and_the_peak() {
    for spec in SCHEDULES {
        let schedule = schedule(spec.name, spec.example);
        for total in [1, 7, 1000] {
            for step in 0..total {
                let share = schedule.share(step, total);
                assert!((0.0..=1.0).contains(&share), "{}: {share} at {step} of {total}", spec.name);
            }
        }
    }
}

#[test]
fn the_list_is_sorted() {
    assert!(SCHEDULES.windows(2).all(|pair| pair[0].name < pair[1].name));
}

/// Peste et al. (CrAM), ResNet-20: base · (e + 1) / W while warming up, then ½ (1 + cos(π (e − W) / (E − W))) · base.
#[test]
fn a_cosine_follows_its_warm_up() {
    let cosine = schedule("cosine", "warmup_steps = 5");
    assert_eq!(cosine.share(0, 200), 0.2);
    assert_eq!(cosine.share(4, 200), 1.0);
    assert_eq!(cosine.share(5, 200), 1.0);
    let expected = 0.5 * (1.0 + (std::f64::consts::PI * 100.0 / 195.0).cos());
    assert!((cosine.share(105, 200) - expected).abs() < 1e-15);
}

#[test]
fn a_line_reaches_zero_after_the_last_step() {
    let linear = schedule("linear", "");
    assert_eq!([0, 5, 9, 10].map(|step| linear.share(step, 10)), [1.0, 0.5, 1.0 - 0.9, 0.0]);
}

#[test]
fn steps_go_down_at_their_milestones() {
    let step = schedule("step", "milestones = [0.5, 0.75]");
    assert_eq!([49, 50, 74, 75].map(|at| step.share(at, 100)), [1.0, 0.1, 0.1, 0.1f64.powi(2)]);
}

/// Defazio et al.: a constant gradient norm gives linear decay; T = 10.
#[test]
fn constant_norms_refine_to_a_line() {
    for norm in [RateNorm::L1, RateNorm::L2] {
        let refined = refine(&[1.0; 10], norm, 0.1);
        for (t, rate) in refined.iter().enumerate() {
            assert!((rate - (9 - t) as f64 / 10.0).abs() < 1e-12, "{t}: {rate}");
        }
    }
}

#[test]
fn outliers_are_smoothed_and_growing_norms_bend_the_line() {
    let mut norms = [1.0; 40];
    norms[20] = 100.0;
    assert_eq!(refine(&norms, RateNorm::L2, 0.1), refine(&[1.0; 40], RateNorm::L2, 0.1));
    let growing: Vec<f64> = (0..100).map(|t| 1.0 + t as f64 / 50.0).collect();
    let refined = refine(&growing, RateNorm::L2, 0.1);
    assert!(refined[50] / refined[0] < 0.4, "{}", refined[50] / refined[0]);
}

#[test]
fn wrong_settings_are_named() {
    for (name, settings, key) in [
        ("cosine", "minimum = 2.0", "minimum"),
        ("step", "milestones = [1.5]", "milestones"),
        ("refined", "norm = \"l2\"\ngradient_norms = [0.0]", "gradient_norms"),
    ] {
        let spec = SCHEDULES.iter().find(|spec| spec.name == name).unwrap();
        let error = (spec.parse)(&Settings::from_toml("test", settings).unwrap()).unwrap_err();
        assert_eq!(error.key, key);
    }
}
