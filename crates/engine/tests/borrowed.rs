//! Runs on the caller's memory, on the caller's threads, and from several sessions of one model.

mod networks;

use std::sync::Arc;
use std::time::Duration;

use lissom_engine::{Choosing, EngineError, Session, SessionOptions};
use lissom_graph::{Attributes, Model};
use lissom_kernels::{Pool, Threads};
use lissom_tensor::{DType, Tensor, View, ViewMut};
use networks::{Net, noise, noise_tensor, session};
use rayon::prelude::*;

const SHAPE: [usize; 4] = [2, 3, 12, 12];

/// Outputs of every kind: the end of a product, of a softmax, an activation in channels-last layout, a view of it, codes, an
/// input, and a node without a kernel.
fn model() -> Model {
    let (mut net, x) = Net::new(&SHAPE, 17, 3);
    let hidden = net.conv(x, [16, 3, 3], 1, 1);
    let hidden = net.plain("Relu", &[hidden]);
    let pooled = net.plain("GlobalAveragePool", &[hidden]);
    let flat = net.plain("Flatten", &[pooled]);
    let weight = net.weight(&[16, 10], 0.5);
    let logits = net.plain("MatMul", &[flat, weight]);
    let probabilities = net.node("Softmax", &[logits], Attributes::new().with("axis", 1));
    let (codes, _) = net.quantized(hidden, 0.02, 0);
    let sinus = net.plain("Sin", &[flat]);
    let odd = net.plain("IsNaN", &[flat]);
    net.finish(vec![hidden, flat, probabilities, codes, x, sinus, odd])
}

/// Runs into slices that begin at odd elements.
fn run_into(session: &Session, x: &[f32], like: &[Tensor]) -> Vec<Tensor> {
    let names = session.output_names().to_vec();
    let mut floats: Vec<Vec<f32>> = like.iter().map(|tensor| vec![f32::NAN; tensor.len() + 1]).collect();
    let mut bytes: Vec<Vec<u8>> = like.iter().map(|tensor| vec![77; tensor.len() + 1]).collect();
    let mut bools: Vec<Vec<bool>> = like.iter().map(|tensor| vec![true; tensor.len() + 1]).collect();
    let slices = floats.iter_mut().zip(&mut bytes).zip(&mut bools).zip(like);
    let slices = slices.map(|(((floats, bytes), bools), like)| match like.dtype() {
        DType::F32 => ViewMut::new(&mut floats[1..]),
        DType::U8 => ViewMut::new(&mut bytes[1..]),
        _ => ViewMut::new(&mut bools[1..]),
    });
    let mut outputs: Vec<(&str, ViewMut<'_>)> = names.iter().map(String::as_str).zip(slices).rev().collect();
    session.run_into(&[("x", View::new(&SHAPE, x).unwrap())], &mut outputs).unwrap();
    let tensors = floats.iter().zip(&bytes).zip(&bools).zip(like);
    let tensors = tensors.map(|(((floats, bytes), bools), like)| match like.dtype() {
        DType::F32 => Tensor::new(like.shape(), floats[1..].to_vec()).unwrap(),
        DType::U8 => Tensor::new(like.shape(), bytes[1..].to_vec()).unwrap(),
        _ => Tensor::new(like.shape(), bools[1..].to_vec()).unwrap(),
    });
    tensors.collect()
}

#[test]
fn borrowed_memory_gives_the_same_bytes_as_tensors() {
    let model = model();
    let x = noise(SHAPE.iter().product::<usize>() + 1, 5);
    let tensor = Tensor::new(SHAPE, x[1..].to_vec()).unwrap();
    for fast in [true, false] {
        let session = session(&model, fast, 2);
        let expected = session.run(&[("x", &tensor)]).unwrap();
        for _ in 0..2 {
            assert_eq!(run_into(&session, &x[1..], &expected), expected, "fast: {fast}");
        }
    }
}

#[test]
fn outputs_that_are_not_named_are_not_needed() {
    let model = model();
    let session = session(&model, true, 2);
    let x = noise_tensor(&SHAPE, 5);
    let expected = session.run(&[("x", &x)]).unwrap();
    for (name, like) in session.output_names().iter().zip(&expected) {
        if like.dtype() == DType::F32 {
            let mut values = vec![f32::NAN; like.len()];
            let view = View::of(&x).unwrap();
            session.run_into(&[("x", view)], &mut [(name.as_str(), ViewMut::new(&mut values))]).unwrap();
            assert_eq!(values, like.as_slice::<f32>().unwrap(), "{name}");
        }
    }
    session.run_into(&[("x", View::of(&x).unwrap())], &mut []).unwrap();
}

#[test]
fn slices_that_do_not_fit_are_refused() {
    let model = model();
    for fast in [true, false] {
        let session = session(&model, fast, 1);
        let x = noise_tensor(&SHAPE, 5);
        let inputs = [("x", View::of(&x).unwrap())];
        let names = session.output_names().to_vec();
        for name in &names {
            let mut short = [0f32; 3];
            let error = session.run_into(&inputs, &mut [(name, ViewMut::new(&mut short))]).unwrap_err();
            assert!(matches!(&error, EngineError::OutputMismatch { name: own, .. } if own == name), "{error}");
            let mut other = vec![0i64; 20];
            let error = session.run_into(&inputs, &mut [(name, ViewMut::new(&mut other))]).unwrap_err();
            assert!(matches!(&error, EngineError::OutputMismatch { name: own, .. } if own == name), "{error}");
        }
        let (mut a, mut b) = ([0f32; 20], [0f32; 20]);
        let error = session.run_into(&inputs, &mut [("nope", ViewMut::new(&mut a))]).unwrap_err();
        assert!(matches!(error, EngineError::UnknownOutput { .. }), "{error}");
        let twice = &mut [(names[2].as_str(), ViewMut::new(&mut a)), (names[2].as_str(), ViewMut::new(&mut b))];
        let error = session.run_into(&inputs, twice).unwrap_err();
        assert_eq!(error, EngineError::RepeatedOutput { name: names[2].clone() });
        let error = session.run_into(&[("x", View::new(&[1, 2], &[0f32; 2]).unwrap())], &mut []).unwrap_err();
        assert!(matches!(error, EngineError::InputMismatch { .. }), "{error}");
    }
}

#[test]
fn token_numbers_are_read_where_they_are() {
    let mut graph = lissom_graph::Graph::new("tokens");
    let ids = graph.add_input("ids", lissom_graph::Fact::known(DType::I32, &[2, 3]));
    let mut patch = lissom_graph::Patch::new(&graph, 17);
    let table = patch.constant("table", lissom_tensor::Weight::Dense(noise_tensor(&[7, 4], 1)));
    let rows =
        patch.node(&lissom_ops::OPERATORS, "Gather", "gather", &[Some(table), Some(ids)], Attributes::new()).unwrap();
    graph.set_outputs(vec![rows]);
    graph.apply(patch).unwrap();
    lissom_graph::infer(&mut graph).unwrap();
    let model = Model::new(graph, lissom_ops::OPERATORS, 17);
    let session = session(&model, true, 1);
    let name = session.output_names()[0].clone();
    let values = [6i32, 0, -1, 3, 2, 1];
    let expected = session.run(&[("ids", &Tensor::new([2, 3], values.to_vec()).unwrap())]).unwrap();
    let mut rows = [f32::NAN; 24];
    let view = View::new(&[2, 3], &values).unwrap();
    session.run_into(&[("ids", view)], &mut [(&name, ViewMut::new(&mut rows))]).unwrap();
    assert_eq!(rows, expected[0].as_slice::<f32>().unwrap());
    assert_eq!(session.notes(), Vec::<String>::new());
}

#[test]
fn sessions_that_share_a_model_pack_its_weights_once() {
    let model = model();
    let x = noise_tensor(&SHAPE, 5);
    let first = session(&model, true, 2);
    let expected = first.run(&[("x", &x)]).unwrap();
    let packed = first.packed_bytes();
    assert!(packed > 0);
    let second = first.share(Threads::new(3));
    assert_eq!(second.run(&[("x", &x)]).unwrap(), expected);
    assert_eq!((first.packed_bytes(), second.packed_bytes()), (packed, packed));
    drop(first);
    assert_eq!(second.run(&[("x", &x)]).unwrap(), expected);
}

struct Rayon(Arc<rayon::ThreadPool>);

impl Pool for Rayon {
    fn count(&self) -> usize {
        self.0.current_num_threads()
    }

    fn broadcast(&self, work: &(dyn Fn() + Sync)) {
        self.0.broadcast(|_| work());
    }
}

#[test]
fn a_session_on_a_busy_pool_of_the_program_gives_the_same_bytes() {
    let model = model();
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap());
    let x = noise_tensor(&SHAPE, 5);
    let expected = session(&model, true, 1).run(&[("x", &x)]).unwrap();
    let threads = Threads::on(Arc::new(Rayon(Arc::clone(&pool))));
    let choosing = Choosing::Measured { budget: Duration::from_millis(50), cache: None };
    let options = SessionOptions { pool: Some(threads), choosing, ..SessionOptions::default() };
    let session = Session::new(&model, &options).unwrap();
    assert_eq!(session.run(&[("x", &x)]).unwrap(), expected);
    // From inside the pool, where a waiting thread takes up other runs, and with shapes that are new.
    pool.install(|| {
        (0..64usize).into_par_iter().for_each(|index| {
            let n = 1 + index % 4;
            let x = noise_tensor(&[n, 3, 12, 12], 5);
            let got = session.run(&[("x", &x)]).unwrap();
            if n == 2 {
                assert_eq!(got, expected);
            }
        });
    });
}
