//! What a step says about itself.

use lissom_tensor::Tensor;

use crate::Step;

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Counted from 1.
    pub step: u64,
    /// Mean over the batch, at the weights before the step.
    pub loss: f64,
    /// The losses it is made of, if several.
    pub terms: Vec<(String, f64)>,
    /// How many are right, if there are targets to tell.
    pub correct: Option<u64>,
    /// Of this step.
    pub learning_rate: f64,
    /// ‖g‖₂ of all gradients before clipping, if asked for or clipped.
    pub gradient_norm: Option<f64>,
    /// ‖g‖₁, if asked for.
    pub gradient_norm_l1: Option<f64>,
}

/// Numbers that come out of a step.
#[derive(Debug, Default)]
pub(crate) struct Report {
    numbers: Vec<(String, Tensor)>,
    terms: Vec<(String, Tensor)>,
}

impl Report {
    /// Buffers for what a step says of its batch.
    pub(crate) fn outputs<'a>(&'a mut self, step: &'a Step) -> Vec<(&'a str, &'a mut Tensor)> {
        let outputs = &step.outputs;
        let names = [
            ("loss", &outputs.loss),
            ("correct", &outputs.correct),
            ("gradient_norm", &outputs.gradient_norm),
            ("gradient_norm_l1", &outputs.gradient_norm_l1),
        ];
        let there: Vec<(&str, &str)> =
            names.iter().filter_map(|(what, name)| Some((*what, name.as_deref()?))).collect();
        self.numbers = there
            .iter()
            .map(|(what, _)| {
                let zero = if *what == "correct" { Tensor::scalar(0i64) } else { Tensor::scalar(0f32) };
                ((*what).to_owned(), zero)
            })
            .collect();
        self.terms = outputs.terms.iter().map(|(loss, _)| (loss.clone(), Tensor::scalar(0f32))).collect();
        let terms = outputs.terms.iter().map(|(_, name)| name.as_str()).zip(self.terms.iter_mut().map(|(_, t)| t));
        there.into_iter().map(|(_, name)| name).zip(self.numbers.iter_mut().map(|(_, t)| t)).chain(terms).collect()
    }

    /// The norms that an update gives, beside what is there already.
    pub(crate) fn norms<'a>(&'a mut self, step: &'a Step) -> Vec<(&'a str, &'a mut Tensor)> {
        let before = self.numbers.len();
        let names =
            [("gradient_norm", &step.outputs.gradient_norm), ("gradient_norm_l1", &step.outputs.gradient_norm_l1)];
        let there: Vec<(&str, &str)> =
            names.iter().filter_map(|(what, name)| Some((*what, name.as_deref()?))).collect();
        self.numbers.extend(there.iter().map(|(what, _)| ((*what).to_owned(), Tensor::scalar(0f32))));
        let new = self.numbers[before..].iter_mut().map(|(_, tensor)| tensor);
        there.into_iter().map(|(_, name)| name).zip(new).collect()
    }

    pub(crate) fn number(&self, what: &str) -> Option<f64> {
        self.numbers.iter().find(|(name, _)| name == what).and_then(|(_, tensor)| tensor.to_f64().ok())
    }

    pub(crate) fn progress(&self, step: u64, learning_rate: f64) -> Progress {
        let term = |(name, tensor): &(String, Tensor)| (name.clone(), tensor.to_f64().unwrap_or(f64::NAN));
        Progress {
            step,
            loss: self.number("loss").unwrap_or(f64::NAN),
            terms: self.terms.iter().map(term).collect(),
            correct: self.number("correct").map(|correct| correct as u64),
            learning_rate,
            gradient_norm: self.number("gradient_norm"),
            gradient_norm_l1: self.number("gradient_norm_l1"),
        }
    }
}
