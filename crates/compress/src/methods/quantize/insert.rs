//! Writes the decision into the graph: pairs of `QuantizeLinear` and `DequantizeLinear`, weights, tables.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lissom_graph::{Attributes, Fact, Graph, Model, Node, Operators, Patch, ValueId, infer};
use lissom_tensor::{DType, Tensor, Weight};

use super::embeddings::{self, Table};
use super::layers::{Encoded, Target};
use crate::parts::quantizer::Quantizer;
use crate::{Changes, LayerChange, MethodError, WeightState};

/// Where the codes of an activation lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::methods) enum Grid {
    Static(Quantizer),
    /// Found in each run.
    Dynamic,
}

/// An activation that becomes integers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::methods) struct Pair {
    pub(in crate::methods) grid: Grid,
    /// Whether float operators, too, see what is left after rounding: where an integer operator makes the value, nothing
    /// else is there.
    pub(in crate::methods) is_for_all: bool,
}

/// All of them, and the nodes that take them in.
#[derive(Debug, Clone, Default)]
pub(in crate::methods) struct Pairs {
    pub(in crate::methods) pairs: BTreeMap<ValueId, Pair>,
    pub(in crate::methods) takers: BTreeSet<usize>,
}

impl Pairs {
    /// One range a run for each input of the layers.
    pub(in crate::methods) fn dynamic(graph: &Graph, targets: &[Target]) -> Self {
        let mut pairs = Self::default();
        for target in targets.iter().filter(|target| target.is_integer) {
            if graph.value(target.layer.input).fact.dtype.is_none_or(|dtype| dtype == DType::F32) {
                pairs.pairs.insert(target.layer.input, Pair { grid: Grid::Dynamic, is_for_all: false });
                pairs.takers.insert(target.layer.node);
            }
        }
        pairs
    }

    /// The scale of a value, if it is known beforehand.
    pub(in crate::methods) fn scale(&self, id: ValueId) -> Option<f32> {
        match self.pairs.get(&id)?.grid {
            Grid::Static(quantizer) => Some(quantizer.scale),
            Grid::Dynamic => None,
        }
    }
}

/// Rebuilds the graph with everything in place.
pub(in crate::methods) fn apply(
    model: &mut Model,
    pairs: &Pairs,
    encoded: Encoded,
    tables: &[Table],
    changes: &mut Changes,
) -> Result<(), MethodError> {
    let graph = &model.graph;
    let mut writer = Writer {
        patch: Patch::new(graph, model.opset()),
        operators: model.operators,
        dequantized: HashMap::new(),
        constants: HashMap::new(),
    };
    for (id, weight) in encoded.weights {
        writer.patch.set_constant(id, Weight::Affine(weight));
    }
    let biases: HashMap<usize, (usize, ValueId)> = encoded
        .biases
        .into_iter()
        .map(|(node, position, bias)| {
            let name = graph.nodes()[node].inputs[position].map_or("bias", |id| graph.value(id).name.as_str());
            (node, (position, writer.patch.constant(name, Weight::Affine(bias))))
        })
        .collect();
    for &input in graph.inputs() {
        writer.pair(pairs, input)?;
    }
    for (index, node) in graph.nodes().iter().enumerate() {
        writer.patch.remove_node(index);
        if let Some(table) = tables.iter().find(|table| table.node == index) {
            changes.layers.push(writer.lookup(graph, table, node)?);
        } else if let Some((input, output)) = clamped_by_codes(graph, pairs, node) {
            writer.pair_of(pairs, output, input)?;
            continue;
        } else {
            let bias = biases.get(&index).copied();
            let node = writer.rewired(pairs, pairs.takers.contains(&index), bias, node);
            writer.patch.push_node(node);
        }
        for &output in node.outputs.iter().flatten() {
            writer.pair(pairs, output)?;
        }
    }
    model.graph.apply(writer.patch)?;
    infer(&mut model.graph)?;
    Ok(())
}

/// Input and output of a `Relu` or `Clip` that the codes behind it make superfluous: they saturate where it does.
fn clamped_by_codes(graph: &Graph, pairs: &Pairs, node: &Node) -> Option<(ValueId, ValueId)> {
    let (input, output) = (node.inputs.first().copied().flatten()?, node.output()?);
    let pair = pairs.pairs.get(&output).filter(|pair| pair.is_for_all)?;
    let Grid::Static(quantizer) = pair.grid else { return None };
    let bound = |position: usize, unless_given: f32| -> Option<f32> {
        match node.inputs.get(position).copied().flatten() {
            None => Some(unless_given),
            Some(id) => graph.dense_constant(id)?.to_f64().ok().map(|bound| bound as f32),
        }
    };
    let (min, max) = match node.op_type.as_str() {
        "Relu" => (0.0, f32::INFINITY),
        "Clip" => (bound(1, f32::NEG_INFINITY)?, bound(2, f32::INFINITY)?),
        _ => return None,
    };
    let is_seen = graph.outputs().contains(&output) || graph.nodes().iter().any(|node| node.captures.contains(&output));
    let saturates = quantizer.code(min) == quantizer.codes.min && quantizer.code(max) == quantizer.codes.max;
    (saturates && node.domain.is_empty() && !is_seen && min <= max).then_some((input, output))
}

struct Writer {
    patch: Patch,
    operators: Operators,
    dequantized: HashMap<ValueId, ValueId>,
    /// Scalars that are there already, by type and bits.
    constants: HashMap<(DType, u32), ValueId>,
}

impl Writer {
    /// Quantizes and dequantizes a value that was just made, if it is one of the pairs.
    fn pair(&mut self, pairs: &Pairs, id: ValueId) -> Result<(), MethodError> {
        self.pair_of(pairs, id, id)
    }

    /// The same, with the codes made from another value that gives the same ones.
    fn pair_of(&mut self, pairs: &Pairs, id: ValueId, source: ValueId) -> Result<(), MethodError> {
        let Some(pair) = pairs.pairs.get(&id) else { return Ok(()) };
        let number = self.dequantized.len();
        let name = |part: &str| format!("q{number}{part}");
        let parts = match pair.grid {
            Grid::Static(quantizer) => {
                let scale = self.scalar(&name("_scale"), Tensor::scalar(quantizer.scale), quantizer.scale.to_bits());
                let zero = quantizer.codes.tensor(&[], vec![quantizer.zero_point])?;
                let zero_name = format!("{}_zero{}", zero.dtype(), quantizer.zero_point);
                let zero = self.scalar(&zero_name, zero, quantizer.zero_point as u32);
                let codes = self.patch.value(&name(""), Fact::unknown());
                let inputs = [Some(source), Some(scale), Some(zero)];
                self.node("QuantizeLinear", &name("_in"), &inputs, Attributes::new(), &[Some(codes)])?;
                [Some(codes), Some(scale), Some(zero)]
            }
            Grid::Dynamic => {
                let [codes, scale, zero] =
                    ["", "_scale", "_zero"].map(|part| self.patch.value(&name(part), Fact::unknown()));
                let outputs = [Some(codes), Some(scale), Some(zero)];
                self.node("DynamicQuantizeLinear", &name("_in"), &[Some(source)], Attributes::new(), &outputs)?;
                outputs
            }
        };
        let real = self.patch.value(&name("_out"), Fact::unknown());
        self.node("DequantizeLinear", &name("_out"), &parts, Attributes::new(), &[Some(real)])?;
        self.dequantized.insert(id, real);
        Ok(())
    }

    fn scalar(&mut self, name: &str, tensor: Tensor, bits: u32) -> ValueId {
        let key = (tensor.dtype(), bits);
        *self.constants.entry(key).or_insert_with(|| self.patch.constant(name, Weight::Dense(tensor)))
    }

    fn node(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: &[Option<ValueId>],
        attributes: Attributes,
        outputs: &[Option<ValueId>],
    ) -> Result<(), MethodError> {
        Ok(self.patch.node_into(&self.operators, op_type, name, inputs, attributes, outputs)?)
    }

    /// The node with its inputs quantized, if it takes integers or sees nothing else, and with its integer bias.
    fn rewired(&self, pairs: &Pairs, takes_integers: bool, bias: Option<(usize, ValueId)>, node: &Node) -> Node {
        let mut node = node.clone();
        for input in node.inputs.iter_mut().flatten() {
            if let (Some(pair), Some(&real)) = (pairs.pairs.get(input), self.dequantized.get(input))
                && (takes_integers || pair.is_for_all)
            {
                *input = real;
            }
        }
        if let Some((position, id)) = bias {
            node.inputs[position] = Some(id);
        }
        node
    }

    /// A lookup of codes, scaled afterwards: the table itself never becomes float.
    fn lookup(&mut self, graph: &Graph, table: &Table, node: &Node) -> Result<LayerChange, MethodError> {
        let missing =
            || MethodError::Layer { layer: table.name.clone(), reason: "its table is no constant".to_owned() };
        let affine = embeddings::encode(graph, table, self.patch.opset())?.ok_or_else(missing)?;
        let before = graph.constant(table.table).map(WeightState::of).ok_or_else(missing)??;
        let after = WeightState::of(&Weight::Affine(affine.clone()))?;
        let name = &graph.value(table.table).name;
        let axis = match affine.scale.rank() {
            0 => Attributes::new(),
            _ => Attributes::new().with("axis", -1i64),
        };
        let scale = self.patch.constant(&format!("{name}_scale"), Weight::Dense(affine.scale));
        let codes = self.patch.constant(&format!("{name}_quantized"), Weight::Dense(affine.codes));
        let rows = self.patch.value(&format!("{name}_rows"), Fact::unknown());
        let mut inputs = node.inputs.clone();
        inputs[0] = Some(codes);
        self.node("Gather", &node.name, &inputs, node.attributes.clone(), &[Some(rows)])?;
        self.node(
            "DequantizeLinear",
            &format!("{}_scaled", node.name),
            &[Some(rows), Some(scale)],
            axis,
            &node.outputs,
        )?;
        Ok(LayerChange { layer: table.name.clone(), before, after })
    }
}
