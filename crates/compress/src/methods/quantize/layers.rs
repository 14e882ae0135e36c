//! Weights and biases of the layers.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use lissom_graph::{Attribute, Graph, Layer, Model, Node, ValueId};
use lissom_tensor::{Affine, DType, Tensor, Weight};

use super::insert::Pairs;
use super::settings::Quantize;
use crate::parts::quantizer::{Sharing, WeightGrid};
use crate::{Changes, LayerChange, MethodError, WeightState};

/// A layer whose weight becomes integers.
#[derive(Debug, Clone)]
pub(in crate::methods) struct Target {
    pub(in crate::methods) layer: Layer,
    pub(in crate::methods) op_type: String,
    /// Whether its product can run in integers, given integer input.
    pub(in crate::methods) is_integer: bool,
}

impl Target {
    /// The layer, or why its weight cannot be quantized.
    pub(in crate::methods) fn new(graph: &Graph, layer: &Layer) -> Result<Result<Self, String>, MethodError> {
        let Some(tensor) = graph.dense_constant(layer.weight) else {
            return Ok(Err("its weight is quantized already".to_owned()));
        };
        if tensor.dtype() != DType::F32 {
            return Ok(Err(format!("its weight is {}, quantization works on f32", tensor.dtype())));
        }
        if tensor.is_empty() {
            return Ok(Err("its weight is empty".to_owned()));
        }
        if tensor.as_slice::<f32>()?.iter().any(|w| !w.is_finite()) {
            return Err(MethodError::NotFinite { layer: layer.name.clone(), what: "NaN or infinity" });
        }
        let node = &graph.nodes()[layer.node];
        let has_variable_input = graph.constant(layer.input).is_none();
        let is_integer = matches!(node.op_type.as_str(), "Conv" | "Gemm" | "MatMul") && has_variable_input;
        Ok(Ok(Self { layer: layer.clone(), op_type: node.op_type.clone(), is_integer }))
    }
}

/// New constants: weights, and biases by the node that uses them.
#[derive(Debug, Default)]
pub(in crate::methods) struct Encoded {
    pub(in crate::methods) weights: BTreeMap<ValueId, Affine>,
    /// Node, position of the bias among its inputs, the bias.
    pub(in crate::methods) biases: Vec<(usize, usize, Affine)>,
}

/// Largest magnitude of an integer bias: half of what i32 holds, so that the sum still has room.
const MAX_BIAS: f64 = (1u32 << 30) as f64;

/// Quantizes weights, and biases where the scale of the input is known.
pub(in crate::methods) fn encode(
    settings: &Quantize,
    model: &Model,
    targets: &[Target],
    pairs: &Pairs,
    sharing: Sharing,
    changes: &mut Changes,
) -> Result<Encoded, MethodError> {
    let graph = &model.graph;
    let mut encoded = Encoded::default();
    let mut coarse = Vec::new();
    let uses: HashMap<ValueId, usize> = targets.iter().fold(HashMap::new(), |mut uses, target| {
        *uses.entry(target.layer.weight).or_default() += 1;
        uses
    });
    for target in targets {
        let layer = &target.layer;
        let Some(tensor) = graph.dense_constant(layer.weight) else { continue };
        let input_scale = if target.is_integer { pairs.scale(layer.input) } else { None };
        let bias = input_scale.and_then(|scale| Some((scale, integer_bias(graph, layer)?)));
        let own = layer_sharing(sharing, layer, tensor.shape());
        if matches!(sharing, Sharing::Group { .. }) && !matches!(own, Sharing::Group { .. }) {
            coarse.push(layer.name.as_str());
        }
        if let Entry::Vacant(entry) = encoded.weights.entry(layer.weight) {
            let least = match &bias {
                Some((scale, (_, bias))) if uses[&layer.weight] == 1 => least_scales(*scale, bias, own),
                _ => Vec::new(),
            };
            let grid = WeightGrid { codes: settings.weight_codes, sharing: own, clips: settings.clips_weights };
            let affine = grid.quantize(tensor.shape(), tensor.as_slice()?, &least)?;
            entry.insert(affine);
        }
        let affine = &encoded.weights[&layer.weight];
        changes.layers.push(LayerChange {
            layer: layer.name.clone(),
            before: WeightState::of(&Weight::Dense(tensor.clone()))?,
            after: WeightState::of(&Weight::Affine(affine.clone()))?,
        });
        if let Some((scale, (position, bias))) = bias {
            match bias_codes(scale, &bias, affine)? {
                Some(bias) => encoded.biases.push((layer.node, position, bias)),
                None => {
                    changes.notes.push(format!("the bias of `{}` stays float: its steps do not fit it", layer.name))
                }
            }
        }
    }
    if !coarse.is_empty() {
        let names = coarse.join("`, `");
        changes.notes.push(format!("one scale per channel where the input axis is shorter than a group: `{names}`"));
    }
    Ok(encoded)
}

/// The sharing along the right axes of this layer. Where no whole group fits, a channel is the group.
fn layer_sharing(sharing: Sharing, layer: &Layer, shape: &[usize]) -> Sharing {
    match sharing {
        Sharing::Tensor => Sharing::Tensor,
        Sharing::Group { size, .. } if shape.get(layer.axes.c_in).is_some_and(|&length| length >= size) => {
            Sharing::Group { axis: layer.axes.c_in, size }
        }
        _ => Sharing::Channel(layer.axes.c_out),
    }
}

/// The bias as numbers and its position, if it can be added to the sums of an integer product.
pub(in crate::methods) fn integer_bias(graph: &Graph, layer: &Layer) -> Option<(usize, Vec<f32>)> {
    let position = layer.axes.bias_input?;
    let bias = graph.dense_constant(layer.bias?)?;
    let weight = graph.dense_constant(layer.weight)?;
    let n_out = *weight.shape().get(layer.axes.c_out)?;
    let fits = bias.dtype() == DType::F32 && bias.shape() == [n_out] && is_plain(&graph.nodes()[layer.node]);
    fits.then(|| Some((position, bias.as_slice().ok()?.to_vec()))).flatten()
}

/// False where `alpha` or `beta` of `Gemm` scale the product.
fn is_plain(node: &Node) -> bool {
    ["alpha", "beta"].iter().all(|name| !matches!(node.attributes.get(name), Some(Attribute::Float(v)) if *v != 1.0))
}

/// Scales of the weight below which the bias would overflow.
pub(in crate::methods) fn least_scales(input_scale: f32, bias: &[f32], sharing: Sharing) -> Vec<f32> {
    let least = |bias: f32| (f64::from(bias.abs()) / (f64::from(input_scale) * MAX_BIAS)) as f32;
    match sharing {
        Sharing::Channel(_) => bias.iter().map(|&bias| least(bias)).collect(),
        Sharing::Tensor => vec![bias.iter().fold(0.0, |most: f32, &bias| most.max(least(bias)))],
        Sharing::Group { .. } => Vec::new(),
    }
}

/// The bias in steps of `input scale · weight scale`; nothing if the steps are per group or it would overflow.
pub(in crate::methods) fn bias_codes(
    input_scale: f32,
    bias: &[f32],
    weight: &Affine,
) -> Result<Option<Affine>, MethodError> {
    let weight_scales = weight.scale.to_f32_vec()?;
    if weight.block_size != 0 {
        return Ok(None);
    }
    let scales: Vec<f32> = weight_scales.iter().map(|scale| scale * input_scale).collect();
    if scales.len() != 1 && scales.len() != bias.len() || scales.iter().any(|scale| !scale.is_normal()) {
        return Ok(None);
    }
    let mut codes = Vec::with_capacity(bias.len());
    for (i, &bias) in bias.iter().enumerate() {
        let code = (f64::from(bias) / f64::from(scales[i % scales.len()])).round_ties_even();
        if code.abs() > 1.5 * MAX_BIAS {
            return Ok(None);
        }
        codes.push(code as i32);
    }
    let scale = if weight.scale.rank() == 0 { Tensor::scalar(scales[0]) } else { Tensor::vector(scales) };
    Ok(Some(Affine { codes: Tensor::vector(codes), scale, zero_point: None, axis: 0, block_size: 0 }))
}
