//! `StringSplit`: texts cut at a delimiter, and the number of pieces of each.
//!
//! <https://onnx.ai/onnx/operators/onnx__StringSplit.html>

use std::any::Any;
use std::sync::Arc;

use lissom_graph::{Fact, Facts, Inputs, Op, OpError, OpSpec, Sample};
use lissom_tensor::{DType, Tensor, checked_len};

pub(crate) const OP: OpSpec = OpSpec {
    name: "StringSplit",
    domain: "",
    since: 20,
    read: |node| {
        let max_splits = node.int("maxsplit")?.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let delimiter = node.string("delimiter")?.filter(|delimiter| !delimiter.is_empty());
        Ok(Arc::new(StringSplit { delimiter, max_splits: max_splits.unwrap_or(usize::MAX) }))
    },
    samples: || {
        let x = || Tensor::vector(["a,b,,c", " hello  world ", ""].map(str::to_owned).to_vec());
        vec![
            Sample::new([x()]).outputs(2),
            Sample::new([x()]).with("delimiter", ",").outputs(2),
            Sample::new([x()]).with("delimiter", ",").with("maxsplit", 1i64).outputs(2),
            Sample::new([Tensor::vector(Vec::<String>::new())]).outputs(2),
        ]
    },
};

/// `StringSplit`.
#[derive(Debug, Clone)]
pub struct StringSplit {
    /// Where texts are cut; runs of white space if left out.
    pub delimiter: Option<String>,
    /// Largest number of cuts in one text.
    pub max_splits: usize,
}

impl StringSplit {
    fn pieces<'a>(&self, text: &'a str) -> Vec<&'a str> {
        match &self.delimiter {
            Some(delimiter) => text.splitn(self.max_splits.saturating_add(1), delimiter.as_str()).collect(),
            None => {
                let mut pieces = Vec::new();
                let mut rest = text.trim_start();
                while pieces.len() < self.max_splits
                    && let Some((piece, behind)) = rest.split_once(char::is_whitespace)
                {
                    pieces.push(piece);
                    rest = behind.trim_start();
                }
                if !rest.trim_end().is_empty() {
                    // The last piece is what is left, which may hold white space within.
                    pieces.push(rest.trim_end());
                }
                pieces
            }
        }
    }
}

impl Op for StringSplit {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn infer(&self, inputs: &Facts<'_>) -> Result<Vec<Fact>, OpError> {
        let counts = Fact::maybe(Some(DType::I64), inputs.shape(0).map(<[_]>::to_vec));
        Ok(vec![Fact::maybe(Some(DType::Str), None), counts])
    }

    fn evaluate(&self, inputs: &Inputs<'_>) -> Result<Vec<Tensor>, OpError> {
        let x = inputs.required(0)?;
        let rows: Vec<Vec<&str>> = x.as_slice::<String>()?.iter().map(|text| self.pieces(text)).collect();
        let width = rows.iter().map(Vec::len).max().unwrap_or(0);
        let shape = [x.shape(), &[width]].concat();
        checked_len(DType::Str, &shape)?;
        let padded = |row: &Vec<&str>| {
            let texts: Vec<String> = row.iter().map(|&text| text.to_owned()).collect();
            texts.into_iter().chain(std::iter::repeat_with(String::new)).take(width).collect::<Vec<_>>()
        };
        let counts = rows.iter().map(|row| row.len() as i64).collect();
        let texts: Vec<String> = rows.iter().flat_map(padded).collect();
        Ok(vec![Tensor::new(shape, texts)?, Tensor::new::<i64>(x.shape(), counts)?])
    }
}
