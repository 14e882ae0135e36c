//! A small residual network through the whole of the method.

use lissom_tensor::{DType, Weight};
use lissom_train::{ARCHITECTURES, LOSSES, OPTIMIZERS, SCHEDULES};

use super::*;

fn settings(text: &str) -> Settings {
    Settings::from_toml("test", text).unwrap()
}

fn images(n: usize, seed: usize) -> Tensor {
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f32 / 500.0 - 2.0;
    Tensor::new([n, 3, 16, 16], (0..n * 3 * 256).map(value).collect::<Vec<f32>>()).unwrap()
}

/// A residual network whose norms are those of some training, a third of them turned round.
fn network() -> Model {
    let spec = ARCHITECTURES.iter().find(|spec| spec.name == "resnet20").unwrap();
    let text = "size = 16\nwidth = 8\nblocks = 1\nclasses = 5";
    let mut model = (spec.parse)(&settings(text)).unwrap().build(3).unwrap();
    let norms = model.graph.nodes().iter().filter(|node| node.op_type == "BatchNormalization");
    let scales: Vec<ValueId> = norms.map(|node| node.inputs[1].unwrap()).collect();
    for id in scales {
        let n = model.graph.dense_constant(id).unwrap().len();
        let gamma = (0..n).map(|i| (0.5 + i as f32 / n as f32) * if i % 3 == 1 { -1.0 } else { 1.0 });
        model.graph.set_constant(id, Weight::Dense(Tensor::vector(gamma.collect::<Vec<f32>>())));
    }
    model
}

fn options() -> TrainerOptions {
    let loss = LOSSES.iter().find(|spec| spec.name == "cross_entropy").unwrap();
    let sgd = OPTIMIZERS.iter().find(|spec| spec.name == "sgd").unwrap();
    let schedule = SCHEDULES.iter().find(|spec| spec.name == "constant").unwrap();
    let sgd = (sgd.parse)(&settings("learning_rate = 0.02\nmomentum = 0.9\nweight_decay = 1e-4")).unwrap();
    let schedule = (schedule.parse)(&Settings::empty()).unwrap();
    TrainerOptions::new((loss.parse)(&Settings::empty()).unwrap(), sgd, schedule, 6)
}

/// The technique and the trainer after a few steps.
fn trained(text: &str, threads: usize) -> (QatTechnique, Trainer) {
    let mut technique = QatTechnique { settings: settings(text).parse().unwrap(), ..QatTechnique::default() };
    let (mut model, mut options) = (network(), options());
    options.threads = threads;
    technique.prepare(&mut model, &mut options).unwrap();
    let mut trainer = Trainer::new(&model, options, |_| true).unwrap();
    for step in 0..6 {
        let (x, labels) = (images(10, step), Tensor::vector((0..10i64).map(|i| i % 5).collect::<Vec<_>>()));
        let own = [("input", &x), ("labels", &labels)];
        let at = |step: usize| Moment { epoch: 0, step: step as u64, steps_an_epoch: 6, epochs: 1 };
        let targets = technique.targets(&at(step), &own).unwrap();
        let batch: Vec<(&str, &Tensor)> =
            own.into_iter().chain(targets.iter().map(|(name, tensor)| (name.as_str(), tensor))).collect();
        if step == 0 {
            technique.begin(&mut trainer, &batch).unwrap();
        }
        technique.before_step(&mut trainer, &at(step), &batch).unwrap();
        trainer.step(&batch).unwrap();
        technique.after_step(&mut trainer, &at(step + 1)).unwrap();
    }
    (technique, trainer)
}

fn scores(model: &Model, x: &Tensor, fast: bool) -> Vec<f32> {
    let session = Session::new(model, &SessionOptions { fast, ..SessionOptions::default() }).unwrap();
    session.run(&[("input", x)]).unwrap()[0].to_f32_vec().unwrap()
}

const CASES: [&str; 7] = [
    "",
    "weight_bits = 4\nactivation_bits = 4",
    "weight_bits = 4\nactivation_bits = 4\nbatch_norm = \"fold\"",
    "weight_bits = 3\nactivation_bits = 5\nends = 4",
    "weight_bits = 4\nactivation_bits = 32",
    "learned = false",
    "weight_bits = 2\nactivation_bits = 3\nlearned = false\nteacher_share = 0",
];

#[test]
fn the_written_network_is_the_trained_one() {
    let x = images(60, 77);
    for text in CASES {
        let (technique, trainer) = trained(text, 0);
        let rounded = technique.rounded(&trainer).unwrap();
        let written = export::export(technique.plain().unwrap(), &rounded, &technique.places, false).unwrap();
        let (expected, own) = (scores(&rounded, &x, false), scores(&written, &x, false));
        // Sums in another order make a code another one here and there, which few of the scores see.
        let off = own.iter().zip(&expected).filter(|(a, b)| (*a - *b).abs() > 1e-4).count();
        assert!(off * 100 < own.len(), "{text}: {off} of {}", own.len());
    }
}

#[test]
fn integers_give_what_the_written_network_says() {
    let x = images(60, 77);
    for text in CASES {
        let (mut technique, trainer) = trained(text, 0);
        let written = technique.finish(&trainer).unwrap();
        let (plain, fast) = (scores(&written, &x, false), scores(&written, &x, true));
        let off = plain.iter().zip(&fast).filter(|(a, b)| (*a - *b).abs() > 1e-4).count();
        assert!(off * 100 < plain.len(), "{text}: {off} of {}", plain.len());
    }
}

#[test]
fn quantizers_have_kernels_of_their_own() {
    let (_, trainer) = trained("weight_bits = 4\nactivation_bits = 4", 0);
    assert!(!trainer.notes().iter().any(|note| note.contains("StepQuantize")), "{:?}", trainer.notes());
}

#[test]
fn all_products_run_in_integers() {
    for text in ["", "weight_bits = 4\nactivation_bits = 4"] {
        let (mut technique, trainer) = trained(text, 0);
        let exported = technique.finish(&trainer).unwrap();
        let session = Session::new(&exported, &SessionOptions::default()).unwrap();
        let steps = session.profile(&[("input", &images(2, 5))]).unwrap();
        let products: Vec<_> = steps.iter().filter(|step| step.info.macs > 0).collect();
        assert_eq!(products.len(), 8, "{text}");
        for step in products {
            assert!(step.info.kernel.contains("qgemm") || step.info.kernel.contains("qspmm"), "{:?}", step.info);
        }
        let codes = |dtype| {
            exported
                .graph
                .constants()
                .filter(|(_, w)| matches!(w, Weight::Affine(a) if a.codes.dtype() == dtype))
                .count()
        };
        assert_eq!(codes(DType::I4), if text.is_empty() { 0 } else { 6 });
    }
}

#[test]
fn steps_learn_stay_positive_and_are_the_same_on_any_threads() {
    let (_, one) = trained("weight_bits = 4\nactivation_bits = 4", 1);
    let (_, two) = trained("weight_bits = 4\nactivation_bits = 4", 2);
    let (_, fixed) = trained("weight_bits = 4\nactivation_bits = 4\nlearned = false", 2);
    let mut technique = (SPEC.parse)(&settings("learned = false")).unwrap().technique().unwrap();
    let (mut model, mut options) = (network(), options());
    technique.prepare(&mut model, &mut options).unwrap();
    for parameter in one.parameters() {
        assert_eq!(one.tensor(&parameter.name), two.tensor(&parameter.name), "{}", parameter.name);
        if parameter.group == Group::Step {
            let steps = one.tensor(&parameter.name).unwrap().to_f32_vec().unwrap();
            assert!(steps.iter().all(|&step| step >= LEAST), "{}", parameter.name);
            let velocity = fixed.tensor(&format!("{}.velocity", parameter.name)).unwrap();
            assert_eq!(velocity.count_zeros(), velocity.len());
        }
    }
    let names: Vec<&str> = one.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
    assert!(names.contains(&"classifier.bias"), "{names:?}");
}

#[test]
fn steps_begin_as_the_paper_says() {
    assert!((first_step(&[1.0, -3.0, 2.0, 0.0], 7) - 2.0 * 1.5 / 7f32.sqrt()).abs() < 1e-6);
    assert!((first_step(&[1.0, 2.0], 15) - 3.0 / 15f32.sqrt()).abs() < 1e-6);
}

#[test]
fn mistakes_are_refused_at_their_key() {
    for (text, key) in [
        ("weight_bits = 9", "weight_bits"),
        ("activation_bits = 16", "activation_bits"),
        ("ends = 1", "ends"),
        ("teacher_share = 2.0", "teacher_share"),
        ("bits = 4", "bits"),
    ] {
        assert_eq!((SPEC.parse)(&settings(text)).unwrap_err().key, key, "{text}");
    }
}
