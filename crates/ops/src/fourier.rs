//! The discrete Fourier transform of one signal.

use std::f64::consts::PI;

/// A complex number: real and imaginary part.
pub(crate) type Complex = (f64, f64);

/// `X[k] = Σ x[i] · e^(∓2πj · k · i / n)`, minus forwards; not scaled. Even lengths are halved recursively, the rest is
/// summed plainly.
pub(crate) fn transform(signal: &[Complex], is_inverse: bool) -> Vec<Complex> {
    let n = signal.len();
    let turn = if is_inverse { 2.0 * PI } else { -2.0 * PI };
    // The angle is reduced first, so that it stays exact for long signals.
    let twiddle = |i: usize| -> Complex {
        let angle = turn * (i % n) as f64 / n as f64;
        (angle.cos(), angle.sin())
    };
    if n > 1 && n.is_multiple_of(2) {
        let half = |first: usize| -> Vec<Complex> { signal.iter().skip(first).step_by(2).copied().collect() };
        let (even, odd) = (transform(&half(0), is_inverse), transform(&half(1), is_inverse));
        let rotated: Vec<Complex> = odd.iter().enumerate().map(|(i, &x)| times(x, twiddle(i))).collect();
        let sums = even.iter().zip(&rotated).map(|(a, b)| (a.0 + b.0, a.1 + b.1));
        let differences = even.iter().zip(&rotated).map(|(a, b)| (a.0 - b.0, a.1 - b.1));
        return sums.chain(differences).collect();
    }
    let factors: Vec<Complex> = (0..n).map(twiddle).collect();
    let bin = |k: usize| {
        let mut sum = (0.0, 0.0);
        let mut at = 0;
        for &x in signal {
            let product = times(x, factors[at]);
            sum = (sum.0 + product.0, sum.1 + product.1);
            at = (at + k) % n;
        }
        sum
    };
    (0..n).map(bin).collect()
}

fn times(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_undoes_the_transform() {
        for n in [1, 2, 3, 6, 8, 12, 17] {
            let signal: Vec<Complex> = (0..n).map(|i| ((i * i % 7) as f64, (i % 3) as f64)).collect();
            let back = transform(&transform(&signal, false), true);
            for (x, y) in signal.iter().zip(back) {
                assert!((x.0 - y.0 / n as f64).abs() < 1e-12 && (x.1 - y.1 / n as f64).abs() < 1e-12, "{n}");
            }
        }
    }

    #[test]
    fn halving_agrees_with_the_plain_sum() {
        let signal: Vec<Complex> = (0..12).map(|i| (f64::from(i * i % 7), 0.0)).collect();
        for (k, bin) in transform(&signal, false).into_iter().enumerate() {
            let angle = |i: usize| -2.0 * PI * (k * i) as f64 / 12.0;
            let real: f64 = signal.iter().enumerate().map(|(i, x)| x.0 * angle(i).cos()).sum();
            let imaginary: f64 = signal.iter().enumerate().map(|(i, x)| x.0 * angle(i).sin()).sum();
            assert!((bin.0 - real).abs() < 1e-12 && (bin.1 - imaginary).abs() < 1e-12);
        }
    }
}
