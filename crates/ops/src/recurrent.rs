//! What `RNN`, `GRU` and `LSTM` share: attributes, activation functions, and the walk over directions and time.

use lissom_graph::{Dim, Fact, Facts, Inputs, NodeReader, OpError};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::numeric::{expect_shape, floats, from_f64};

/// Order in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the first step to the last.
    Forward,
    /// From the last step to the first.
    Reverse,
    /// Both, with weights of their own.
    Bidirectional,
}

/// An activation function with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)] // ONNX's own names
pub enum GateActivation {
    Relu,
    Tanh,
    Sigmoid,
    Affine { alpha: f32, beta: f32 },
    LeakyRelu { alpha: f32 },
    ThresholdedRelu { alpha: f32 },
    ScaledTanh { alpha: f32, beta: f32 },
    HardSigmoid { alpha: f32, beta: f32 },
    Elu { alpha: f32 },
    Softsign,
    Softplus,
}

impl GateActivation {
    /// The value at `x`.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Affine { alpha, beta } => f64::from(alpha) * x + f64::from(beta),
            Self::LeakyRelu { alpha } => {
                if x >= 0.0 {
                    x
                } else {
                    f64::from(alpha) * x
                }
            }
            Self::ThresholdedRelu { alpha } => {
                if x >= f64::from(alpha) {
                    x
                } else {
                    0.0
                }
            }
            Self::ScaledTanh { alpha, beta } => f64::from(alpha) * (f64::from(beta) * x).tanh(),
            Self::HardSigmoid { alpha, beta } => (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0),
            Self::Elu { alpha } => {
                if x >= 0.0 {
                    x
                } else {
                    f64::from(alpha) * x.exp_m1()
                }
            }
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }

    /// The function of this name; parameters are taken from the front of the lists by those that have any.
    fn read(
        name: &str,
        alphas: &mut impl Iterator<Item = f32>,
        betas: &mut impl Iterator<Item = f32>,
    ) -> Result<Self, OpError> {
        let mut alpha = |default| alphas.next().unwrap_or(default);
        let mut beta = |default| betas.next().unwrap_or(default);
        Ok(match name.to_ascii_lowercase().as_str() {
            "relu" => Self::Relu,
            "tanh" => Self::Tanh,
            "sigmoid" => Self::Sigmoid,
            "affine" => Self::Affine { alpha: alpha(1.0), beta: beta(0.0) },
            "leakyrelu" => Self::LeakyRelu { alpha: alpha(0.01) },
            "thresholdedrelu" => Self::ThresholdedRelu { alpha: alpha(1.0) },
            "scaledtanh" => Self::ScaledTanh { alpha: alpha(1.0), beta: beta(1.0) },
            "hardsigmoid" => Self::HardSigmoid { alpha: alpha(0.2), beta: beta(0.5) },
            "elu" => Self::Elu { alpha: alpha(1.0) },
            "softsign" => Self::Softsign,
            "softplus" => Self::Softplus,
            _ => return Err(OpError::attribute("activations", format!("unknown function `{name}`"))),
        })
    }
}

/// Attributes of a recurrent layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrent {
    /// Order in time.
    pub direction: Direction,
    /// Activation functions of each direction.
    pub activations: Vec<Vec<GateActivation>>,
    /// What goes into an activation function is clipped to ± this.
    pub clip: Option<f32>,
    /// Length of the hidden state, if the attribute says it.
    pub hidden_size: Option<usize>,
    /// The batch is the first axis (`layout = 1`).
    pub batch_first: bool,
}

impl Recurrent {
    /// Reads the attributes; `default` names the activation functions of one direction.
    ///
    /// # Errors
    /// [`OpError::BadAttribute`].
    pub(crate) fn read(node: &NodeReader<'_>, default: &[&str]) -> Result<Self, OpError> {
        node.ignore(&["output_sequence"]); // until opset 6; outputs nobody uses are left out anyway
        let direction = match node.string_or("direction", "forward")?.as_str() {
            // `foward` is what the text of opset 1 says.
            "forward" | "foward" => Direction::Forward,
            "reverse" => Direction::Reverse,
            "bidirectional" => Direction::Bidirectional,
            other => return Err(OpError::attribute("direction", format!("unknown value `{other}`"))),
        };
        let n_directions = if direction == Direction::Bidirectional { 2 } else { 1 };
        let wanted = n_directions * default.len();
        let names = match node.strings("activations")? {
            Some(names) if !names.is_empty() => names,
            _ => default.iter().cycle().take(wanted).map(|&name| name.to_owned()).collect(),
        };
        if names.len() != wanted {
            return Err(OpError::attribute("activations", format!("has {} entries, expected {wanted}", names.len())));
        }
        let mut alphas = node.floats("activation_alpha")?.unwrap_or_default().into_iter();
        let mut betas = node.floats("activation_beta")?.unwrap_or_default().into_iter();
        let functions = names.iter().map(|name| GateActivation::read(name, &mut alphas, &mut betas));
        let functions = functions.collect::<Result<Vec<_>, _>>()?;
        let hidden_size = node.int("hidden_size")?.map(|size| {
            usize::try_from(size).map_err(|_| OpError::attribute("hidden_size", format!("{size} is not a length")))
        });
        Ok(Self {
            direction,
            activations: functions.chunks(default.len()).map(<[_]>::to_vec).collect(),
            clip: node.float("clip")?.filter(|&clip| clip > 0.0),
            hidden_size: hidden_size.transpose()?,
            batch_first: node.flag_or("layout", false)?,
        })
    }

    /// Facts of Y and of `n_states` final states.
    ///
    /// # Errors
    /// [`OpError::BadValue`] if the input is known not to have three axes.
    pub(crate) fn infer(&self, inputs: &Facts<'_>, n_states: usize) -> Result<Vec<Fact>, OpError> {
        let dtype = inputs.dtype(0);
        let hidden = self.hidden_size.map(Dim::from).or_else(|| inputs.shape(2)?.get(2).cloned());
        let (Some(x), Some(hidden)) = (inputs.shape(0), hidden) else {
            return Ok(vec![Fact::maybe(dtype, None); n_states + 1]);
        };
        let [first, second, _] = x else {
            return Err(OpError::value(format!("expected 3 axes, found {}", x.len())));
        };
        let directions = Dim::from(self.activations.len());
        let (y, state) = if self.batch_first {
            (
                vec![first.clone(), second.clone(), directions.clone(), hidden.clone()],
                vec![first.clone(), directions, hidden],
            )
        } else {
            (
                vec![first.clone(), directions.clone(), second.clone(), hidden.clone()],
                vec![directions, second.clone(), hidden],
            )
        };
        let mut facts = vec![Fact::maybe(dtype, Some(y))];
        facts.resize(n_states + 1, Fact::maybe(dtype, Some(state)));
        Ok(facts)
    }

    pub(crate) fn clipped(&self, x: f64) -> f64 {
        match self.clip {
            Some(clip) => x.clamp(-f64::from(clip), f64::from(clip)),
            None => x,
        }
    }

    /// Runs `step` for each direction, sequence and time step. It gets the direction, the gates' sums over the input
    /// (W · x, without bias) and the states, the hidden one first, which it updates. Gives Y and the final states.
    ///
    /// # Errors
    /// [`OpError::BadShape`] and others if the inputs do not fit.
    pub(crate) fn run(
        &self,
        inputs: &Inputs<'_>,
        sizes: &Sizes,
        initial: &[Option<&Tensor>],
        mut step: impl FnMut(usize, &[f64], &mut [Vec<f64>]),
    ) -> Result<Vec<Tensor>, OpError> {
        let Sizes { seq, batch, input, directions, hidden, gates } = *sizes;
        let (x, weight) = (floats(0, inputs.required(0)?)?, floats(1, inputs.required(1)?)?);
        let dtype = inputs.required(0)?.dtype();
        let lengths = sequence_lengths(inputs.optional(4), seq, batch)?;
        let state_shape = if self.batch_first { [batch, directions, hidden] } else { [directions, batch, hidden] };
        let mut finals = vec![vec![0.0; checked_len(DType::F64, &state_shape)?]; initial.len()];
        for (index, (state, given)) in finals.iter_mut().zip(initial).enumerate() {
            if let Some(given) = given {
                expect_shape(5 + index, given, &state_shape)?;
                *state = floats(5 + index, given)?;
            }
        }
        let y_shape =
            if self.batch_first { [batch, seq, directions, hidden] } else { [seq, directions, batch, hidden] };
        let mut y = vec![0.0; checked_len(DType::F64, &y_shape)?];
        let rows = gates * hidden;
        let mut sums = vec![0.0; rows];
        let mut states = vec![vec![0.0; hidden]; initial.len()];
        for direction in 0..directions {
            let backwards = self.direction == Direction::Reverse || direction == 1;
            for (item, &length) in lengths.iter().enumerate() {
                let at_state =
                    if self.batch_first { item * directions + direction } else { direction * batch + item } * hidden;
                for (state, all) in states.iter_mut().zip(&finals) {
                    state.copy_from_slice(&all[at_state..][..hidden]);
                }
                for i in 0..length {
                    let time = if backwards { length - 1 - i } else { i };
                    let at_x = if self.batch_first { item * seq + time } else { time * batch + item };
                    let x = &x[at_x * input..][..input];
                    for (row, sum) in sums.iter_mut().enumerate() {
                        *sum = dot(&weight[(direction * rows + row) * input..][..input], x);
                    }
                    step(direction, &sums, &mut states);
                    let at_y = if self.batch_first {
                        (item * seq + time) * directions + direction
                    } else {
                        (time * directions + direction) * batch + item
                    };
                    y[at_y * hidden..][..hidden].copy_from_slice(&states[0]);
                }
                for (state, all) in states.iter().zip(&mut finals) {
                    all[at_state..][..hidden].copy_from_slice(state);
                }
            }
        }
        let mut outputs = vec![from_f64(dtype, y_shape.to_vec(), y)?];
        for state in finals {
            outputs.push(from_f64(dtype, state_shape.to_vec(), state)?);
        }
        Ok(outputs)
    }
}

/// Lengths of a recurrent layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub seq: usize,
    pub batch: usize,
    pub input: usize,
    pub directions: usize,
    pub hidden: usize,
    pub gates: usize,
}

impl Sizes {
    /// Reads the lengths off the inputs X, W, R and B, which must agree.
    ///
    /// # Errors
    /// [`OpError::BadShape`], [`OpError::MissingInput`].
    pub fn of(layer: &Recurrent, inputs: &Inputs<'_>, gates: usize) -> Result<Self, OpError> {
        let (x, weight, recurrence) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let &[first, second, input] = x.shape() else {
            return Err(OpError::shape(0, x.shape(), "expected 3 axes"));
        };
        let (seq, batch) = if layer.batch_first { (second, first) } else { (first, second) };
        let directions = layer.activations.len();
        let hidden = match *recurrence.shape() {
            [.., hidden] => hidden,
            [] => return Err(OpError::shape(2, &[], "expected 3 axes")),
        };
        if layer.hidden_size.is_some_and(|size| size != hidden) {
            return Err(OpError::shape(2, recurrence.shape(), "does not agree with `hidden_size`"));
        }
        let rows = gates.saturating_mul(hidden);
        expect_shape(1, weight, &[directions, rows, input])?;
        expect_shape(2, recurrence, &[directions, rows, hidden])?;
        if let Some(bias) = inputs.optional(3) {
            expect_shape(3, bias, &[directions, rows.saturating_mul(2)])?;
        }
        Ok(Self { seq, batch, input, directions, hidden, gates })
    }

    /// The two biases of direction `direction`, of W and of R; zeros if there are none.
    pub fn biases<'a>(&self, bias: &'a [f64], direction: usize) -> (&'a [f64], &'a [f64]) {
        let rows = self.gates * self.hidden;
        bias[direction * 2 * rows..][..2 * rows].split_at(rows)
    }

    /// Input 3 as values; zeros if it is left out.
    ///
    /// # Errors
    /// [`OpError::UnsupportedType`].
    pub fn bias_values(&self, inputs: &Inputs<'_>) -> Result<Vec<f64>, OpError> {
        match inputs.optional(3) {
            Some(bias) => floats(3, bias),
            None => Ok(vec![0.0; self.directions * 2 * self.gates * self.hidden]),
        }
    }
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sequence_lengths(given: Option<&Tensor>, seq: usize, batch: usize) -> Result<Vec<usize>, OpError> {
    checked_len(DType::I64, &[batch])?;
    let Some(given) = given else { return Ok(vec![seq; batch]) };
    expect_shape(4, given, &[batch])?;
    let valid = |length: i64| usize::try_from(length).ok().filter(|&length| length <= seq);
    let lengths = given.to_i64_vec()?.into_iter();
    lengths.map(|n| valid(n).ok_or_else(|| OpError::value(format!("sequence length {n} of {seq} steps")))).collect()
}
