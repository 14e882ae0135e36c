//! `StringNormalizer`: texts without stop words, in lower or upper case.
//!
//! <https://onnx.ai/onnx/operators/onnx__StringNormalizer.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor};

pub(crate) const OP: OpSpec = OpSpec {
    name: "StringNormalizer",
    domain: "",
    since: 10,
    read: |node| {
        node.ignore(&["locale"]); // case is changed as Unicode says, in every locale
        let case = match node.string_or("case_change_action", "NONE")?.as_str() {
            "NONE" => CaseChange::None,
            "LOWER" => CaseChange::Lower,
            "UPPER" => CaseChange::Upper,
            other => return Err(OpError::attribute("case_change_action", format!("`{other}` is not known"))),
        };
        let stop_words = node.strings("stopwords")?.unwrap_or_default();
        Ok(Arc::new(StringNormalizer {
            case,
            stop_words,
            is_case_sensitive: node.flag_or("is_case_sensitive", false)?,
        }))
    },
    samples: || {
        let x = || Tensor::vector(["Monday", "tuesday"].map(str::to_owned).to_vec());
        vec![
            Sample::new([x()]).with("case_change_action", "UPPER"),
            Sample::new([x()]).with("stopwords", vec!["monday".to_owned()]),
            Sample::new([x()]).with("stopwords", vec!["Monday".to_owned(), "tuesday".to_owned()]),
        ]
    },
};

/// `StringNormalizer`.
#[derive(Debug, Clone)]
pub struct StringNormalizer {
    /// What becomes of upper and lower case.
    pub case: CaseChange,
    /// Words that are left out.
    pub stop_words: Vec<String>,
    /// Stop words must be spelt as they are here.
    pub is_case_sensitive: bool,
}

/// What becomes of upper and lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // ONNX's names
pub enum CaseChange {
    None,
    Lower,
    Upper,
}

impl StringNormalizer {
    fn keeps(&self, word: &str) -> bool {
        let lower = word.to_lowercase();
        !self.stop_words.iter().any(|stop| match self.is_case_sensitive {
            true => stop == word,
            false => stop.to_lowercase() == lower,
        })
    }

    fn changed(&self, word: &str) -> String {
        match self.case {
            CaseChange::None => word.to_owned(),
            CaseChange::Lower => word.to_lowercase(),
            CaseChange::Upper => word.to_uppercase(),
        }
    }
}

impl Op for StringNormalizer {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, _inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        Ok(vec![Fact::maybe(Some(DType::Str), None)])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let rank = x.rank();
        if rank == 0 || rank > 2 || (rank == 2 && x.shape()[0] != 1) {
            return Err(OpError::shape(0, x.shape(), "a vector or one row is expected"));
        }
        let words = x.as_slice::<String>()?.iter().filter(|word| self.keeps(word));
        let mut words: Vec<String> = words.map(|word| self.changed(word)).collect();
        if words.is_empty() {
            words.push(String::new());
        }
        let shape = if rank == 2 { vec![1, words.len()] } else { vec![words.len()] };
        Ok(vec![Tensor::new(shape, words)?])
    }
}
