//! Nodes that move values without computing.

use lissom_tensor::DType;

use super::super::work::Op;
use super::NodeForm;

impl NodeForm<'_, '_> {
    pub(super) fn transpose(&self) -> Option<Op> {
        let rank = self.shape(0)?.len();
        let perm = match self.ints("perm") {
            Some(perm) => perm.iter().map(|&axis| self.axis(axis, rank)).collect::<Option<Vec<_>>>()?,
            None => (0..rank).rev().collect(),
        };
        let mut sorted = perm.clone();
        sorted.sort_unstable();
        sorted.iter().copied().eq(0..rank).then_some(Op::Transpose { perm })
    }

    pub(super) fn concat(&self) -> Option<Op> {
        let first = self.input(0)?;
        let all_alike = self.inputs.iter().all(|id| {
            id.is_some_and(|id| self.network.dtype(id) == self.network.dtype(first) && self.network.shape(id).is_some())
        });
        let axis = self.axis(self.int("axis", 1)?, self.shape(0)?.len())?;
        (all_alike && self.movable(first)).then_some(Op::Concat { axis })
    }

    pub(super) fn slice(&self) -> Option<Op> {
        if self.node.opset >= 10 {
            return self.slice_of(&self.shape(0)?, 1);
        }
        let begin = self.ints("starts")?;
        let axes = self.ints("axes").unwrap_or_else(|| (0..begin.len() as i64).collect());
        self.slice_by(&self.shape(0)?, &begin, &axes, &vec![1; begin.len()])
    }

    /// A slice of `shape` whose starts, ends, axes and steps are inputs from `first` on.
    pub(in super::super) fn slice_of(&self, shape: &[usize], first: usize) -> Option<Op> {
        let begin = self.input_ints(first)?;
        let axes = match self.input(first + 2) {
            Some(_) => self.input_ints(first + 2)?,
            None => (0..begin.len() as i64).collect(),
        };
        let by = match self.input(first + 3) {
            Some(_) => self.input_ints(first + 3)?,
            None => vec![1; begin.len()],
        };
        self.slice_by(shape, &begin, &axes, &by)
    }

    fn slice_by(&self, shape: &[usize], begin: &[i64], axes: &[i64], by: &[i64]) -> Option<Op> {
        let rank = shape.len();
        let (mut starts, mut steps) = (vec![0; rank], vec![1; rank]);
        for ((&axis, &start), &step) in axes.iter().zip(begin).zip(by) {
            let axis = self.axis(axis, rank).filter(|&axis| axis < rank)?;
            let length = shape[axis] as i64;
            let start = if start < 0 { start.saturating_add(length) } else { start };
            starts[axis] = usize::try_from(start.clamp(0, length)).ok()?;
            steps[axis] = usize::try_from(step).ok().filter(|&step| step > 0)?;
        }
        Some(Op::Slice { starts, steps })
    }

    pub(super) fn split(&self) -> Option<Op> {
        let axis = self.axis(self.int("axis", 0)?, self.shape(0)?.len())?;
        self.node.outputs.iter().all(Option::is_some).then_some(Op::Split { axis })
    }

    pub(super) fn pad(&self) -> Option<Op> {
        let rank = self.shape(0)?.len();
        if self.text("mode").is_some_and(|mode| mode != "constant") {
            return None;
        }
        let is_old = self.node.opset < 11;
        let amounts = if is_old { self.ints("pads")? } else { self.input_ints(1)? };
        let value = match (is_old, self.input(2)) {
            (true, _) => self.float("value", 0.0)?,
            (false, Some(id)) => self.network.scalar(id)?,
            (false, None) => 0.0,
        };
        let axes = match self.input(3) {
            Some(_) => self.input_ints(3)?.into_iter().map(|axis| self.axis(axis, rank)).collect::<Option<Vec<_>>>()?,
            None => (0..rank).collect(),
        };
        if amounts.len() != 2 * axes.len() {
            return None;
        }
        // Only cut off: the gradient of a padding.
        if amounts.iter().all(|&n| n <= 0) {
            let mut starts = vec![0; rank];
            for (&axis, &amount) in axes.iter().zip(&amounts) {
                *starts.get_mut(axis)? = usize::try_from(amount.checked_neg()?).ok()?;
            }
            let is_within = self.shape(0)?.iter().zip(self.output_shape()?).zip(&starts).all(|((n, m), s)| s + m <= *n);
            return is_within.then(|| Op::Slice { starts, steps: vec![1; rank] });
        }
        if amounts.iter().any(|&n| n < 0) {
            return None;
        }
        let mut begin = vec![0; rank];
        for (&axis, &amount) in axes.iter().zip(&amounts) {
            *begin.get_mut(axis)? = amount as usize;
        }
        Some(Op::Pad { begin, value })
    }

    pub(super) fn gather(&self) -> Option<Op> {
        let axis = self.axis(self.int("axis", 0)?, self.shape(0)?.len())?;
        let indices = self.input(1)?;
        let is_fit = matches!(self.network.dtype(indices), Some(DType::I64 | DType::I32)) && self.shape(1).is_some();
        (is_fit && axis < self.shape(0)?.len()).then_some(Op::Gather { axis })
    }
}
