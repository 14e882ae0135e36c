//! Rewrites that keep the meaning of a graph, one file each.
//!
//! A pass is a file with a [`PassSpec`], its `mod` line and its line in [`PASSES`]. [`simplify`] runs those that never
//! change a result by more than rounding of constants; the others are asked for by name. The graph is verified after each.

mod eliminate_identity;
mod fold_batch_norm;
mod fold_constants;
mod fold_pad;
mod upgrade_opset;

use lissom_graph::{Graph, LoadError, Model, OpError, VerifyError, infer};

pub use fold_batch_norm::foldable_batch_norms;
pub use upgrade_opset::upgrade_opset;

/// A pass as it stands in [`PASSES`].
#[derive(Debug, Clone, Copy)]
pub struct PassSpec {
    /// A verb and its object.
    pub name: &'static str,
    /// One line on what it does.
    pub summary: &'static str,
    /// True if [`simplify`] runs it.
    pub is_simplification: bool,
    /// Rewrites the model and says how many places changed.
    pub run: fn(&mut Model) -> Result<usize, PassError>,
}

/// Why a pass failed. The model is unchanged by the place that failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum PassError {
    #[error(transparent)]
    Operator(#[from] OpError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Tensor(#[from] lissom_tensor::TensorError),
    #[error("node `{node}` ({op}) cannot be brought from opset {from} to {to}: {reason}")]
    Upgrade { node: String, op: String, from: u32, to: u32, reason: String },
}

/// All passes, in the order [`simplify`] runs them.
pub static PASSES: &[PassSpec] =
    &[fold_constants::SPEC, eliminate_identity::SPEC, fold_pad::SPEC, fold_batch_norm::SPEC];

/// Networks need two or three rounds; one made to need a round for every node would take quadratic time.
const MAX_ROUNDS: usize = 4;

/// Runs the simplifications until nothing changes, in subgraphs first. Returns how many places each changed, by name.
///
/// # Errors
/// [`PassError`]; the model is then as the last successful pass left it.
pub fn simplify(model: &mut Model) -> Result<Vec<(&'static str, usize)>, PassError> {
    let mut counts: Vec<(&'static str, usize)> =
        PASSES.iter().filter(|pass| pass.is_simplification).map(|pass| (pass.name, 0)).collect();
    let around = model.with_graph(Graph::default());
    let mut edit = |graph: &mut Graph| -> Result<(), PassError> {
        let mut inner = around.with_graph(std::mem::take(graph));
        infer(&mut inner.graph)?;
        simplify_graph(&mut inner, &mut counts)?;
        *graph = inner.graph;
        Ok(())
    };
    let operators = model.operators;
    model.graph.edit_subgraphs(&operators, &mut edit)?;
    simplify_graph(model, &mut counts)?;
    Ok(counts)
}

fn simplify_graph(model: &mut Model, counts: &mut [(&'static str, usize)]) -> Result<(), PassError> {
    for _ in 0..MAX_ROUNDS {
        let mut changed = 0;
        for pass in PASSES.iter().filter(|pass| pass.is_simplification) {
            let n = (pass.run)(model)?;
            if n > 0 {
                infer(&mut model.graph)?;
            }
            changed += n;
            if let Some(count) = counts.iter_mut().find(|(name, _)| *name == pass.name) {
                count.1 += n;
            }
        }
        if changed == 0 {
            break;
        }
    }
    Ok(())
}

/// Runs the pass of this name once.
///
/// # Errors
/// [`PassError`]. An unknown name changes nothing and gives `None`.
pub fn run(name: &str, model: &mut Model) -> Result<Option<usize>, PassError> {
    let Some(pass) = PASSES.iter().find(|pass| pass.name == name) else { return Ok(None) };
    let n = (pass.run)(model)?;
    if n > 0 {
        infer(&mut model.graph)?;
    }
    Ok(Some(n))
}
