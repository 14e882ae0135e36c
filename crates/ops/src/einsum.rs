//! `Einsum`: sums of products over named axes.
//!
//! <https://onnx.ai/onnx/operators/onnx__Einsum.html>

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NoGradient, Op, OpError, OpSpec, Sample, Vjp};
use lissom_tensor::{DType, Strided, Tensor, checked_len, strides};

use crate::expression::Expr;
use crate::gradient::{Gradients, of_output, optional_x, x};
use crate::numeric::{from_f64, from_i64, is_wide_float};
use crate::sample_data::{filled, ramp};

pub(crate) const OP: OpSpec = OpSpec {
    name: "Einsum",
    domain: "",
    since: 12,
    read: |node| {
        let text = node.string("equation")?.ok_or_else(|| OpError::attribute("equation", "is required"))?;
        Ok(Arc::new(Einsum { equation: Equation::parse(&text)? }))
    },
    samples: || {
        let sample = |inputs: Vec<Tensor>, equation: &str| Sample::new(inputs).with("equation", equation);
        vec![
            sample(vec![ramp(&[2, 3]), ramp(&[3, 4])], "ij,jk->ik"),
            sample(vec![ramp(&[5, 2, 3]), ramp(&[3, 4])], "...ij,jk"),
            sample(vec![ramp(&[2, 3, 3])], "bii->bi"),
            sample(vec![ramp(&[2, 3]), ramp(&[2, 4]), ramp(&[5])], "bi,bj,k->jb"),
            sample(vec![ramp(&[3, 4])], "ij->"),
            sample(vec![filled(&[2], vec![3i32, 4]), filled(&[2], vec![5i32, 6])], "i,i"),
        ]
    },
};

/// An axis of a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// A letter.
    Named(char),
    /// One of the axes an ellipsis stands for, counted from the last.
    Ellipsis(usize),
}

/// One term: letters, and where among them the ellipsis stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// The letters in order.
    pub letters: Vec<char>,
    /// Letters before the ellipsis, if there is one.
    pub ellipsis: Option<usize>,
}

/// `ij,jk->ik`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equation {
    /// One term an input.
    pub inputs: Vec<Term>,
    /// The output's term; if left out, the letters that come once, in order, after the ellipsis.
    pub output: Option<Term>,
}

impl Equation {
    fn parse(text: &str) -> Result<Self, OpError> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text.as_str(), None),
        };
        let inputs = left.split(',').map(Term::parse).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { inputs, output: right.map(Term::parse).transpose()? })
    }

    /// The axes of each input and of the output, for inputs of these ranks.
    fn labels(&self, ranks: &[usize]) -> Result<(Vec<Vec<Label>>, Vec<Label>), OpError> {
        if ranks.len() != self.inputs.len() {
            return Err(OpError::value(format!("{} terms for {} inputs", self.inputs.len(), ranks.len())));
        }
        let mut longest = 0;
        for (term, &rank) in self.inputs.iter().zip(ranks) {
            let rest = rank.checked_sub(term.letters.len());
            match (rest, term.ellipsis) {
                (Some(rest), Some(_)) => longest = longest.max(rest),
                (Some(0), None) => {}
                _ => return Err(OpError::value(format!("a term of {} letters for rank {rank}", term.letters.len()))),
            }
        }
        let inputs = self.inputs.iter().zip(ranks);
        let inputs: Vec<Vec<Label>> =
            inputs.map(|(term, &rank)| term.expanded(rank.saturating_sub(term.letters.len()))).collect();
        let output = match &self.output {
            Some(term) => term.expanded(longest),
            None => {
                let all = || self.inputs.iter().flat_map(|term| &term.letters);
                let mut once: Vec<char> = all().copied().filter(|c| all().filter(|d| *d == c).count() == 1).collect();
                once.sort_unstable();
                Term { letters: once, ellipsis: Some(0) }.expanded(longest)
            }
        };
        for (i, label) in output.iter().enumerate() {
            if output[..i].contains(label) || !inputs.iter().flatten().any(|other| other == label) {
                return Err(OpError::value(format!("output axis {label:?} comes twice, or in no input")));
            }
        }
        Ok((inputs, output))
    }
}

impl Term {
    fn parse(text: &str) -> Result<Self, OpError> {
        let bad = || OpError::attribute("equation", format!("the term `{text}` is not letters and one ellipsis"));
        let (before, after) = match text.split_once("...") {
            Some((before, after)) => (before, Some(after)),
            None => (text, None),
        };
        let letters: Vec<char> = before.chars().chain(after.unwrap_or("").chars()).collect();
        if !letters.iter().all(char::is_ascii_alphabetic) {
            return Err(bad());
        }
        Ok(Self { letters, ellipsis: after.map(|_| before.chars().count()) })
    }

    fn expanded(&self, n_ellipsis: usize) -> Vec<Label> {
        let mut labels: Vec<Label> = self.letters.iter().map(|&letter| Label::Named(letter)).collect();
        if let Some(at) = self.ellipsis {
            labels.splice(at..at, (0..n_ellipsis).rev().map(Label::Ellipsis));
        }
        labels
    }
}

/// `Einsum`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Einsum {
    /// What is computed.
    pub equation: Equation,
}

/// The gradient of input `index`: the product of that of the output and of the other inputs, summed over what the input does
/// not have, and spread over what it alone has.
fn gradient(vjp: &Vjp<'_>, dy: Expr, terms: &[Vec<Label>], output: &[Label], index: usize) -> Result<Expr, NoGradient> {
    let others: Vec<usize> = (0..terms.len()).filter(|&other| other != index).collect();
    let own = &terms[index];
    let is_known = |label: &Label| output.contains(label) || others.iter().any(|&other| terms[other].contains(label));
    let (kept, spread): (Vec<Label>, Vec<Label>) = own.iter().partition(|&label| is_known(label));
    let letters = |labels: &[Label]| labels.iter().map(|label| letter(*label, terms)).collect::<Option<String>>();
    let product = if others.is_empty() && kept == output {
        dy
    } else {
        let left = [output].into_iter().chain(others.iter().map(|&other| &terms[other][..]));
        let left: Option<Vec<String>> = left.map(letters).collect();
        let equation = format!("{}->{}", left.ok_or(NoGradient)?.join(","), letters(&kept).ok_or(NoGradient)?);
        let mut inputs = vec![Some(dy)];
        inputs.extend(others.iter().map(|&other| optional_x(vjp, other)));
        Expr::optional("", "Einsum", inputs).with("equation", equation)
    };
    if spread.is_empty() {
        return Ok(product);
    }
    let axes: Vec<i64> = (0..).zip(own).filter(|(_, label)| spread.contains(label)).map(|(axis, _)| axis).collect();
    Ok(product.unsqueeze(axes).expand_like(&x(vjp, index)?))
}

/// A letter for a label; axes of an ellipsis get letters that no term has.
fn letter(label: Label, terms: &[Vec<Label>]) -> Option<char> {
    match label {
        Label::Named(letter) => Some(letter),
        Label::Ellipsis(axis) => {
            let is_free = |letter: &char| !terms.iter().flatten().any(|label| *label == Label::Named(*letter));
            ('A'..='Z').chain('a'..='z').filter(is_free).nth(axis)
        }
    }
}

impl Op for Einsum {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = (0..inputs.len()).find_map(|index| inputs.dtype(index));
        let shapes: Option<Vec<&[Dim]>> = (0..inputs.len()).map(|index| inputs.shape(index)).collect();
        let Some(shapes) = shapes.filter(|shapes| !shapes.is_empty()) else {
            return Ok(vec![Fact::maybe(dtype, None)]);
        };
        let ranks: Vec<usize> = shapes.iter().map(|shape| shape.len()).collect();
        let (terms, output) = self.equation.labels(&ranks)?;
        let length = |label: &Label| -> Result<Dim, OpError> {
            let mut joined = Dim::Known(1);
            for (term, shape) in terms.iter().zip(&shapes) {
                for (_, dim) in term.iter().zip(*shape).filter(|(own, _)| *own == label) {
                    let both = joined.broadcast(dim);
                    joined = both.ok_or_else(|| OpError::value(format!("axis {label:?} is {joined} and {dim}")))?;
                }
            }
            Ok(joined)
        };
        Ok(vec![Fact::maybe(dtype, Some(output.iter().map(length).collect::<Result<_, _>>()?))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let tensors = inputs.all()?;
        let first = *tensors.first().ok_or(OpError::MissingInput { index: 0 })?;
        if let Some((index, other)) = tensors.iter().enumerate().find(|(_, x)| x.dtype() != first.dtype()) {
            return Err(OpError::TypeMismatch { index, expected: first.dtype(), actual: other.dtype() });
        }
        let sums = Sums::new(&self.equation, &tensors)?;
        if is_wide_float(first.dtype()) {
            let values = tensors.iter().map(|x| x.to_f64_vec()).collect::<Result<Vec<_>, _>>()?;
            let out = sums.run(&values, 0.0, 1.0, |a, b| a + b, |a, b| a * b);
            return Ok(vec![from_f64(first.dtype(), sums.shape, out)?]);
        }
        if !first.dtype().is_int() {
            return Err(OpError::UnsupportedType { index: 0, actual: first.dtype() });
        }
        let values = tensors.iter().map(|x| x.to_i64_vec()).collect::<Result<Vec<_>, _>>()?;
        let out = sums.run(&values, 0, 1, i64::wrapping_add, i64::wrapping_mul);
        Ok(vec![from_i64(first.dtype(), sums.shape, out)?])
    }

    fn vjp(&self, vjp: &mut Vjp<'_>) -> Gradients {
        let shapes: Option<Vec<&[Dim]>> = (0..vjp.inputs.len()).map(|index| vjp.facts.shape(index)).collect();
        let shapes = shapes.ok_or(NoGradient)?;
        let ranks: Vec<usize> = shapes.iter().map(|shape| shape.len()).collect();
        let (terms, output) = self.equation.labels(&ranks).map_err(|_| NoGradient)?;
        // A letter twice in a term (a diagonal), and lengths that broadcast, are left out.
        let mut lengths: BTreeMap<Label, &Dim> = BTreeMap::new();
        for (term, shape) in terms.iter().zip(&shapes) {
            for (at, (label, dim)) in term.iter().zip(*shape).enumerate() {
                let broadcasts = matches!(label, Label::Ellipsis(_)) && *lengths.entry(*label).or_insert(dim) != dim;
                if broadcasts || term[..at].contains(label) {
                    return Err(NoGradient);
                }
            }
        }
        of_output(vjp, |vjp, dy| {
            (0..terms.len()).map(|index| Ok(Some(gradient(vjp, dy.clone(), &terms, &output, index)?))).collect()
        })
    }
}

/// The loops of an equation over tensors of known shapes.
struct Sums {
    shape: Vec<usize>,
    /// Lengths of the output's axes, then of the summed ones.
    lengths: Vec<usize>,
    /// For each input, its step along each of `lengths`.
    steps: Vec<Vec<isize>>,
    /// Products in each sum.
    n_terms: usize,
}

impl Sums {
    fn new(equation: &Equation, tensors: &[&Tensor]) -> Result<Self, OpError> {
        let ranks: Vec<usize> = tensors.iter().map(|x| x.rank()).collect();
        let (terms, output) = equation.labels(&ranks)?;
        let mut labels = output.clone();
        for &label in terms.iter().flatten() {
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        let mut lengths = vec![1; labels.len()];
        for (index, (term, x)) in terms.iter().zip(tensors).enumerate() {
            for (label, &length) in term.iter().zip(x.shape()) {
                let joined = labels.iter().position(|other| other == label).map(|at| &mut lengths[at]);
                match joined {
                    Some(joined) if *joined == 1 => *joined = length,
                    Some(joined) if length != 1 && length != *joined => {
                        let reason = format!("axis {label:?} is {length} here and {joined} elsewhere");
                        return Err(OpError::shape(index, x.shape(), reason));
                    }
                    _ => {}
                }
            }
        }
        let shape = lengths[..output.len()].to_vec();
        checked_len(DType::F64, &shape)?;
        let summed = lengths[output.len()..].iter().try_fold(1usize, |n, &length| n.checked_mul(length));
        let n_terms = summed.ok_or_else(|| OpError::value("the sums are too long"))?;
        let steps = if lengths.contains(&0) {
            Vec::new()
        } else {
            let steps = terms.iter().zip(tensors).map(|(term, x)| {
                let own = strides(x.shape());
                let step = |label: &Label| {
                    let axes = term.iter().enumerate().filter(|(axis, other)| *other == label && x.shape()[*axis] != 1);
                    axes.map(|(axis, _)| own[axis] as isize).sum()
                };
                labels.iter().map(step).collect()
            });
            steps.collect()
        };
        Ok(Self { shape, lengths, steps, n_terms })
    }

    fn run<T: Copy>(
        &self,
        values: &[Vec<T>],
        zero: T,
        one: T,
        add: impl Fn(T, T) -> T,
        multiply: impl Fn(T, T) -> T,
    ) -> Vec<T> {
        let len = if self.shape.contains(&0) { 0 } else { self.shape.iter().product() };
        let mut out = vec![zero; len];
        if self.steps.is_empty() {
            return out;
        }
        let walk = |steps: &Vec<isize>| Strided::new(self.lengths.clone(), steps.clone(), 0);
        let mut walks: Vec<Strided> = self.steps.iter().map(walk).collect();
        for sum in &mut out {
            for _ in 0..self.n_terms {
                let factors = walks.iter_mut().zip(values).filter_map(|(walk, values)| Some(values[walk.next()?]));
                *sum = add(*sum, factors.fold(one, &multiply));
            }
        }
        out
    }
}
