//! What the model wants to be fed.

use std::fmt;

use lissom_tensor::DType;

/// One input of a model. The first axis counts samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    /// Name in the graph.
    pub name: String,
    /// Type of the elements.
    pub dtype: DType,
    /// Length of each axis; `None` where any length will do.
    pub shape: Vec<Option<usize>>,
}

impl InputSpec {
    /// An input named `name`.
    pub fn new(name: impl Into<String>, dtype: DType, shape: impl Into<Vec<Option<usize>>>) -> Self {
        Self { name: name.into(), dtype, shape: shape.into() }
    }

    /// True if an array of `shape` fits, whatever its number of samples.
    pub(crate) fn fits_samples(&self, shape: &[usize]) -> bool {
        !shape.is_empty() && !self.shape.is_empty() && fits(&self.shape[1..], &shape[1..])
    }

    /// True if an array of `shape` is one whole input, its batch axis included.
    pub(crate) fn fits_whole(&self, shape: &[usize]) -> bool {
        fits(&self.shape, shape)
    }
}

fn fits(wanted: &[Option<usize>], actual: &[usize]) -> bool {
    wanted.len() == actual.len() && wanted.iter().zip(actual).all(|(w, a)| w.is_none_or(|w| w == *a))
}

impl fmt::Display for InputSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<_> = self
            .shape
            .iter()
            .enumerate()
            .map(|(axis, dim)| match dim {
                Some(dim) => dim.to_string(),
                None if axis == 0 => "N".into(),
                None => "?".into(),
            })
            .collect();
        write!(f, "`{}` {}[{}]", self.name, self.dtype, dims.join(","))
    }
}

/// `u8[10000,1,28,28]`, as messages write the type of an array.
pub(crate) fn describe(dtype: DType, shape: &[usize]) -> String {
    format!("{dtype}[{}]", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_axis_fits_any_length_and_is_shown() {
        let input = InputSpec::new("input", DType::F32, [None, Some(3), None]);
        assert_eq!(input.to_string(), "`input` f32[N,3,?]");
        assert!(input.fits_samples(&[7, 3, 9]));
        assert!(!input.fits_samples(&[7, 4, 9]));
        assert!(!input.fits_samples(&[7, 3]));
        assert!(!InputSpec::new("scale", DType::F32, []).fits_samples(&[2]));
    }
}
