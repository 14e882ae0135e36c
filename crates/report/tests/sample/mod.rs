//! A full report of a made-up run, and one full of things that must not break a page.

use lissom_evaluate::{
    BootstrapOptions, JudgeOptions, Latency, LayerError, compare_classification, compare_pairs, first_divergence,
    judge_classification, judge_pairs,
};
use lissom_report::{
    Budget, Change, Curve, FileHash, Goal, Layer, ModelCard, NotMeasured, Notice, NoticeKind, Pair, Pareto,
    ParetoPoint, Provenance, QuantizationGrid, Report, Sensitivity, SensitivityEntry, Series, Step, Unit,
    WeightHistogram,
};

const CLASSES: [&str; 10] =
    ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];

/// Numbers that look random and are the same everywhere.
struct Noise(u64);

impl Noise {
    /// In 0..1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Close to a normal distribution: mean 0, variance 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// Class scores before and after, and labels. Shirts suffer from compression.
fn logits(n: usize, n_classes: usize) -> (Vec<f32>, Vec<f32>, Vec<i64>) {
    let mut noise = Noise(7);
    let (mut before, mut after, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..n {
        let label = row % n_classes;
        labels.push(label as i64);
        let confusable = if matches!(label, 0 | 2 | 4 | 6) {
            [0, 2, 4, 6][(noise.uniform() * 4.0) as usize]
        } else {
            (label + 2) % n_classes
        };
        for class in 0..n_classes {
            let mut score = noise.normal();
            score += if class == label { 6.5 } else { 0.0 } + if class == confusable { 3.4 } else { 0.0 };
            before.push(score as f32);
            let harm = if label == 6 && class == 6 { 1.7 } else { 0.0 };
            after.push((score * 1.04 - harm + noise.normal() * 0.35) as f32);
        }
    }
    (before, after, labels)
}

fn latency(noise: &mut Noise, p50: f64, spread: f64) -> Latency {
    let times: Vec<f64> = (0..300).map(|_| p50 * (1.0 + spread * noise.normal().abs())).collect();
    Latency::from_ms(&times).unwrap()
}

pub fn example() -> Report {
    let provenance = Provenance {
        command: "lissom compress resnet20.onnx --recipe int8-pruned.toml --data train.npz --eval-data test.npz --max-drop 1 --max-class-drop 3 --target-size 30% --out runs/resnet20-01".into(),
        lissom_version: "0.1.0 (3f2a91c)".into(),
        cpu: "Example CPU, 8 cores, AVX2, AVX-512 VNNI".into(),
        os: "Linux 6.12, x86_64".into(),
        n_threads: Some(8),
        seed: Some(0),
        date: "2026-11-20 06:00 UTC".into(),
        recipe: Some("[[step]]\nmethod = \"magnitude\"\nsparsity = 0.5\nscope = \"global\"\n\n[[step]]\nmethod = \"int8\"\ncalibration = \"entropy\"\nlayers = { exclude = [\"head\"] }\n".into()),
        files: vec![
            FileHash::of_bytes("original", "resnet20.onnx", b"original"),
            FileHash::of_bytes("calibration", "train.npz", b"calibration"),
            FileHash::of_bytes("evaluation", "test.npz", b"evaluation"),
            FileHash::of_bytes("compressed", "runs/resnet20-01/model.onnx", b"compressed"),
        ],
    };
    let mut report = Report::new("ResNet-20 for Fashion-MNIST, half pruned and int8", provenance);
    report.class_names = CLASSES.map(str::to_owned).to_vec();
    judged(&mut report);
    report.notices = notices();
    report.not_measured = vec![
        NotMeasured {
            what: "Corruption robustness".into(),
            why: "no corrupted copy of the evaluation data was given".into(),
        },
        NotMeasured { what: "Energy".into(), why: "the processor offers no counter to this user".into() },
    ];
    layers(&mut report);
    report.steps = vec![
        Step {
            method: "magnitude".into(),
            settings: "sparsity = 0.5, scope = \"global\", pattern = \"unstructured\"".into(),
            summary: Some("Dropped the 135,456 smallest of 270,896 weights over 20 layers.".into()),
            changes: report
                .layers
                .iter()
                .take(20)
                .map(|layer| Change {
                    layer: layer.name.clone(),
                    before: "dense f32".into(),
                    after: format!("masked f32, {:.1} % zeros", layer.sparsity.unwrap_or(0.0) * 100.0),
                })
                .collect(),
        },
        Step {
            method: "bn_reestimate".into(),
            settings: "n_samples = 1000".into(),
            summary: Some("Re-estimated 19 batch norms.".into()),
            changes: Vec::new(),
        },
        Step {
            method: "int8".into(),
            settings: "weights = \"per channel\", activations = \"per tensor\", calibration = \"entropy\"".into(),
            summary: Some("19 of 20 layers in int8; one fell back to float.".into()),
            changes: Vec::new(),
        },
    ];
    report.pareto = Some(settings_tried());
    report.curves = curves();
    report.pairs = vec![beside("acdc", &report)];
    report
}

/// A network beside the result of the first step: the original under another name.
fn beside(name: &str, report: &Report) -> Pair {
    let judgement = |card: &Option<ModelCard>| card.as_ref().and_then(|card| card.judgement.clone());
    Pair {
        step: 1,
        method: name.into(),
        name: "dense".into(),
        path: format!("training/1-{name}/dense.onnx"),
        size_bytes: 1_093_412,
        judgement: judgement(&report.original),
        result: judgement(&report.compressed),
        comparison: report.comparison.clone(),
    }
}

/// 3,900 steps of a training that prunes.
fn curves() -> Vec<Curve> {
    let mut noise = Noise(11);
    let share = |step: u64| step as f64 / 3900.0;
    let epochs = || (0..=10u64).map(|epoch| epoch * 390);
    let loss = |step: u64| 0.3 + 2.0 * (-4.0 * share(step)).exp();
    let training = Series::new("training", (0..3900).map(|step| (step, loss(step) + 0.2 * noise.normal())));
    let validation = Series::new("validation", epochs().map(|step| (step, loss(step) + 0.05)));
    let accuracy = Series::new("validation", epochs().map(|step| (step, 0.92 - 0.6 * (-5.0 * share(step)).exp())));
    let rate = Series::new("rate", (0..3900).step_by(10).map(|step| (step, 0.1 * (1.0 - share(step)))));
    let sparsity = Series::new("weights", epochs().map(|step| (step, 0.9 - 0.9 * (1.0 - share(step)).powi(3))));
    let curve = |label: &str, unit, series| Curve { label: label.into(), unit, series };
    vec![
        curve("Loss", Unit::Number, vec![training, validation]),
        curve("Accuracy", Unit::Share, vec![accuracy]),
        curve("Learning rate", Unit::Number, vec![rate]),
        curve("Sparsity", Unit::Share, vec![sparsity]),
    ]
}

fn judged(report: &mut Report) {
    let (before, after, labels) = logits(4000, 10);
    let options = JudgeOptions::default();
    let mut noise = Noise(3);
    report.original = Some(ModelCard {
        name: "resnet20.onnx".into(),
        size_bytes: Some(1_093_412),
        parameters: Some(272_474),
        non_zeros: Some(272_474),
        effective_bits: Some(32.0),
        macs: Some(40_813_184),
        effective_macs: Some(40_813_184),
        latency: Some(latency(&mut noise, 1.42, 0.02)),
        peak_memory_bytes: Some(21_400_000),
        judgement: Some(judge_classification(&before, 10, &labels, &options).unwrap().into()),
    });
    report.compressed = Some(ModelCard {
        name: "model.onnx".into(),
        size_bytes: Some(301_200),
        parameters: Some(272_474),
        non_zeros: Some(137_018),
        effective_bits: Some(8.42),
        macs: Some(40_813_184),
        effective_macs: Some(22_106_880),
        latency: Some(latency(&mut noise, 0.61, 0.13)),
        peak_memory_bytes: None,
        judgement: Some(judge_classification(&after, 10, &labels, &options).unwrap().into()),
    });
    let comparison = compare_classification(&before, &after, 10, &labels, &options).unwrap();
    report.budgets = vec![
        Budget::judge("target-size", Goal::AtMost, 0.3 * 1_093_412.0, Some(301_200.0), Unit::Bytes),
        Budget::judge("max-drop", Goal::AtMost, 0.01, Some(comparison.top1.drop), Unit::Points),
        Budget::judge("max-class-drop", Goal::AtMost, 0.03, Some(comparison.classes[0].drop), Unit::Points),
        Budget::judge(
            "target-latency",
            Goal::AtMost,
            0.7,
            Some(report.compressed.as_ref().unwrap().latency.as_ref().unwrap().p50_ms),
            Unit::Milliseconds,
        ),
    ];
    report.comparison = Some(comparison.into());
}

fn notices() -> Vec<Notice> {
    vec![
        Notice {
            kind: NoticeKind::Fallback,
            layer: Some("stage3.block2.conv2".into()),
            message: "stays in float: in int8 it alone cost 0.9 points of top1, more than any other layer.".into(),
        },
        Notice {
            kind: NoticeKind::Warning,
            layer: None,
            message: "The layer pattern `layers.include = [\"head*\"]` matched one layer, which has no room to prune."
                .into(),
        },
        Notice { kind: NoticeKind::Note, layer: Some("head".into()), message: "excluded by the recipe.".into() },
    ]
}

fn layers(report: &mut Report) {
    let mut noise = Noise(11);
    let mut errors = Vec::new();
    let mut sensitivity = Vec::new();
    for i in 0..20u32 {
        let stage = i.saturating_sub(1) / 6;
        let channels = 16u32 << stage;
        let name = match i {
            0 => "stem.conv".to_owned(),
            19 => "head".to_owned(),
            _ => format!("stage{}.block{}.conv{}", stage + 1, (i - 1) % 6 / 2 + 1, (i - 1) % 2 + 1),
        };
        let is_float = name == "stage3.block2.conv2" || name == "head";
        let sparsity = (0.2 + 0.025 * f64::from(i) + 0.03 * noise.normal()).clamp(0.0, 0.9);
        let size = if i == 19 { 640 } else { u64::from(channels * channels * 9) };
        let before = 0.05 + 0.01 * noise.uniform();
        let error = 0.002 * f64::from(i + 1) * (1.0 + 0.2 * noise.uniform());
        report.layers.push(Layer {
            operator: Some(if i == 19 { "Gemm" } else { "ConvRelu" }.into()),
            shape: Some(if i == 19 {
                vec![10, 64]
            } else {
                vec![channels.into(), if i == 0 { 1 } else { channels.into() }, 3, 3]
            }),
            encoding: Some(if is_float { "masked f32" } else { "int8 per channel" }.into()),
            sparsity: Some(sparsity),
            bits: Some(if is_float { 32.0 } else { 8.25 }),
            bytes: Some(if is_float { size * 4 } else { size + 64 }),
            macs: Some(if i == 19 { 640 } else { (size * 1024) >> (2 * stage) }),
            time_before_ms: Some(before),
            time_after_ms: (i != 5).then(|| before * (0.35 + 0.2 * noise.uniform())),
            output_error: Some(error),
            kernel: Some(if is_float { "gemm_f32_6x16_avx2" } else { "qgemm_u8i8i32_4x16_avx512vnni" }.into()),
            kernel_reason: Some(
                if is_float {
                    "the layer is in float; 38 % zeros are too few for the sparse kernel"
                } else {
                    "fastest of three measured"
                }
                .into(),
            ),
            name: name.clone(),
        });
        let weights: Vec<f32> = (0..2304)
            .map(|_| noise.normal() * 0.05)
            .map(|w| if w.abs() < 0.05 * sparsity { 0.0 } else { w as f32 })
            .collect();
        let levels: i32 = if i % 4 == 1 { 7 } else { 127 };
        let scale = 0.16 / f64::from(levels);
        let grid = (!is_float).then(|| QuantizationGrid {
            description: format!("{}, per channel, channel 0 drawn", if levels == 7 { "int4" } else { "int8" }),
            levels: (-levels..=levels).map(|q| f64::from(q) * scale).collect(),
        });
        report.histograms.push(WeightHistogram::of(&name, &weights, 48, grid));
        sensitivity.push(SensitivityEntry {
            layer: name.clone(),
            drop: (i != 7).then(|| 0.0015 * noise.normal() + if is_float { 0.009 } else { 0.001 }),
        });
        errors.push(LayerError { name, max_abs_error: error * 8.0, relative_error: Some(error), worst_row: 17 });
    }
    report.divergence = first_divergence(&errors, 0.03);
    report.sensitivity = Some(Sensitivity {
        metric: "top1".into(),
        unit: Unit::Points,
        setting: "int8 weights and activations".into(),
        entries: sensitivity,
    });
}

fn settings_tried() -> Pareto {
    let point = |label: &str, cost: f64, quality: f64, is_chosen| ParetoPoint {
        label: label.into(),
        cost: Some(cost),
        quality: Some(quality),
        is_chosen,
    };
    Pareto {
        cost_label: "size on disk".into(),
        cost_unit: Unit::Bytes,
        quality_label: "top1".into(),
        quality_unit: Unit::Share,
        lower_cost_is_better: true,
        points: vec![
            point("f32", 1_093_412.0, 0.9412, false),
            point("magnitude 30 %", 820_000.0, 0.9405, false),
            point("magnitude 50 %", 610_000.0, 0.936, false),
            point("int8, min-max", 296_000.0, 0.9251, false),
            point("int8, entropy, one layer float", 301_200.0, 0.9302, true),
            point("int4, groups of 32", 182_000.0, 0.8904, false),
            point("magnitude 70 %, int8", 240_000.0, 0.8811, false),
        ],
    }
}

/// Names made to break out of HTML, numbers that are none, lists too long to draw, and most things missing.
pub fn hostile() -> Report {
    let evil = r#""><script>window.pwned=1</script><img src=x onerror="window.pwned=1">' onload='pwned' ${1} {{ 7*7 }} </style></script> &amp;"#;
    let mut report = Report::new(
        evil,
        Provenance { command: evil.into(), cpu: evil.into(), recipe: Some(evil.into()), ..Provenance::default() },
    );
    let long = "a_very_long_layer_name/".repeat(60);
    report.class_names = vec![evil.into(), String::new(), long.clone()];
    report.notices = vec![Notice { kind: NoticeKind::Warning, layer: Some(evil.into()), message: evil.into() }];
    report.not_measured = vec![NotMeasured { what: evil.into(), why: evil.into() }];
    let series = Series::new(evil, [(0, f64::NAN), (u64::MAX, f64::MAX), (3, f64::INFINITY), (4, -f64::MAX)]);
    report.curves = vec![Curve { label: evil.into(), unit: Unit::Number, series: vec![series; 6] }; 14];
    report.budgets = vec![
        Budget::judge(evil, Goal::AtMost, f64::NAN, Some(f64::INFINITY), Unit::Points),
        Budget::judge("min-top1", Goal::AtLeast, 0.9, Some(0.25), Unit::Share),
    ];
    let (before, after, labels) = logits(300, 30);
    let options = JudgeOptions { bootstrap: BootstrapOptions { seed: 0, replicates: 50 }, ..JudgeOptions::default() };
    let card = |logits: &[f32]| ModelCard {
        name: evil.into(),
        effective_bits: Some(f64::NAN),
        size_bytes: Some(0),
        judgement: Some(judge_classification(logits, 30, &labels, &options).unwrap().into()),
        ..ModelCard::default()
    };
    (report.original, report.compressed) = (Some(card(&before)), Some(card(&after)));
    report.comparison = Some(compare_classification(&before, &after, 30, &labels, &options).unwrap().into());
    report.pairs = vec![beside(evil, &report)];
    let layer = Layer {
        name: evil.into(),
        operator: Some(evil.into()),
        kernel: Some(evil.into()),
        kernel_reason: Some(evil.into()),
        ..Layer::default()
    };
    report.layers = vec![
        Layer {
            sparsity: Some(f64::NAN),
            output_error: Some(f64::INFINITY),
            bytes: Some(u64::MAX),
            shape: Some(vec![]),
            ..layer
        },
        Layer {
            name: long.clone(),
            sparsity: Some(0.5),
            output_error: Some(1e-30),
            bytes: Some(0),
            shape: Some(vec![u64::MAX; 8]),
            ..Layer::default()
        },
        Layer::default(),
    ];
    let broken = WeightHistogram {
        low: f64::NAN,
        high: f64::INFINITY,
        ..WeightHistogram::of(
            evil,
            &[f32::NAN, 0.0],
            4,
            Some(QuantizationGrid { description: evil.into(), levels: vec![f64::NAN, 1.0] }),
        )
    };
    report.histograms =
        std::iter::once(broken).chain((0..90).map(|i| WeightHistogram::of(&long, &[i as f32, 1.0], 9, None))).collect();
    report.sensitivity = Some(Sensitivity {
        metric: evil.into(),
        unit: Unit::Points,
        setting: evil.into(),
        entries: (0..70)
            .map(|i| SensitivityEntry { layer: long.clone(), drop: Some(if i % 3 == 0 { f64::NAN } else { -0.1 }) })
            .collect(),
    });
    report.pareto = Some(Pareto {
        points: vec![
            ParetoPoint { label: evil.into(), cost: Some(5.0), quality: Some(0.5), is_chosen: true },
            ParetoPoint { label: evil.into(), cost: None, quality: Some(f64::NAN), is_chosen: false },
        ],
        cost_label: evil.into(),
        quality_label: evil.into(),
        ..settings_tried()
    });
    report.steps = vec![Step {
        method: evil.into(),
        settings: evil.into(),
        summary: Some(evil.into()),
        changes: vec![Change { layer: evil.into(), before: evil.into(), after: evil.into() }],
    }];
    report
}

/// An embedding network, judged on pairs.
pub fn embedding() -> Report {
    let mut noise = Noise(5);
    let (n, dim) = (200, 8);
    let mut vectors = |scale: f64| -> Vec<f32> { (0..n * dim).map(|_| (noise.normal() * scale) as f32).collect() };
    let (left, shift) = (vectors(1.0), vectors(1.0));
    let scores: Vec<f64> = (0..n).map(|i| (i % 51) as f64 / 10.0).collect();
    let right: Vec<f32> = (0..n * dim).map(|i| left[i] * scores[i / dim] as f32 + 2.0 * shift[i]).collect();
    let after: Vec<f32> = right.iter().zip(vectors(0.3)).map(|(r, e)| r + e).collect();
    let bootstrap = BootstrapOptions { seed: 0, replicates: 200 };
    let mut report = Report::new(
        "MiniLM-L6, int8",
        Provenance { command: "lissom compress minilm.onnx --recipe int8".into(), ..Provenance::default() },
    );
    let card = |right: &[f32]| ModelCard {
        judgement: Some(judge_pairs(&left, right, dim, &scores, &bootstrap).unwrap().into()),
        ..ModelCard::default()
    };
    (report.original, report.compressed) = (Some(card(&right)), Some(card(&after)));
    report.comparison = Some(compare_pairs((&left, &right), (&left, &after), dim, &scores, &bootstrap).unwrap().into());
    report
}
