use super::*;
use crate::attention::Offsets;
use proptest::prelude::*;

fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn supported() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().filter(|kernel| (kernel.is_supported)())
}

/// A side as codes and as the numbers they stand for.
struct Sides {
    codes: [Vec<u8>; 3],
    are_signed: [bool; 3],
    reals: [Vec<f32>; 3],
}

impl Sides {
    fn new(lens: [usize; 3], grids: [Grid; 3], seed: u32) -> Self {
        let codes = [0, 1, 2].map(|side| noise(lens[side], seed ^ side as u32));
        let reals = [0, 1, 2].map(|side| {
            let grid = grids[side];
            let real = |&code: &u8| (i32::from(code) + grid.codes[0] - grid.zero_point) as f32 * grid.scale;
            codes[side].iter().map(real).collect()
        });
        let are_signed = grids.map(|grid| grid.codes[0] < 0);
        let codes = [0, 1, 2].map(|side| {
            let flip = if are_signed[side] { 0x80 } else { 0 };
            codes[side].iter().map(|code| code ^ flip).collect()
        });
        Self { codes, are_signed, reals }
    }

    fn as_codes(&self) -> [Side<'_>; 3] {
        [0, 1, 2].map(|side| {
            let codes = &self.codes[side];
            Side::Codes(if self.are_signed[side] { Bytes::I8(signed(codes)) } else { Bytes::U8(codes) })
        })
    }
}

fn signed(codes: &[u8]) -> &[i8] {
    // SAFETY: the types have one size and alignment, and every bit pattern is valid in both.
    unsafe { std::slice::from_raw_parts(codes.as_ptr().cast(), codes.len()) }
}

/// The definition in f64, and how far off an element may be because a weight lies between two codes.
fn oracle(shape: &Attention<'_>, [q, k, v]: [&[f32]; 3], mask: Option<&[f32]>, out: &mut [(f64, f64)]) {
    let at = |x: &[f32], start: usize, [token, element]: [usize; 2], row: usize, col: usize| {
        f64::from(x[start + row * token + col * element])
    };
    let grid = shape.weight_grid.unwrap();
    for from in shape.offsets {
        for query in 0..shape.queries {
            let score = |key: usize| {
                let dot = |i| at(q, from.q, shape.q_strides, query, i) * at(k, from.k, shape.k_strides, key, i);
                let product = (0..shape.d).map(dot).sum::<f64>() * f64::from(shape.scale);
                let mask = mask.map_or(0.0, |mask| f64::from(mask[from.mask + query * shape.mask_stride + key]));
                shape.score_grid.map_or(product, |grid| rounded(product, grid).0) + mask
            };
            let scores: Vec<f64> = (0..shape.keys).map(score).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - top).exp()).sum();
            let weights: Vec<_> = scores.iter().map(|score| rounded((score - top).exp() / total, grid)).collect();
            for i in 0..shape.d_v {
                let (mut sum, mut slack) = (0.0, 0.0);
                for (key, &(weight, to_middle)) in weights.iter().enumerate() {
                    let value = at(v, from.v, shape.v_strides, key, i);
                    sum += weight * value;
                    slack += if to_middle < 3e-3 { f64::from(grid.step) * value.abs() } else { 0.0 };
                }
                out[from.out + query * shape.out_stride + i] = (sum, slack);
            }
        }
    }
}

/// The nearest number on the grid, and how far from the middle of two codes it is.
fn rounded(x: f64, grid: Grid) -> (f64, f64) {
    let exact = x / f64::from(grid.scale);
    let code = exact.round_ties_even() + f64::from(grid.zero_point);
    let code = code.max(grid.codes[0].into()).min(grid.codes[1].into()) - f64::from(grid.zero_point);
    (code * f64::from(grid.step), ((exact - exact.floor()) - 0.5).abs())
}

fn assert_agrees(shape: &Attention<'_>, sides: &Sides, mask: Option<&[f32]>, out_len: usize, to: Grid) {
    let reals = [0, 1, 2].map(|side| &sides.reals[side][..]);
    let mut expected = vec![(7.0, 0.0); out_len];
    oracle(shape, reals, mask, &mut expected);
    for kernel in supported() {
        let run = |n_threads: usize, sides: [Side<'_>; 3]| {
            let mut out = vec![7.0f32; out_len];
            kernel.attention(&Threads::new(n_threads), shape, sides, mask, &mut Out::F32(&mut out)).unwrap();
            out
        };
        let out = run(1, sides.as_codes());
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&out), bits(&run(3, sides.as_codes())));
        // Numbers on the grid are as good as their codes.
        assert_eq!(bits(&out), bits(&run(1, reals.map(Side::F32))));
        for (i, (&x, &(y, slack))) in out.iter().zip(&expected).enumerate() {
            let is_close = (f64::from(x) - y).abs() <= 3e-6 * (1.0 + y.abs()) + slack;
            assert!(is_close, "{}: element {i} is {x}, expected {y} ± {slack}", kernel.name);
        }
        let mut codes = vec![77u8; out_len];
        let mut to_codes = Out::Codes { codes: BytesMut::U8(&mut codes), scale: to.scale, zero_point: to.zero_point };
        kernel.attention(&Threads::new(2), shape, sides.as_codes(), mask, &mut to_codes).unwrap();
        for (i, ((&code, &x), &(y, _))) in codes.iter().zip(&out).zip(&expected).enumerate() {
            let (real, to_middle) = rounded(f64::from(x), to);
            let own = (f64::from(code) - f64::from(to.zero_point)) * f64::from(to.scale);
            let is_outside = y == 7.0 && code == 77;
            let is_close = (own - real).abs() <= if to_middle < 1e-3 { f64::from(to.scale) } else { 1e-4 };
            assert!(is_outside || is_close, "{}: element {i} is {code}, {x} as a number", kernel.name);
        }
    }
}

fn grid(is_signed: bool, zero: u8, scale: f32) -> Grid {
    let codes = if is_signed { [-128, 127] } else { [0, 255] };
    Grid { scale, zero_point: i32::from(zero) + codes[0], codes, step: scale }
}

/// Powers of two, so that scores are exact, and even zero points, so that ties are decided alike.
fn score_grid() -> impl Strategy<Value = Option<Grid>> {
    let some = |(scale, zero_point, after): (f32, i32, f32)| {
        Some(Grid { scale, zero_point, codes: [0, 255], step: scale * after })
    };
    let scales = prop_oneof![Just(0.0625f32), Just(0.25), Just(2.0)];
    prop_oneof![
        Just(None),
        (scales, (0i32..128).prop_map(|half| 2 * half), prop_oneof![Just(1.0f32), Just(0.5)]).prop_map(some)
    ]
}

/// Strides of `[tokens, heads · d]`, `[heads, tokens, d]` or `[heads, d, tokens]`, and from a head to the next.
fn strides(order: u8, heads: usize, tokens: usize, d: usize) -> ([usize; 2], usize) {
    match order {
        0 => ([heads * d, 1], d),
        1 => ([d, 1], tokens * d),
        _ => ([1, tokens], tokens * d),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Tokens and sizes straddle the tiles (12, 6, 2), the panels (64, 16) and the vectors.
    #[test]
    fn every_kernel_agrees_with_the_oracle(
        heads in 1usize..4, queries in 0usize..30, keys in 1usize..70, d in 0usize..70, d_v in 0usize..70,
        orders in [0u8..3, 0u8..3, 0u8..3], are_signed: [bool; 3], zeros: [u8; 3],
        score_grid in score_grid(), weight_zero in prop_oneof![Just(0i32), 0i32..20],
        mask_kind in 0u8..4, seed: u32,
    ) {
        let (q_strides, q_step) = strides(orders[0], heads, queries, d);
        let (k_strides, k_step) = strides(orders[1], heads, keys, d);
        let (v_strides, v_step) = strides(orders[2], heads, keys, d_v);
        let offset = |head| Offsets { q: head * q_step, k: head * k_step, v: head * v_step, mask: 0, out: head * d_v };
        let offsets: Vec<_> = (0..heads).map(offset).collect();
        let grids = [0, 1, 2].map(|side| grid(are_signed[side], zeros[side], 1.0 / 64.0));
        let shape = Attention {
            queries, keys, d, d_v, q_strides, k_strides, v_strides, offsets: &offsets,
            mask_stride: if mask_kind == 2 { 0 } else { keys },
            out_stride: heads * d_v,
            scale: 0.25,
            side_grids: grids.map(Some),
            score_grid,
            weight_grid: Some(Grid { scale: 1.0 / 255.0, zero_point: weight_zero, codes: [0, 255], step: 1.0 / 255.0 }),
        };
        let sides = Sides::new([heads * queries * d, heads * keys * d, heads * keys * d_v], grids, seed);
        let mut mask: Vec<f32> = noise(queries * keys, seed ^ 3).iter().map(|&x| f32::from(x) / 64.0 - 2.0).collect();
        mask.iter_mut().skip(1).step_by(4).for_each(|x| *x = f32::NEG_INFINITY);
        mask.iter_mut().skip(2).step_by(4).for_each(|x| *x = f32::MIN);
        if mask_kind == 3 {
            // So low that powers relative to the largest score vanish.
            mask.iter_mut().for_each(|x| *x -= 150.0);
        }
        let mask = if mask_kind == 2 { &mask[..keys.min(mask.len())] } else { &mask[..] };
        let mask = (mask_kind > 0).then_some(mask);
        let to = Grid { scale: 1.0 / 32.0, zero_point: 100, codes: [0, 255], step: 1.0 / 32.0 };
        assert_agrees(&shape, &sides, mask, heads * queries * d_v, to);
    }
}

fn one_head(offsets: &[Offsets]) -> Attention<'_> {
    let side = Some(grid(false, 128, 1.0 / 64.0));
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
        side_grids: [side; 3],
        score_grid: Some(grid(false, 128, 1.0 / 16.0)),
        weight_grid: Some(grid(false, 0, 1.0 / 255.0)),
    }
}

#[test]
fn rows_masked_altogether_are_as_the_smallest_weights() {
    let offsets = [Offsets::default()];
    let shape = one_head(&offsets);
    let sides = Sides::new([12, 20, 10], shape.side_grids.map(Option::unwrap), 1);
    let mut mask = vec![0.0; 15];
    mask[..5].fill(f32::NEG_INFINITY);
    mask[5..10].fill(f32::MIN);
    for kernel in supported() {
        let mut out = [7.0; 6];
        kernel.attention(&Threads::single(), &shape, sides.as_codes(), Some(&mask), &mut Out::F32(&mut out)).unwrap();
        // Row 0 is NaN before it is rounded; row 1 is the mean of the values.
        assert_eq!(out[..2], [0.0; 2], "{}", kernel.name);
        let mean: f32 = sides.reals[2].iter().step_by(2).sum::<f32>() / 5.0;
        assert!((out[2] - mean).abs() < 1e-5, "{}: {} for {mean}", kernel.name, out[2]);
    }
}

#[test]
fn without_keys_the_output_is_zero() {
    let offsets = [Offsets::default()];
    let shape = Attention { keys: 0, ..one_head(&offsets) };
    let none = Side::Codes(Bytes::U8(&[]));
    for kernel in supported() {
        let mut out = [7i8; 6];
        let mut to = Out::Codes { codes: BytesMut::I8(&mut out), scale: 0.1, zero_point: -3 };
        kernel.attention(&Threads::single(), &shape, [Side::F32(&[0.5; 12]), none, none], None, &mut to).unwrap();
        assert_eq!(out, [-3; 6], "{}", kernel.name);
    }
}

#[test]
fn wrong_lengths_and_grids_are_errors() {
    let offsets = [Offsets::default()];
    let shape = one_head(&offsets);
    let run = |shape: &Attention<'_>, [q, k, v, mask, out]: [usize; 5]| {
        let sides = [q, k, v].map(|n| Side::Codes(Bytes::U8(&[0; 64][..n])));
        attention(&Threads::single(), shape, sides, Some(&[0.0; 64][..mask]), &mut Out::F32(&mut [0.0; 64][..out]))
    };
    assert_eq!(run(&shape, [12, 20, 10, 15, 6]), Ok(()));
    for at in 0..5 {
        let mut lengths = [12, 20, 10, 15, 6];
        lengths[at] -= 1;
        assert!(run(&shape, lengths).is_err(), "{lengths:?}");
    }
    let wide = Some(Grid { codes: [0, 256], ..grid(false, 0, 1.0) });
    let signed = Some(grid(true, 0, 1.0));
    let outside = Some(Grid { zero_point: 300, ..grid(false, 0, 1.0) });
    for side_grids in [[wide; 3], [signed; 3], [outside; 3], [None; 3]] {
        assert!(run(&Attention { side_grids, ..shape }, [12, 20, 10, 15, 6]).is_err());
    }
    assert!(run(&Attention { weight_grid: None, ..shape }, [12, 20, 10, 15, 6]).is_err());
    assert!(run(&Attention { weight_grid: wide, ..shape }, [12, 20, 10, 15, 6]).is_err());
    let huge = Attention { keys: usize::MAX / 2, k_strides: [0, 0], v_strides: [0, 0], mask_stride: 0, ..shape };
    assert!(run(&huge, [12, 20, 10, 15, 6]).is_err());
}
