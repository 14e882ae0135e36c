use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn every_kernel_quantizes_as_the_formula_says(
        x in prop::collection::vec(prop_oneof![-40.0f32..40.0, Just(f32::NAN), Just(f32::INFINITY), Just(-1e30f32), Just(0.125f32)], 0..70),
        scale in prop_oneof![Just(0.25f32), 0.01f32..1.0], zero in 0i32..256,
    ) {
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let mut unsigned = vec![0u8; x.len()];
            kernel.quantize(&Threads::single(), &x, scale, zero, &mut BytesMut::U8(&mut unsigned)).unwrap();
            let mut signed = vec![0i8; x.len()];
            kernel.quantize(&Threads::single(), &x, scale, zero - 128, &mut BytesMut::I8(&mut signed)).unwrap();
            for (i, &x) in x.iter().enumerate() {
                let steps = f64::from((x / scale).round_ties_even());
                let expected = (steps + f64::from(zero)) as u8;
                prop_assert_eq!(unsigned[i], expected, "{} {}", kernel.name, x);
                prop_assert_eq!(signed[i], (i32::from(expected) - 128) as i8, "{} {}", kernel.name, x);
            }
            let mut back = vec![f32::NAN; x.len()];
            kernel.dequantize(&Threads::single(), Bytes::U8(&unsigned), scale, zero, &mut back).unwrap();
            let mut signed_back = vec![f32::NAN; x.len()];
            kernel.dequantize(&Threads::single(), Bytes::I8(&signed), scale, zero - 128, &mut signed_back).unwrap();
            for (i, &q) in unsigned.iter().enumerate() {
                prop_assert_eq!(back[i], (i32::from(q) - zero) as f32 * scale, "{}", kernel.name);
                prop_assert_eq!(signed_back[i], back[i], "{}", kernel.name);
            }
            let mut rounded = x.clone();
            kernel.round(&mut rounded, scale, zero, [0, 255]);
            prop_assert_eq!(&rounded, &back, "{}", kernel.name);
        }
    }

    #[test]
    fn the_range_holds_all_but_nan(
        x in prop::collection::vec(prop_oneof![9 => -40.0f32..40.0, 1 => Just(f32::NAN)], 0..200), repeat in 1usize..400,
    ) {
        let x = x.repeat(repeat);
        let low = x.iter().copied().filter(|x| *x < 0.0).fold(0.0, f32::min);
        let high = x.iter().copied().filter(|x| *x > 0.0).fold(0.0, f32::max);
        prop_assert_eq!(range(&Threads::new(2), &x), (low, high));
    }

    #[test]
    fn every_kernel_adds_what_it_dequantizes(
        codes in prop::collection::vec(any::<u8>(), 0..70), rows in 0usize..4, scale in 0.01f32..1.0, zero in 0i32..256,
    ) {
        let row: Vec<f32> = (0..codes.len()).map(|i| (i * 37 % 19) as f32 / 8.0 - 1.0).collect();
        let all = codes.repeat(rows);
        let signed: Vec<i8> = all.iter().map(|&code| (code ^ 0x80) as i8).collect();
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let mut real = vec![f32::NAN; all.len()];
            kernel.dequantize(&Threads::single(), Bytes::U8(&all), scale, zero, &mut real).unwrap();
            let expected: Vec<f32> = real.iter().zip(row.iter().cycle()).map(|(real, row)| real + row).collect();
            let mut out = vec![f32::NAN; all.len()];
            kernel.dequantize_add_row(Bytes::U8(&all), scale, zero, &row, &mut out).unwrap();
            prop_assert_eq!(&out, &expected, "{}", kernel.name);
            let mut sums = row.repeat(rows);
            kernel.add_dequantized(&mut sums, Bytes::I8(&signed), scale, zero - 128).unwrap();
            prop_assert_eq!(&sums, &expected, "{}", kernel.name);
        }
    }
}

proptest! {
    #[test]
    fn every_kernel_adds_within_one_step(
        codes in prop::collection::vec((any::<u8>(), any::<u8>()), 0..70),
        multipliers in (0.01f32..2.0, 0.01f32..2.0), zeros in (0i32..256, 0i32..256, 0i32..256), low in 0i32..256,
    ) {
        let (a, b): (Vec<u8>, Vec<u8>) = codes.iter().copied().unzip();
        let signed: Vec<i8> = b.iter().map(|&b| (b ^ 0x80) as i8).collect();
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let mut out = vec![0u8; a.len()];
            let mut signed_out = vec![0i8; a.len()];
            let here = &Threads::single();
            let first = Term { codes: Bytes::U8(&a), zero_point: zeros.0, multiplier: multipliers.0 };
            let second = Term { codes: Bytes::U8(&b), zero_point: zeros.1, multiplier: multipliers.1 };
            kernel.add(here, [first, second], zeros.2, [low, 255], &mut BytesMut::U8(&mut out)).unwrap();
            let second = Term { codes: Bytes::I8(&signed), zero_point: zeros.1 - 128, ..second };
            let (zero, clamp) = (zeros.2 - 128, [low - 128, 127]);
            kernel.add(here, [first, second], zero, clamp, &mut BytesMut::I8(&mut signed_out)).unwrap();
            for (i, &(a, b)) in codes.iter().enumerate() {
                let real = f64::from(i32::from(a) - zeros.0) * f64::from(multipliers.0)
                    + f64::from(i32::from(b) - zeros.1) * f64::from(multipliers.1);
                let expected = (real + f64::from(zeros.2)).clamp(f64::from(low), 255.0);
                prop_assert!((f64::from(out[i]) - expected).abs() < 0.5 + 1e-3, "{} {} {}", kernel.name, out[i], expected);
                let lifted = f64::from(signed_out[i]) + 128.0;
                prop_assert!((lifted - expected).abs() < 0.5 + 1e-3, "{} {} {}", kernel.name, lifted, expected);
            }
        }
    }
}

#[test]
fn long_inputs_are_split_without_a_seam() {
    let x: Vec<f32> = (0..3 * TASK + 5).map(|i| (i % 1000) as f32 / 4.0).collect();
    let mut bytes = vec![0; x.len()];
    quantize(&Threads::new(3), &x, 1.0, 0, &mut BytesMut::U8(&mut bytes)).unwrap();
    assert!(x.iter().zip(&bytes).all(|(x, &q)| q == x.round_ties_even() as u8));
    let mut back = vec![0.0; x.len()];
    dequantize(&Threads::new(3), Bytes::U8(&bytes), 2.0, 1, &mut back).unwrap();
    assert!(back.iter().zip(&bytes).all(|(&x, &q)| x == (f32::from(q) - 1.0) * 2.0));
    assert!(quantize(&Threads::single(), &x, 1.0, 0, &mut BytesMut::I8(&mut [0; 3])).is_err());
    assert!(dequantize(&Threads::single(), Bytes::I8(&[0; 3]), 1.0, 0, &mut [0.0; 2]).is_err());
}
