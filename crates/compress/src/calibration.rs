//! Data a method may look at. Never the data the result is judged on.

use lissom_tensor::Tensor;

/// A source of samples, the same ones in the same order every time.
pub trait Calibration: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// True if there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Samples `start..start + n` as the model's inputs by name, joined along the batch axis.
    ///
    /// # Errors
    /// [`CalibrationError`] if they cannot be read.
    fn batch(&self, start: usize, n: usize) -> Result<Vec<(String, Tensor)>, CalibrationError>;

    /// The batch size the model insists on, if its first axis is a number.
    fn fixed_batch(&self) -> Option<usize> {
        None
    }
}

/// The data could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("calibration data: {reason}")]
pub struct CalibrationError {
    /// What the data source said.
    pub reason: String,
}

/// Samples held in memory, for tests and programs: each tensor's first axis counts the samples.
#[derive(Debug, Clone)]
pub struct InMemory {
    /// Inputs by name.
    pub inputs: Vec<(String, Tensor)>,
}

impl Calibration for InMemory {
    fn len(&self) -> usize {
        self.inputs.first().map_or(0, |(_, tensor)| tensor.shape().first().copied().unwrap_or(0))
    }

    fn batch(&self, start: usize, n: usize) -> Result<Vec<(String, Tensor)>, CalibrationError> {
        let slice = |tensor: &Tensor| {
            let sample_len: usize = tensor.shape().iter().skip(1).product();
            let mut shape = tensor.shape().to_vec();
            if let Some(first) = shape.first_mut() {
                *first = n;
            }
            tensor.pick(shape, start * sample_len..(start + n) * sample_len)
        };
        self.inputs
            .iter()
            .map(|(name, tensor)| {
                Ok((name.clone(), slice(tensor).map_err(|e| CalibrationError { reason: e.to_string() })?))
            })
            .collect()
    }
}
