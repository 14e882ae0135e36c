use super::*;
use proptest::prelude::*;

/// The definitions, in f64.
fn exact(op: Unary, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match op {
        Unary::Relu => x.max(0.0),
        Unary::Clip { min, max } => x.max(min.into()).min(max.into()),
        Unary::LeakyRelu { alpha } => {
            if x < 0.0 {
                x * f64::from(alpha)
            } else {
                x
            }
        }
        Unary::Elu { alpha } => {
            if x < 0.0 {
                x.exp_m1() * f64::from(alpha)
            } else {
                x
            }
        }
        Unary::Sigmoid => sigmoid(x),
        Unary::HardSigmoid { alpha, beta } => (x * f64::from(alpha) + f64::from(beta)).clamp(0.0, 1.0),
        Unary::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Unary::Silu => x * sigmoid(x),
        Unary::Erf => erf(x),
        Unary::Gelu => x * 0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        Unary::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            x * 0.5 * (1.0 + inner.tanh())
        }
        Unary::Tanh => x.tanh(),
        Unary::Exp => x.exp(),
        Unary::Sqrt => x.sqrt(),
        Unary::Reciprocal => 1.0 / x,
        Unary::Abs => x.abs(),
        Unary::Neg => -x,
        Unary::Square => x * x,
    }
}

/// Maclaurin series near 0, continued fraction of the complement far away.
fn erf(x: f64) -> f64 {
    if x.abs() < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let size = x.abs();
    let fraction = (1..60).rev().fold(size, |tail, n| size + f64::from(n) / 2.0 / tail);
    (1.0 - (-size * size).exp() / fraction / std::f64::consts::PI.sqrt()).copysign(x)
}

/// Relative and absolute error allowed.
fn bound(op: Unary) -> (f64, f64) {
    match op {
        // Where two numbers cancel, errors count against the numbers, not the difference.
        Unary::Elu { .. } | Unary::Gelu | Unary::GeluTanh => (5e-7, 4e-7),
        Unary::HardSwish | Unary::HardSigmoid { .. } => (5e-7, 2e-7),
        Unary::Erf => (4e-7, 2e-7),
        // e^-x overflows where the sigmoid is still above 0.
        Unary::Silu => (5e-7, 1e-36),
        // Below the smallest normal number there are fewer bits.
        _ => (5e-7, 1e-38),
    }
}

const ALL: [Unary; 18] = [
    Unary::Relu,
    Unary::Clip { min: -1.5, max: 2.0 },
    Unary::LeakyRelu { alpha: 0.1 },
    Unary::Elu { alpha: 1.3 },
    Unary::Sigmoid,
    Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
    Unary::HardSwish,
    Unary::Silu,
    Unary::Erf,
    Unary::Gelu,
    Unary::GeluTanh,
    Unary::Tanh,
    Unary::Exp,
    Unary::Sqrt,
    Unary::Reciprocal,
    Unary::Abs,
    Unary::Neg,
    Unary::Square,
];

fn supported() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().filter(|kernel| (kernel.is_supported)())
}

#[test]
fn every_function_is_as_exact_as_stated() {
    let mut points: Vec<f32> = (-4000..=4000).map(|i| i as f32 * 0.0231).collect();
    points.extend((0..400).flat_map(|i| [1.1f32.powi(i - 350), -(1.1f32.powi(i - 350))]));
    for kernel in supported() {
        for op in ALL {
            let mut out = vec![0.0; points.len()];
            kernel.unary(op, &points, &mut out).unwrap();
            let (relative, absolute) = bound(op);
            for (&x, &y) in points.iter().zip(&out) {
                let expected = exact(op, x.into());
                if expected.is_nan() {
                    assert!(y.is_nan(), "{} {op:?}({x}) = {y}", kernel.name);
                } else if expected.abs() <= f64::from(f32::MAX) {
                    let error = (f64::from(y) - expected).abs();
                    assert!(
                        error <= relative * expected.abs() + absolute,
                        "{} {op:?}({x}) = {y}, not {expected}",
                        kernel.name
                    );
                } else {
                    assert_eq!(f64::from(y), expected.signum() * f64::INFINITY, "{} {op:?}({x})", kernel.name);
                }
            }
        }
    }
}

#[test]
fn nan_stays_and_infinity_has_its_limit() {
    for kernel in supported() {
        for op in ALL {
            let mut out = [0.0; 3];
            kernel.unary(op, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY], &mut out).unwrap();
            assert!(out[0].is_nan(), "{} {op:?}(NaN) = {}", kernel.name, out[0]);
            let limits = match op {
                Unary::Sigmoid => [1.0, 0.0],
                Unary::Tanh | Unary::Erf => [1.0, -1.0],
                Unary::Exp => [f32::INFINITY, 0.0],
                Unary::Relu => [f32::INFINITY, 0.0],
                Unary::Clip { min, max } => [max, min],
                _ => continue,
            };
            assert_eq!(&out[1..], &limits, "{} {op:?}", kernel.name);
        }
    }
}

fn value(op: Binary, a: f32, b: f32) -> f32 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::SubFrom => b - a,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::DivFrom => b / a,
        Binary::Max if a.is_nan() || b.is_nan() => f32::NAN,
        Binary::Min if a.is_nan() || b.is_nan() => f32::NAN,
        Binary::Max => a.max(b),
        Binary::Min => a.min(b),
        gradient => panic!("{gradient:?} is tested by itself"),
    }
}

fn some_f32() -> impl Strategy<Value = f32> {
    prop_oneof![8 => -4.0f32..4.0, 1 => Just(f32::NAN), 1 => Just(f32::INFINITY), 1 => Just(f32::NEG_INFINITY), 1 => Just(0.0f32)]
}

proptest! {
    /// Lengths straddle the vectors; every broadcast; in place and split over threads alike.
    #[test]
    fn every_operation_is_exact_with_every_broadcast(
        rows in 0usize..5, n in 1usize..40, a in prop::collection::vec(some_f32(), 200),
        b in prop::collection::vec(some_f32(), 200),
    ) {
        let a = &a[..rows * n];
        for op in [Binary::Add, Binary::Sub, Binary::SubFrom, Binary::Mul, Binary::Div, Binary::DivFrom, Binary::Max, Binary::Min] {
            let operands = [
                (Operand::Scalar(b[0]), [0, 0]),
                (Operand::Same(&b[..rows * n]), [n, 1]),
                (Operand::Row(&b[..n]), [0, 1]),
                (Operand::Column { values: &b[..rows], row_len: n }, [1, 0]),
            ];
            for (operand, [row_step, col_step]) in operands {
                let expected: Vec<f32> = a.iter().enumerate()
                    .map(|(i, &a)| value(op, a, b[i / n * row_step + i % n * col_step])).collect();
                for kernel in supported() {
                    let mut out = vec![9.0; a.len()];
                    kernel.binary(op, a, operand, &mut out).unwrap();
                    for (i, (&x, &y)) in out.iter().zip(&expected).enumerate() {
                        prop_assert!(x == y || (x.is_nan() && y.is_nan()), "{} {op:?} {operand:?} {i}: {x} {y}", kernel.name);
                    }
                }
                let mut out = a.to_vec();
                binary_in_place(&Threads::new(2), op, &mut out, operand).unwrap();
                prop_assert!(out.iter().zip(&expected).all(|(x, y)| x == y || (x.is_nan() && y.is_nan())));
            }
        }
    }

    #[test]
    fn scale_and_bias_agree_with_the_formula(rows in 0usize..5, n in 1usize..40, seed in 0usize..100) {
        let x: Vec<f32> = (0..rows * n).map(|i| ((i + seed) % 17) as f32 - 8.0).collect();
        let (scale, bias): (Vec<f32>, Vec<f32>) = (0..n).map(|i| (i as f32 * 0.5, 3.0 - i as f32)).unzip();
        let mut out = vec![9.0; x.len()];
        scale_bias(&Threads::new(2), &x, &scale, &bias, Activation::Relu, &mut out).unwrap();
        for (i, &y) in out.iter().enumerate() {
            prop_assert_eq!(y, (x[i] * scale[i % n] + bias[i % n]).max(0.0));
        }
    }
}

/// The gradients, the functions they are of, and whether they go by the output.
const GRADIENTS: [(Binary, Unary, bool); 12] = [
    (Binary::ReluGrad, Unary::Relu, true),
    (Binary::ClipGrad { min: -1.5, max: 2.0 }, Unary::Clip { min: -1.5, max: 2.0 }, false),
    (Binary::LeakyReluGrad { alpha: 0.1 }, Unary::LeakyRelu { alpha: 0.1 }, false),
    (Binary::EluGrad { alpha: 1.3 }, Unary::Elu { alpha: 1.3 }, true),
    (Binary::SigmoidGrad, Unary::Sigmoid, true),
    (Binary::HardSigmoidGrad { alpha: 0.2 }, Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }, true),
    (Binary::HardSwishGrad, Unary::HardSwish, false),
    (Binary::SiluGrad, Unary::Silu, false),
    (Binary::ErfGrad, Unary::Erf, false),
    (Binary::GeluGrad, Unary::Gelu, false),
    (Binary::GeluTanhGrad, Unary::GeluTanh, false),
    (Binary::TanhGrad, Unary::Tanh, true),
];

#[test]
fn every_gradient_is_the_slope_of_its_function() {
    // No bend is at one of these.
    let points: Vec<f32> = (-4000..=4000).map(|i| i as f32 * 0.003_31 + 0.000_41).collect();
    for kernel in supported() {
        for (op, of, is_by_output) in GRADIENTS {
            let by: Vec<f32> =
                points.iter().map(|&x| if is_by_output { exact(of, x.into()) as f32 } else { x }).collect();
            let mut out = vec![0.0; points.len()];
            kernel.binary(op, &vec![3.0; points.len()], Operand::Same(&by), &mut out).unwrap();
            for (&x, &y) in points.iter().zip(&out) {
                let (x, h) = (f64::from(x), 1e-5);
                let slope = (exact(of, x + h) - exact(of, x - h)) / (2.0 * h);
                let error = (f64::from(y) / 3.0 - slope).abs();
                assert!(error <= 1.1e-6, "{} {op:?}({x}) = {y} / 3, not {slope}", kernel.name);
            }
        }
    }
}

#[test]
fn gradients_broadcast_and_keep_nan() {
    let (dy, x) = (vec![2.0; 150], (0..150).map(|i| (i % 30) as f32 / 10.0 - 1.5).collect::<Vec<f32>>());
    for kernel in supported() {
        for (op, of, _) in GRADIENTS {
            let (mut out, mut expected) = (vec![0.0; 150], vec![0.0; 150]);
            kernel.binary(op, &dy, Operand::Same(&x), &mut expected).unwrap();
            kernel.binary(op, &dy, Operand::Row(&x[..30]), &mut out).unwrap();
            assert_eq!(out, expected, "{} {op:?}", kernel.name);
            for i in [0, 7, 149] {
                kernel.binary(op, &dy, Operand::Scalar(x[i]), &mut out).unwrap();
                assert!(out.iter().all(|&y| y == expected[i]), "{} {op:?}", kernel.name);
            }
            kernel.binary(op, &[f32::NAN; 3], Operand::Scalar(0.7), &mut out[..3]).unwrap();
            assert!(out[..3].iter().all(|y| y.is_nan()), "{} {op:?}", kernel.name);
            let has_bend = ["Relu", "Clip", "Elu", "Hard"].iter().any(|bend| format!("{of:?}").contains(bend));
            kernel.binary(op, &dy[..3], Operand::Scalar(f32::NAN), &mut out[..3]).unwrap();
            assert!(has_bend || out[..3].iter().all(|y| y.is_nan()), "{} {op:?}", kernel.name);
            for (at, limit) in [(f32::INFINITY, 1.0), (f32::NEG_INFINITY, 0.0)] {
                if matches!(of, Unary::Relu | Unary::HardSwish | Unary::Gelu | Unary::GeluTanh) {
                    kernel.binary(op, &dy[..1], Operand::Scalar(at), &mut out[..1]).unwrap();
                    assert!((out[0] - 2.0 * limit).abs() < 1e-6, "{} {op:?} {at}", kernel.name);
                }
            }
        }
    }
}

#[test]
fn long_inputs_are_split_without_a_seam() {
    let n = 3 * TASK + 6;
    let a: Vec<f32> = (0..n).map(|i| i as f32 / 1000.0).collect();
    let row: Vec<f32> = (0..n / 6).map(|i| i as f32).collect();
    let (mut alone, mut split) = (vec![0.0; n], vec![0.0; n]);
    binary(&Threads::single(), Binary::Mul, &a, Operand::Row(&row), &mut alone).unwrap();
    binary(&Threads::new(3), Binary::Mul, &a, Operand::Row(&row), &mut split).unwrap();
    assert_eq!(alone, split);
    unary(&Threads::single(), Unary::Gelu, &a, &mut alone).unwrap();
    unary(&Threads::new(3), Unary::Gelu, &a, &mut split).unwrap();
    assert_eq!(alone, split);
    split.copy_from_slice(&a);
    unary_in_place(&Threads::new(2), Unary::Gelu, &mut split);
    assert_eq!(alone, split);
}

#[test]
fn wrong_lengths_are_errors() {
    let threads = Threads::single();
    assert!(unary(&threads, Unary::Relu, &[0.0; 3], &mut [0.0; 2]).is_err());
    assert!(binary(&threads, Binary::Add, &[0.0; 3], Operand::Same(&[0.0; 2]), &mut [0.0; 3]).is_err());
    assert!(binary(&threads, Binary::Add, &[0.0; 3], Operand::Row(&[0.0; 2]), &mut [0.0; 3]).is_err());
    assert!(binary(&threads, Binary::Add, &[0.0; 3], Operand::Row(&[]), &mut [0.0; 3]).is_err());
    let column = Operand::Column { values: &[0.0; 2], row_len: 2 };
    assert!(binary(&threads, Binary::Add, &[0.0; 3], column, &mut [0.0; 3]).is_err());
    assert!(scale_bias(&threads, &[0.0; 3], &[], &[], Activation::None, &mut [0.0; 3]).is_err());
}
