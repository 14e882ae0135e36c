use lissom_graph::Dim;
use lissom_ops::OPERATORS;
use lissom_tensor::DType;
use lissom_train::{FitData, FitOptions, InMemory, Samples, Stream, Unwatched, fit};
use proptest::prelude::*;

use super::super::training_tests::{clouds, options};
use super::*;

/// Products with ReLU between them, of these widths, weights from a seed: `hidden1`, `hidden2`, …, and `scores`.
fn layers(widths: &[usize], seed: u64) -> Model {
    let mut graph = Graph::new("layers");
    let mut value = graph.add_input("input", Fact::new(DType::F32, vec![Dim::symbol("n"), Dim::from(widths[0])]));
    let mut patch = Patch::new(&graph, 20);
    for (index, pair) in widths.windows(2).enumerate() {
        let stream = Stream::new(seed, index as u64, 1);
        let scale = (2.0 / pair[0] as f64).sqrt();
        let weights = (0..pair[0] * pair[1]).map(|i| (scale * stream.normal(i as u64)) as f32).collect::<Vec<_>>();
        let weights = Weight::Dense(Tensor::new([pair[0], pair[1]], weights).unwrap());
        let weights = patch.constant(&format!("weight{}", index + 1), weights);
        let is_last = index + 2 == widths.len();
        let (name, inputs) = (format!("layer{}", index + 1), [Some(value), Some(weights)]);
        if is_last {
            value = patch.value("scores", Fact::unknown());
            patch.node_into(&OPERATORS, "MatMul", &name, &inputs, Attributes::new(), &[Some(value)]).unwrap();
        } else {
            let product = patch.node(&OPERATORS, "MatMul", &name, &inputs, Attributes::new()).unwrap();
            value = patch.value(&format!("hidden{}", index + 1), Fact::unknown());
            let inputs = [Some(product)];
            patch
                .node_into(
                    &OPERATORS,
                    "Relu",
                    &format!("relu{}", index + 1),
                    &inputs,
                    Attributes::new(),
                    &[Some(value)],
                )
                .unwrap();
        }
    }
    graph.set_outputs(vec![value]);
    graph.apply(patch).unwrap();
    infer(&mut graph).unwrap();
    Model::new(graph, OPERATORS, 20)
}

fn settings(text: &str) -> Distill {
    Settings::from_toml("test", text).unwrap().parse().unwrap()
}

fn loss() -> Box<dyn Loss> {
    let spec = LOSSES.iter().find(|spec| spec.name == "cross_entropy").unwrap();
    (spec.parse)(&Settings::empty()).unwrap()
}

/// A student after epochs of 12 batches.
fn taught(text: &str, student: &Model, teacher: &Model, epochs: u64) -> Model {
    let batches = (0..12).map(|step| Samples { tensors: clouds(step), n: 24 }).collect();
    let source = InMemory { batches };
    let options = options(loss(), "learning_rate = 0.05\nmomentum = 0.9", 0);
    let plan = FitOptions { epochs, evaluate_every: 0, checkpoints: None, interrupt: Default::default() };
    let data = FitData { training: &source, validation: None };
    let mut technique = Student::new(settings(text), teacher.clone());
    fit(student.clone(), options, |_| true, &mut technique, &data, &plan, &Unwatched).unwrap().model
}

/// Values of a network on a batch that is none of the training's.
fn values(model: &Model, name: &str) -> Vec<f32> {
    let value = model.graph.find_value(name).unwrap();
    let session = Session::new(model, &SessionOptions { observe: vec![value], ..Default::default() }).unwrap();
    let batch = clouds(11);
    session.run(&[("input", &batch[0].1)]).unwrap().pop().unwrap().to_f32_vec().unwrap()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let (error, scale): (f64, f64) =
        a.iter().zip(b).fold((0.0, 0.0), |(error, scale), (a, b)| (error + square(a - b), scale + square(*b)));
    error / scale
}

fn names(model: &Model) -> Vec<String> {
    let mut names: Vec<String> = model.graph.constants().map(|(id, _)| model.graph.value(id).name.clone()).collect();
    names.sort();
    names
}

#[test]
fn a_student_comes_to_answer_as_its_teacher() {
    let (student, teacher) = (layers(&[8, 12, 3], 1), layers(&[8, 24, 3], 2));
    let before = distance(&values(&student, "scores"), &values(&teacher, "scores"));
    let after = taught("temperature = 2.0\nteacher_share = 1.0", &student, &teacher, 40);
    let softened = |model: &Model| -> Vec<f32> {
        let rows = values(model, "scores");
        let row = |row: &[f32]| {
            let sum: f32 = row.iter().map(|x| (x / 2.0).exp()).sum();
            row.iter().map(|x| (x / 2.0).exp() / sum).collect::<Vec<f32>>()
        };
        rows.chunks(3).flat_map(row).collect()
    };
    let (far, near) =
        (distance(&softened(&student), &softened(&teacher)), distance(&softened(&after), &softened(&teacher)));
    assert!(near < 0.05 * far, "{before}: {far} -> {near}");
}

#[test]
fn a_student_that_is_its_teacher_stays_as_it_is() {
    let teacher = layers(&[8, 12, 3], 2);
    let after = taught("teacher_share = 1.0\nhints = [\"hidden1\"]", &teacher, &teacher, 2);
    assert!(distance(&values(&after, "scores"), &values(&teacher, "scores")) < 1e-9);
}

#[test]
fn hints_lead_to_other_channels_by_maps_that_are_dropped() {
    let (student, teacher) = (layers(&[8, 12, 3], 1), layers(&[8, 24, 3], 2));
    let text = "hints = [{ student = \"hidden1\", weight = 10.0 }]\nteacher_share = 0.0";
    let after = taught(text, &student, &teacher, 20);
    assert_eq!(names(&after), ["weight1", "weight2"]);
    assert_eq!(after.graph.outputs().len(), 1);
    // What the hint is for: a linear map of the student's hidden values is near the teacher's.
    let error = |model: &Model| unexplained(&values(model, "hidden1"), 12, &values(&teacher, "hidden1"), 24);
    let (plain, hinted) = (error(&taught("teacher_share = 0.0", &student, &teacher, 20)), error(&after));
    assert!(hinted < 0.8 * plain, "{plain} -> {hinted}");
}

/// A convolution to so many channels, `maps`, their means, and a product.
fn convolution(channels: usize, seed: u64) -> Model {
    let mut graph = Graph::new("convolution");
    let lengths = [Dim::symbol("n"), Dim::from(3), Dim::from(5), Dim::from(5)];
    let input = graph.add_input("input", Fact::new(DType::F32, lengths.to_vec()));
    let mut patch = Patch::new(&graph, 20);
    let stream = Stream::new(seed, 0, 2);
    let mut weight = |name: &str, shape: &[usize]| {
        let values = (0..shape.iter().product::<usize>()).map(|i| 0.3 * stream.normal(i as u64) as f32).collect();
        patch.constant(name, Weight::Dense(Tensor::new(shape, values).unwrap()))
    };
    let (kernel, last) = (weight("kernel", &[channels, 3, 3, 3]), weight("last", &[channels, 3]));
    let maps = patch.value("maps", Fact::unknown());
    let inputs = [Some(input), Some(kernel)];
    patch.node_into(&OPERATORS, "Conv", "convolution", &inputs, Attributes::new(), &[Some(maps)]).unwrap();
    let pooled = patch.node(&OPERATORS, "GlobalAveragePool", "pool", &[Some(maps)], Attributes::new()).unwrap();
    let flat = patch.node(&OPERATORS, "Flatten", "flat", &[Some(pooled)], Attributes::new()).unwrap();
    let scores = patch.node(&OPERATORS, "MatMul", "scores", &[Some(flat), Some(last)], Attributes::new()).unwrap();
    graph.set_outputs(vec![scores]);
    graph.apply(patch).unwrap();
    infer(&mut graph).unwrap();
    Model::new(graph, OPERATORS, 20)
}

#[test]
fn maps_of_images_are_convolutions_of_one_pixel() {
    let (original, teacher) = (convolution(4, 1), convolution(6, 2));
    let mut technique = Student::new(settings("hints = [\"maps\"]"), teacher);
    let (mut model, mut options) = (original.clone(), options(loss(), "learning_rate = 0.1", 10));
    technique.prepare(&mut model, &mut options).unwrap();
    let map = model.graph.find_value("maps.to_teacher").unwrap();
    assert_eq!(model.graph.constant(map).unwrap().shape(), [6, 4, 1, 1]);
    let mut trainer = Trainer::new(&model, options, |_| true).unwrap();
    let images = (0..2 * 75).map(|i| (i % 7) as f32 / 7.0).collect::<Vec<f32>>();
    let mut batch = vec![
        ("input".to_owned(), Tensor::new([2, 3, 5, 5], images).unwrap()),
        ("labels".to_owned(), Tensor::vector(vec![0i64, 2])),
    ];
    let at = Moment { epoch: 0, step: 0, steps_an_epoch: 10, epochs: 1 };
    let own = batch.clone();
    let own: Vec<(&str, &Tensor)> = own.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    batch.extend(technique.targets(&at, &own).unwrap());
    let before = trainer.tensor("maps.to_teacher").unwrap().clone();
    let batch: Vec<(&str, &Tensor)> = batch.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let losses = [(); 2].map(|()| trainer.step(&batch).unwrap().loss);
    assert!(losses[1] < losses[0], "{losses:?}");
    assert!(*trainer.tensor("maps.to_teacher").unwrap() != before, "the map learns too");
    let after = technique.network(&trainer).unwrap();
    assert_eq!((names(&after), after.graph.nodes().len()), (names(&original), original.graph.nodes().len()));
}

/// The share of the second values that the best linear map of the first does not give (by descent, which is enough to tell).
fn unexplained(from: &[f32], n_from: usize, to: &[f32], n_to: usize) -> f64 {
    let mut map = vec![0f64; n_from * n_to];
    let rows: Vec<(&[f32], &[f32])> = from.chunks(n_from).zip(to.chunks(n_to)).collect();
    let errors = |map: &[f64], (x, y): &(&[f32], &[f32])| -> Vec<f64> {
        let of = |j: usize| x.iter().enumerate().map(|(i, x)| f64::from(*x) * map[i * n_to + j]).sum::<f64>();
        (0..n_to).map(|j| of(j) - f64::from(y[j])).collect()
    };
    let largest: f64 = rows.iter().map(|(x, _)| x.iter().map(|x| f64::from(x * x)).sum::<f64>()).sum();
    for _ in 0..2000 {
        let mut gradient = vec![0f64; map.len()];
        for row in &rows {
            for (j, error) in errors(&map, row).into_iter().enumerate() {
                row.0.iter().enumerate().for_each(|(i, x)| gradient[i * n_to + j] += error * f64::from(*x));
            }
        }
        map.iter_mut().zip(gradient).for_each(|(map, gradient)| *map -= gradient / largest);
    }
    let error: f64 = rows.iter().flat_map(|row| errors(&map, row)).map(|e| e * e).sum();
    error / to.iter().map(|y| f64::from(y * y)).sum::<f64>()
}

#[test]
fn with_equal_widths_blocks_reproduce_the_teacher() {
    let (student, teacher) = (layers(&[8, 12, 12, 3], 1), layers(&[8, 12, 12, 3], 2));
    for inputs in ["student", "teacher"] {
        // Before the ReLU: a unit that never answers would not come back.
        let blocks =
            ["layer1_out", "layer2_out"].map(|name| format!("{{ student = \"{name}\", weight = 2.0 }}")).join(", ");
        let text = format!("blocks = [{blocks}]\nblock_inputs = \"{inputs}\"\nteacher_share = 1.0");
        let after = taught(&text, &student, &teacher, 300);
        assert_eq!(names(&after), names(&student));
        assert_eq!(after.graph.inputs().len(), 1);
        for value in ["layer1_out", "layer2_out"] {
            let (far, near) = (
                distance(&values(&student, value), &values(&teacher, value)),
                distance(&values(&after, value), &values(&teacher, value)),
            );
            assert!(near < 0.15 * far, "{inputs} {value}: {far} -> {near}");
        }
    }
}

#[test]
fn blocks_count_one_after_the_other_and_the_answers_last() {
    assert_eq!([0.0, 0.32, 0.34, 0.66, 0.67, 1.0].map(|share| stage(share, 3)), [0, 0, 1, 1, 2, 2]);
    let teacher = layers(&[8, 12, 12, 3], 2);
    let mut technique = Student::new(settings("blocks = [\"hidden1\", \"hidden2\"]"), teacher.clone());
    let (mut model, mut options) = (layers(&[8, 12, 12, 3], 1), options(loss(), "learning_rate = 0.1", 30));
    technique.prepare(&mut model, &mut options).unwrap();
    let batch = clouds(0);
    let batch: Vec<(&str, &Tensor)> = batch.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut counts = |step: u64| -> Vec<f64> {
        let at = Moment { epoch: 0, step, steps_an_epoch: 30, epochs: 1 };
        let targets = technique.targets(&at, &batch).unwrap();
        targets.iter().filter(|(name, _)| name.starts_with("distill")).map(|(_, t)| t.to_f64().unwrap()).collect()
    };
    assert_eq!([0, 10, 20, 29].map(&mut counts), [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]);
}

#[test]
fn losses_of_the_recipe_that_follow_a_teacher_stay() {
    let teacher = layers(&[8, 12, 3], 2);
    let mut technique = Student::new(settings("temperature = 9.0"), teacher);
    let hint = LOSSES.iter().find(|spec| spec.name == "hint").unwrap();
    let hint = (hint.parse)(&Settings::from_toml("test", "values = [\"hidden1\"]").unwrap()).unwrap();
    let (mut model, mut options) = (layers(&[8, 12, 3], 1), options(hint, "learning_rate = 0.1", 30));
    options.objective.terms.push((0.5, loss()));
    technique.prepare(&mut model, &mut options).unwrap();
    let names: Vec<&str> = options.objective.terms.iter().map(|(_, loss)| loss.name()).collect();
    assert_eq!(names, ["hint", "cross_entropy"]);
}

#[test]
fn mistakes_name_the_values() {
    let teacher = layers(&[8, 12, 3], 2);
    let refused = |text: &str| {
        let mut technique = Student::new(settings(text), teacher.clone());
        let (mut model, mut options) = (layers(&[8, 6, 3], 1), options(loss(), "learning_rate = 0.1", 30));
        technique.prepare(&mut model, &mut options).unwrap_err()
    };
    let error = refused("hints = [\"hiden1\"]");
    assert_eq!((error.to_string().contains("hiden1"), error.hint().is_some()), (true, true), "{error}");
    let error = refused("blocks = [\"hidden1\"]\nblock_inputs = \"teacher\"").to_string();
    assert!(error.contains("other channels"), "{error}");
    let error = (SPEC.parse)(&Settings::from_toml("r.toml", "teacher_share = 1.5").unwrap()).unwrap_err().to_string();
    assert!(error.contains("teacher_share"), "{error}");
}

proptest! {
    #[test]
    fn maps_are_found_where_only_channels_differ(from in 1usize..5, to in 1usize..5, positions in 1usize..4, batch in any::<bool>()) {
        let n = if batch { Dim::symbol("n") } else { Dim::from(2) };
        let shape = |lengths: &[usize]| -> Vec<Dim> {
            [n.clone()].into_iter().chain(lengths.iter().map(|&length| Dim::from(length))).collect()
        };
        let map = Map::between(&shape(&[from]), &shape(&[to]));
        prop_assert_eq!(map, Some((from != to).then_some(Map::Product(from, to))));
        let map = Map::between(&shape(&[from, positions, 9]), &shape(&[to, positions, 9]));
        prop_assert_eq!(map, Some((from != to).then_some(Map::Convolution(from, to, 2))));
        prop_assert_eq!(Map::between(&shape(&[from, 3, 9]), &shape(&[to, 4, 9])), None);
        prop_assert_eq!(Map::between(&shape(&[from]), &shape(&[from, 1])), None);
    }
}
