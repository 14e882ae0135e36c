//! Types and shapes of all values from those of the inputs.

use lissom_tensor::Tensor;

use crate::read::MAX_RANK;
use crate::{Fact, Facts, Graph, Inputs, KnownValue, LoadError, Node, OpError};

/// Values up to this many elements are computed while inferring when everything they depend on is known: shape
/// arithmetic is tiny, and anything larger is left to the pass that folds constants.
const MAX_INFERRED_ELEMENTS: usize = 4096;

/// All values computed while inferring together: a long chain of small ones adds up.
const MAX_INFERRED_BYTES: u64 = 64 << 20;
/// Lengths a fact may hold as a value: joining a list with itself doubles it with every node.
const MAX_DIMS: usize = 4096;

/// Infers the facts of all values, in place, from the facts of inputs and constants.
///
/// # Errors
/// [`LoadError::Operator`] with the first node no run of which can succeed.
pub fn infer(graph: &mut Graph) -> Result<(), LoadError> {
    let facts = infer_facts(graph, &[])?;
    for (value, fact) in graph.values.iter_mut().zip(facts) {
        value.fact = fact;
    }
    Ok(())
}

/// The facts of all values (indexed by [`ValueId::index`](crate::ValueId::index)) when the inputs have these facts, e.g.
/// shapes of numbers. Captures, and whatever else no node makes, keep what the graph says of them.
///
/// # Errors
/// As [`infer`].
pub fn infer_with_inputs(graph: &Graph, inputs: &[Fact]) -> Result<Vec<Fact>, LoadError> {
    infer_facts(graph, inputs)
}

fn infer_facts(graph: &Graph, inputs: &[Fact]) -> Result<Vec<Fact>, LoadError> {
    let mut facts: Vec<Fact> = graph.values.iter().map(|value| value.fact.clone()).collect();
    for (&id, fact) in graph.inputs.iter().zip(inputs) {
        facts[id.index()] = fact.clone();
    }
    let mut left_bytes = MAX_INFERRED_BYTES;
    for node in &graph.nodes {
        let refused = |source| LoadError::Operator { node: node.name.clone(), op: node.op_type.clone(), source };
        let mut outputs = infer_node(node, &facts, left_bytes > 0).map_err(refused)?;
        for fact in &mut outputs {
            if fact.rank().is_some_and(|rank| rank > MAX_RANK) {
                return Err(refused(OpError::value(format!("an output has more than {MAX_RANK} axes"))));
            }
            limit_value(fact, &mut left_bytes);
        }
        for (id, fact) in node.outputs.iter().zip(outputs) {
            if let Some(id) = id {
                // What the file declares of a value fills in what inference cannot know.
                facts[id.index()] = match (&graph.value(*id).declared, inputs.is_empty()) {
                    (Some(declared), true) => fact.merged(&crate::read::declared_fact(declared)).simplified(),
                    _ => fact.simplified(),
                };
            }
        }
    }
    Ok(facts)
}

/// Forgets a computed value once all together are too many. Larger tensors are constants of the file, held anyway.
fn limit_value(fact: &mut Fact, left_bytes: &mut u64) {
    let bytes = match &fact.value {
        Some(KnownValue::Tensor(tensor)) if is_light(tensor) => tensor.bits().div_ceil(8),
        Some(KnownValue::Dims(dims)) if dims.len() > MAX_DIMS => u64::MAX,
        Some(KnownValue::Dims(dims)) => 32 * dims.len() as u64,
        _ => return,
    };
    if bytes <= *left_bytes {
        *left_bytes -= bytes;
    } else {
        fact.value = None;
    }
}

fn infer_node(node: &Node, facts: &[Fact], may_compute: bool) -> Result<Vec<Fact>, OpError> {
    let inputs: Vec<Option<&Fact>> = node
        .inputs
        .iter()
        .map(|id| id.map(|id| &facts[id.index()]))
        .chain(node.captures.iter().map(|id| Some(&facts[id.index()])))
        .collect();
    let mut outputs = node.op.infer(&Facts(&inputs))?;
    outputs.resize(node.outputs.len(), Fact::unknown());
    if may_compute
        && node.op.is_deterministic()
        && node.attributes.graphs().next().is_none()
        && outputs.iter().all(|fact| fact.tensor().is_none() && is_small(fact))
        && let Some(tensors) = known_tensors(&inputs)
        && let Ok(values) = node.op.evaluate(&Inputs(&tensors))
        && values.iter().all(is_light)
    {
        for (fact, value) in outputs.iter_mut().zip(&values) {
            *fact = Fact::constant(value);
        }
    }
    Ok(outputs)
}

fn is_small(fact: &Fact) -> bool {
    fact.known_shape()
        .and_then(|shape| shape.iter().try_fold(1usize, |len, &dim| len.checked_mul(dim)))
        .is_some_and(|len| len <= MAX_INFERRED_ELEMENTS)
}

/// Strings and sequences may be large whatever their number.
fn is_light(tensor: &Tensor) -> bool {
    tensor.len() <= MAX_INFERRED_ELEMENTS && tensor.bits() <= 128 * MAX_INFERRED_ELEMENTS as u64
}

fn known_tensors<'a>(inputs: &[Option<&'a Fact>]) -> Option<Vec<Option<&'a Tensor>>> {
    inputs
        .iter()
        .map(|fact| match fact {
            None => Some(None),
            Some(Fact { value: Some(KnownValue::Tensor(tensor)), .. }) if is_light(tensor) => Some(Some(tensor)),
            Some(_) => None,
        })
        .collect()
}
