//! The gradient of a graph is a graph: walking backwards, each node's vector-Jacobian product becomes nodes.

use std::collections::{BTreeMap, HashSet};

use lissom_graph::{
    Attributes, Dim, Fact, Facts, Graph, NoGradient, Node, OpError, Operators, Patch, ValueId, VerifyError, Vjp,
};
use lissom_tensor::{DType, Weight};
use serde::Deserialize;

use crate::nodes::floats;

/// What is to be differentiated, by what.
#[derive(Debug, Clone, Copy)]
pub struct Differentiation<'a> {
    /// The graph, with facts inferred.
    pub graph: &'a Graph,
    /// The operators gradients may be made of.
    pub operators: &'a Operators,
    /// A value of one element.
    pub loss: ValueId,
    /// The values whose gradients are asked for: inputs, constants or what nodes make.
    pub wanted: &'a [ValueId],
    /// What to do at a node whose operator has no gradient.
    pub missing: Missing,
    /// Values that the backward pass sees in place of others, which must be of the same type and shape.
    pub backward: &'a BTreeMap<ValueId, ValueId>,
}

/// What to do at a node whose operator has no gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// An error names the node.
    #[default]
    Refuse,
    /// Its inputs count as constants: what lies below it is frozen.
    Freeze,
}

/// Gradients, as values of the patch.
#[derive(Debug, Clone, Default)]
pub struct Gradients {
    /// In the order of [`Differentiation::wanted`]; `None` where the loss does not depend on the value: zero.
    pub of: Vec<Option<ValueId>>,
    /// Nodes without gradient, with their operators, below which nothing was differentiated.
    pub frozen: Vec<(String, String)>,
}

/// Why a graph could not be differentiated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum GradientError {
    #[error("node `{node}`: the operator `{op}` has no gradient")]
    NoGradient { node: String, op: String },
    #[error("`{value}` cannot be a loss: it is {fact}, not one number of a float type")]
    NotScalar { value: String, fact: String },
    #[error(transparent)]
    Operator(#[from] OpError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

impl GradientError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoGradient { .. } => {
                Some("`missing_gradient = \"freeze\"` in `[train]` keeps the layers below it as they are")
            }
            _ => None,
        }
    }
}

/// Adds the nodes of the gradients to `patch`.
///
/// # Errors
/// [`GradientError::NoGradient`] for a node between the loss and a wanted value, unless such nodes freeze what is below;
/// [`GradientError::NotScalar`].
pub fn differentiate(request: &Differentiation<'_>, patch: &mut Patch) -> Result<Gradients, GradientError> {
    let mut walk = Walk { request, gradients: BTreeMap::new(), frozen: Vec::new() };
    let leads = leads_to(request.graph, request.wanted);
    walk.gradients.insert(request.loss, vec![walk.seed(patch)?]);
    for node in request.graph.nodes().iter().rev() {
        let is_asked = node.uses().any(|used| leads[used.index()]);
        if is_asked && node.outputs.iter().flatten().any(|output| walk.gradients.contains_key(output)) {
            walk.node(node, &leads, patch)?;
        }
    }
    let of = request.wanted.iter().map(|&wanted| walk.gradient(wanted, patch)).collect::<Result<_, _>>()?;
    Ok(Gradients { of, frozen: walk.frozen })
}

/// For each value whether it depends on one of `wanted`.
fn leads_to(graph: &Graph, wanted: &[ValueId]) -> Vec<bool> {
    let mut leads = vec![false; graph.values().len()];
    wanted.iter().for_each(|wanted| leads[wanted.index()] = true);
    for node in graph.nodes() {
        if node.uses().any(|used| leads[used.index()]) {
            node.outputs.iter().flatten().for_each(|output| leads[output.index()] = true);
        }
    }
    leads
}

struct Walk<'a> {
    request: &'a Differentiation<'a>,
    /// The parts of each value's gradient, one from each use met so far.
    gradients: BTreeMap<ValueId, Vec<ValueId>>,
    frozen: Vec<(String, String)>,
}

impl Walk<'_> {
    /// 1, shaped as the loss.
    fn seed(&self, patch: &mut Patch) -> Result<ValueId, GradientError> {
        let value = self.request.graph.value(self.request.loss);
        let refused = || GradientError::NotScalar { value: value.name.clone(), fact: value.fact.to_string() };
        let shape = value.fact.shape.as_ref().ok_or_else(refused)?;
        if shape.iter().any(|length| *length != Dim::Known(1)) {
            return Err(refused());
        }
        let dtype = value.fact.dtype.unwrap_or(DType::F32);
        let one = floats(dtype, &vec![1; shape.len()], &[1.0]).map_err(|_| refused())?;
        Ok(patch.constant("loss_gradient", Weight::Dense(one)))
    }

    /// The whole gradient of a value, all of whose users have been met.
    fn gradient(&mut self, value: ValueId, patch: &mut Patch) -> Result<Option<ValueId>, GradientError> {
        let Some(parts) = self.gradients.get_mut(&value) else { return Ok(None) };
        while let [first, second, ..] = parts[..] {
            let name = format!("{}_gradient", self.request.graph.value(value).name);
            let pair = [Some(first), Some(second)];
            let sum = patch.node(self.request.operators, "Add", &name, &pair, Attributes::new())?;
            parts.splice(..2, [sum]);
        }
        Ok(parts.first().copied())
    }

    fn node(&mut self, node: &Node, leads: &[bool], patch: &mut Patch) -> Result<(), GradientError> {
        let mut output_gradients = Vec::with_capacity(node.outputs.len());
        for output in &node.outputs {
            output_gradients.push(match output {
                Some(output) => self.gradient(*output, patch)?,
                None => None,
            });
        }
        let graph = self.request.graph;
        let facts: Vec<Option<&Fact>> = node.inputs.iter().map(|id| id.map(|id| &graph.value(id).fact)).collect();
        let seen = |input: &Option<ValueId>| input.map(|id| *self.request.backward.get(&id).unwrap_or(&id));
        let inputs: Vec<Option<ValueId>> = node.inputs.iter().map(seen).collect();
        let made = node.op.vjp(&mut Vjp {
            patch,
            operators: self.request.operators,
            inputs: &inputs,
            facts: Facts(&facts),
            outputs: &node.outputs,
            output_gradients: &output_gradients,
        });
        // What subgraphs capture has no gradient.
        let captures = node.captures.iter().any(|captured| leads[captured.index()]);
        let gradients = match made {
            Ok(gradients) if !captures => gradients,
            Ok(_) | Err(NoGradient) => {
                let (node, op) = (node.name.clone(), node.op_type.clone());
                if self.request.missing == Missing::Refuse {
                    return Err(GradientError::NoGradient { node, op });
                }
                self.frozen.push((node, op));
                return Ok(());
            }
        };
        for (input, gradient) in node.inputs.iter().zip(gradients) {
            if let (Some(input), Some(gradient)) = (input, gradient)
                && leads[input.index()]
            {
                self.gradients.entry(*input).or_default().push(gradient);
            }
        }
        Ok(())
    }
}

/// Names of a graph's nodes: what is forward once more nodes have joined.
pub(crate) fn node_names(graph: &Graph) -> HashSet<String> {
    graph.nodes().iter().map(|node| node.name.clone()).collect()
}
