//! `Unique`: the different elements, or slices of an axis, and where they are.
//!
//! <https://onnx.ai/onnx/operators/onnx__Unique.html>

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Storage, Tensor};

use crate::axes::{axis, split_at};
use crate::ordering::keys;

pub(crate) const OP: OpSpec = OpSpec {
    name: "Unique",
    domain: "",
    since: 11,
    read: |node| Ok(Arc::new(Unique { axis: node.int("axis")?, sorted: node.flag_or("sorted", true)? })),
    samples: || {
        let x = || Tensor::new([3, 2], vec![2f32, 1.0, 0.0, 5.0, 2.0, 1.0]);
        let case = || Sample::new(x()).outputs(4);
        let strings = ["b", "a", "b"].map(str::to_owned).to_vec();
        vec![
            case(),
            case().with("axis", 0i64),
            case().with("sorted", 0i64).with("axis", -1i64),
            Sample::new([Tensor::vector(strings)]),
        ]
    },
};

/// `Unique`.
#[derive(Debug, Clone, Copy)]
pub struct Unique {
    /// The axis whose slices are compared; without one elements are.
    pub axis: Option<i64>,
    /// In ascending order instead of that of the first appearance.
    pub sorted: bool,
}

/// An integer for each element, ordered as the elements are.
fn any_keys(x: &Tensor) -> Result<Vec<i64>, OpError> {
    let Storage::Str(values) = x.storage() else { return keys(0, x) };
    let mut order: Vec<&String> = values.iter().collect();
    order.sort_unstable();
    order.dedup();
    Ok(values.iter().map(|text| order.binary_search(&text).unwrap_or(0) as i64).collect())
}

impl Op for Unique {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let positions = Fact::maybe(Some(DType::I64), None);
        Ok(vec![Fact::maybe(inputs.dtype(0), None), positions.clone(), positions.clone(), positions])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let x = if self.axis.is_none() { x.reshape([x.len()])? } else { x.clone() };
        let axis = axis(self.axis.unwrap_or(0), x.rank())?;
        let (outer, length, inner) = split_at(x.shape(), axis);
        let keys = any_keys(&x)?;
        // One row of keys for each slice, so that slices compare element by element.
        let row = |position: usize| -> Vec<i64> {
            (0..outer).flat_map(|o| keys[(o * length + position) * inner..][..inner].iter().copied()).collect()
        };
        let mut groups: BTreeMap<Vec<i64>, Vec<usize>> = BTreeMap::new();
        (0..length).for_each(|position| groups.entry(row(position)).or_default().push(position));
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        if !self.sorted {
            groups.sort_by_key(|positions| positions.first().copied());
        }
        let first: Vec<usize> = groups.iter().filter_map(|positions| positions.first().copied()).collect();
        let mut inverse = vec![0i64; length];
        for (group, positions) in groups.iter().enumerate() {
            positions.iter().for_each(|&position| inverse[position] = group as i64);
        }
        let mut shape = x.shape().to_vec();
        shape[axis] = groups.len();
        let order = (0..outer).flat_map(|o| {
            first.iter().flat_map(move |&position| {
                let start = (o * length + position) * inner;
                start..start + inner
            })
        });
        let values = x.pick(shape, order)?;
        let counts = groups.iter().map(|positions| positions.len() as i64).collect();
        let first = first.iter().map(|&position| position as i64).collect();
        Ok(vec![values, Tensor::vector(first), Tensor::vector(inverse), Tensor::vector::<i64>(counts)])
    }
}
