use super::*;
use proptest::prelude::*;

fn oracle<T: Copy>(x: &[T], shape: &[usize], axes: &[usize]) -> Vec<T> {
    let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    let sizes: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
    (0..x.len())
        .map(|at| {
            let mut rest = at;
            let mut from = 0;
            for i in (0..axes.len()).rev() {
                from += rest % sizes[i] * stride(axes[i]);
                rest /= sizes[i];
            }
            x[from]
        })
        .collect()
}

proptest! {
    #[test]
    fn every_permutation_agrees_with_the_oracle(
        (shape, axes) in prop::collection::vec(prop_oneof![Just(1usize), 1usize..7, Just(33usize)], 0..5)
            .prop_flat_map(|shape| { let axes: Vec<usize> = (0..shape.len()).collect(); (Just(shape), Just(axes).prop_shuffle()) }),
    ) {
        let size = shape.iter().product::<usize>();
        let x: Vec<f32> = (0..size).map(|at| at as f32).collect();
        let mut out = vec![f32::NAN; size];
        permute(&Threads::new(2), &x, &shape, &axes, &mut out).unwrap();
        prop_assert_eq!(out, oracle(&x, &shape, &axes));
        let x: Vec<i8> = (0..size).map(|at| (at % 251) as i8).collect();
        let mut out = vec![0; size];
        permute_bytes(&Threads::new(2), Bytes::I8(&x), &shape, &axes, &mut BytesMut::I8(&mut out)).unwrap();
        prop_assert_eq!(out, oracle(&x, &shape, &axes));
    }

    #[test]
    fn transposing_twice_is_the_identity(batch in 0usize..3, rows in 0usize..50, cols in 0usize..50) {
        let x: Vec<u8> = (0..batch * rows * cols).map(|i| i as u8).collect();
        let (mut once, mut twice) = (x.clone(), vec![0; x.len()]);
        let threads = Threads::new(2);
        transpose_bytes(&threads, Bytes::U8(&x), [batch, rows, cols], &mut BytesMut::U8(&mut once)).unwrap();
        transpose_bytes(&threads, Bytes::U8(&once), [batch, cols, rows], &mut BytesMut::U8(&mut twice)).unwrap();
        prop_assert_eq!(x, twice);
    }
}

proptest! {
    #[test]
    fn every_kernel_transposes(batch in 1usize..3, rows in 1usize..70, cols in 1usize..70) {
        let x: Vec<f32> = (0..batch * rows * cols).map(|at| at as f32).collect();
        let expected = oracle(&x, &[batch, rows, cols], &[0, 2, 1]);
        for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
            let mut out = vec![f32::NAN; x.len()];
            kernel.transpose(&Threads::new(2), &x, [batch, rows, cols], &mut out).unwrap();
            prop_assert_eq!(&out, &expected, "{}", kernel.name);
        }
    }
}

#[test]
fn large_ones_are_split_without_a_seam() {
    let (rows, cols) = (300, 517);
    let x: Vec<f32> = (0..rows * cols).map(|at| at as f32).collect();
    for kernel in KERNELS.iter().filter(|kernel| (kernel.is_supported)()) {
        let mut out = vec![0.0; x.len()];
        kernel.transpose(&Threads::new(3), &x, [1, rows, cols], &mut out).unwrap();
        assert_eq!(out, oracle(&x, &[rows, cols], &[1, 0]), "{}", kernel.name);
    }
}

#[test]
fn bad_axes_and_lengths_are_errors() {
    let threads = Threads::single();
    assert!(permute(&threads, &[0.0; 6], &[2, 3], &[0, 0], &mut [0.0; 6]).is_err());
    assert!(permute(&threads, &[0.0; 6], &[2, 3], &[0], &mut [0.0; 6]).is_err());
    assert!(permute(&threads, &[0.0; 6], &[2, 3], &[1, 2], &mut [0.0; 6]).is_err());
    assert!(permute(&threads, &[0.0; 6], &[2, 3], &[1, 0], &mut [0.0; 5]).is_err());
    assert!(transpose(&threads, &[0.0; 5], [1, 2, 3], &mut [0.0; 6]).is_err());
}
