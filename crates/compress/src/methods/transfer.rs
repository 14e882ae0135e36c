//! Transfer of a (sparse) network to another task: a new classifier, and either that alone learns or everything does, under the mask as it is.
//!
//! `mode = "linear"` trains the last layer on features that stay as they are: norms keep their statistics, nothing is dropped. `mode = "full"` trains all
//! of the network, norms with the batch's statistics; weights that are zero stay zero. `head = { classes = N }` puts a new last layer for N classes in
//! place of the old one, dense, with weights drawn from ±1/√inputs and biases of zero, and the result is then compared with nothing: it answers
//! another question. Published for linear: rate 0.01 with momentum 0.9 and weight decay 5e-4, batches of 64, 150 epochs, a tenth of the rate after each 50; for
//! full the same, with rate 0.01 or 0.001 by data set, on random crops and mirrored images.

use lissom_graph::{Model, Node, ValueId, infer};
use lissom_recipe::{LayerFilter, Settings, SettingsError};
use lissom_tensor::{Tensor, Weight};
use lissom_train::Stream;
use serde::Deserialize;

use super::fine_tune;
use crate::{Changes, Job, Method, MethodError, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "transfer",
    summary: "train for another task with a new classifier: it alone, or everything but the zeros",
    source: "Iofinova et al., CVPR 2022, arXiv:2111.13445",
    example: "mode = \"linear\"\nhead = { classes = 10 }",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        let transfer: Transfer = settings.parse()?;
        if transfer.head.is_some_and(|head| head.classes < 2) {
            return Err(settings.error_at("head", "needs at least 2 classes"));
        }
        Ok(Box::new(transfer))
    },
};

/// Settings of `transfer`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    mode: Mode,
    head: Option<Head>,
    /// Read by the recipe; named here so that it is no unknown key.
    #[serde(default, rename = "layers")]
    _layers: LayerFilter,
}

/// What learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Linear,
    Full,
}

/// A new last layer.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    classes: usize,
}

impl Method for Transfer {
    fn is_training(&self) -> bool {
        true
    }

    fn is_other_task(&self) -> bool {
        self.head.is_some()
    }

    fn apply(&self, model: &mut Model, job: &Job<'_>) -> Result<Changes, MethodError> {
        let note = self.head.map(|head| replace_head(model, head.classes, job.seed)).transpose()?;
        let is_linear = self.mode == Mode::Linear;
        let mut changes = fine_tune::train(SPEC.name, (!is_linear, is_linear), model, job)?;
        changes.notes.extend(note);
        Ok(changes)
    }
}

/// Operators between the last layer and the scores that leave each sample's classes side by side.
const FOLLOWERS: &[&str] = &["Add", "Flatten", "Identity", "LogSoftmax", "Softmax", "Squeeze"];

/// Puts a new last layer for this many classes in place of the old one; says so.
fn replace_head(model: &mut Model, classes: usize, seed: u64) -> Result<String, MethodError> {
    /// Draws numbers that dropout and noise, which count from 1, do not.
    const STREAM: u64 = 0x6865_6164;
    let graph = &mut model.graph;
    let nothing = || MethodError::NothingToDo { method: SPEC.name, reason: "the network has no layer".into() };
    let last = graph.layers().into_iter().last().ok_or_else(nothing)?;
    let refused = |reason: &str| MethodError::Layer { layer: last.name.clone(), reason: reason.into() };
    let old = graph.dense_constant(last.weight).ok_or_else(|| refused("the last layer is quantized"))?;
    let (mut shape, before) = (old.shape().to_vec(), old.shape().get(last.axes.c_out).copied().unwrap_or(0));
    if last.axes.groups != 1 {
        return Err(refused("the last layer has groups of channels"));
    }
    // What lies behind it, up to the scores.
    let (mut values, mut biases) = (vec![last.output], Vec::from_iter(last.bias));
    while graph.outputs().first() != values.last() {
        let value = values.last().copied().unwrap_or(last.output);
        let users: Vec<&Node> = graph.nodes().iter().filter(|node| node.inputs.contains(&Some(value))).collect();
        let [node] = users[..] else { return Err(refused("the network's first output is not what it leads to")) };
        let Some(output) = node.output().filter(|_| FOLLOWERS.contains(&node.op_type.as_str())) else {
            return Err(refused("something follows it that a new classifier would not fit"));
        };
        if node.op_type == "Add" {
            biases.extend(node.inputs.iter().flatten().filter(|id| **id != value).copied());
        }
        values.push(output);
    }
    shape[last.axes.c_out] = classes;
    let len: usize = shape.iter().product();
    let bound = 1.0 / ((len / classes).max(1) as f64).sqrt();
    let stream = Stream::new(seed, 0, STREAM);
    let drawn: Vec<f32> = (0..len as u64).map(|i| (bound * (2.0 * stream.uniform(i) - 1.0)) as f32).collect();
    for bias in biases {
        let shape = bias_shape(graph.dense_constant(bias), before, classes);
        let shape = shape.ok_or_else(|| refused("what is added to it is no constant with a number for each class"))?;
        graph.set_constant(bias, Weight::Dense(Tensor::new(shape.clone(), vec![0f32; shape.iter().product()])?));
    }
    graph.set_constant(last.weight, Weight::Dense(Tensor::new(shape, drawn)?));
    values.into_iter().for_each(|value: ValueId| graph.forget(value));
    infer(graph)?;
    Ok(format!("layer `{}` is new: {classes} classes in place of {before}", last.name))
}

/// The shape of a bias for another number of classes, if it is one.
fn bias_shape(bias: Option<&Tensor>, before: usize, classes: usize) -> Option<Vec<usize>> {
    let shape = bias?.shape();
    let is_vector = shape.iter().product::<usize>() == before && shape.contains(&before);
    is_vector.then(|| shape.iter().map(|&length| if length == before { classes } else { length }).collect())
}

#[cfg(test)]
mod tests {
    use super::super::training_tests::perceptron;
    use super::*;

    #[test]
    fn a_new_head_has_its_classes_and_the_rest_stays() {
        let (before, mut model) = (perceptron(), perceptron());
        let note = replace_head(&mut model, 5, 1).unwrap();
        assert!(note.contains("5 classes in place of 3"), "{note}");
        let layers = model.graph.layers();
        let weight = |model: &Model, index: usize| {
            model.graph.dense_constant(model.graph.layers()[index].weight).cloned().unwrap()
        };
        assert_eq!(weight(&model, 0), weight(&before, 0));
        let head = weight(&model, 1);
        assert_eq!((head.len(), head.shape()[layers[1].axes.c_out]), (5 * 16, 5));
        let largest = head.to_f32_vec().unwrap().into_iter().fold(0f32, |most, w| most.max(w.abs()));
        assert!((0.15..=0.25).contains(&largest), "{largest}: at most 1/√16");
        let output = model.graph.value(model.graph.outputs()[0]);
        assert_eq!(output.fact.shape.as_ref().unwrap()[1].known(), Some(5));
        // The same seed, the same head.
        let mut again = perceptron();
        replace_head(&mut again, 5, 1).unwrap();
        assert_eq!(weight(&again, 1), head);
    }
}
