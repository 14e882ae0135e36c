//! Operators of ONNX Runtime that carry their scales become plain ones between `DequantizeLinear` and `QuantizeLinear`:
//! planning makes integer products, sums and pools of that form.

use lissom_graph::{Attribute, Attributes, Fact, Graph, Node, Operators, Patch, ValueId};
use lissom_tensor::{Affine, DType, Tensor, Weight};

/// Opset of the new nodes: the first whose scales may stand along an axis.
const OPSET: u32 = 13;

/// Rewrites the nodes it knows, if scales, zero points and weights are constants. Any other runs its plain evaluation.
pub(crate) fn expand(graph: &mut Graph, operators: &Operators) {
    let mut patch = Patch::new(graph, OPSET);
    for (index, node) in graph.nodes().iter().enumerate() {
        if node.domain == "com.microsoft"
            && (Expansion { graph, operators, patch: &mut patch, node }).expand().is_some()
        {
            patch.remove_node(index);
        }
    }
    if !patch.is_empty() {
        // A graph that would not be sound afterwards is left as it is; it runs all the same.
        let _ = graph.apply(patch);
    }
}

/// One node, and where what replaces it goes. Nodes made before it turns out that one is missing are dropped as unused.
struct Expansion<'a> {
    graph: &'a Graph,
    operators: &'a Operators,
    patch: &'a mut Patch,
    node: &'a Node,
}

impl Expansion<'_> {
    fn expand(&mut self) -> Option<()> {
        let mut attributes = self.node.attributes.clone();
        match self.node.op_type.as_str() {
            "QGemm" => self.gemm(attributes),
            "QLinearAdd" => self.between("Add", &[0, 3], 6, attributes),
            "QLinearMul" => self.between("Mul", &[0, 3], 6, attributes),
            "QLinearSigmoid" => self.between("Sigmoid", &[0], 3, attributes),
            "QLinearLeakyRelu" => self.between("LeakyRelu", &[0], 3, attributes),
            "QLinearAveragePool" | "QLinearGlobalAveragePool" => {
                attributes.remove("channels_last");
                self.between(self.node.op_type.strip_prefix("QLinear")?, &[0], 3, attributes)
            }
            "QLinearSoftmax" => match attributes.remove("opset") {
                Some(Attribute::Int(13..)) => self.between("Softmax", &[0], 3, attributes),
                _ => None,
            },
            "QLinearConcat" => self.concat(attributes),
            _ => None,
        }
    }

    /// A function of reals; codes, scale and zero point of each are inputs from these indices on, those of the result
    /// from `to` on.
    fn between(&mut self, op: &str, from: &[usize], to: usize, attributes: Attributes) -> Option<()> {
        let mut inputs = Vec::new();
        for &index in from {
            inputs.push(Some(self.real(index)?));
        }
        let result = self.make(op, &inputs, attributes)?;
        self.quantize_into_output(result, to)
    }

    /// Each part moves to the grid of the result, so that codes are joined.
    fn concat(&mut self, attributes: Attributes) -> Option<()> {
        let mut parts = Vec::new();
        for index in (2..self.node.inputs.len()).step_by(3) {
            let real = self.real(index)?;
            let grid = self.grid(0, self.output_dtype()?)?;
            parts.push(Some(self.make("QuantizeLinear", &[&[Some(real)], &grid[..]].concat(), Attributes::new())?));
        }
        self.make_into_output("Concat", &parts, attributes)
    }

    fn gemm(&mut self, attributes: Attributes) -> Option<()> {
        let alpha = match attributes.get("alpha") {
            None => 1.0,
            Some(Attribute::Float(alpha)) => *alpha,
            Some(_) => return None,
        };
        let trans_b = match attributes.get("transB") {
            None => false,
            Some(Attribute::Int(flag)) => *flag != 0,
            Some(_) => return None,
        };
        // Scales of the weight must stay above 0.
        if !(alpha.is_finite() && alpha > 0.0) {
            return None;
        }
        let a = self.real(0)?;
        let a_scale = self.constant(1)?.to_f32_vec().ok()?[0];
        let weight = self.affine(3, usize::from(!trans_b), alpha)?;
        let mut inputs = vec![Some(a)];
        let bias = match self.input(6) {
            Some(_) => Some(scaled_bias(self.constant(6)?, &weight.scale.to_f32_vec().ok()?, a_scale)?),
            None => None,
        };
        inputs.push(Some(self.patch.constant(&format!("{}_weight", self.node.name), Weight::Affine(weight))));
        if let Some(bias) = bias {
            inputs.push(Some(self.patch.constant(&format!("{}_bias", self.node.name), Weight::Dense(bias))));
        }
        let mut attributes = attributes;
        attributes.remove("alpha");
        if self.input(7).is_none() {
            return self.make_into_output("Gemm", &inputs, attributes);
        }
        let result = self.make("Gemm", &inputs, attributes)?;
        self.quantize_into_output(result, 7)
    }

    fn input(&self, index: usize) -> Option<ValueId> {
        self.node.inputs.get(index).copied().flatten()
    }

    fn constant(&self, index: usize) -> Option<&Tensor> {
        self.graph.dense_constant(self.input(index)?)
    }

    fn output_dtype(&self) -> Option<DType> {
        self.graph.value(self.node.output()?).fact.dtype
    }

    /// Scale and zero point of a whole tensor of `dtype`, inputs from `index` on.
    fn grid(&mut self, index: usize, dtype: DType) -> Option<[Option<ValueId>; 2]> {
        let is_one = |tensor: &Tensor, dtype| tensor.len() == 1 && tensor.dtype() == dtype;
        if !matches!(dtype, DType::U8 | DType::I8) || !is_one(self.constant(index)?, DType::F32) {
            return None;
        }
        let zero = match (self.input(index + 1), dtype) {
            (Some(id), _) => Some(id).filter(|_| self.constant(index + 1).is_some_and(|zero| is_one(zero, dtype)))?,
            (None, DType::I8) => self.patch.constant("zero_point", Weight::Dense(Tensor::scalar(0i8))),
            (None, _) => self.patch.constant("zero_point", Weight::Dense(Tensor::scalar(0u8))),
        };
        Some([self.input(index), Some(zero)])
    }

    /// The reals that the codes at input `index` stand for; scale and zero point follow.
    fn real(&mut self, index: usize) -> Option<ValueId> {
        let codes = self.input(index)?;
        let dtype = self.graph.value(codes).fact.dtype?;
        let grid = self.grid(index + 1, dtype)?;
        if self.constant(index).is_some() {
            let affine = self.affine(index, 0, 1.0)?;
            return Some(self.patch.constant(&format!("{}_real", self.node.name), Weight::Affine(affine)));
        }
        self.make("DequantizeLinear", &[&[Some(codes)], &grid[..]].concat(), Attributes::new())
    }

    /// Constant codes with their scales, one for all or along `axis`, times `factor`.
    fn affine(&self, index: usize, axis: usize, factor: f32) -> Option<Affine> {
        let (codes, scale) = (self.constant(index)?, self.constant(index + 1)?);
        let zero_point = match self.input(index + 2) {
            Some(_) => Some(self.constant(index + 2)?),
            None => None,
        };
        let is_one = scale.len() == 1;
        let shape: &[usize] = if is_one { &[] } else { scale.shape() };
        let is_fit = matches!(codes.dtype(), DType::U8 | DType::I8)
            && scale.dtype() == DType::F32
            && (is_one || shape == codes.shape().get(axis..=axis)?)
            && zero_point.is_none_or(|zero| zero.len() == scale.len() && zero.dtype() == codes.dtype());
        if !is_fit {
            return None;
        }
        let scales: Vec<f32> = scale.to_f32_vec().ok()?.into_iter().map(|scale| scale * factor).collect();
        let zero_point = match zero_point {
            Some(zero) => Some(zero.clone().reshape(shape).ok()?),
            None => None,
        };
        let scale = Tensor::new(shape, scales).ok()?;
        Some(Affine { codes: codes.clone(), scale, zero_point, axis: if is_one { 0 } else { axis }, block_size: 0 })
    }

    fn make(&mut self, op: &str, inputs: &[Option<ValueId>], attributes: Attributes) -> Option<ValueId> {
        let output = self.patch.value(&format!("{}_{op}", self.node.name), Fact::unknown());
        self.make_as(op, inputs, attributes, output)?;
        Some(output)
    }

    fn make_as(&mut self, op: &str, inputs: &[Option<ValueId>], attributes: Attributes, output: ValueId) -> Option<()> {
        let name = &self.node.name;
        self.patch.node_into(self.operators, op, name, inputs, attributes, &[Some(output)]).ok()
    }

    /// The last node: it gives what the old one gave.
    fn make_into_output(&mut self, op: &str, inputs: &[Option<ValueId>], attributes: Attributes) -> Option<()> {
        self.make_as(op, inputs, attributes, self.node.output()?)
    }

    fn quantize_into_output(&mut self, real: ValueId, to: usize) -> Option<()> {
        let grid = self.grid(to, self.output_dtype()?)?;
        self.make_into_output("QuantizeLinear", &[&[Some(real)], &grid[..]].concat(), Attributes::new())
    }
}

/// A bias in steps of the sums, as reals. It is one for all, one a column, or one row of columns.
fn scaled_bias(bias: &Tensor, scales: &[f32], a_scale: f32) -> Option<Tensor> {
    let codes = bias.to_i64_vec().ok()?;
    let n = codes.len().max(scales.len());
    let columns = bias.shape().last().copied().unwrap_or(1);
    let is_fit = columns == codes.len() && [1, n].contains(&codes.len()) && [1, n].contains(&scales.len());
    let reals = (0..n).map(|i| codes[i % codes.len()] as f32 * (scales[i % scales.len()] * a_scale));
    is_fit.then(|| Tensor::vector(reals.collect::<Vec<_>>()))
}
