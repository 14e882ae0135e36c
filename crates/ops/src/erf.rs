//! `Erf`: the error function, 2/√π ∫₀ˣ e^(−t²) dt.
//!
//! <https://onnx.ai/onnx/operators/onnx__Erf.html>

use std::sync::Arc;

use lissom_graph::OpSpec;

use crate::unary::{float_unary, samples};

pub(crate) const OP: OpSpec = OpSpec { name: "Erf", domain: "", since: 9, read: |_| Ok(Arc::new(Erf)), samples };

/// `Erf`.
#[derive(Debug, Clone, Copy)]
pub struct Erf;

impl Erf {
    fn apply(self, x: f64) -> f64 {
        erf(x)
    }
}

float_unary!(Erf, gradient = |_, dy, x, _| dy * std::f64::consts::FRAC_2_SQRT_PI * (-x.squared()).apply("Exp"));

/// The error function to within a few units of f64's last place, by the series
/// 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (1·3·…·(2n+1)), whose terms all have the same sign.
pub(crate) fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    // From here on 1 − erf is below half of f64's last place.
    if x.abs() >= 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > sum.abs() * f64::EPSILON / 4.0 {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_agree_with_tables() {
        for (x, expected) in
            [(0.0, 0.0), (0.5, 0.520_499_877_813_046_5), (1.0, 0.842_700_792_949_714_9), (3.0, 0.999_977_909_503_001_4)]
        {
            assert!((erf(x) - expected).abs() < 1e-15, "{x}");
            assert_eq!(erf(-x), -erf(x));
        }
        assert_eq!(erf(f64::INFINITY), 1.0);
    }
}
