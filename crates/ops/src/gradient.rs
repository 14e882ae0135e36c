//! Building blocks of vector-Jacobian products. Most are a formula for each input, over the gradient of the output, the
//! inputs and the outputs; some are found by writing the operator in simpler ones and differentiating those.
//!
//! Which operators have none: those whose outputs are no reals (comparisons, `ArgMax`, `Shape`, `Cast` to integers) are
//! never asked, since nothing flows into them; those that are constant between steps (`Round`, `Floor`, `Ceil`, `Sign`,
//! `Hardmax`) or look at the shape alone (`EyeLike`, `RandomNormalLike`) say so with [`constant_between_steps`]. Of the rest, `NoGradient` is an error that names the node.

use std::collections::{BTreeMap, HashMap};

use lissom_graph::{Dim, Fact, Facts, NoGradient, ValueId, Vjp};

use crate::IntList;
use crate::expression::{Emitter, Expr};

/// A gradient for each input, or `None`.
pub(crate) type Gradients = Result<Vec<Option<ValueId>>, NoGradient>;

/// The value of input `index`.
///
/// # Errors
/// [`NoGradient`] if it is left out.
pub(crate) fn x(vjp: &Vjp<'_>, index: usize) -> Result<Expr, NoGradient> {
    optional_x(vjp, index).ok_or(NoGradient)
}

/// The value of input `index`, if given.
pub(crate) fn optional_x(vjp: &Vjp<'_>, index: usize) -> Option<Expr> {
    vjp.inputs.get(index).copied().flatten().map(Expr::from)
}

/// The value of output `index`.
///
/// # Errors
/// [`NoGradient`] if nobody asked for it.
pub(crate) fn y(vjp: &Vjp<'_>, index: usize) -> Result<Expr, NoGradient> {
    vjp.outputs.get(index).copied().flatten().map(Expr::from).ok_or(NoGradient)
}

/// The gradient of output `index`, or `None` if it is zero.
pub(crate) fn dy(vjp: &Vjp<'_>, index: usize) -> Option<Expr> {
    vjp.output_gradients.get(index).copied().flatten().map(Expr::from)
}

/// Number of axes of input `index`.
///
/// # Errors
/// [`NoGradient`] if it is not known.
pub(crate) fn rank(vjp: &Vjp<'_>, index: usize) -> Result<usize, NoGradient> {
    vjp.facts.shape(index).map(<[Dim]>::len).ok_or(NoGradient)
}

/// All gradients are zero: the outputs do not change where the inputs change a little.
pub(crate) fn constant_between_steps(vjp: &Vjp<'_>) -> Gradients {
    Ok(vec![None; vjp.inputs.len()])
}

/// Formulas of the first inputs' gradients as nodes; the others have none.
///
/// # Errors
/// [`NoGradient`] if the opset at hand has no such operators.
pub(crate) fn emit(vjp: &mut Vjp<'_>, gradients: impl IntoIterator<Item = Option<Expr>>) -> Gradients {
    let n_inputs = vjp.inputs.len();
    let mut emitter = Emitter::new(vjp);
    let mut values = Vec::with_capacity(n_inputs);
    for gradient in gradients.into_iter().take(n_inputs) {
        // What nobody gave has no gradient.
        let gradient = gradient.filter(|_| emitter.vjp.inputs[values.len()].is_some());
        values.push(gradient.map(|gradient| emitter.emit(&gradient)).transpose()?);
    }
    values.resize(n_inputs, None);
    Ok(values)
}

/// The gradients of an operator whose only differentiable output is the first.
///
/// # Errors
/// As [`emit`], and what `formulas` refuses.
pub(crate) fn of_output(
    vjp: &mut Vjp<'_>,
    formulas: impl FnOnce(&Vjp<'_>, Expr) -> Result<Vec<Option<Expr>>, NoGradient>,
) -> Gradients {
    // What flows into another output must not be lost.
    if vjp.output_gradients.iter().skip(1).any(Option::is_some) {
        return Err(NoGradient);
    }
    let Some(gradient) = dy(vjp, 0) else { return Ok(vec![None; vjp.inputs.len()]) };
    let formulas = formulas(vjp, gradient)?;
    emit(vjp, formulas)
}

/// The gradient of an operator of one input, from those of its output, its input and its output.
///
/// # Errors
/// As [`of_output`].
pub(crate) fn of_one(vjp: &mut Vjp<'_>, formula: impl FnOnce(Expr, Expr, Expr) -> Expr) -> Gradients {
    of_output(vjp, |vjp, dy| Ok(vec![Some(formula(dy, x(vjp, 0)?, y(vjp, 0)?))]))
}

/// The gradient of an operator that only lays the elements of input 0 out in another shape.
///
/// # Errors
/// As [`of_output`].
pub(crate) fn of_reshape(vjp: &mut Vjp<'_>) -> Gradients {
    of_output(vjp, |vjp, dy| Ok(vec![Some(dy.reshape_like(&x(vjp, 0)?))]))
}

/// The gradients of an operator whose inputs broadcast: each formula is one of all elements, summed to its input.
///
/// # Errors
/// As [`of_output`].
pub(crate) fn of_broadcast(
    vjp: &mut Vjp<'_>,
    formulas: impl FnOnce(&Vjp<'_>, Expr) -> Result<Vec<Option<Expr>>, NoGradient>,
) -> Gradients {
    of_output(vjp, |vjp, dy| {
        let formulas = formulas(vjp, dy)?;
        let joined = broadcast_dims(&vjp.facts);
        let summed = |(index, formula): (usize, Option<Expr>)| {
            formula.map(|formula| sum_to(vjp, formula, joined.as_deref(), index)).transpose()
        };
        formulas.into_iter().enumerate().map(summed).collect()
    })
}

/// The lengths all inputs broadcast to, if known.
fn broadcast_dims(facts: &Facts<'_>) -> Option<Vec<Dim>> {
    crate::elementwise::infer_broadcast(facts).ok()?.shape
}

/// `gradient`, of a value of lengths `from`, summed over the axes along which input `index` was broadcast to it. Where
/// lengths do not say which axes these are, the run finds them.
///
/// # Errors
/// [`NoGradient`] if there is no such input.
pub(crate) fn sum_to(vjp: &Vjp<'_>, gradient: Expr, from: Option<&[Dim]>, index: usize) -> Result<Expr, NoGradient> {
    if let (Some(to), Some(from)) = (vjp.facts.shape(index), from)
        && let Some((leading, stretched)) = broadcast_axes(from, to)
    {
        return Ok(gradient.sum(leading, false).sum(stretched, true));
    }
    let own = x(vjp, index)?.shape();
    let axes = Expr::microsoft_outputs(
        "BroadcastGradientArgs",
        vec![Some(own.clone()), Some(gradient.shape())],
        lissom_graph::Attributes::new(),
        2,
    );
    let axes = axes.into_iter().next().ok_or(NoGradient)?;
    Ok(Expr::of("ReduceSum", [gradient, axes]).with("noop_with_empty_axes", 1i64).reshape(own))
}

/// The axes that `from` has in front of `to`, and, counted in `to`, those of length 1 that it stretches. `None` if symbols
/// leave that open.
fn broadcast_axes(from: &[Dim], to: &[Dim]) -> Option<(Vec<i64>, Vec<i64>)> {
    let extra = from.len().checked_sub(to.len())?;
    let mut stretched = Vec::new();
    for (axis, (own, joined)) in to.iter().zip(&from[extra..]).enumerate() {
        match own {
            _ if own == joined => {}
            Dim::Known(1) => stretched.push(axis as i64),
            _ => return None,
        }
    }
    Some(((0..extra as i64).collect(), stretched))
}

/// `x` with mean 0 and variance 1 over axes.
pub(crate) fn normalized(x: Expr, axes: &[i64], epsilon: f64) -> Expr {
    let centred = x.clone() - x.reduce("ReduceMean", axes, true);
    let variance = centred.squared().reduce("ReduceMean", axes, true);
    centred / (variance + epsilon).apply("Sqrt")
}

/// Shares of a gradient for those elements of `x` that are as large as the largest (or smallest) `y`, over `axes`.
pub(crate) fn shared_among_equal(dy: Expr, x: &Expr, y: Expr, axes: &[i64]) -> Expr {
    let is_chosen = Expr::from(1.0).when(&x.equal(y), 0.0);
    dy / is_chosen.clone().sum(axes, true) * is_chosen
}

/// A list of integers, from an attribute or an input.
pub(crate) fn list(vjp: &Vjp<'_>, list: &IntList) -> Option<Expr> {
    match list {
        IntList::Attribute(list) => list.clone().map(Expr::ints),
        IntList::Input(index) => optional_x(vjp, *index),
    }
}

/// The gradients of an operator written in simpler ones: `written` gives the outputs from the inputs. The forward nodes
/// come a second time, in the backward part.
///
/// # Errors
/// [`NoGradient`] if one of the simpler ones has none.
pub(crate) fn of_expansion(
    vjp: &mut Vjp<'_>,
    written: impl FnOnce(&Vjp<'_>) -> Result<Vec<Option<Expr>>, NoGradient>,
) -> Gradients {
    let mut outputs = written(vjp)?;
    outputs.resize(vjp.output_gradients.len(), None);
    let (inputs, output_gradients) = (vjp.inputs, vjp.output_gradients);
    let mut emitter = Emitter::new(vjp);
    let mut gradients: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for (output, gradient) in outputs.iter().zip(output_gradients) {
        let Some(gradient) = gradient else { continue };
        let value = emitter.emit(output.as_ref().ok_or(NoGradient)?)?;
        accumulate(&mut emitter, &mut gradients, value, *gradient)?;
    }
    let steps = std::mem::take(&mut emitter.steps);
    let facts = std::mem::take(&mut emitter.facts);
    for step in steps.iter().rev() {
        let output_gradients: Vec<Option<ValueId>> =
            step.outputs.iter().map(|output| gradients.get(output).copied()).collect();
        if output_gradients.iter().all(Option::is_none) {
            continue;
        }
        let found = step_gradients(&mut emitter, step, &facts, &output_gradients)?;
        for (input, gradient) in step.inputs.iter().zip(found) {
            if let (Some(input), Some(gradient)) = (input, gradient) {
                accumulate(&mut emitter, &mut gradients, *input, gradient)?;
            }
        }
    }
    // A value that is given twice gets its gradient once: whoever adds the two up has the whole.
    Ok(inputs.iter().map(|input| gradients.remove(&(*input)?)).collect())
}

fn step_gradients(
    emitter: &mut Emitter<'_, '_>,
    step: &crate::expression::Step,
    facts: &HashMap<ValueId, Fact>,
    output_gradients: &[Option<ValueId>],
) -> Gradients {
    let known: Vec<Option<&Fact>> = step.inputs.iter().map(|id| facts.get(&(*id)?)).collect();
    let outputs: Vec<Option<ValueId>> = step.outputs.iter().copied().map(Some).collect();
    step.op.vjp(&mut Vjp {
        patch: emitter.vjp.patch,
        operators: emitter.vjp.operators,
        inputs: &step.inputs,
        facts: Facts(&known),
        outputs: &outputs,
        output_gradients,
    })
}

/// Adds to the gradient of `value`.
fn accumulate(
    emitter: &mut Emitter<'_, '_>,
    gradients: &mut BTreeMap<ValueId, ValueId>,
    value: ValueId,
    gradient: ValueId,
) -> Result<(), NoGradient> {
    let total = match gradients.get(&value) {
        Some(&other) => emitter.emit(&(Expr::from(other) + Expr::from(gradient)))?,
        None => gradient,
    };
    gradients.insert(value, total);
    Ok(())
}
