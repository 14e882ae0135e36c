use super::*;
use proptest::prelude::*;

fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn supported() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().filter(|kernel| (kernel.is_supported)())
}

/// The definition, in f64. Elements outside of all heads stay as they are.
fn oracle(shape: &Attention<'_>, [q, k, v]: [&[f32]; 3], mask: Option<&[f32]>, out: &mut [f64]) {
    let at = |x: &[f32], start: usize, [token, element]: [usize; 2], row: usize, col: usize, side: usize| {
        rounded(f64::from(x[start + row * token + col * element]), shape.side_grids[side])
    };
    for from in shape.offsets {
        for query in 0..shape.queries {
            let score = |key: usize| {
                let dot = |i| at(q, from.q, shape.q_strides, query, i, 0) * at(k, from.k, shape.k_strides, key, i, 1);
                let product: f64 = (0..shape.d).map(dot).sum();
                let mask = mask.map_or(0.0, |mask| f64::from(mask[from.mask + query * shape.mask_stride + key]));
                rounded(product * f64::from(shape.scale), shape.score_grid) + mask
            };
            let scores: Vec<f64> = (0..shape.keys).map(score).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - top).exp()).sum();
            let weight = |key: usize| rounded((scores[key] - top).exp() / total, shape.weight_grid);
            for i in 0..shape.d_v {
                let weighed = |key: usize| weight(key) * at(v, from.v, shape.v_strides, key, i, 2);
                out[from.out + query * shape.out_stride + i] = (0..shape.keys).map(weighed).sum();
            }
        }
    }
}

fn rounded(x: f64, grid: Option<Grid>) -> f64 {
    let Some(Grid { scale, zero_point, codes, step }) = grid else { return x };
    let code = (x / f64::from(scale)).round_ties_even() + f64::from(zero_point);
    (code.max(codes[0].into()).min(codes[1].into()) - f64::from(zero_point)) * f64::from(step)
}

fn assert_agrees(shape: &Attention<'_>, [q, k, v]: [&[f32]; 3], mask: Option<&[f32]>, out_len: usize) {
    let mut expected = vec![7.0; out_len];
    oracle(shape, [q, k, v], mask, &mut expected);
    for kernel in supported() {
        let run = |n_threads| {
            let mut out = vec![7.0; out_len];
            kernel.attention(&Threads::new(n_threads), shape, q, k, v, mask, &mut out).unwrap();
            out
        };
        let out = run(1);
        assert_eq!(out.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), {
            run(3).iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        });
        for (i, (&x, &y)) in out.iter().zip(&expected).enumerate() {
            let is_close = (f64::from(x) - y).abs() <= 3e-6 * (1.0 + y.abs());
            assert!(is_close || (x.is_nan() && y.is_nan()), "{}: element {i} is {x}, expected {y}", kernel.name);
        }
    }
}

/// How the elements of heads lie in memory.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// `[tokens, heads · d]`.
    Interleaved,
    /// `[heads, tokens, d]`.
    Split,
    /// `[heads, d, tokens]`.
    Transposed,
}

impl Order {
    /// Strides, and from a head to the next.
    fn strides(self, heads: usize, tokens: usize, d: usize) -> ([usize; 2], usize) {
        match self {
            Self::Interleaved => ([heads * d, 1], d),
            Self::Split => ([d, 1], tokens * d),
            Self::Transposed => ([1, tokens], tokens * d),
        }
    }
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::Interleaved), Just(Order::Split), Just(Order::Transposed)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Tokens and sizes straddle the tiles (13, 6, 4), the panels (32, 16, 8) and the vectors.
    #[test]
    fn every_kernel_agrees_with_the_oracle(
        heads in 1usize..5, queries in 0usize..40, keys in 1usize..70, d in 0usize..70, d_v in 0usize..70,
        orders in [order(), order(), order()], has_mask: bool, is_shared_mask: bool, is_large: bool, seed: u32,
    ) {
        let (q_strides, q_step) = orders[0].strides(heads, queries, d);
        let (k_strides, k_step) = orders[1].strides(heads, keys, d);
        let (v_strides, v_step) = orders[2].strides(heads, keys, d_v);
        let offset = |head| Offsets { q: head * q_step, k: head * k_step, v: head * v_step, mask: 0, out: head * d_v };
        let offsets: Vec<_> = (0..heads).map(offset).collect();
        let shape = Attention {
            queries, keys, d, d_v, q_strides, k_strides, v_strides, offsets: &offsets,
            mask_stride: if is_shared_mask { 0 } else { keys },
            out_stride: heads * d_v,
            scale: if is_large { 30.0 } else { 0.3 },
            side_grids: [None; 3],
        score_grid: None,
            weight_grid: None,
        };
        let factor = if is_large { 1.0 } else { 0.5 };
        let q: Vec<f32> = noise(heads * queries * d, seed).iter().map(|x| (x * factor * 64.0).round() / 64.0).collect();
        let (k, v) = (noise(heads * keys * d, seed ^ 1), noise(heads * keys * d_v, seed ^ 2));
        let k: Vec<f32> = k.iter().map(|x| (x * 64.0).round() / 64.0).collect();
        // As the sides: sums that f32 holds exactly, because a large score is known to fewer digits than its power needs.
        let mut mask: Vec<f32> = noise(queries * keys, seed ^ 3).iter().map(|x| (x * 64.0).round() / 64.0).collect();
        mask.iter_mut().skip(1).step_by(4).for_each(|x| *x = f32::NEG_INFINITY);
        mask.iter_mut().skip(2).step_by(4).for_each(|x| *x = f32::MIN);
        let mask = if is_shared_mask { &mask[..keys.min(mask.len())] } else { &mask[..] };
        assert_agrees(&shape, [&q, &k, &v], has_mask.then_some(mask), heads * queries * d_v);
    }
}

fn one_head(offsets: &[Offsets]) -> Attention<'_> {
    Attention {
        queries: 3,
        keys: 5,
        d: 4,
        d_v: 2,
        q_strides: [4, 1],
        k_strides: [4, 1],
        v_strides: [2, 1],
        mask_stride: 5,
        out_stride: 2,
        offsets,
        scale: 1.0,
        side_grids: [None; 3],
        score_grid: None,
        weight_grid: None,
    }
}

#[test]
fn grids_round_scores_and_weights() {
    // Queries, keys and grid are such that no score lies between two codes, and no weight near the middle of two.
    let (queries, keys, d, d_v) = (15, 37, 3, 18);
    let offsets = [Offsets::default()];
    let coarse = |len, seed| noise(len, seed).iter().map(|x| (x * 4.0).round()).collect::<Vec<f32>>();
    let (q, k, v) = (coarse(queries * d, 1), coarse(keys * d, 2), noise(keys * d_v, 3));
    let mask: Vec<f32> = (0..keys).map(|key| if key % 5 == 3 { f32::MIN } else { 0.0 }).collect();
    let shape = Attention {
        queries,
        keys,
        d,
        d_v,
        q_strides: [d, 1],
        k_strides: [d, 1],
        v_strides: [d_v, 1],
        mask_stride: 0,
        out_stride: d_v,
        offsets: &offsets,
        scale: 0.25,
        side_grids: [None; 3],
        score_grid: Some(Grid { scale: 0.25, zero_point: 3, codes: [-10, 12], step: 0.125 }),
        weight_grid: Some(Grid { scale: 1.0 / 255.0, zero_point: 0, codes: [0, 255], step: 1.0 / 255.0 }),
    };
    assert_agrees(&shape, [&q, &k, &v], Some(&mask), queries * d_v);
    assert_agrees(&Attention { weight_grid: None, ..shape }, [&q, &k, &v], None, queries * d_v);
    // Multiples of a quarter and thirds are far from the middle of two codes.
    let side = |scale: f32| Some(Grid { scale, zero_point: 120, codes: [0, 255], step: scale });
    let v: Vec<f32> = v.iter().map(|x| (x * 8.0).round() / 8.0).collect();
    let shape = Attention { side_grids: [side(0.3), side(0.7), side(0.03)], score_grid: None, ..shape };
    assert_agrees(&Attention { weight_grid: None, ..shape }, [&q, &k, &v], None, queries * d_v);
}

#[test]
fn rows_masked_altogether_and_nan_are_as_in_softmax() {
    let offsets = [Offsets::default()];
    let shape = one_head(&offsets);
    let (mut q, k, v) = (noise(12, 1), noise(20, 2), noise(10, 3));
    let mut mask = vec![0.0; 15];
    mask[..5].fill(f32::NEG_INFINITY);
    mask[5..10].fill(f32::MIN);
    // Row 0 is NaN, row 1 the mean of the values.
    assert_agrees(&shape, [&q, &k, &v], Some(&mask), 6);
    for kernel in supported() {
        q[9] = f32::NAN;
        let mut out = [0.0; 6];
        kernel.attention(&Threads::single(), &shape, &q, &k, &v, None, &mut out).unwrap();
        assert_eq!(out.map(f32::is_nan), [false, false, false, false, true, true], "{}", kernel.name);
        q[9] = 0.0;
    }
}

#[test]
fn without_keys_the_output_is_zero() {
    let offsets = [Offsets::default()];
    let shape = Attention { keys: 0, ..one_head(&offsets) };
    for kernel in supported() {
        let mut out = [7.0; 6];
        kernel.attention(&Threads::single(), &shape, &[0.5; 12], &[], &[], None, &mut out).unwrap();
        assert_eq!(out, [0.0; 6], "{}", kernel.name);
    }
}

#[test]
fn wrong_lengths_and_overlaps_are_errors() {
    let threads = Threads::single();
    let offsets = [Offsets::default()];
    let shape = one_head(&offsets);
    let run = |shape: &Attention<'_>, [q, k, v, mask, out]: [usize; 5]| {
        let x = [0.0; 64];
        attention(&threads, shape, &x[..q], &x[..k], &x[..v], Some(&x[..mask]), &mut [0.0; 64][..out])
    };
    assert_eq!(run(&shape, [12, 20, 10, 15, 6]), Ok(()));
    for at in 0..5 {
        let mut lengths = [12, 20, 10, 15, 6];
        lengths[at] -= 1;
        assert!(run(&shape, lengths).is_err(), "{lengths:?}");
    }
    assert!(run(&Attention { out_stride: 1, ..shape }, [12, 20, 10, 15, 6]).is_err());
    let twice = [Offsets::default(), Offsets { out: 1, ..Offsets::default() }];
    assert!(run(&Attention { offsets: &twice, ..shape }, [12, 20, 10, 15, 8]).is_err());
    let far = [Offsets { k: usize::MAX, ..Offsets::default() }];
    assert!(run(&Attention { offsets: &far, ..shape }, [12, 20, 10, 15, 6]).is_err());
    let huge = Attention { keys: usize::MAX / 2, k_strides: [0, 0], v_strides: [0, 0], mask_stride: 0, ..shape };
    assert!(attention(&threads, &huge, &[0.0; 12], &[0.0; 20], &[0.0; 10], None, &mut [0.0; 6]).is_err());
}
