//! A model's answers on a data set.

use std::path::Path;

use lissom_compress::Progress;
use lissom_data::{DataSettings, Dataset, InputSpec, Labels};
use lissom_engine::{Input, Session};
use lissom_recipe::Interrupt;
use lissom_tensor::Tensor;

use crate::JobError;

/// Examples run together.
const BATCH: usize = 64;

/// The first output of a model for every sample, as rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// Row-major, one row a sample.
    pub values: Vec<f32>,
    /// The same for the second texts, when samples are pairs.
    pub second: Option<Vec<f32>>,
    /// Values a row.
    pub row_len: usize,
}

/// Opens data for a model.
///
/// # Errors
/// [`JobError::Data`] naming both sides where they do not fit.
pub fn open_data(path: &Path, settings: Option<&Path>, inputs: &[Input]) -> Result<Dataset, JobError> {
    let in_data = |source| JobError::Data { path: path.to_owned(), source };
    let specs = input_specs(inputs)?;
    let settings = DataSettings::find(path, settings).map_err(in_data)?;
    lissom_data::open(path, &settings, &specs).map_err(in_data)
}

fn input_specs(inputs: &[Input]) -> Result<Vec<InputSpec>, JobError> {
    inputs
        .iter()
        .map(|input| match (input.dtype, &input.shape) {
            (Some(dtype), Some(shape)) => Ok(InputSpec::new(&input.name, dtype, shape.clone())),
            _ => Err(JobError::Unfit {
                reason: format!("the model does not declare type and rank of its input `{}`", input.name),
                hint: "export it with typed inputs".to_owned(),
            }),
        })
        .collect()
}

/// Runs a model over all samples.
///
/// # Errors
/// Whatever reading the data and running the model say; [`JobError::Unfit`] if the first output is not one row a sample.
pub fn answers(
    session: &Session,
    data: &Dataset,
    progress: &dyn Progress,
    interrupt: &Interrupt,
    what: &str,
) -> Result<Answers, JobError> {
    let in_data = |source| JobError::Data { path: data.path().to_owned(), source };
    let mut values = Vec::new();
    let mut second = data.is_paired().then(Vec::new);
    let mut row_len = 0;
    let mut done = 0;
    for batch in data.batches(data.fixed_batch().unwrap_or(BATCH)) {
        interrupt.check().map_err(lissom_recipe::RunError::from)?;
        progress.report(done, data.len(), what);
        let batch = batch.map_err(in_data)?;
        let n = batch.rows.len();
        if let Some(fixed) = data.fixed_batch().filter(|&fixed| fixed != n) {
            return Err(JobError::Unfit {
                reason: format!(
                    "the model takes {fixed} samples at a time, and {} do not fill whole batches",
                    data.len()
                ),
                hint: format!("judge on {} of them (`--samples`, `--eval-samples`)", data.len() / fixed * fixed),
            });
        }
        let (rows, len) = run_batch(session, &batch.inputs, n)?;
        if done > 0 && len != row_len {
            return Err(unfit(format!("its rows have {row_len} values in one batch and {len} in the next")));
        }
        row_len = len;
        values.extend(rows);
        if let (Some(second), Some(inputs)) = (&mut second, &batch.second) {
            second.extend(run_batch(session, inputs, n)?.0);
        }
        done += n;
    }
    progress.report(done, data.len(), what);
    Ok(Answers { values, second, row_len })
}

fn run_batch(session: &Session, inputs: &[(String, Tensor)], n: usize) -> Result<(Vec<f32>, usize), JobError> {
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let outputs = session.run(&inputs)?;
    let first = outputs.first().ok_or_else(|| unfit("there is none".to_owned()))?;
    let rows = first.to_f32_vec()?;
    if n == 0 || rows.len() % n != 0 || rows.is_empty() {
        return Err(unfit(format!("{} values for {n} samples", rows.len())));
    }
    let len = rows.len() / n;
    Ok((rows, len))
}

fn unfit(reason: String) -> JobError {
    JobError::Unfit {
        reason: format!("the model's first output is not one row a sample: {reason}"),
        hint: "put the output to judge first, with the batch as its first axis".to_owned(),
    }
}

impl Answers {
    /// For storing: little-endian lengths, then values.
    pub fn to_bytes(&self) -> Vec<u8> {
        let second = self.second.as_deref().unwrap_or_default();
        let mut bytes = Vec::with_capacity(24 + 4 * (self.values.len() + second.len()));
        for length in [self.row_len, self.values.len(), second.len()] {
            bytes.extend_from_slice(&(length as u64).to_le_bytes());
        }
        for value in self.values.iter().chain(second) {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    /// Inverse of [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`JobError::Stored`] if the bytes are not what was stored.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, JobError> {
        let torn = || JobError::Stored { reason: "answers of a model are torn".to_owned() };
        let (header, rest) = bytes.split_at_checked(24).ok_or_else(torn)?;
        let mut lengths = header.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk) as usize);
        let mut next = || lengths.next().unwrap_or(0);
        let (row_len, n_values, n_second) = (next(), next(), next());
        let mut values: Vec<f32> = rest.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
        if values.len() != n_values + n_second || rest.len() % 4 != 0 {
            return Err(torn());
        }
        let second = values.split_off(n_values);
        Ok(Self { values, second: (n_second > 0).then_some(second), row_len })
    }
}

/// Whether the data has right answers at all.
pub fn has_labels(data: &Dataset) -> bool {
    data.labels().is_some_and(|labels| match labels {
        Labels::Classes(classes) => !classes.is_empty(),
        Labels::Scores(scores) => !scores.is_empty(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_answers_come_back() {
        for second in [None, Some(vec![4.0, f32::MIN_POSITIVE])] {
            let answers = Answers { values: vec![1.0, -0.0, 3.5], second, row_len: 3 };
            assert_eq!(Answers::from_bytes(&answers.to_bytes()).unwrap(), answers);
        }
        assert!(Answers::from_bytes(&[0; 23]).is_err());
        assert!(Answers::from_bytes(&[1; 30]).is_err());
    }
}
