//! `RegexFullMatch`: whether the whole of each text matches a regular expression.
//!
//! <https://onnx.ai/onnx/operators/onnx__RegexFullMatch.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};
use regex::Regex;

pub(crate) const OP: OpSpec = OpSpec {
    name: "RegexFullMatch",
    domain: "",
    since: 20,
    read: |node| {
        let pattern = node.string_or("pattern", "")?;
        let whole = Regex::new(&format!(r"\A(?:{pattern})\z"));
        let pattern = whole.map_err(|error| OpError::attribute("pattern", error.to_string()))?;
        Ok(Arc::new(RegexFullMatch { pattern }))
    },
    samples: || {
        let x = || Tensor::vector(["www.google.com", "", "a1"].map(str::to_owned).to_vec());
        vec![Sample::new([x()]).with("pattern", r"www\.[\w.-]+\.\bcom\b"), Sample::new([x()]).with("pattern", "a|a1")]
    },
};

/// `RegexFullMatch`.
#[derive(Debug, Clone)]
pub struct RegexFullMatch {
    /// The expression, anchored at both ends.
    pub(crate) pattern: Regex,
}

impl Op for RegexFullMatch {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(Some(DType::Bool), inputs.shape(0).map(<[_]>::to_vec))])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let flags = x.as_slice::<String>()?.iter().map(|text| self.pattern.is_match(text)).collect();
        Ok(vec![Tensor::new::<bool>(x.shape(), flags)?])
    }
}
