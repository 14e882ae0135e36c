//! What a model wants.

use lissom_graph::{Fact, Graph, ValueId};
use lissom_tensor::DType;

use crate::EngineError;

/// What a model wants at one input.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Name in the graph.
    pub name: String,
    /// Element type, if the file declares it.
    pub dtype: Option<DType>,
    /// Length of each axis, `None` where any will do; `None` as a whole if the rank is not declared.
    pub shape: Option<Vec<Option<usize>>>,
}

impl Input {
    pub(crate) fn new(graph: &Graph, id: ValueId) -> Self {
        let value = graph.value(id);
        let shape = value.fact.shape.as_ref().map(|shape| shape.iter().map(lissom_graph::Dim::known).collect());
        Self { name: value.name.clone(), dtype: value.fact.dtype, shape }
    }

    /// Errs unless something of this type and shape may be given.
    pub(crate) fn check(&self, dtype: DType, shape: &[usize]) -> Result<(), EngineError> {
        let fits_type = self.dtype.is_none_or(|own| own == dtype);
        let fits_shape = self.shape.as_ref().is_none_or(|own| {
            own.len() == shape.len() && own.iter().zip(shape).all(|(want, have)| want.is_none_or(|want| want == *have))
        });
        if fits_type && fits_shape {
            return Ok(());
        }
        let (name, actual) = (self.name.clone(), Fact::known(dtype, shape).to_string());
        Err(EngineError::InputMismatch { name, expected: self.to_string(), actual })
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shape = match &self.shape {
            None => "..".to_owned(),
            Some(shape) => shape
                .iter()
                .map(|length| length.map_or("?".to_owned(), |length| length.to_string()))
                .collect::<Vec<_>>()
                .join(","),
        };
        let dtype = self.dtype.map_or("?".to_owned(), |dtype| dtype.to_string());
        write!(f, "`{}` {dtype}[{shape}]", self.name)
    }
}
