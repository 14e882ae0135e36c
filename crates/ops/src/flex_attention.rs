//! `FlexAttention` (preview): attention whose scores and weights pass through subgraphs.
//!
//! <https://onnx.ai/onnx/operators/onnx_aionnxpreview_FlexAttention.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NodeReader, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::heads::{Heads, attend};
use crate::numeric::{expect_shape, floats, from_f64};
use crate::quantize_linear::read_dtype;
use crate::sample_data::ramp;
use crate::softmax_axis::softmax;
use crate::subgraph::Subgraph;

pub(crate) const OP: OpSpec = OpSpec {
    name: "FlexAttention",
    domain: "ai.onnx.preview",
    since: 1,
    read: |node| {
        Ok(Arc::new(FlexAttention {
            score_mod: modifier(node, "score_mod")?,
            prob_mod: modifier(node, "prob_mod")?,
            scale: node.float("scale")?,
            precision: read_dtype(node, "softmax_precision")?,
        }))
    },
    samples: || {
        vec![
            Sample::new([ramp(&[1, 4, 2, 3]), ramp(&[1, 2, 5, 3]), ramp(&[1, 2, 5, 2])]),
            Sample::new([ramp(&[2, 1, 2, 2]), ramp(&[2, 1, 2, 2]), ramp(&[2, 1, 2, 2])]).with("scale", 0.25f32),
        ]
    },
};

fn modifier(node: &NodeReader<'_>, name: &'static str) -> Result<Option<Subgraph>, OpError> {
    node.get(name).map(|_| Subgraph::read(node, name)).transpose()
}

/// `FlexAttention`: inputs Q, K, V `[n, heads, seq, size]`.
#[derive(Debug, Clone)]
pub struct FlexAttention {
    /// Changes the scaled scores `[n, heads, queries, keys]`.
    pub score_mod: Option<Subgraph>,
    /// Changes what the softmax gives.
    pub prob_mod: Option<Subgraph>,
    /// Factor of the products; 1 / √(size of a head) unless given.
    pub scale: Option<f32>,
    /// Type the subgraphs get.
    pub precision: Option<DType>,
}

impl Op for FlexAttention {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = match (inputs.shape(0), inputs.shape(2)) {
            (Some([n, heads, seq, _]), Some([.., size])) => {
                Some(vec![n.clone(), heads.clone(), seq.clone(), size.clone()])
            }
            _ => None,
        };
        Ok(vec![Fact::maybe(inputs.dtype(0), shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let dtype = inputs.required(0)?.dtype();
        let precision = self.precision.unwrap_or(if dtype == DType::F64 { DType::F64 } else { DType::F32 });
        let q = Heads::of(0, inputs.required(0)?, None)?;
        let k = Heads::of(1, inputs.required(1)?, None)?;
        let v = Heads::of(2, inputs.required(2)?, None)?;
        let scale = self.scale.map_or(1.0 / (q.size as f64).sqrt(), f64::from);
        // The subgraphs see all scores at once, so these are collected first and put to use afterwards.
        let mut scores = Vec::new();
        attend(&q, &k, &v, |_, row| scores.extend(row.iter().map(|score| score * scale)))?;
        let shape = [q.batch, q.heads, q.seq, k.seq];
        let mut weights = changed(&self.score_mod, inputs, from_f64(precision, shape.to_vec(), scores)?)?;
        weights.chunks_exact_mut(k.seq.max(1)).for_each(softmax);
        let weights = changed(&self.prob_mod, inputs, from_f64(precision, shape.to_vec(), weights)?)?;
        let y = attend(&q, &k, &v, |row, scores| scores.copy_from_slice(&weights[row * k.seq..][..k.seq]))?;
        Ok(vec![from_f64(dtype, y.shape(), y.values)?])
    }
}

/// What a subgraph of one input and one output of the same shape makes of `x`.
fn changed(graph: &Option<Subgraph>, inputs: &Inputs<'_>, x: Tensor) -> Result<Vec<f64>, OpError> {
    let Some(graph) = graph else { return floats(0, &x) };
    let outputs = graph.run(inputs, &[&x])?;
    let output = outputs.first().ok_or_else(|| OpError::value("a modifier has no output"))?;
    expect_shape(0, output, x.shape())?;
    floats(0, output)
}
