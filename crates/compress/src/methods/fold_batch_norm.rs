//! Moves batch normalisation into the layer before it: quantizing afterwards sees the weights that really multiply.

use lissom_graph::Model;
use lissom_passes::foldable_batch_norms;
use lissom_recipe::{Settings, SettingsError};
use serde::Deserialize;

use crate::{Changes, Job, Method, MethodError, MethodSpec};

pub(super) const SPEC: MethodSpec = MethodSpec {
    name: "fold_batch_norm",
    summary: "move batch normalisation into the layer before it; exact up to rounding",
    source: "Jacob et al. 2018, arXiv:1712.05877, section 3.2",
    example: "",
    parse: |settings: &Settings| -> Result<Box<dyn Method>, SettingsError> {
        Ok(Box::new(settings.parse::<FoldBatchNorm>()?))
    },
};

/// Settings of `fold_batch_norm`: none.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct FoldBatchNorm {}

impl Method for FoldBatchNorm {
    fn apply(&self, model: &mut Model, _job: &Job<'_>) -> Result<Changes, MethodError> {
        let folded = foldable_batch_norms(&model.graph);
        lissom_passes::run("fold_batch_norm", model)?;
        let n_left = model.graph.nodes().iter().filter(|node| node.op_type == "BatchNormalization").count();
        let mut notes = vec![format!("{} batch normalisations folded", folded.len())];
        if n_left > 0 {
            notes.push(format!("{n_left} stay: no linear layer of their own comes before them"));
        }
        Ok(Changes { notes, ..Changes::default() })
    }
}
