//! A network under construction.

use lissom_graph::{Attribute, Attributes, Dim, Fact, Graph, Model, Patch, ValueId, infer};
use lissom_ops::OPERATORS;
use lissom_tensor::{DType, Tensor, Weight};

use crate::TrainError;
use crate::random::Stream;

/// The opset architectures are written in: the first with `Gelu`.
const OPSET: u32 = 20;

/// How weights are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Draw {
    /// Normal, of variance 2 / fan-in: before a ReLU (He et al. 2015, arXiv:1502.01852).
    He,
    /// Uniform, of variance 2 / (fan-in + fan-out) (Glorot and Bengio 2010).
    Glorot,
    /// Normal, of this deviation.
    Normal(f64),
}

pub(super) struct Net {
    graph: Graph,
    patch: Patch,
    seed: u64,
    n_drawn: u64,
}

impl Net {
    /// With one input `input` of these lengths after the batch.
    pub(super) fn new(name: &str, sample_shape: &[usize], seed: u64) -> (Self, ValueId) {
        let mut graph = Graph::new(name);
        let mut shape = vec![Dim::symbol("batch")];
        shape.extend(sample_shape.iter().map(|&length| Dim::from(length)));
        let input = graph.add_input("input", Fact::new(DType::F32, shape));
        let patch = Patch::new(&graph, OPSET);
        (Self { graph, patch, seed, n_drawn: 0 }, input)
    }

    pub(super) fn constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        self.patch.constant(name, Weight::Dense(tensor))
    }

    pub(super) fn integers(&mut self, name: &str, values: &[i64]) -> ValueId {
        self.constant(name, Tensor::vector(values.to_vec()))
    }

    pub(super) fn filled(&mut self, name: &str, shape: &[usize], value: f32) -> Result<ValueId, TrainError> {
        let tensor = Tensor::new(shape, vec![value; shape.iter().product()])?;
        Ok(self.constant(name, tensor))
    }

    /// A weight drawn at random; `fans` are the numbers of inputs to an output, and of outputs of an input.
    pub(super) fn drawn(
        &mut self,
        name: &str,
        shape: &[usize],
        draw: Draw,
        [fan_in, fan_out]: [usize; 2],
    ) -> Result<ValueId, TrainError> {
        let stream = Stream::new(self.seed, 0, self.n_drawn);
        self.n_drawn += 1;
        let value = |i: u64| match draw {
            Draw::He => stream.normal(i) * (2.0 / fan_in as f64).sqrt(),
            Draw::Glorot => (2.0 * stream.uniform(i) - 1.0) * (6.0 / (fan_in + fan_out) as f64).sqrt(),
            Draw::Normal(deviation) => stream.normal(i) * deviation,
        };
        let len = shape.iter().product::<usize>() as u64;
        let tensor = Tensor::new(shape, (0..len).map(|i| value(i) as f32).collect::<Vec<f32>>())?;
        Ok(self.constant(name, tensor))
    }

    pub(super) fn node(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: &[ValueId],
        attributes: &[(&str, Attribute)],
    ) -> Result<ValueId, TrainError> {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        let mut all = Attributes::new();
        attributes.iter().for_each(|(name, value)| all.set(*name, value.clone()));
        Ok(self.patch.node(&OPERATORS, op_type, name, &inputs, all)?)
    }

    /// A square convolution without bias, padded so that stride 1 keeps the size.
    pub(super) fn conv(
        &mut self,
        name: &str,
        x: ValueId,
        [c_out, c_in]: [usize; 2],
        [kernel, stride, groups]: [usize; 3],
    ) -> Result<ValueId, TrainError> {
        let shape = [c_out, c_in / groups, kernel, kernel];
        let area = kernel * kernel;
        let fans = [c_in / groups * area, c_out / groups * area];
        let weight = self.drawn(&format!("{name}.weight"), &shape, Draw::He, fans)?;
        let attributes = [
            ("kernel_shape", Attribute::from(vec![kernel as i64; 2])),
            ("pads", Attribute::from(vec![(kernel / 2) as i64; 4])),
            ("strides", Attribute::from(vec![stride as i64; 2])),
            ("group", Attribute::from(groups as i64)),
        ];
        self.node("Conv", name, &[x, weight], &attributes)
    }

    /// Batch normalization that begins as the identity of normalized values.
    pub(super) fn batch_norm(&mut self, name: &str, x: ValueId, channels: usize) -> Result<ValueId, TrainError> {
        let mut inputs = vec![x];
        for (what, value) in [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
            inputs.push(self.filled(&format!("{name}.{what}"), &[channels], value)?);
        }
        let attributes = [("epsilon", Attribute::from(1e-5f32)), ("momentum", Attribute::from(0.9f32))];
        self.node("BatchNormalization", name, &inputs, &attributes)
    }

    pub(super) fn relu(&mut self, name: &str, x: ValueId) -> Result<ValueId, TrainError> {
        self.node("Relu", name, &[x], &[])
    }

    /// x · Wᵀ + b of rows; the bias begins at zero.
    pub(super) fn linear(
        &mut self,
        name: &str,
        x: ValueId,
        [n_out, n_in]: [usize; 2],
        draw: Draw,
    ) -> Result<ValueId, TrainError> {
        let weight = self.drawn(&format!("{name}.weight"), &[n_out, n_in], draw, [n_in, n_out])?;
        let bias = self.filled(&format!("{name}.bias"), &[n_out], 0.0)?;
        self.node("Gemm", name, &[x, weight, bias], &[("transB", Attribute::from(1i64))])
    }

    /// Mean over all positions of `[n, c, h, w]`, as `[n, c]`.
    pub(super) fn pooled(&mut self, x: ValueId) -> Result<ValueId, TrainError> {
        let pooled = self.node("GlobalAveragePool", "pool", &[x], &[])?;
        self.node("Flatten", "flatten", &[pooled], &[])
    }

    /// Closes the network with these scores.
    pub(super) fn finish(mut self, scores: ValueId) -> Result<Model, TrainError> {
        let name = self.patch.value("scores", Fact::unknown());
        self.patch.node_into(&OPERATORS, "Identity", "scores", &[Some(scores)], Attributes::new(), &[Some(name)])?;
        self.graph.set_outputs(vec![name]);
        self.graph.apply(self.patch)?;
        infer(&mut self.graph)?;
        Ok(Model::new(self.graph, OPERATORS, OPSET))
    }
}
