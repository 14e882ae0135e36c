//! `NonMaxSuppression`: the best boxes that do not overlap better ones too much.
//!
//! <https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

use crate::sample_data::filled;

pub(crate) const OP: OpSpec = OpSpec {
    name: "NonMaxSuppression",
    domain: "",
    since: 10,
    read: |node| Ok(Arc::new(NonMaxSuppression { is_centred: node.flag_or("center_point_box", false)? })),
    samples: || {
        let boxes =
            || filled(&[1, 4, 4], vec![0f32, 0., 1., 1., 0., 0.1, 1., 1.1, 0., 10., 1., 11., 0., -0.1, 1., 0.9]);
        let scores = || filled(&[1, 1, 4], vec![0.9f32, 0.75, 0.6, 0.95]);
        let limits = || [Tensor::vector(vec![3i64]), Tensor::vector(vec![0.5f32]), Tensor::vector(vec![0.7f32])];
        vec![
            Sample::new([boxes(), scores()].into_iter().chain(limits())),
            Sample::new([boxes(), scores()]),
            Sample::new([boxes(), scores(), Tensor::scalar(i64::MAX)]).with("center_point_box", 1i64),
        ]
    },
};

/// `NonMaxSuppression`: boxes `[n, boxes, 4]`, scores `[n, classes, boxes]`, then limits; gives rows of batch, class and
/// box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NonMaxSuppression {
    /// Boxes are x and y of the centre, width, height; else two opposite corners.
    pub is_centred: bool,
}

impl Op for NonMaxSuppression {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, _inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::new(DType::I64, vec![Dim::symbol("selected_boxes"), Dim::Known(3)])])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let (boxes, scores) = (inputs.required(0)?, inputs.required(1)?);
        let (&[batch, n_boxes, 4], &[score_batch, classes, n_scores]) = (boxes.shape(), scores.shape()) else {
            return Err(OpError::shape(
                0,
                boxes.shape(),
                "expected boxes [n, boxes, 4] and scores [n, classes, boxes]",
            ));
        };
        if (batch, n_boxes) != (score_batch, n_scores) {
            return Err(OpError::shape(1, scores.shape(), format!("expected scores of {batch} · {n_boxes} boxes")));
        }
        let limit = inputs.optional(2).map_or(Ok(0), Tensor::to_i64)?;
        let limit = usize::try_from(limit).unwrap_or(0);
        let iou_limit = inputs.optional(3).map_or(Ok(0.0), Tensor::to_f64)?;
        let score_limit = inputs.optional(4).map_or(Ok(f64::NEG_INFINITY), Tensor::to_f64)?;
        let (boxes, scores) = (boxes.to_f64_vec()?, scores.to_f64_vec()?);
        let corners: Vec<[f64; 4]> = boxes.chunks_exact(4).map(|b| self.corners([b[0], b[1], b[2], b[3]])).collect();
        let mut selected = Vec::new();
        let n_lists = if n_boxes == 0 { 0 } else { batch * classes };
        for list in 0..n_lists {
            let (item, class) = (list / classes, list % classes);
            let scores = &scores[list * n_boxes..][..n_boxes];
            let corners = &corners[item * n_boxes..][..n_boxes];
            for chosen in choose(scores, corners, limit, iou_limit, score_limit) {
                selected.extend([item as i64, class as i64, chosen as i64]);
            }
        }
        Ok(vec![Tensor::new([selected.len() / 3, 3], selected)?])
    }
}

impl NonMaxSuppression {
    /// Smallest and largest coordinates.
    fn corners(&self, [a, b, c, d]: [f64; 4]) -> [f64; 4] {
        let [x, y, u, v] =
            if self.is_centred { [a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0] } else { [a, b, c, d] };
        [x.min(u), y.min(v), x.max(u), y.max(v)]
    }
}

/// Boxes of one class, best first, that overlap no better one by more than `iou_limit`. Equal scores keep their order.
fn choose(scores: &[f64], corners: &[[f64; 4]], limit: usize, iou_limit: f64, score_limit: f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).filter(|&i| scores[i] > score_limit).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut chosen: Vec<usize> = Vec::new();
    for candidate in order {
        if chosen.len() >= limit {
            break;
        }
        if chosen.iter().all(|&better| overlap(&corners[better], &corners[candidate]) <= iou_limit) {
            chosen.push(candidate);
        }
    }
    chosen
}

/// Intersection over union.
fn overlap(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let area = |c: &[f64; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let shared = width * height;
    let union = area(a) + area(b) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}
