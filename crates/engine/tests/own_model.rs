//! A session that owns its model lets weights go once they are packed, and answers as before.

mod networks;

use lissom_engine::{Choosing, Session, SessionOptions};
use lissom_graph::{Attributes, Model, ValueId};
use lissom_kernels::Threads;
use lissom_tensor::Tensor;
use networks::{Net, noise, noise_tensor, window};

/// A constant of noise with this share of zeros.
fn pruned(net: &mut Net, shape: &[usize], zeros: f32) -> ValueId {
    let values = noise(shape.iter().product(), 3).into_iter().zip(noise(shape.iter().product(), 4));
    let values: Vec<f32> = values.map(|(value, chance)| if chance * 0.5 + 0.5 < zeros { 0.0 } else { value }).collect();
    net.constant(Tensor::new(shape, values).unwrap())
}

/// Rows times weights: dense, pruned, transposed, scaled, and one that two nodes use.
fn rows_network() -> Model {
    let (mut net, x) = Net::new(&[1, 128], 17, 1);
    let mut y = x;
    for zeros in [0.0, 0.6, 0.9, 0.98] {
        let weight = pruned(&mut net, &[128, 128], zeros);
        let bias = net.weight(&[128], 1.0);
        let product = net.plain("MatMul", &[y, weight]);
        let sum = net.plain("Add", &[product, bias]);
        y = net.plain("Relu", &[sum]);
    }
    for (zeros, alpha) in [(0.0, 1.0f32), (0.9, 1.0), (0.0, 0.5), (0.9, 0.5)] {
        let (weight, bias) = (pruned(&mut net, &[128, 128], zeros), net.weight(&[128], 1.0));
        y = net.node("Gemm", &[y, weight, bias], Attributes::new().with("transB", 1i64).with("alpha", alpha));
    }
    let shared = pruned(&mut net, &[128, 128], 0.0);
    y = net.plain("MatMul", &[y, shared]);
    y = net.plain("MatMul", &[y, shared]);
    net.finish(vec![y])
}

/// Convolutions: dense, pruned, in groups, with a batch normalization to fold in.
fn images_network() -> Model {
    let (mut net, x) = Net::new(&[1, 48, 7, 9], 17, 2);
    let mut y = x;
    for (zeros, groups, normalized) in
        [(0.0, 1, false), (0.9, 1, false), (0.0, 1, true), (0.9, 1, true), (0.0, 2, false)]
    {
        let shape = [if groups == 1 { 48 } else { 96 }, 48 / groups, 3, 3];
        let (weight, bias) = (pruned(&mut net, &shape, zeros), net.weight(&shape[..1], 0.5));
        y = net.node("Conv", &[y, weight, bias], window(3, 1).with("group", groups as i64));
        y = if normalized { net.batch_norm(y, 48) } else { y };
        y = net.plain("Relu", &[y]);
    }
    net.finish(vec![y])
}

fn agrees(model: &Model, shapes: &[&[usize]], choosing: &Choosing) {
    let options = SessionOptions { threads: 2, choosing: choosing.clone(), ..SessionOptions::default() };
    let borrowing = Session::new(model, &SessionOptions { choosing: Choosing::Estimated, ..options.clone() }).unwrap();
    let owning = Session::from_model(model.clone(), &options).unwrap();
    let sharing = owning.share(Threads::single());
    for shape in shapes {
        let x = noise_tensor(shape, 5);
        let expected = borrowing.run(&[("x", &x)]).unwrap();
        for session in [&owning, &sharing] {
            let found = session.run(&[("x", &x)]).unwrap();
            match choosing {
                Choosing::Estimated => assert_eq!(found, expected, "{shape:?}"),
                Choosing::Measured { .. } => networks::assert_close(&expected, &found, 1e-4),
            }
            assert!(session.notes().is_empty(), "{:?}", session.notes());
        }
    }
}

#[test]
fn answers_are_the_same_at_any_order_of_shapes() {
    let measured = Choosing::Measured { budget: std::time::Duration::from_secs(1), cache: None };
    for choosing in [Choosing::Estimated, measured] {
        // Few rows and many take sparse weights in other forms, which are packed from what was let go.
        agrees(&rows_network(), &[&[1, 128], &[3, 128], &[200, 128], &[16, 128]], &choosing);
        agrees(&rows_network(), &[&[200, 128], &[1, 128]], &choosing);
        agrees(&images_network(), &[&[1, 48, 7, 9], &[3, 48, 7, 9]], &choosing);
    }
}

#[test]
fn the_oracle_owns_its_model_too() {
    let model = rows_network();
    let x = noise_tensor(&[2, 128], 5);
    let plain = SessionOptions { fast: false, ..SessionOptions::default() };
    let expected = Session::new(&model, &plain).unwrap().run(&[("x", &x)]).unwrap();
    assert_eq!(Session::from_model(model, &plain).unwrap().run(&[("x", &x)]).unwrap(), expected);
}
