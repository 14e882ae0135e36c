//! Attributes of a node, as the file holds them.

use std::sync::Arc;

use lissom_onnx::AttributeProto;
use lissom_tensor::Tensor;

use crate::Graph;

/// The value of an attribute.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // ONNX's own kinds
pub enum Attribute {
    Int(i64),
    Float(f32),
    Str(String),
    Tensor(Tensor),
    Graph(Arc<Graph>),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strs(Vec<String>),
    Tensors(Vec<Tensor>),
    /// A kind only the writer looks at again (types, sparse tensors, strings that are not UTF-8).
    Raw(Box<AttributeProto>),
}

impl Attribute {
    /// The kind in a word, for messages; values may be of any size.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Int(_) => "Int",
            Self::Float(_) => "Float",
            Self::Str(_) => "Str",
            Self::Tensor(_) => "Tensor",
            Self::Graph(_) => "Graph",
            Self::Ints(_) => "Ints",
            Self::Floats(_) => "Floats",
            Self::Strs(_) => "Strs",
            Self::Tensors(_) => "Tensors",
            Self::Raw(_) => "another kind",
        }
    }
}

/// Attributes in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct Attributes(Vec<(String, Attribute)>);

impl Attributes {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The attribute of this name.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Adds or replaces.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Attribute>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(own, _)| *own == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// Takes the attribute of this name out.
    pub fn remove(&mut self, name: &str) -> Option<Attribute> {
        let index = self.0.iter().position(|(own, _)| own == name)?;
        Some(self.0.remove(index).1)
    }

    /// The same with one more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        self.set(name, value);
        self
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Subgraphs, in order.
    pub fn graphs(&self) -> impl Iterator<Item = &Arc<Graph>> {
        self.0.iter().filter_map(|(_, value)| if let Attribute::Graph(graph) = value { Some(graph) } else { None })
    }
}

macro_rules! attribute_from {
    ($($rust:ty => $variant:ident),* $(,)?) => {$(
        impl From<$rust> for Attribute {
            fn from(value: $rust) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}

attribute_from! {
    i64 => Int, f32 => Float, String => Str, Tensor => Tensor, Arc<Graph> => Graph, Vec<i64> => Ints,
    Vec<f32> => Floats, Vec<String> => Strs, Vec<Tensor> => Tensors,
}

impl From<&str> for Attribute {
    fn from(value: &str) -> Self {
        Self::Str(value.to_owned())
    }
}
