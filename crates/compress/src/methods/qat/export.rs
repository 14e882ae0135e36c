//! The trained network as standard ONNX: codes with their steps for weights, pairs of `QuantizeLinear` and `DequantizeLinear` for
//! activations.
//!
//! Batch norms move into the steps: `γ / √(σ² + ε)` of a channel scales its step, and a negative one turns the signs of its codes, which is why
//! codes of weights are symmetric. Fewer than 8 bits of activations stand in bytes, behind a `Clip`.

use std::collections::BTreeMap;

use lissom_graph::{Attributes, Fact, Graph, Model, Patch, ValueId, infer};
use lissom_tensor::{Affine, Tensor, Weight, strides};
use lissom_train::TrainError;

use super::SPEC;
use super::place::{Places, Quantized, QuantizedLayer};
use crate::Changes;
use crate::methods::quantize::activations::Activations;
use crate::methods::quantize::insert::{self, Grid, Pair, Pairs};
use crate::methods::quantize::layers::{Encoded, Target, bias_codes, integer_bias, least_scales};
use crate::methods::quantize::settings::Operators;
use crate::parts::quantizer::{Quantizer, Sharing};

fn refused(reason: impl ToString) -> TrainError {
    TrainError::Technique { method: SPEC.name, reason: reason.to_string() }
}

/// The numbers of a constant.
fn numbers(graph: &Graph, name: &str) -> Result<Vec<f32>, TrainError> {
    let tensor = graph.find_value(name).and_then(|value| graph.dense_constant(value));
    Ok(tensor.ok_or_else(|| refused(format!("`{name}` is no constant any more")))?.to_f32_vec()?)
}

/// A weight in training, its steps, and what these have become with the batch norm in them.
struct Trained<'a> {
    layer: &'a QuantizedLayer,
    values: Vec<f32>,
    steps: Vec<f32>,
}

impl Trained<'_> {
    fn channel(&self, shape: &[usize], i: usize) -> usize {
        i / strides(shape)[self.layer.axis] % shape[self.layer.axis]
    }

    /// Codes on steps that are at least `least`; `scales` may be negative.
    fn encoded(&self, shape: &[usize], scales: &[f32], least: &[f32]) -> Result<Affine, TrainError> {
        let codes = self.layer.codes;
        let own: Vec<f32> = scales
            .iter()
            .enumerate()
            .map(|(i, scale)| scale.abs().max(least.get(i).copied().unwrap_or(0.0)))
            .map(|scale| if scale.is_normal() { scale } else { 1.0 })
            .collect();
        let code = |(i, &value): (usize, &f32)| {
            let channel = self.channel(shape, i);
            let quantizer = Quantizer { scale: self.steps[channel], zero_point: 0, codes };
            let code = quantizer.code(value);
            if own[channel] == scales[channel].abs() {
                return if scales[channel] < 0.0 { -code } else { code };
            }
            // A channel that a batch norm brought to next to nothing, on the step that its bias needs.
            Quantizer { scale: own[channel], ..quantizer }.code(code as f32 * scales[channel])
        };
        let made = codes.tensor(shape, self.values.iter().enumerate().map(code).collect())?;
        Ok(Affine { codes: made, scale: Tensor::vector(own), zero_point: None, axis: self.layer.axis, block_size: 0 })
    }
}

/// Writes what was trained. `plain` is the network before the quantizers went in, `trained` the one with them. Biases become multiples of the
/// product of two steps, as integer sums need them; this rounding is the only one that training does not see, and tests leave it out.
pub(super) fn export(
    plain: &Model,
    trained: &Model,
    places: &Places,
    has_integer_biases: bool,
) -> Result<Model, TrainError> {
    let mut model = plain.clone();
    let constants: Vec<ValueId> = plain.graph.constants().map(|(id, _)| id).collect();
    for id in constants {
        if let Some(weight) = trained.graph.constant(id) {
            model.graph.set_constant(id, weight.clone());
        }
    }
    let mut weights = BTreeMap::new();
    for layer in &places.layers {
        let tensor = model.graph.dense_constant(layer.weight).ok_or_else(|| refused("a weight is no constant"))?;
        let (values, shape) = (tensor.to_f32_vec()?, tensor.shape().to_vec());
        let own = Trained { layer, values, steps: numbers(&trained.graph, &layer.steps)? };
        // In place of the weight its steps: folding makes the new ones of them.
        let steps = (0..own.values.len()).map(|i| own.steps[own.channel(&shape, i)]).collect::<Vec<f32>>();
        model.graph.set_constant(layer.weight, Weight::Dense(Tensor::new(shape, steps)?));
        weights.insert(layer.name.as_str(), own);
    }
    lissom_passes::run("fold_batch_norm", &mut model).map_err(refused)?;
    let mut targets = Vec::new();
    for layer in model.graph.layers().iter().filter(|layer| weights.contains_key(layer.name.as_str())) {
        targets.extend(Target::new(&model.graph, layer).map_err(refused)?.ok());
    }
    let mut pairs = pairs(&model.graph, &targets, places, &trained.graph)?;
    let mut encoded = Encoded::default();
    for target in &targets {
        let (layer, own) = (&target.layer, &weights[target.layer.name.as_str()]);
        let Some(tensor) = model.graph.dense_constant(layer.weight) else { continue };
        let (shape, folded) = (tensor.shape().to_vec(), tensor.to_f32_vec()?);
        let stride = strides(&shape)[own.layer.axis];
        let scales: Vec<f32> = (0..shape[own.layer.axis]).map(|channel| folded[channel * stride]).collect();
        let input = input_scale(own.layer, places, &trained.graph)?;
        let input = input.filter(|_| has_integer_biases);
        let bias = input.and_then(|scale| Some((scale, integer_bias(&model.graph, layer)?)));
        let least = match &bias {
            Some((scale, (_, bias))) => least_scales(*scale, bias, Sharing::Channel(own.layer.axis)),
            None => Vec::new(),
        };
        let affine = own.encoded(&shape, &scales, &least)?;
        if let Some((scale, (position, bias))) = bias
            && let Some(codes) = bias_codes(scale, &bias, &affine).map_err(refused)?
        {
            encoded.biases.push((layer.node, position, codes));
        }
        encoded.weights.insert(layer.weight, affine);
    }
    pairs.takers.retain(|&node| model.graph.nodes()[node].uses().any(|id| pairs.pairs.contains_key(&id)));
    insert::apply(&mut model, &pairs, encoded, &[], &mut Changes::default()).map_err(refused)?;
    for ((value, bits), quantized) in &places.narrow {
        let step = numbers(&trained.graph, &quantized.step)?[0];
        let users = places.layers.iter().filter(|layer| layer.input == *value && layer.input_bits == Some(*bits));
        narrow(&mut model, quantized, step, &users.map(|layer| layer.name.as_str()).collect::<Vec<_>>())?;
    }
    infer(&mut model.graph)?;
    Ok(model)
}

/// The pairs of what integer operators see.
fn pairs(graph: &Graph, targets: &[Target], places: &Places, trained: &Graph) -> Result<Pairs, TrainError> {
    let mut pairs = Pairs::default();
    if places.wide.is_empty() {
        return Ok(pairs);
    }
    pairs.takers = Activations::place(graph, targets, &Operators::all()).takers;
    for (&value, (quantized, is_for_all)) in &places.wide {
        let scale = numbers(trained, &quantized.step)?[0];
        let grid = Grid::Static(Quantizer { scale, zero_point: 0, codes: quantized.codes });
        pairs.pairs.insert(value, Pair { grid, is_for_all: *is_for_all });
    }
    Ok(pairs)
}

/// The step of what goes into a layer.
fn input_scale(layer: &QuantizedLayer, places: &Places, trained: &Graph) -> Result<Option<f32>, TrainError> {
    let narrow = layer.input_bits.and_then(|bits| places.narrow.get(&(layer.input, bits)));
    let wide = layer.input_bits.and_then(|_| places.wide.get(&layer.input)).map(|(quantized, _)| quantized);
    let step = narrow.or(wide).map(|quantized| numbers(trained, &quantized.step)).transpose()?;
    Ok(step.map(|step| step[0]))
}

/// Quantizes what goes into `layers` to fewer codes than bytes have.
fn narrow(model: &mut Model, quantized: &Quantized, step: f32, layers: &[&str]) -> Result<(), TrainError> {
    let graph = &model.graph;
    let users: Vec<usize> = layers.iter().filter_map(|name| graph.find_node(name)).collect();
    let position = |index: usize| {
        let node = &graph.nodes()[index];
        let is_data = |id: &Option<ValueId>| id.is_some_and(|id| graph.constant(id).is_none());
        node.inputs.iter().position(is_data)
    };
    let Some((first, at)) = users.first().and_then(|&user| Some((user, position(user)?))) else { return Ok(()) };
    let Some(from) = graph.nodes()[first].inputs[at] else { return Ok(()) };
    let maker = graph.producers().get(&from).copied();
    // A ReLU that only these layers see is the lower bound of the clip.
    let is_only = graph.use_counts()[from.index()] == users.len() && !graph.outputs().contains(&from);
    let relu = maker.filter(|&index| graph.nodes()[index].op_type == "Relu" && quantized.codes.min == 0 && is_only);
    let mut patch = Patch::new(graph, model.opset());
    let scalar = |patch: &mut Patch, name: &str, tensor: Tensor| Some(patch.constant(name, Weight::Dense(tensor)));
    let name = |part: &str| format!("{}_{part}", quantized.step);
    let low = scalar(&mut patch, &name("low"), Tensor::scalar(quantized.codes.min as f32 * step));
    let high = scalar(&mut patch, &name("high"), Tensor::scalar(quantized.codes.max as f32 * step));
    let scale = scalar(&mut patch, &name("scale"), Tensor::scalar(step));
    let zero = scalar(&mut patch, &name("zero"), quantized.codes.tensor(&[], vec![0])?);
    let [clipped, codes, real] = ["clipped", "codes", "real"].map(|part| patch.value(&name(part), Fact::unknown()));
    let source = relu.and_then(|index| graph.nodes()[index].inputs[0]).unwrap_or(from);
    // All nodes are put again, so that they stay in their order.
    for (index, node) in graph.nodes().iter().enumerate() {
        patch.remove_node(index);
        let mut node = node.clone();
        if users.contains(&index) {
            node.inputs.iter_mut().filter(|id| **id == Some(from)).for_each(|id| *id = Some(real));
        }
        if index == first {
            let operators = &model.operators;
            let none = Attributes::new;
            let inputs = [Some(source), low, high];
            patch.node_into(operators, "Clip", &name("clip"), &inputs, none(), &[Some(clipped)])?;
            let inputs = [Some(clipped), scale, zero];
            patch.node_into(operators, "QuantizeLinear", &name("in"), &inputs, none(), &[Some(codes)])?;
            let inputs = [Some(codes), scale, zero];
            patch.node_into(operators, "DequantizeLinear", &name("out"), &inputs, none(), &[Some(real)])?;
        }
        if Some(index) != relu {
            patch.push_node(node);
        }
    }
    model.graph.apply(patch)?;
    infer(&mut model.graph)?;
    Ok(())
}
