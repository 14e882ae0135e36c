use lissom_graph::interpret;
use lissom_tensor::Tensor;

use super::*;
use crate::{Group, parameters};

fn build(name: &str, settings: &str, seed: u64) -> Model {
    let spec = ARCHITECTURES.iter().find(|spec| spec.name == name).unwrap();
    (spec.parse)(&Settings::from_toml("test", settings).unwrap()).unwrap().build(seed).unwrap()
}

fn n_weights(model: &Model) -> usize {
    parameters(&model.graph).iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum()
}

const SMALL: &[(&str, &str, &[usize])] = &[
    ("mlp", "shape = [1, 4, 4]\nhidden = [8]\nclasses = 3", &[2, 1, 4, 4]),
    ("resnet20", "size = 8\nwidth = 4\nblocks = 1\nclasses = 3", &[2, 3, 8, 8]),
    ("resnet20", "size = 8\nwidth = 4\nblocks = 1\nclasses = 3\nshortcut = \"conv\"", &[2, 3, 8, 8]),
    ("mobilenet_v1", "size = 32\nwidth = 0.1\nclasses = 3", &[2, 3, 32, 32]),
    ("vision_transformer", "size = 8\nwidth = 8\ndepth = 1\nheads = 2\nclasses = 3", &[2, 3, 8, 8]),
    ("vision_transformer", "size = 8\nheight = 4\nwidth = 8\ndepth = 1\nheads = 2\nclasses = 3", &[2, 3, 4, 8]),
];

#[test]
fn every_example_parses_and_the_list_is_sorted() {
    for spec in ARCHITECTURES {
        (spec.parse)(&Settings::from_toml("test", spec.example).unwrap()).unwrap();
    }
    assert!(ARCHITECTURES.windows(2).all(|pair| pair[0].name < pair[1].name));
}

#[test]
fn every_architecture_runs_and_repeats_by_its_seed() {
    for (name, settings, shape) in SMALL {
        let model = build(name, settings, 1);
        let len = shape.iter().product::<usize>();
        let x = Tensor::new(*shape, (0..len).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect::<Vec<f32>>()).unwrap();
        let scores = interpret(&model.graph, std::slice::from_ref(&x)).unwrap().remove(0);
        assert_eq!(scores.shape(), [2, 3], "{name}");
        assert!(scores.to_f64_vec().unwrap().iter().all(|score| score.is_finite()), "{name}");
        let again = |seed| interpret(&build(name, settings, seed).graph, std::slice::from_ref(&x)).unwrap().remove(0);
        assert_eq!(again(1), scores, "{name}");
        assert_ne!(again(2), scores, "{name}");
    }
}

/// He et al., table 6: 0.27 million; Howard et al., table 4: 4.2 million.
#[test]
fn published_networks_have_their_published_sizes() {
    assert_eq!(n_weights(&build("resnet20", "", 0)), 269_722);
    assert_eq!(n_weights(&build("mobilenet_v1", "", 0)), 4_231_976);
}

#[test]
fn parameters_have_their_groups() {
    let model = build("vision_transformer", SMALL[4].1, 0);
    let group = |name: &str| parameters(&model.graph).into_iter().find(|p| p.name == name).map(|p| p.group);
    for (name, expected) in [
        ("patches.weight", Group::Weight),
        ("patches.bias", Group::Bias),
        ("positions.weight", Group::Weight),
        ("block1.norm1.weight", Group::Norm),
        ("block1.attention.query.bias", Group::Bias),
        ("block1.linear2.weight", Group::Weight),
        ("classifier.bias", Group::Bias),
    ] {
        assert_eq!(group(name), Some(expected), "{name}");
    }
    assert_eq!(group("block1.attention.factor"), None);
}
