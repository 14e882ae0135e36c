//! Training steps as graphs: forward, backward and update in one, or each apart for methods that go their own way in between.

mod draft;

use lissom_graph::{Fact, Model, Patch};
use lissom_tensor::Tensor;

use draft::Draft;

use crate::{Dropped, Forward, Gradients, Missing, Nodes, Optimizer, Perturbation, Recompute, TrainError};

/// What a step does beside its optimizer.
#[derive(Debug, Clone, Default)]
pub struct StepOptions {
    /// Brings the norm of all gradients together down to this.
    pub clip_norm: Option<f64>,
    /// Adds normal noise to the gradients, after they were clipped; its deviation is the scalar `noise_deviation`.
    pub noise: bool,
    /// Keeps a moving average of the parameters; the scalar `average_kept` is the share of the old average.
    pub average: bool,
    /// Keeps zeros where they are: each weight (no bias, no norm) is multiplied by its mask after every update.
    pub masks: bool,
    /// Masked weights have gradients too, which their optimizer's states take in. Else these are 0, and where that is faster the engine
    /// computes only the others. [`Trainer::gradient`](crate::Trainer::gradient) gives all of them either way.
    pub dense_gradients: bool,
    /// Gives the norms of all gradients together as outputs.
    pub norms: bool,
    /// Which forward values are computed twice rather than kept.
    pub recompute: Recompute,
    /// Names of weights of which the gradients of layers' inputs are taken with other values: inputs `NAME.backward`, which a
    /// [detour](crate::Detour::backward) fills in.
    pub backward: Vec<String>,
    /// What happens at operators without gradient. If they freeze what is below, parameters there keep their values.
    pub missing: Missing,
}

/// A step as a graph that runs like any other.
#[derive(Debug, Clone)]
pub struct Step {
    /// The graph.
    pub model: Model,
    /// What goes from each step to the next.
    pub carried: Vec<Carried>,
    /// Inputs the batch must bring, with their types and shapes.
    pub data: Vec<(String, Fact)>,
    /// Inputs that take gradients: the parameter's name, and the input.
    pub gradients: Vec<(String, String)>,
    /// Inputs that hold weights as the backward pass sees them: the parameter's name, and the input.
    pub backward: Vec<(String, String)>,
    /// Inputs that say what dropout keeps.
    pub dropped: Vec<(String, Dropped)>,
    /// Inputs of standard normal numbers: name and shape.
    pub noise: Vec<(String, Vec<usize>)>,
    /// Inputs without axes that change from step to step; the optimizer's first.
    pub scalars: Vec<String>,
    /// Names of outputs.
    pub outputs: StepOutputs,
}

/// Names of what a step gives beside what is carried; each where it has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepOutputs {
    /// The mean loss of the batch, without axes.
    pub loss: Option<String>,
    /// The losses it is made of, if several: name of the loss, name of the output.
    pub terms: Vec<(String, String)>,
    /// How many are right, i64.
    pub correct: Option<String>,
    /// ‖g‖₂ before clipping.
    pub gradient_norm: Option<String>,
    /// ‖g‖₁ before clipping.
    pub gradient_norm_l1: Option<String>,
    /// Gradients, or moved weights: the parameter's name, and the output.
    pub tensors: Vec<(String, String)>,
}

/// A tensor that goes from each step to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    /// The input, and its name in checkpoints.
    pub input: String,
    /// The output that is the input of the next step; `None` keeps its value.
    pub output: Option<String>,
    /// What it is.
    pub role: Role,
    /// What it holds at first.
    pub initial: Tensor,
}

/// What a carried tensor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A parameter of the network.
    Parameter,
    /// A running statistic of a norm.
    Statistic,
    /// What the optimizer keeps beside the parameter of this name.
    State(String),
    /// The moving average of the parameter of this name.
    Average(String),
    /// 1 where the parameter of this name may be anything, 0 where it stays zero.
    Mask(String),
}

impl Step {
    /// Loss, gradient, clipping and update in one graph.
    ///
    /// # Errors
    /// [`TrainError`] if an operator has no gradient, or a parameter gets none.
    pub fn training(forward: &Forward, optimizer: &dyn Optimizer, options: &StepOptions) -> Result<Self, TrainError> {
        let mut draft = Draft::of(forward);
        let updates = draft.add_update_inputs(forward, optimizer, options)?;
        draft.add_backward_inputs(forward, options);
        let mut patch = Patch::new(&draft.graph, forward.opset);
        let gradients = draft.gradients(forward, options, &mut patch)?;
        let mut nodes = Nodes::new(&mut patch, &forward.operators, forward.dtype);
        let gradients = updates.masked(&mut nodes, gradients, options)?;
        let gradients = draft.clipped(&mut nodes, gradients, options)?;
        draft.update(&mut nodes, forward, &gradients, &updates, (optimizer, options))?;
        draft.finish(forward, patch, &options.recompute)
    }

    /// Loss and gradients at the weights given: for methods that take gradients at other points.
    ///
    /// # Errors
    /// As [`training`](Self::training).
    pub fn gradient(forward: &Forward, options: &StepOptions) -> Result<Self, TrainError> {
        let mut draft = Draft::of(forward);
        draft.add_backward_inputs(forward, options);
        let mut patch = Patch::new(&draft.graph, forward.opset);
        let gradients = draft.gradients(forward, options, &mut patch)?;
        for (parameter, gradient) in forward.parameters.iter().zip(gradients.of) {
            draft.fixed_parameter(forward, parameter);
            if let Some(gradient) = gradient {
                draft.tensors.push((parameter.name.clone(), gradient));
            }
        }
        draft.finish(forward, patch, &options.recompute)
    }

    /// The loss alone, of a network that [`Forward::evaluation`] prepared.
    ///
    /// # Errors
    /// [`TrainError`] if the graph is not sound.
    pub fn evaluation(forward: &Forward) -> Result<Self, TrainError> {
        let draft = Draft::of(forward);
        let patch = Patch::new(&draft.graph, forward.opset);
        draft.finish(forward, patch, &Recompute::Nothing)
    }

    /// Clipping and update, given gradients as inputs `NAME.gradient`.
    ///
    /// # Errors
    /// [`TrainError`] if a node cannot be made.
    pub fn update(forward: &Forward, optimizer: &dyn Optimizer, options: &StepOptions) -> Result<Self, TrainError> {
        let (mut draft, gradients) = Draft::of_gradients(forward);
        let updates = draft.add_update_inputs(forward, optimizer, options)?;
        let mut patch = Patch::new(&draft.graph, forward.opset);
        let mut nodes = Nodes::new(&mut patch, &forward.operators, forward.dtype);
        let gradients = Gradients { of: gradients.into_iter().map(Some).collect(), frozen: Vec::new() };
        let gradients = draft.clipped(&mut nodes, gradients, options)?;
        draft.update(&mut nodes, forward, &gradients, &updates, (optimizer, options))?;
        draft.finish(forward, patch, &Recompute::Nothing)
    }

    /// The weights moved along gradients that are inputs `NAME.gradient`.
    ///
    /// # Errors
    /// [`TrainError`] if a node cannot be made.
    pub fn perturbation(forward: &Forward, perturbation: Perturbation) -> Result<Self, TrainError> {
        let (mut draft, gradients) = Draft::of_gradients(forward);
        let mut patch = Patch::new(&draft.graph, forward.opset);
        let mut nodes = Nodes::new(&mut patch, &forward.operators, forward.dtype);
        let weights = draft.weights.clone();
        let moved = perturbation.moved(&mut nodes, &weights, &gradients)?;
        for (parameter, moved) in forward.parameters.iter().zip(moved) {
            draft.fixed_parameter(forward, parameter);
            draft.tensors.push((parameter.name.clone(), moved));
        }
        draft.finish(forward, patch, &Recompute::Nothing)
    }
}
