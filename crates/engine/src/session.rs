//! Loading a network and running it.

use lissom_graph::{EvaluateError, Fact, Graph, LoadError, Model, ValueId, interpret};
use lissom_tensor::{DType, Tensor};

/// How a network is run.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Threads that work on one run; 0 means one per core.
    pub threads: usize,
    /// Values that are returned after the model's outputs, e.g. activations a method wants to see. They are exact: nothing
    /// is fused across them.
    pub observe: Vec<ValueId>,
    /// False runs every operator's plain evaluation, node by node: the oracle.
    pub fast: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { threads: 0, observe: Vec::new(), fast: true }
    }
}

/// Why a network could not be loaded or run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum EngineError {
    #[error("node `{node}`: {reason} is not supported")]
    Unsupported { node: String, reason: String },
    #[error("input `{name}` is missing; the model's inputs are {expected}")]
    MissingInput { name: String, expected: String },
    #[error("the model has no input `{name}`; its inputs are {expected}")]
    UnknownInput { name: String, expected: String },
    #[error("input `{name}`: the model wants {expected}, found {actual}")]
    InputMismatch { name: String, expected: String, actual: String },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}

/// What a model wants at one input.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Name in the graph.
    pub name: String,
    /// Element type, if the file declares it.
    pub dtype: Option<DType>,
    /// Length of each axis, `None` where any will do; `None` as a whole if the rank is not declared.
    pub shape: Option<Vec<Option<usize>>>,
}

/// A loaded network. Can be shared between threads; each call of [`run`](Self::run) is independent.
#[derive(Debug)]
pub struct Session {
    graph: Graph,
    inputs: Vec<Input>,
    output_names: Vec<String>,
}

impl Session {
    /// Prepares a model.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] naming the first node whose operator is not known.
    pub fn new(model: &Model, options: &SessionOptions) -> Result<Self, EngineError> {
        if let Some((node, _, reason)) = model.unsupported_nodes().into_iter().next() {
            return Err(EngineError::Unsupported { node, reason });
        }
        let mut graph = model.graph.clone();
        let outputs: Vec<ValueId> = graph.outputs().iter().chain(&options.observe).copied().collect();
        let output_names = outputs.iter().map(|&id| graph.value(id).name.clone()).collect();
        graph.set_outputs(outputs);
        let inputs = graph.inputs().iter().map(|&id| input(&graph, id)).collect();
        Ok(Self { graph, inputs, output_names })
    }

    /// The model's inputs, in order.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Names of the model's outputs and the observed values, in order.
    pub fn output_names(&self) -> &[String] {
        &self.output_names
    }

    /// Runs the network once. `inputs` are by name, in any order; outputs come in the order of
    /// [`output_names`](Self::output_names).
    ///
    /// # Errors
    /// [`EngineError`] if an input is missing, unknown or does not fit, or if a node refuses.
    pub fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>, EngineError> {
        let expected = || self.inputs.iter().map(describe).collect::<Vec<_>>().join(", ");
        if let Some((name, _)) = inputs.iter().find(|(name, _)| self.inputs.iter().all(|input| input.name != *name)) {
            return Err(EngineError::UnknownInput { name: (*name).to_owned(), expected: expected() });
        }
        let mut ordered = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let tensor = inputs.iter().find(|(name, _)| *name == input.name).map(|(_, tensor)| *tensor);
            let tensor = tensor
                .ok_or_else(|| EngineError::MissingInput { name: input.name.clone(), expected: expected() })?;
            check(input, tensor)?;
            ordered.push(tensor.clone());
        }
        Ok(interpret(&self.graph, &ordered)?)
    }
}

fn input(graph: &Graph, id: ValueId) -> Input {
    let value = graph.value(id);
    let shape = value.fact.shape.as_ref().map(|shape| shape.iter().map(lissom_graph::Dim::known).collect());
    Input { name: value.name.clone(), dtype: value.fact.dtype, shape }
}

fn check(input: &Input, tensor: &Tensor) -> Result<(), EngineError> {
    let fits_type = input.dtype.is_none_or(|dtype| dtype == tensor.dtype());
    let fits_shape = input.shape.as_ref().is_none_or(|shape| {
        shape.len() == tensor.rank()
            && shape.iter().zip(tensor.shape()).all(|(want, have)| want.is_none_or(|want| want == *have))
    });
    if fits_type && fits_shape {
        return Ok(());
    }
    let actual = Fact::known(tensor.dtype(), tensor.shape()).to_string();
    Err(EngineError::InputMismatch { name: input.name.clone(), expected: describe(input), actual })
}

fn describe(input: &Input) -> String {
    let shape = match &input.shape {
        None => "..".to_owned(),
        Some(shape) => shape
            .iter()
            .map(|length| length.map_or("?".to_owned(), |length| length.to_string()))
            .collect::<Vec<_>>()
            .join(","),
    };
    format!("`{}` {}[{shape}]", input.name, input.dtype.map_or("?".to_owned(), |dtype| dtype.to_string()))
}
