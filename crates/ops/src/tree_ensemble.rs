//! `TreeEnsemble` of `ai.onnx.ml`: decision trees whose leaves are added up, or another aggregate of them.
//!
//! <https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Dim, Fact, Facts, Inputs, NodeReader, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

use crate::numeric::{floats, from_f64};

pub(crate) const OP: OpSpec = OpSpec {
    name: "TreeEnsemble",
    domain: "ai.onnx.ml",
    since: 5,
    read: |node| Ok(Arc::new(TreeEnsemble::read(node)?)),
    samples: || {
        let x = Tensor::new([3, 1], vec![1f32, 2.0, f32::NAN]);
        let stump = Sample::new(x)
            .with("tree_roots", vec![0i64])
            .with("n_targets", 2i64)
            .with("nodes_modes", Tensor::vector(vec![1u8]))
            .with("nodes_splits", Tensor::vector(vec![2f32]))
            .with("nodes_featureids", vec![0i64])
            .with("nodes_truenodeids", vec![0i64])
            .with("nodes_falsenodeids", vec![1i64])
            .with("nodes_trueleafs", vec![1i64])
            .with("nodes_falseleafs", vec![1i64])
            .with("leaf_targetids", vec![0i64, 1])
            .with("leaf_weights", Tensor::vector(vec![0.5f32, 7.0]));
        vec![stump.clone(), stump.clone().with("post_transform", 1i64), stump.with("aggregate_function", 2i64)]
    },
};

/// `TreeEnsemble`: rows of features in, rows of targets out.
#[derive(Debug, Clone)]
pub struct TreeEnsemble {
    nodes: Vec<Node>,
    /// Target and weight.
    leaves: Vec<(usize, f64)>,
    roots: Vec<Step>,
    n_targets: usize,
    aggregate: Aggregate,
    transform: Transform,
}

#[derive(Debug, Clone)]
struct Node {
    feature: usize,
    test: Test,
    nan_is_true: bool,
    if_true: Step,
    if_false: Step,
}

/// Where a tree goes on.
#[derive(Debug, Clone, Copy)]
enum Step {
    Node(usize),
    Leaf(usize),
}

#[derive(Debug, Clone)]
enum Test {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
    Above(f64),
    Equal(f64),
    NotEqual(f64),
    Member(Vec<f64>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Aggregate {
    Average,
    Sum,
    Min,
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Transform {
    None,
    Softmax,
    Logistic,
    /// Targets that are exactly zero stay so and take no share.
    SoftmaxZero,
}

impl Test {
    fn holds(&self, x: f64) -> bool {
        match self {
            Self::AtMost(value) => x <= *value,
            Self::Below(value) => x < *value,
            Self::AtLeast(value) => x >= *value,
            Self::Above(value) => x > *value,
            Self::Equal(value) => x == *value,
            Self::NotEqual(value) => x != *value,
            Self::Member(members) => members.contains(&x),
        }
    }
}

/// The lists that describe the nodes.
struct Lists {
    modes: Vec<i64>,
    splits: Vec<f64>,
    features: Vec<i64>,
    steps: [Vec<i64>; 2],
    are_leaves: [Vec<i64>; 2],
    nan_is_true: Vec<i64>,
    members: Vec<f64>,
}

impl Lists {
    fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let ints = |name| Ok::<_, OpError>(node.ints(name)?.unwrap_or_default());
        let tensor =
            |name| Ok::<_, OpError>(node.tensor(name)?.map(|x| x.to_f64_vec()).transpose()?.unwrap_or_default());
        let modes = node.tensor("nodes_modes")?.map(|modes| modes.to_i64_vec()).transpose()?.unwrap_or_default();
        let lists = Self {
            splits: tensor("nodes_splits")?,
            features: ints("nodes_featureids")?,
            steps: [ints("nodes_truenodeids")?, ints("nodes_falsenodeids")?],
            are_leaves: [ints("nodes_trueleafs")?, ints("nodes_falseleafs")?],
            nan_is_true: node.ints("nodes_missing_value_tracks_true")?.unwrap_or_else(|| vec![0; modes.len()]),
            members: tensor("membership_values")?,
            modes,
        };
        let lens = [&lists.features, &lists.nan_is_true].into_iter().chain(&lists.steps).chain(&lists.are_leaves);
        if lists.splits.len() != lists.modes.len() || lens.into_iter().any(|list| list.len() != lists.modes.len()) {
            return Err(OpError::attribute("nodes_modes", "the lists that describe nodes differ in length"));
        }
        Ok(lists)
    }

    fn step(&self, branch: usize, node: usize, n_leaves: usize) -> Result<Step, OpError> {
        let is_leaf = self.are_leaves[branch][node] != 0;
        let limit = if is_leaf { n_leaves } else { self.modes.len() };
        let target = usize::try_from(self.steps[branch][node]).ok().filter(|&target| target < limit);
        let target = target.ok_or_else(|| {
            OpError::attribute("nodes_truenodeids", format!("node {node} goes on to {}", self.steps[branch][node]))
        })?;
        Ok(if is_leaf { Step::Leaf(target) } else { Step::Node(target) })
    }

    fn nodes(&self, n_leaves: usize) -> Result<Vec<Node>, OpError> {
        // Members of all nodes that ask for one follow each other, each list ended by NaN.
        let mut members = self.members.split(|member| member.is_nan());
        (0..self.modes.len())
            .map(|i| {
                let split = self.splits[i];
                let test = match self.modes[i] {
                    0 => Test::AtMost(split),
                    1 => Test::Below(split),
                    2 => Test::AtLeast(split),
                    3 => Test::Above(split),
                    4 => Test::Equal(split),
                    5 => Test::NotEqual(split),
                    6 => Test::Member(members.next().unwrap_or_default().to_vec()),
                    other => return Err(OpError::attribute("nodes_modes", format!("{other} is no comparison"))),
                };
                let feature = usize::try_from(self.features[i])
                    .map_err(|_| OpError::attribute("nodes_featureids", format!("{}", self.features[i])))?;
                Ok(Node {
                    feature,
                    test,
                    nan_is_true: self.nan_is_true[i] != 0,
                    if_true: self.step(0, i, n_leaves)?,
                    if_false: self.step(1, i, n_leaves)?,
                })
            })
            .collect()
    }
}

impl TreeEnsemble {
    fn read(node: &NodeReader<'_>) -> Result<Self, OpError> {
        node.ignore(&["nodes_hitrates"]); // statistics of the training
        let weights = node.tensor("leaf_weights")?.map(|x| x.to_f64_vec()).transpose()?.unwrap_or_default();
        let targets = node.ints("leaf_targetids")?.unwrap_or_default();
        let n_targets = node.int("n_targets")?.and_then(|n| usize::try_from(n).ok());
        let n_targets = n_targets.ok_or_else(|| OpError::attribute("n_targets", "is missing"))?;
        let target = |&target: &i64| usize::try_from(target).ok().filter(|&target| target < n_targets);
        let leaves: Option<Vec<(usize, f64)>> =
            targets.iter().zip(&weights).map(|(id, &weight)| Some((target(id)?, weight))).collect();
        let leaves = leaves.filter(|_| targets.len() == weights.len());
        let leaves = leaves.ok_or_else(|| OpError::attribute("leaf_targetids", "do not fit the weights or targets"))?;
        let lists = Lists::read(node)?;
        let nodes = lists.nodes(leaves.len())?;
        let roots = node.ints("tree_roots")?.unwrap_or_default();
        let root = |&root: &i64| {
            let index = usize::try_from(root).ok().filter(|&index| index < nodes.len());
            let index = index.ok_or_else(|| OpError::attribute("tree_roots", format!("{root} is no node")))?;
            // A tree that is one leaf is said as a node both of whose branches are that leaf.
            Ok(match (nodes[index].if_true, nodes[index].if_false) {
                (Step::Leaf(a), Step::Leaf(b)) if a == b => Step::Leaf(a),
                _ => Step::Node(index),
            })
        };
        let aggregate = match node.int_or("aggregate_function", 1)? {
            0 => Aggregate::Average,
            1 => Aggregate::Sum,
            2 => Aggregate::Min,
            3 => Aggregate::Max,
            other => return Err(OpError::attribute("aggregate_function", format!("{other} is not known"))),
        };
        let transform = match node.int_or("post_transform", 0)? {
            0 => Transform::None,
            1 => Transform::Softmax,
            2 => Transform::Logistic,
            3 => Transform::SoftmaxZero,
            other => return Err(OpError::unsupported(format!("post_transform {other} of TreeEnsemble"))),
        };
        Ok(Self {
            roots: roots.iter().map(root).collect::<Result<_, OpError>>()?,
            nodes,
            leaves,
            n_targets,
            aggregate,
            transform,
        })
    }

    fn leaf(&self, root: Step, row: &[f64]) -> Result<(usize, f64), OpError> {
        let mut step = root;
        // A path longer than there are nodes goes round in circles.
        for _ in 0..=self.nodes.len() {
            let index = match step {
                Step::Leaf(leaf) => return Ok(self.leaves[leaf]),
                Step::Node(index) => index,
            };
            let node = &self.nodes[index];
            let x = *row
                .get(node.feature)
                .ok_or_else(|| OpError::value(format!("feature {} of rows of {} features", node.feature, row.len())))?;
            let holds = node.test.holds(x) || (node.nan_is_true && x.is_nan());
            step = if holds { node.if_true } else { node.if_false };
        }
        Err(OpError::attribute("nodes_truenodeids", "a tree goes round in circles"))
    }

    fn row(&self, row: &[f64]) -> Result<Vec<f64>, OpError> {
        let start = match self.aggregate {
            Aggregate::Average | Aggregate::Sum => 0.0,
            Aggregate::Min => f64::from(f32::MAX),
            Aggregate::Max => f64::from(f32::MIN),
        };
        let mut out = vec![start; self.n_targets];
        for &root in &self.roots {
            let (target, weight) = self.leaf(root, row)?;
            out[target] = match self.aggregate {
                Aggregate::Average => out[target] + weight / self.roots.len() as f64,
                Aggregate::Sum => out[target] + weight,
                Aggregate::Min => out[target].min(weight),
                Aggregate::Max => out[target].max(weight),
            };
        }
        self.transform(&mut out);
        Ok(out)
    }

    fn transform(&self, row: &mut [f64]) {
        match self.transform {
            Transform::None => {}
            Transform::Logistic => row.iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-*x).exp())),
            Transform::Softmax | Transform::SoftmaxZero => {
                let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let keeps_zero = self.transform == Transform::SoftmaxZero;
                row.iter_mut().for_each(|x| *x = if keeps_zero && *x == 0.0 { 0.0 } else { (*x - largest).exp() });
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|x| *x /= sum);
            }
        }
    }
}

impl Op for TreeEnsemble {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = inputs.shape(0).and_then(|shape| Some(vec![shape.first()?.clone(), Dim::from(self.n_targets)]));
        Ok(vec![Fact::maybe(inputs.dtype(0), shape)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let [n_rows, n_features] = *x.shape() else {
            return Err(OpError::shape(0, x.shape(), "rows of features are expected"));
        };
        let mut out = Vec::with_capacity(checked_len(DType::F64, &[n_rows, self.n_targets])?);
        let values = floats(0, x)?;
        for row in 0..n_rows {
            out.extend(self.row(&values[row * n_features..(row + 1) * n_features])?);
        }
        Ok(vec![from_f64(x.dtype(), vec![n_rows, self.n_targets], out)?])
    }
}
