use super::*;
use crate::Activation;
use crate::elementwise::Unary;
use crate::quantize::BytesMut;
use proptest::prelude::*;

fn noise(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|i| ((i.wrapping_mul(2_654_435_761) ^ seed.wrapping_mul(40_503)) >> 7) as u8).collect()
}

fn signed(bytes: &[u8]) -> Vec<i8> {
    bytes.iter().map(|&x| x as i8).collect()
}

/// A triple loop over plain integers.
fn oracle(a: &[i32], b: &[i32], [m, k, n]: [usize; 3], zero: i32, zeros: &[i32]) -> Vec<i32> {
    let zero_of = |col: usize| if zeros.len() == 1 { zeros[0] } else { zeros.get(col).copied().unwrap_or(0) };
    let element = |row: usize, col: usize| {
        (0..k).map(|i| (a[row * k + i] - zero) * (b[i * n + col] - zero_of(col))).fold(0i32, i32::wrapping_add)
    };
    (0..m).flat_map(|row| (0..n).map(move |col| element(row, col))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Rows straddle the tiles (12, 6, 4), columns the panels (64, 8), depth groups of 4.
    #[test]
    fn every_kernel_gives_the_sums_of_the_oracle(
        m in 0usize..30, k in prop_oneof![0usize..20, 1020usize..1030, 2046usize..2051], n in 0usize..140,
        a_signed: bool, b_signed: bool, zero in 0i32..256, zero_kind in 0usize..3, seed: u64, n_threads in 1usize..3,
    ) {
        let (a, b) = (noise(m * k, seed), noise(k * n, seed ^ 5));
        let (a8, b8) = (signed(&a), signed(&b));
        let (a, a_values): (_, Vec<i32>) = if a_signed {
            (Bytes::I8(&a8), a8.iter().map(|&x| x.into()).collect())
        } else {
            (Bytes::U8(&a), a.iter().map(|&x| x.into()).collect())
        };
        let (b, b_values): (_, Vec<i32>) = if b_signed {
            (Bytes::I8(&b8), b8.iter().map(|&x| x.into()).collect())
        } else {
            (Bytes::U8(&b), b.iter().map(|&x| x.into()).collect())
        };
        let zero = if a_signed { zero - 128 } else { zero };
        // None, one for all (the usual ones), one a column (which may not fit i8).
        let zeros = match zero_kind {
            0 => vec![],
            1 => vec![if b_signed { 0 } else { 128 }],
            _ => (0..n as i32).map(|col| if b_signed { col * 5 % 256 - 128 } else { col * 7 % 256 }).collect(),
        };
        let expected = oracle(&a_values, &b_values, [m, k, n], zero, &zeros);
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let packed = PackedQB::for_kernel(kernel, b, [n, 1], k, n, &zeros).unwrap();
            let mut out = vec![-1; m * n];
            qgemm(&Threads::new(n_threads), a, zero, m, &packed, &mut Output::I32(&mut out)).unwrap();
            prop_assert!(out == expected, "{}", kernel.name);
        }
    }

    #[test]
    fn requantized_bytes_are_those_of_the_formula(
        m in 1usize..20, k in 1usize..20, n in 1usize..140, out_signed: bool, residual_kind in 0usize..3, seed: u64,
        // Large ones leave i32 before the clamp.
        scale in prop_oneof![Just(1e-4f32), Just(0.03f32), Just(1e6f32)],
    ) {
        let (a, b) = (noise(m * k, seed), signed(&noise(k * n, seed ^ 5)));
        let multipliers: Vec<f32> = (0..n).map(|col| scale * (1 + col % 9) as f32).collect();
        let bias: Vec<i32> = (0..n as i32).map(|col| (col - 20) * 997).collect();
        let residual = noise(m * n, seed ^ 9);
        let signed_residual = signed(&residual);
        let (values, residual_values): (_, Vec<i32>) = match residual_kind {
            1 => (Some(Bytes::U8(&residual)), residual.iter().map(|&x| x.into()).collect()),
            2 => (Some(Bytes::I8(&signed_residual)), signed_residual.iter().map(|&x| x.into()).collect()),
            _ => (None, vec![]),
        };
        let zero_point = if out_signed { -7 } else { 12 };
        let clamp = if out_signed { [-100, 300] } else { [12, 255] };
        let requantize = Requantize {
            multipliers: &multipliers, bias: Some(&bias),
            residual: values.map(|values| QResidual { values, zero_point: 3, multiplier: 0.37 }), zero_point, clamp,
        };
        let b_values: Vec<i32> = b.iter().map(|&x| x.into()).collect();
        let a_values: Vec<i32> = a.iter().map(|&x| x.into()).collect();
        let sums = oracle(&a_values, &b_values, [m, k, n], 77, &[]);
        let expected: Vec<i32> = sums.iter().enumerate().map(|(i, &sum)| {
            let mut real = (sum + bias[i % n]) as f32 * multipliers[i % n];
            if residual_kind > 0 {
                real += (residual_values[i] - 3) as f32 * 0.37;
            }
            (real.round_ties_even() as i32).saturating_add(zero_point).clamp(clamp[0], if out_signed { 127 } else { 255 })
        }).collect();
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let packed = PackedQB::for_kernel(kernel, Bytes::I8(&b), [n, 1], k, n, &[]).unwrap();
            let (mut unsigned, mut signed) = (vec![0u8; m * n], vec![0i8; m * n]);
            let bytes = if out_signed { BytesMut::I8(&mut signed) } else { BytesMut::U8(&mut unsigned) };
            let mut output = Output::Bytes(requantize, bytes);
            qgemm(&Threads::new(2), Bytes::U8(&a), 77, m, &packed, &mut output).unwrap();
            let values: Vec<i32> = if out_signed {
                signed.iter().map(|&x| x.into()).collect()
            } else {
                unsigned.iter().map(|&x| x.into()).collect()
            };
            prop_assert!(values == expected, "{}", kernel.name);
        }
    }

    #[test]
    fn real_outputs_are_those_of_the_formula(m in 1usize..20, n in 1usize..70, with_both: bool, seed: u64) {
        let k = 6;
        let (a, b) = (noise(m * k, seed), signed(&noise(k * n, seed ^ 5)));
        let bias: Vec<f32> = (0..n).map(|col| col as f32 - 20.5).collect();
        let residual: Vec<f32> = (0..m * n).map(|i| (i % 13) as f32).collect();
        let values = |x: &[u8]| x.iter().map(|&x| i32::from(x)).collect::<Vec<_>>();
        let b_values: Vec<i32> = b.iter().map(|&x| x.into()).collect();
        let sums = oracle(&values(&a), &b_values, [m, k, n], 128, &[]);
        let dequantize = Dequantize {
            scales: &[0.01], bias: with_both.then_some(&bias[..]), residual: with_both.then_some(&residual[..]),
            activation: Activation::Curve(Unary::Square),
        };
        let mut first: Option<Vec<f32>> = None;
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let packed = PackedQB::for_kernel(kernel, Bytes::I8(&b), [n, 1], k, n, &[]).unwrap();
            let mut out = vec![f32::NAN; m * n];
            qgemm(&Threads::single(), Bytes::U8(&a), 128, m, &packed, &mut Output::F32(dequantize, &mut out)).unwrap();
            for (i, (&x, &sum)) in out.iter().zip(&sums).enumerate() {
                let extra = if with_both { bias[i % n] + residual[i] } else { 0.0 };
                let expected = (sum as f32 * 0.01 + extra).powi(2);
                prop_assert!((x - expected).abs() <= 1e-5 * (1.0 + expected), "{} {i}: {x} {expected}", kernel.name);
            }
            prop_assert!(first.get_or_insert_with(|| out.clone()) == &out, "{} has other bits", kernel.name);
        }
    }
}

#[test]
fn wrong_lengths_and_zero_points_are_errors() {
    let threads = Threads::single();
    assert!(PackedQB::new(Bytes::I8(&[0; 5]), 2, 3, &[]).is_err());
    assert!(PackedQB::new(Bytes::I8(&[0; 6]), 2, 3, &[0; 2]).is_err());
    let b = PackedQB::new(Bytes::I8(&[0; 6]), 2, 3, &[0; 3]).unwrap();
    let mut out = [0i32; 3];
    let mut run = |a: Bytes<'_>, zero, n: usize| qgemm(&threads, a, zero, 1, &b, &mut Output::I32(&mut out[..n]));
    assert!(run(Bytes::U8(&[0; 2]), 255, 3).is_ok());
    assert!(run(Bytes::U8(&[0; 2]), 256, 3).is_err());
    assert!(run(Bytes::I8(&[0; 2]), 128, 3).is_err());
    assert!(run(Bytes::U8(&[0; 3]), 0, 3).is_err());
    assert!(run(Bytes::U8(&[0; 2]), 0, 2).is_err());
    let bad = Requantize { multipliers: &[1.0; 2], bias: None, residual: None, zero_point: 0, clamp: [0, 255] };
    let mut bytes = [0u8; 3];
    let mut output = Output::Bytes(bad, BytesMut::U8(&mut bytes));
    assert!(qgemm(&threads, Bytes::U8(&[0; 2]), 0, 1, &b, &mut output).is_err());
}
