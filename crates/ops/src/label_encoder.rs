//! `LabelEncoder` of `ai.onnx.ml`: each element replaced by the value that belongs to it.
//!
//! <https://onnx.ai/onnx/operators/onnx_aionnxml_LabelEncoder.html>

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, NodeReader, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Storage, Tensor};

pub(crate) const OP: OpSpec = OpSpec {
    name: "LabelEncoder",
    domain: "ai.onnx.ml",
    since: 1,
    read: |node| Ok(Arc::new(if node.opset() < 2 { LabelEncoder::read_1(node)? } else { LabelEncoder::read_2(node)? })),
    samples: || {
        let words = |words: [&str; 2]| words.map(str::to_owned).to_vec();
        let x = || Tensor::vector(words(["b", "?"]));
        vec![
            Sample::new([x()]).with("keys_strings", words(["a", "b"])).with("values_int64s", vec![5i64, 6]),
            Sample::new([x()])
                .with("keys_strings", words(["a", "b"]))
                .with("values_floats", vec![5f32, 6.0])
                .with("default_float", 9f32),
            Sample::new([Tensor::vector(vec![f32::NAN, 2.0])])
                .with("keys_tensor", Tensor::vector(vec![f32::NAN, 1.0]))
                .with("values_strings", words(["nan", "one"])),
        ]
    },
};

/// `LabelEncoder`.
#[derive(Debug, Clone)]
pub struct LabelEncoder {
    tables: Vec<Table>,
}

/// What belongs to the keys of one type.
#[derive(Debug, Clone)]
struct Table {
    positions: HashMap<Key, usize>,
    /// The values, and behind them the one for keys that are not there.
    values: Tensor,
}

/// An element as a key. All NaN are one key, and both zeros.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Int(i64),
    Float(u64),
    Text(String),
}

fn keys(x: &Tensor) -> Result<Vec<Key>, OpError> {
    let float = |x: f64| Key::Float(if x.is_nan() { f64::NAN.to_bits() } else { (x + 0.0).to_bits() });
    Ok(match x.storage() {
        Storage::Str(values) => values.iter().cloned().map(Key::Text).collect(),
        _ if x.dtype().is_float() => x.to_f64_vec()?.into_iter().map(float).collect(),
        _ => x.to_i64_vec()?.into_iter().map(Key::Int).collect(),
    })
}

impl Table {
    fn new(keys_tensor: &Tensor, values: &Tensor, default: &Tensor) -> Result<Self, OpError> {
        if keys_tensor.len() != values.len() || default.len() != 1 {
            let counts = format!("{} keys for {} values", keys_tensor.len(), values.len());
            return Err(OpError::attribute("keys", counts));
        }
        // Of equal keys the last one holds.
        let positions = keys(keys_tensor)?.into_iter().zip(0..).collect();
        Ok(Self { positions, values: Tensor::concat_flat(&[values, default])? })
    }
}

impl LabelEncoder {
    /// Opset 1: between texts and their positions in a list, in both directions.
    fn read_1(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let classes = Tensor::vector(node.strings("classes_strings")?.unwrap_or_default());
        let positions = Tensor::vector((0..classes.len() as i64).collect());
        let default_position = Tensor::scalar(node.int_or("default_int64", -1)?);
        let default_text = Tensor::scalar(node.string_or("default_string", "_Unused")?);
        let tables = vec![
            Table::new(&classes, &positions, &default_position)?,
            Table::new(&positions, &classes, &default_text)?,
        ];
        Ok(Self { tables })
    }

    fn read_2(node: &NodeReader<'_>) -> Result<Self, OpError> {
        let list = |[tensor, texts, ints, floats]: [&'static str; 4]| {
            let lists = [
                node.tensor(tensor)?,
                node.strings(texts)?.map(Tensor::vector),
                node.ints(ints)?.map(Tensor::vector),
                node.floats(floats)?.map(Tensor::vector),
            ];
            let missing = || OpError::attribute(texts, "no list of keys or values is given");
            lists.into_iter().flatten().next().ok_or_else(missing)
        };
        let keys = list(["keys_tensor", "keys_strings", "keys_int64s", "keys_floats"])?;
        let values = list(["values_tensor", "values_strings", "values_int64s", "values_floats"])?;
        let text = Tensor::scalar(node.string_or("default_string", "_Unused")?);
        let int = Tensor::scalar(node.int_or("default_int64", -1)?);
        let float = Tensor::scalar(node.float_or("default_float", -0.0)?);
        let default = match (node.tensor("default_tensor")?, values.dtype()) {
            (Some(default), _) => default,
            (None, DType::Str) => text,
            (None, dtype) if dtype.is_float() => float,
            (None, _) => int,
        };
        let default = match default.dtype() == values.dtype() {
            true => default,
            false => crate::convert::convert(&default, values.dtype(), crate::convert::Conversion::default())?,
        };
        Ok(Self { tables: vec![Table::new(&keys, &values, &default)?] })
    }
}

impl Op for LabelEncoder {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let dtype = match &self.tables[..] {
            [table] => Some(table.values.dtype()),
            _ => None,
        };
        Ok(vec![Fact::maybe(dtype, inputs.shape(0).map(<[_]>::to_vec))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let index = usize::from(self.tables.len() > 1 && x.dtype() != DType::Str);
        let table = self.tables.get(index).ok_or(OpError::UnsupportedType { index: 0, actual: x.dtype() })?;
        let default = table.values.len() - 1;
        let keys = keys(x)?;
        let order = keys.iter().map(|key| table.positions.get(key).copied().unwrap_or(default));
        Ok(vec![table.values.pick(x.shape(), order)?])
    }
}
