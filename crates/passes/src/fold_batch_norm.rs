//! Moves inference batch normalisation into the linear layer before it.
//!
//! `γ · (y − μ) / √(σ² + ε) + β` after `y = W x + b` is the layer `W' = W · g`, `b' = (b − μ) · g + β` with
//! `g = γ / √(σ² + ε)` per output channel, computed in f64 and rounded once.

use lissom_graph::{Attribute, Graph, Layer, Model, Node, Patch, ValueId};
use lissom_tensor::{DType, Tensor, Weight, strides};

use crate::{PassError, PassSpec};

pub(crate) const SPEC: PassSpec = PassSpec {
    name: "fold_batch_norm",
    summary: "move batch normalisation into the layer before it",
    is_simplification: false,
    run,
};

fn run(model: &mut Model) -> Result<usize, PassError> {
    let mut n = 0;
    while let Some(patch) = fold_next(model)? {
        model.graph.apply(patch)?;
        n += 1;
    }
    Ok(n)
}

/// Layers whose only consumer is a batch normalisation that can move into them: layer name, name of the normalisation.
pub fn foldable_batch_norms(graph: &Graph) -> Vec<(String, String)> {
    candidates(graph).map(|(layer, norm)| (layer.name, graph.nodes()[norm].name.clone())).collect()
}

fn candidates(graph: &Graph) -> impl Iterator<Item = (Layer, usize)> {
    let consumers = graph.consumers();
    graph.layers().into_iter().filter_map(move |layer| {
        let users = consumers.get(&layer.output)?;
        let [user] = users[..] else { return None };
        let norm = &graph.nodes()[user];
        let is_norm = norm.op_type == "BatchNormalization" && norm.domain.is_empty();
        let is_exclusive = !graph.outputs().contains(&layer.output) && weight_uses(graph, layer.weight) == 1;
        let has_float_weight = graph.dense_constant(layer.weight).is_some_and(|w| w.dtype() == DType::F32);
        // A grouped transposed convolution has its output channels split over two axes.
        let is_transposed_group = layer.axes.groups > 1 && layer.axes.c_out != 0;
        let has_bias_slot = layer.axes.bias_input.is_some_and(|input| bias_can_change(graph, &layer, input));
        let fits = is_norm
            && is_exclusive
            && has_float_weight
            && has_bias_slot
            && !is_transposed_group
            && norm.inputs.first() == Some(&Some(layer.output))
            && is_inference(norm)
            && scales_plainly(&graph.nodes()[layer.node]);
        fits.then_some((layer, user))
    })
}

/// `alpha` and `beta` of `Gemm` would scale what is folded in.
fn scales_plainly(node: &Node) -> bool {
    ["alpha", "beta"].iter().all(|name| !matches!(node.attributes.get(name), Some(Attribute::Float(v)) if *v != 1.0))
}

fn weight_uses(graph: &Graph, weight: ValueId) -> usize {
    graph.use_counts()[weight.index()]
}

fn bias_can_change(graph: &Graph, layer: &Layer, input: usize) -> bool {
    match graph.nodes()[layer.node].inputs.get(input).copied().flatten() {
        None => true,
        Some(id) => graph.dense_constant(id).is_some_and(|bias| bias.dtype() == DType::F32 && bias.rank() <= 1),
    }
}

fn is_inference(norm: &Node) -> bool {
    let is_training = matches!(norm.attributes.get("training_mode"), Some(Attribute::Int(mode)) if *mode != 0);
    !is_training && norm.outputs.iter().skip(1).all(Option::is_none)
}

fn fold_next(model: &Model) -> Result<Option<Patch>, PassError> {
    let graph = &model.graph;
    for (layer, norm_index) in candidates(graph) {
        let norm = &graph.nodes()[norm_index];
        let Some((scale, shift)) = affine(graph, norm)? else { continue };
        let (Some(weight), Some(norm_output)) = (graph.dense_constant(layer.weight), norm.outputs[0]) else { continue };
        if weight.shape().get(layer.axes.c_out) != Some(&scale.len()) {
            continue;
        }
        let bias = match layer.bias.and_then(|bias| graph.dense_constant(bias)) {
            Some(bias) if bias.len() == 1 => vec![bias.to_f64_vec()?[0]; scale.len()],
            Some(bias) if bias.len() == scale.len() => bias.to_f64_vec()?,
            Some(_) => continue,
            None => vec![0.0; scale.len()],
        };
        let new_bias: Vec<f32> =
            bias.iter().zip(&scale).zip(&shift).map(|((b, g), shift)| (b * g + shift) as f32).collect();
        let mut patch = Patch::new(graph, model.opset());
        let new_weight = scaled(weight, layer.axes.c_out, &scale)?;
        let weight_id = patch.constant(&graph.value(layer.weight).name, Weight::Dense(new_weight));
        let bias_id = patch.constant(&format!("{}_bias", layer.name), Weight::Dense(Tensor::vector(new_bias)));
        let mut node = graph.nodes()[layer.node].clone();
        node.inputs[layer.axes.weight_input] = Some(weight_id);
        let bias_input = layer.axes.bias_input.unwrap_or(node.inputs.len());
        node.inputs.resize(node.inputs.len().max(bias_input + 1), None);
        node.inputs[bias_input] = Some(bias_id);
        // The layer now gives what the normalisation gave, under its name.
        node.outputs = vec![Some(norm_output)];
        patch.remove_node(layer.node);
        patch.remove_node(norm_index);
        patch.push_node(node);
        return Ok(Some(patch));
    }
    Ok(None)
}

/// Scale and offset of each channel.
type Affine = (Vec<f64>, Vec<f64>);

/// Per channel `(g, β − μ·g)`, or nothing if a parameter is not a constant.
fn affine(graph: &Graph, norm: &Node) -> Result<Option<Affine>, PassError> {
    let parameter = |input: usize| -> Result<Option<Vec<f64>>, PassError> {
        let tensor = norm.inputs.get(input).copied().flatten().and_then(|id| graph.dense_constant(id));
        Ok(tensor.map(Tensor::to_f64_vec).transpose()?)
    };
    let (Some(gamma), Some(beta), Some(mean), Some(variance)) =
        (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?)
    else {
        return Ok(None);
    };
    let epsilon = match norm.attributes.get("epsilon") {
        Some(Attribute::Float(epsilon)) => f64::from(*epsilon),
        _ => f64::from(1e-5f32),
    };
    let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
    let shift = beta.iter().zip(&mean).zip(&scale).map(|((b, m), g)| b - m * g).collect();
    Ok(Some((scale, shift)))
}

fn scaled(weight: &Tensor, axis: usize, scale: &[f64]) -> Result<Tensor, PassError> {
    let step = strides(weight.shape())[axis];
    let values: Vec<f32> = weight
        .to_f32_vec()?
        .into_iter()
        .enumerate()
        .map(|(i, w)| (f64::from(w) * scale[i / step % scale.len()]) as f32)
        .collect();
    Ok(Tensor::new(weight.shape(), values)?)
}
