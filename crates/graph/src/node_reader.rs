//! How an operator reads its attributes: every attribute that is not asked for is an error, since ignoring it could
//! change results.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use lissom_tensor::Tensor;

use crate::{Attribute, Attributes, Graph, Op, OpError, Operators, ValueId};

/// A node as its operator reads it.
#[derive(Debug)]
pub struct NodeReader<'a> {
    attributes: &'a Attributes,
    read: RefCell<BTreeSet<&'a str>>,
    opset: u32,
    inputs: &'a [Option<ValueId>],
    outputs: &'a [Option<ValueId>],
}

macro_rules! accessor {
    ($($(#[$doc:meta])* $name:ident: $variant:ident -> $rust:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// [`OpError::BadAttribute`] if it is of another kind.
        pub fn $name(&self, name: &'static str) -> Result<Option<$rust>, OpError> {
            match self.get(name) {
                None => Ok(None),
                Some(Attribute::$variant(value)) => Ok(Some(value.clone())),
                Some(other) => Err(OpError::attribute(name, format!(concat!("expected ", stringify!($variant), ", found {}"), other.kind()))),
            }
        }
    )*};
}

impl<'a> NodeReader<'a> {
    /// Reads the operator `op_type` of `domain` at `opset` from attributes.
    ///
    /// # Errors
    /// [`OpError::Unsupported`] if there is no such operator; whatever the operator refuses; an attribute nobody read.
    pub fn read_op(
        operators: &Operators,
        domain: &str,
        op_type: &str,
        opset: u32,
        inputs: &'a [Option<ValueId>],
        outputs: &'a [Option<ValueId>],
        attributes: &'a Attributes,
    ) -> Result<Arc<dyn Op>, OpError> {
        let spec = operators
            .find(domain, op_type)
            .ok_or_else(|| OpError::unsupported(format!("operator `{op_type}` of domain `{domain}`")))?;
        if opset < spec.since {
            let since = spec.since;
            return Err(OpError::unsupported(format!("`{op_type}` at opset {opset}; it exists since {since}")));
        }
        let reader = Self { attributes, read: RefCell::default(), opset, inputs, outputs };
        let op = (spec.read)(&reader)?;
        let unread: Vec<&str> =
            attributes.iter().map(|(name, _)| name).filter(|name| !reader.read.borrow().contains(name)).collect();
        if !unread.is_empty() {
            return Err(OpError::BadAttribute {
                name: unread.join("`, `"),
                reason: "not understood; ignoring it could change results".to_owned(),
            });
        }
        Ok(op)
    }

    /// Version of the operator set the node is written in.
    pub fn opset(&self) -> u32 {
        self.opset
    }

    /// Number of inputs, left out ones included.
    pub fn n_inputs(&self) -> usize {
        self.inputs.len()
    }

    /// True if input `index` is given.
    pub fn has_input(&self, index: usize) -> bool {
        self.inputs.get(index).is_some_and(Option::is_some)
    }

    /// Number of outputs, unused ones included.
    pub fn n_outputs(&self) -> usize {
        self.outputs.len()
    }

    /// True if output `index` is used.
    pub fn has_output(&self, index: usize) -> bool {
        self.outputs.get(index).is_some_and(Option::is_some)
    }

    /// Attributes that are subgraphs, in the order of the file, which is the order of their captures.
    pub fn subgraphs(&self) -> impl Iterator<Item = (&'a str, &'a Graph)> {
        self.attributes.iter().filter_map(|(name, value)| match value {
            Attribute::Graph(graph) => Some((name, &**graph)),
            _ => None,
        })
    }

    /// Marks attributes as read that have no effect on results.
    pub fn ignore(&self, names: &[&'static str]) {
        self.read.borrow_mut().extend(names);
    }

    /// The attribute, whatever its kind.
    pub fn get(&self, name: &'static str) -> Option<&'a Attribute> {
        self.read.borrow_mut().insert(name);
        self.attributes.get(name)
    }

    accessor! {
        /// An integer.
        int: Int -> i64;
        /// A float.
        float: Float -> f32;
        /// A string.
        string: Str -> String;
        /// A tensor.
        tensor: Tensor -> Tensor;
        /// A subgraph.
        graph: Graph -> Arc<Graph>;
    }

    /// A list of integers; an empty list may come as any empty kind.
    ///
    /// # Errors
    /// [`OpError::BadAttribute`] if it is of another kind.
    pub fn ints(&self, name: &'static str) -> Result<Option<Vec<i64>>, OpError> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Ints(values)) => Ok(Some(values.clone())),
            Some(Attribute::Floats(values)) if values.is_empty() => Ok(Some(Vec::new())),
            Some(other) => Err(OpError::attribute(name, format!("expected integers, found {}", other.kind()))),
        }
    }

    /// A list of floats.
    ///
    /// # Errors
    /// [`OpError::BadAttribute`] if it is of another kind.
    pub fn floats(&self, name: &'static str) -> Result<Option<Vec<f32>>, OpError> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Floats(values)) => Ok(Some(values.clone())),
            Some(Attribute::Ints(values)) if values.is_empty() => Ok(Some(Vec::new())),
            Some(other) => Err(OpError::attribute(name, format!("expected floats, found {}", other.kind()))),
        }
    }

    /// A list of strings.
    ///
    /// # Errors
    /// [`OpError::BadAttribute`] if it is of another kind.
    pub fn strings(&self, name: &'static str) -> Result<Option<Vec<String>>, OpError> {
        match self.get(name) {
            None => Ok(None),
            Some(Attribute::Strs(values)) => Ok(Some(values.clone())),
            Some(other) => Err(OpError::attribute(name, format!("expected strings, found {}", other.kind()))),
        }
    }

    /// An integer with a default.
    ///
    /// # Errors
    /// As [`int`](Self::int).
    pub fn int_or(&self, name: &'static str, default: i64) -> Result<i64, OpError> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    /// A float with a default.
    ///
    /// # Errors
    /// As [`float`](Self::float).
    pub fn float_or(&self, name: &'static str, default: f32) -> Result<f32, OpError> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    /// A string with a default.
    ///
    /// # Errors
    /// As [`string`](Self::string).
    pub fn string_or(&self, name: &'static str, default: &str) -> Result<String, OpError> {
        Ok(self.string(name)?.unwrap_or_else(|| default.to_owned()))
    }

    /// An integer that says yes or no, with a default.
    ///
    /// # Errors
    /// As [`int`](Self::int).
    pub fn flag_or(&self, name: &'static str, default: bool) -> Result<bool, OpError> {
        Ok(self.int(name)?.map_or(default, |value| value != 0))
    }
}
