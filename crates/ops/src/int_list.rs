//! Lists of integers that older opsets give as an attribute and newer ones as an input: axes, pads, splits, shapes.

use lissom_graph::{Facts, Inputs, NodeReader, OpError};
use lissom_tensor::Tensor;

/// Where a list of integers comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntList {
    /// An attribute; `None` if it is left out.
    Attribute(Option<Vec<i64>>),
    /// An input, which may be left out.
    Input(usize),
}

impl IntList {
    /// The attribute `name` before opset `input_since`, input `index` from there on.
    ///
    /// # Errors
    /// [`OpError::BadAttribute`].
    pub(crate) fn read(
        node: &NodeReader<'_>,
        name: &'static str,
        input_since: u32,
        index: usize,
    ) -> Result<Self, OpError> {
        if node.opset() >= input_since { Ok(Self::Input(index)) } else { Ok(Self::Attribute(node.ints(name)?)) }
    }

    /// The list in a run; `None` if it is left out.
    ///
    /// # Errors
    /// [`OpError::Tensor`] if the input is not of an integer type.
    pub(crate) fn get(&self, inputs: &Inputs<'_>) -> Result<Option<Vec<i64>>, OpError> {
        match self {
            Self::Attribute(list) => Ok(list.clone()),
            Self::Input(index) => Ok(inputs.optional(*index).map(Tensor::to_i64_vec).transpose()?),
        }
    }

    /// Like [`get`](Self::get), where leaving it out is an error.
    ///
    /// # Errors
    /// [`OpError::MissingInput`], and as [`get`](Self::get).
    pub(crate) fn required(&self, inputs: &Inputs<'_>) -> Result<Vec<i64>, OpError> {
        self.get(inputs)?.ok_or_else(|| match self {
            Self::Attribute(_) => OpError::value("a list of integers is missing"),
            Self::Input(index) => OpError::MissingInput { index: *index },
        })
    }

    /// What is known of the list before a run.
    pub(crate) fn known(&self, facts: &Facts<'_>) -> KnownList {
        match self {
            Self::Attribute(None) => KnownList::LeftOut,
            Self::Attribute(Some(list)) => KnownList::Known(list.clone()),
            Self::Input(index) => match facts.optional(*index) {
                None => KnownList::LeftOut,
                Some(fact) => fact.i64s().map_or(KnownList::Unknown, KnownList::Known),
            },
        }
    }
}

/// What is known of an [`IntList`] before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KnownList {
    LeftOut,
    Known(Vec<i64>),
    Unknown,
}
