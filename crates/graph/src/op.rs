//! What a node does.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use lissom_tensor::{DType, Tensor};

use crate::{Attribute, Dim, Fact, Graph, Node, NodeReader, OpError, Patch, ValueId};

/// An operator with its attributes, read and checked. Every operator has a plain [`evaluate`](Self::evaluate), obviously
/// right; the engine has faster forms for some and is held to this one.
pub trait Op: fmt::Debug + Send + Sync + 'static {
    /// For the engine and the passes, which recognise a few operators by their Rust type.
    fn as_any(&self) -> &dyn Any;

    /// Facts of the outputs from facts of the inputs. What cannot be known yet is unknown; what can never work is an
    /// error. Never depends on anything but the facts, and never allocates in proportion to a shape.
    ///
    /// # Errors
    /// [`OpError`] if no run with such inputs can succeed.
    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError>;

    /// The outputs. Captured values of subgraphs follow the node's own inputs.
    ///
    /// # Errors
    /// [`OpError`] if the inputs do not fit. Never panics, whatever they hold.
    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError>;

    /// False if the same inputs can give other outputs (random numbers): such a node is never folded away.
    fn is_deterministic(&self) -> bool {
        true
    }

    /// Which input is a weight and what its axes mean, if this is a linear layer.
    fn weight_axes(&self, _inputs: &Facts<'_>) -> Option<WeightAxes> {
        None
    }

    /// Multiply-accumulate operations at these shapes; 0 for operators that are not products.
    fn macs(&self, _inputs: &[Option<Vec<usize>>], _outputs: &[Vec<usize>]) -> u64 {
        0
    }

    /// How many of its first outputs a node must have so that [`vjp`](Self::vjp) can read what the forward run saved: a
    /// mask, statistics, positions. Who differentiates gives the node as many first.
    fn saved_outputs(&self) -> usize {
        0
    }

    /// The vector-Jacobian product, as nodes added to `vjp`: for each input the value that holds its gradient, or
    /// `None` where the gradient is zero or the input is not differentiable. Nobody asks where no output has a gradient,
    /// so operators whose outputs are no reals (comparisons, positions, shapes) need none; those that are constant
    /// between steps (`Round`, `Sign`) have the gradient zero.
    ///
    /// # Errors
    /// [`NoGradient`] if the operator has none (the default).
    fn vjp(&self, _vjp: &mut Vjp<'_>) -> Result<Vec<Option<ValueId>>, NoGradient> {
        Err(NoGradient)
    }
}

/// The operator has no gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operator has no gradient")]
pub struct NoGradient;

/// What an operator's vector-Jacobian product is made from.
#[derive(Debug)]
pub struct Vjp<'a> {
    /// Where the new nodes go.
    pub patch: &'a mut Patch,
    /// The operators new nodes may be of.
    pub operators: &'a Operators,
    /// Values of the node's inputs.
    pub inputs: &'a [Option<ValueId>],
    /// What is known of them.
    pub facts: Facts<'a>,
    /// Values of the node's outputs.
    pub outputs: &'a [Option<ValueId>],
    /// Gradient of each output; `None` is zero.
    pub output_gradients: &'a [Option<ValueId>],
}

/// The meaning of a weight's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightAxes {
    /// Which input of the node is the weight.
    pub weight_input: usize,
    /// Which input is the bias, whether present or not.
    pub bias_input: Option<usize>,
    /// Axis of the output channels.
    pub c_out: usize,
    /// Axis of the input channels; the other axes are the kernel's.
    pub c_in: usize,
    /// Number of groups (1 unless a grouped convolution).
    pub groups: usize,
}

/// A node with a constant weight, as methods see it.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Name of the node; unique in the graph.
    pub name: String,
    /// Position of the node in `graph.nodes()`, valid until the graph is edited.
    pub node: usize,
    /// The weight.
    pub weight: ValueId,
    /// The bias, if it is a constant.
    pub bias: Option<ValueId>,
    /// The activation that goes in.
    pub input: ValueId,
    /// The activation that comes out.
    pub output: ValueId,
    /// The meaning of the weight's axes.
    pub axes: WeightAxes,
}

/// The tensors an operator is run on.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a>(pub &'a [Option<&'a Tensor>]);

impl<'a> Inputs<'a> {
    /// Input `index`.
    ///
    /// # Errors
    /// [`OpError::MissingInput`].
    pub fn required(&self, index: usize) -> Result<&'a Tensor, OpError> {
        self.optional(index).ok_or(OpError::MissingInput { index })
    }

    /// Input `index`, if given.
    pub fn optional(&self, index: usize) -> Option<&'a Tensor> {
        self.0.get(index).copied().flatten()
    }

    /// Number of inputs, left out ones included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All inputs, none of which may be left out.
    ///
    /// # Errors
    /// [`OpError::MissingInput`].
    pub fn all(&self) -> Result<Vec<&'a Tensor>, OpError> {
        (0..self.len()).map(|index| self.required(index)).collect()
    }
}

/// The facts of an operator's inputs.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a>(pub &'a [Option<&'a Fact>]);

static UNKNOWN: Fact = Fact { dtype: None, shape: None, value: None };

impl<'a> Facts<'a> {
    /// Input `index`; an unknown fact if it is left out, which [`Inputs::required`] will refuse in a run.
    pub fn get(&self, index: usize) -> &'a Fact {
        self.optional(index).unwrap_or(&UNKNOWN)
    }

    /// Input `index`, if given.
    pub fn optional(&self, index: usize) -> Option<&'a Fact> {
        self.0.get(index).copied().flatten()
    }

    /// Number of inputs, left out ones included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Element type of input `index`, if known.
    pub fn dtype(&self, index: usize) -> Option<DType> {
        self.get(index).dtype
    }

    /// Shape of input `index`, if its rank is known.
    pub fn shape(&self, index: usize) -> Option<&'a [Dim]> {
        self.get(index).shape.as_deref()
    }
}

/// An operator as it stands in the list of operators.
#[derive(Debug, Clone, Copy)]
pub struct OpSpec {
    /// ONNX's name.
    pub name: &'static str,
    /// Empty for ONNX's own, else e.g. `com.microsoft`.
    pub domain: &'static str,
    /// The oldest opset of the domain that has it.
    pub since: u32,
    /// Reads and checks the attributes.
    pub read: fn(&NodeReader<'_>) -> Result<Arc<dyn Op>, OpError>,
    /// Cases that tests walk: inference agrees with evaluation, gradients with finite differences, the engine with
    /// [`Op::evaluate`].
    pub samples: fn() -> Vec<Sample>,
}

/// A node with inputs to run it on.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Attributes of the node.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Inputs; `None` is left out.
    pub inputs: Vec<Option<Tensor>>,
    /// Number of outputs asked for.
    pub n_outputs: usize,
}

impl Sample {
    /// One output, no attributes.
    pub fn new(inputs: impl IntoIterator<Item = Tensor>) -> Self {
        Self { attributes: Vec::new(), inputs: inputs.into_iter().map(Some).collect(), n_outputs: 1 }
    }

    /// The same with an attribute.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Attribute>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// The same with this many outputs.
    #[must_use]
    pub fn outputs(mut self, n_outputs: usize) -> Self {
        self.n_outputs = n_outputs;
        self
    }
}

/// The operators a graph may be made of.
#[derive(Debug, Clone, Copy)]
pub struct Operators(pub &'static [OpSpec]);

impl Operators {
    /// The operator of this name; `ai.onnx` and the empty domain are the same.
    pub fn find(&self, domain: &str, name: &str) -> Option<&'static OpSpec> {
        let domain = if domain == "ai.onnx" { "" } else { domain };
        self.0.iter().find(|spec| spec.name == name && spec.domain == domain)
    }

    /// Operator names of one domain, for suggestions.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|spec| spec.name)
    }
}

/// Stands where a node's operator is not known, so that such a model can still be inspected and written.
#[derive(Debug, Clone)]
pub struct Unsupported {
    /// Why it cannot run.
    pub reason: String,
    /// Outputs of the node.
    pub n_outputs: usize,
}

impl Op for Unsupported {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, _inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::unknown(); self.n_outputs])
    }

    fn evaluate(&self, _inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        Err(OpError::unsupported(self.reason.clone()))
    }

    fn is_deterministic(&self) -> bool {
        false
    }
}

impl Graph {
    /// Nodes whose weight is a constant, in order.
    pub fn layers(&self) -> Vec<Layer> {
        self.nodes().iter().enumerate().filter_map(|(index, node)| self.layer(index, node)).collect()
    }

    fn layer(&self, index: usize, node: &Node) -> Option<Layer> {
        let facts: Vec<Option<&Fact>> = node.inputs.iter().map(|id| id.map(|id| &self.value(id).fact)).collect();
        let axes = node.op.weight_axes(&Facts(&facts))?;
        let weight = (*node.inputs.get(axes.weight_input)?)?;
        self.constant(weight)?;
        let bias = axes.bias_input.and_then(|input| node.inputs.get(input).copied().flatten());
        let input = (*node.inputs.iter().enumerate().find(|(i, _)| *i != axes.weight_input)?.1)?;
        Some(Layer {
            name: node.name.clone(),
            node: index,
            weight,
            bias: bias.filter(|&id| self.constant(id).is_some()),
            input,
            output: (*node.outputs.first()?)?,
            axes,
        })
    }
}
