//! Post-training quantization: 8-bit weights and activations, static or dynamic, or weights alone of 2 to 8 bits.
//!
//! - Static: activations get their ranges from calibration data. Every tensor that feeds an integer operator passes one
//!   pair `QuantizeLinear`, `DequantizeLinear`, which runtimes fuse; so do outputs of convolutions and the inputs and
//!   outputs of the additions, pools and concatenations between them, so that a CNN stays in integers from end to end.
//!   Softmax, normalisations, what is not f32, and the model's outputs stay float.
//! - Dynamic: `DynamicQuantizeLinear` finds the range of each tensor when the network runs.
//! - Weights alone: integer codes behind a `DequantizeLinear`.
//!
//! Tables of embeddings become 8-bit codes with one scale per column, looked up first and scaled after.

pub(super) mod activations;
pub(super) mod embeddings;
pub(super) mod insert;
pub(super) mod layers;
pub(super) mod settings;

use std::collections::BTreeMap;

use lissom_graph::{Graph, Layer, Model};
use lissom_passes::{PassError, upgrade_opset};
use lissom_recipe::{Settings, SettingsError};
use lissom_tensor::{DType, Weight};

use self::activations::Activations;
use self::embeddings::Table;
use self::insert::Pairs;
use self::layers::Target;
use self::settings::{Activation, Quantize};
use crate::parts::quantizer::Sharing;
use crate::parts::users;
use crate::{Changes, Job, Method, MethodError, MethodSpec, Skipped};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "quantize",
    summary: "integer weights of 2 to 8 bits, and 8-bit activations, static or dynamic",
    source: "Jacob et al. 2018, arXiv:1712.05877; Migacz 2017 (entropy); Nagel et al. 2021, arXiv:2106.08295",
    example: "scheme = \"W8A32\"",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> { Ok(Box::new(Quantize::read(settings)?)) },
};

impl Method for Quantize {
    fn needs_calibration(&self) -> bool {
        self.activation == Activation::Static
    }

    fn is_encoding(&self) -> bool {
        true
    }

    fn apply(&self, model: &mut Model, job: &Job<'_>) -> Result<Changes, MethodError> {
        let mut changes = Changes::default();
        let sharing = self.fit_opset(model, &mut changes)?;
        if self.activation == Activation::Float {
            self.encode_subgraphs(model, job, sharing, &mut changes)?;
            self.encode_captured(model, job, sharing, &mut changes)?;
        }
        let (targets, tables) = self.targets(model, job, &mut changes)?;
        if self.activation != Activation::Float {
            changes.skipped.extend(job.inside_subgraphs(model, |node| self.operators.holds(&node.op_type)));
        }
        if targets.is_empty() && tables.is_empty() {
            if !changes.layers.is_empty() {
                return Ok(changes);
            }
            let what = "no selected layer has a constant float weight";
            return Err(MethodError::nothing_to_do(SPEC.name, what, &changes.skipped));
        }
        let pairs = match self.activation {
            Activation::Float => Pairs::default(),
            Activation::Dynamic => Pairs::dynamic(&model.graph, &targets),
            Activation::Static => {
                let activations = Activations::place(&model.graph, &targets, &self.operators);
                activations.calibrate(self, model, job)?
            }
        };
        let weights = layers::encode(self, model, &targets, &pairs, sharing, &mut changes)?;
        insert::apply(model, &pairs, weights, &tables, &mut changes)?;
        Ok(changes)
    }
}

/// Without those whose weight something else uses as it is.
fn unshared(graph: &Graph, mut targets: Vec<Target>, changes: &mut Changes) -> Vec<Target> {
    let all = targets.clone();
    let layers: Vec<&Layer> = all.iter().map(|target| &target.layer).collect();
    targets.retain(|target| match users::shared(graph, &layers, target.layer.weight) {
        Some(reason) => {
            changes.skipped.push(Skipped { layer: target.layer.name.clone(), reason });
            false
        }
        None => true,
    });
    targets
}

impl Quantize {
    /// Brings the model to the opset the encoding needs; scales per tensor are the way out where that is refused.
    fn fit_opset(&self, model: &mut Model, changes: &mut Changes) -> Result<Sharing, MethodError> {
        let needed = self.needed_opset();
        match upgrade_opset(model, needed) {
            Ok(_) => Ok(self.sharing),
            Err(error) if needed == 13 && model.opset() >= 10 && self.activation != Activation::Dynamic => {
                changes.notes.push(format!("one scale per tensor instead of per channel, because {error}"));
                Ok(Sharing::Tensor)
            }
            Err(PassError::Upgrade { node, op, from, to, reason }) => Err(MethodError::Layer {
                layer: node,
                reason: format!(
                    "{op} cannot be brought from opset {from} to {to}, which this encoding needs: {reason}"
                ),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Weights inside of `If`, `Loop` and `Scan`, by the names their nodes have there.
    fn encode_subgraphs(
        &self,
        model: &mut Model,
        job: &Job<'_>,
        sharing: Sharing,
        changes: &mut Changes,
    ) -> Result<(), MethodError> {
        let around = model.with_graph(Graph::default());
        let operators = model.operators;
        let mut edit = |graph: &mut Graph| -> Result<(), MethodError> {
            let mut inner = around.with_graph(std::mem::take(graph));
            let mut targets = Vec::new();
            for layer in inner.graph.layers() {
                let is_chosen = self.operators.holds(&inner.graph.nodes()[layer.node].op_type);
                if is_chosen && job.layers.matches(&layer.name) {
                    targets.extend(Target::new(&inner.graph, &layer)?.ok());
                }
            }
            let targets = unshared(&inner.graph, targets, changes);
            let weights = layers::encode(self, &inner, &targets, &Pairs::default(), sharing, changes)?;
            insert::apply(&mut inner, &Pairs::default(), weights, &[], changes)?;
            *graph = inner.graph;
            Ok(())
        };
        model.graph.edit_subgraphs(&operators, &mut edit)
    }

    /// Weights of the main graph that layers inside of one `If`, `Loop` or `Scan` use, and nothing else does.
    fn encode_captured(
        &self,
        model: &mut Model,
        job: &Job<'_>,
        sharing: Sharing,
        changes: &mut Changes,
    ) -> Result<(), MethodError> {
        let uses = model.graph.use_counts();
        let mut encoded = Vec::new();
        for node in model.graph.nodes() {
            let mut captures = node.captures.iter().copied();
            for subgraph in node.attributes.graphs() {
                let mut inner = model.with_graph(Graph::clone(subgraph));
                let mut origins = BTreeMap::new();
                for ((_, id), origin) in subgraph.captures().iter().zip(captures.by_ref()) {
                    let tensor = model.graph.dense_constant(origin).filter(|tensor| tensor.dtype() == DType::F32);
                    if let (Some(tensor), 1) = (tensor, uses[origin.index()]) {
                        // Seen as a constant of its own, the layer that uses it is one like any other.
                        inner.graph.set_constant(*id, Weight::Dense(tensor.clone()));
                        origins.insert(*id, origin);
                    }
                }
                let mut targets = Vec::new();
                for layer in inner.graph.layers().iter().filter(|layer| origins.contains_key(&layer.weight)) {
                    let is_chosen = self.operators.holds(&inner.graph.nodes()[layer.node].op_type);
                    if is_chosen && job.layers.matches(&layer.name) {
                        targets.extend(Target::new(&inner.graph, layer)?.ok());
                    }
                }
                let targets = unshared(&inner.graph, targets, changes);
                let weights = layers::encode(self, &inner, &targets, &Pairs::default(), sharing, changes)?.weights;
                encoded.extend(weights.into_iter().map(|(id, affine)| (origins[&id], affine)));
            }
        }
        for (id, affine) in encoded {
            model.graph.set_constant(id, Weight::Affine(affine));
        }
        Ok(())
    }

    /// The layers and tables that become integers.
    fn targets(
        &self,
        model: &Model,
        job: &Job<'_>,
        changes: &mut Changes,
    ) -> Result<(Vec<Target>, Vec<Table>), MethodError> {
        let layers = model.graph.layers();
        let tables = if self.embeddings { embeddings::tables(&model.graph)? } else { Vec::new() };
        let names: Vec<&str> = layers
            .iter()
            .map(|layer| layer.name.as_str())
            .chain(tables.iter().map(|table| table.name.as_str()))
            .collect();
        let mut targets = Vec::new();
        let mut chosen_tables = Vec::new();
        for index in job.layers.select(&names)? {
            let Some(layer) = layers.get(index) else {
                chosen_tables.push(tables[index - layers.len()].clone());
                continue;
            };
            let node = &model.graph.nodes()[layer.node];
            if !self.operators.holds(&node.op_type) {
                continue;
            }
            match Target::new(&model.graph, layer)? {
                Ok(target) => targets.push(target),
                Err(reason) => changes.skipped.push(Skipped { layer: layer.name.clone(), reason }),
            }
        }
        Ok((unshared(&model.graph, targets, changes), chosen_tables))
    }
}
