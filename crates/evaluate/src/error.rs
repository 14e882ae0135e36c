//! Why a result could not be judged.

/// Why outputs, labels or times cannot be judged. Each variant says where and what; [`EvaluateError::hint`] says
/// what to do next.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// There is nothing to judge.
    #[error("{what}: no examples")]
    Empty {
        /// What was empty.
        what: &'static str,
    },
    /// Two things that must go together differ in length.
    #[error("{left} has {left_len} entries, {right} has {right_len}")]
    LengthMismatch {
        /// The first side.
        left: &'static str,
        /// Its length.
        left_len: usize,
        /// The other side.
        right: &'static str,
        /// Its length.
        right_len: usize,
    },
    /// The values do not form whole rows.
    #[error("{what}: {len} values are not a whole number of rows of {row_len}")]
    NotRows {
        /// What was to be cut into rows.
        what: &'static str,
        /// Number of values.
        len: usize,
        /// Values a row.
        row_len: usize,
    },
    /// An output is NaN or infinite, so no ranking of it means anything.
    #[error("{what}: row {row}, column {column} is {value}; {n_bad} of {n_total} values are not finite")]
    NotFinite {
        /// Which values.
        what: &'static str,
        /// Row of the first bad value.
        row: usize,
        /// Column of the first bad value.
        column: usize,
        /// The value.
        value: f64,
        /// How many are bad.
        n_bad: usize,
        /// Out of how many.
        n_total: usize,
    },
    /// A label names a class the network does not have.
    #[error("label {label} of example {row} is outside 0..{n_classes}")]
    LabelOutOfRange {
        /// Position of the example.
        row: usize,
        /// Its label.
        label: i64,
        /// Number of columns of the output.
        n_classes: usize,
    },
    /// The network gives one number an example; classification needs at least two.
    #[error("the output has {n_classes} column an example; classification needs at least two")]
    TooFewColumns {
        /// Number of columns.
        n_classes: usize,
    },
    /// All examples belong to one class, so nothing can be told apart.
    #[error("all {n} examples have label {class}: with one class every answer looks equally good")]
    OneClass {
        /// The class.
        class: i64,
        /// Number of examples.
        n: usize,
    },
    /// A correlation with a constant has no value.
    #[error("{what} is the same for all {n} examples, so a correlation with it does not exist")]
    Constant {
        /// What is constant.
        what: &'static str,
        /// Number of examples.
        n: usize,
    },
    /// A setting outside its range.
    #[error("{name} is {value}; it must be {expected}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// What was given.
        value: f64,
        /// What is allowed.
        expected: &'static str,
    },
    /// The two judgements are of different tasks.
    #[error("cannot compare {left} with {right}")]
    TaskMismatch {
        /// Task or shape of the original.
        left: String,
        /// Task or shape of the compressed network.
        right: String,
    },
}

impl EvaluateError {
    /// What the user can do about it, in one line.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty { .. } => "check the path and the subset: at least one example is needed",
            Self::LengthMismatch { .. } => {
                "every example needs exactly one label or score; check that both come from the same split"
            }
            Self::NotRows { .. } => "check the shape of the output: examples must be the first axis",
            Self::NotFinite { .. } => {
                "run `lissom compare` with the original network to find the first layer that overflows, and leave that layer in float"
            }
            Self::LabelOutOfRange { .. } => {
                "labels count from 0; check that they belong to this network (some lists count from 1)"
            }
            Self::TooFewColumns { .. } => {
                "name the output that holds the class scores, or judge the network as an embedding"
            }
            Self::OneClass { .. } => {
                "add examples of other classes; a subset taken from sorted data often holds one class only"
            }
            Self::Constant { .. } => "use data with more than one score; a network with constant output is broken",
            Self::Setting { .. } => "change the setting named",
            Self::TaskMismatch { .. } => "judge both networks on the same data, with the same task",
        }
    }
}

/// `Ok` when both lengths agree.
pub(crate) fn same_len(left: (&'static str, usize), right: (&'static str, usize)) -> Result<(), EvaluateError> {
    if left.1 == right.1 {
        return Ok(());
    }
    Err(EvaluateError::LengthMismatch { left: left.0, left_len: left.1, right: right.0, right_len: right.1 })
}

/// `Ok` when every value is finite; `row_len` only serves the message.
pub(crate) fn all_finite<T: Copy + Into<f64>>(
    what: &'static str,
    values: &[T],
    row_len: usize,
) -> Result<(), EvaluateError> {
    let bad = |value: &T| !(*value).into().is_finite();
    let Some(first) = values.iter().position(bad) else {
        return Ok(());
    };
    let row_len = row_len.max(1);
    Err(EvaluateError::NotFinite {
        what,
        row: first / row_len,
        column: first % row_len,
        value: values[first].into(),
        n_bad: values.iter().filter(|value| bad(value)).count(),
        n_total: values.len(),
    })
}
